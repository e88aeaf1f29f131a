// SPDX-License-Identifier: Apache-2.0
/**
 * The run as seen in a terminal. On a TTY the lower lines are repainted: current cases with their step, totals, time left; what is final
 * scrolls above them. Without a TTY every line is final. `finalLines` and `liveLines` are pure; `terminalView` only prints.
 */
import { styleText } from 'node:util';
import type { CaseFinished, ResultEvent } from '../../runner/results/events.ts';
import {
  applyEvent,
  countCases,
  emptyRecord,
  isFlaky,
  verdictOf,
  type CaseRecord,
  type RunRecord,
} from '../../runner/results/run-record.ts';
import { flakyText, reportedName, statusOf } from '../case-outcome.ts';

export interface TerminalOptions {
  readonly colour: boolean;
  readonly columns: number;
  /** Show log messages and passed steps too. */
  readonly verbose: boolean;
}

type Style = 'green' | 'red' | 'yellow' | 'dim' | 'bold' | 'cyan';

const marks = { passed: '✓', failed: '✗', skipped: '-', inconclusive: '?' } as const;
const styles = { passed: 'green', failed: 'red', skipped: 'dim', inconclusive: 'yellow' } as const;

/** Lines that an event adds for good. `record` already has the event in it. */
export function finalLines(event: ResultEvent, record: RunRecord, options: TerminalOptions): string[] {
  const paint = painter(options);
  switch (event.type) {
    case 'run-started':
      return [
        `${paint('bold', `plumb ${event.toolVersion}`)}  run ${event.runId}  mode ${event.mode}  ${event.target.server}`,
      ];
    case 'preflight-checked': {
      const status = event.status === 'ok' ? 'passed' : event.status === 'failed' ? 'failed' : 'inconclusive';
      const mark = paint(styles[status], event.status === 'warning' ? '!' : marks[status]);
      const line = `${mark} ${event.name}: ${event.message} ${paint('dim', duration(event.durationMs))}`;
      return event.remedy === undefined ? [line] : [line, `  ${paint('cyan', '->')} ${event.remedy}`];
    }
    case 'plan-made': {
      const serial = event.cases.filter((one) => one.serial).length;
      return ['', `${event.cases.length} cases${serial === 0 ? '' : `, ${serial} of them one at a time`}`];
    }
    case 'case-finished':
      return caseLines(event, record.cases.get(event.caseId), options);
    case 'case-retried':
      return [`${paint('yellow', '~')} ${event.caseId}: tried again: ${event.reason}`];
    case 'flake-observed':
      return [`${paint('yellow', '~')} ${event.caseId}: ${event.what}`];
    case 'cluster-disturbed':
      return [paint('yellow', `! ${event.message}`)];
    case 'snapshot-section':
      return event.error === undefined ? [] : [paint('yellow', `! snapshot ${event.name}: ${event.error}`)];
    case 'cleaned-up':
      return event.left.map((one) => paint('yellow', `! not deleted: ${one}`));
    case 'message-logged':
      if (event.level === 'debug' || (event.level === 'info' && event.caseId !== undefined)) {
        return options.verbose ? [paint('dim', `  ${event.caseId ?? ''} ${event.message}`)] : [];
      }
      return [event.level === 'info' ? event.message : paint('yellow', `! ${event.message}`)];
    case 'run-finished':
      return summaryLines(record, options);
    default:
      return [];
  }
}

function caseLines(event: CaseFinished, one: CaseRecord | undefined, options: TerminalOptions): string[] {
  const paint = painter(options);
  const name = one === undefined ? event.caseId : reportedName(one);
  const head = `${paint(styles[event.status], marks[event.status])} ${name}`;
  if (event.status === 'skipped')
    return [`${paint('dim', `${marks.skipped} ${name}`)} ${paint('dim', `(${event.reason ?? ''})`)}`];
  const line = `${head} ${paint('dim', duration(event.durationMs))}`;
  const troubles = (event.troubles ?? []).map((trouble) => `    ${paint('yellow', `also: ${trouble}`)}`);
  if (event.status === 'passed') return [line, ...troubles];
  const error = event.error;
  const told = [
    paint('dim', event.caseId),
    ...(error?.step === undefined ? [] : [`at step: ${error.step}`]),
    ...(error?.message ?? event.reason ?? '').split('\n'),
    ...(error?.expected === undefined ? [] : [`expected: ${oneLine(error.expected)}`]),
    ...(error?.actual === undefined ? [] : [`actual:   ${oneLine(error.actual)}`]),
    ...(one?.evidence.length ? [paint('dim', `evidence: ${one.evidence.map((item) => item.file).join(', ')}`)] : []),
  ];
  return [line, ...told.map((text) => `    ${text}`), ...troubles];
}

/** The repainted lines: cases that are going on, then totals with the time left. */
export function liveLines(record: RunRecord, now: Date, options: TerminalOptions): string[] {
  const paint = painter(options);
  const cases = [...record.cases.values()];
  if (cases.length === 0 || record.finished !== undefined) return [];
  const current = cases.filter((one) => one.startedAt !== undefined && one.finished === undefined);
  const counts = countCases(cases);
  const left = timeLeft(cases, now, record.run?.parallel ?? 1);
  const tally = [
    paint('green', `${counts.passed} passed`),
    ...(counts.failed > 0 ? [paint('red', `${counts.failed} failed`)] : []),
    ...(counts.inconclusive > 0 ? [paint('yellow', `${counts.inconclusive} inconclusive`)] : []),
    ...(counts.skipped > 0 ? [paint('dim', `${counts.skipped} skipped`)] : []),
    counts.unfinished > 0 ? `${counts.unfinished} to go` : paint('dim', 'taking the snapshot and cleaning up'),
    ...(left === undefined ? [] : [paint('dim', `about ${duration(left)} left`)]),
  ];
  return [
    ...current.map((one) => {
      const since = now.getTime() - Date.parse(one.startedAt ?? '');
      const step = one.steps.at(-1)?.name;
      const text = `  … ${one.description.id} ${duration(since)}${step === undefined ? '' : `  after: ${step}`}`;
      return paint('dim', cut(text, options.columns - 1));
    }),
    tally.join(' · '),
  ];
}

/** Mean duration of what is done, times what is left, over the lanes; a third of the plan must be done for it to mean anything. */
export function timeLeft(cases: readonly CaseRecord[], now: Date, parallel: number): number | undefined {
  const done = cases.filter((one) => (one.finished?.attempts ?? 0) > 0);
  const open = cases.filter((one) => one.finished === undefined);
  if (open.length === 0 || done.length * 3 < done.length + open.length) return undefined;
  const mean = done.reduce((sum, one) => sum + (one.finished?.durationMs ?? 0), 0) / done.length;
  const remaining = (one: CaseRecord): number =>
    one.startedAt === undefined ? mean : Math.max(mean - (now.getTime() - Date.parse(one.startedAt)), mean / 10);
  const sum = (part: readonly CaseRecord[]): number => part.reduce((total, one) => total + remaining(one), 0);
  const serial = open.filter((one) => one.description.serial);
  const beside = open.filter((one) => !one.description.serial);
  return Math.round(sum(serial) + sum(beside) / Math.max(1, parallel));
}

function summaryLines(record: RunRecord, options: TerminalOptions): string[] {
  const paint = painter(options);
  const cases = [...record.cases.values()];
  const { verdict, reason } = verdictOf(record);
  const flaky = cases.filter(isFlaky);
  const areas = [...new Set(cases.map((one) => one.description.area))];
  const width = Math.max(0, ...areas.map((area) => area.length));
  const colour = verdict === 'passed' ? 'green' : verdict === 'inconclusive' ? 'yellow' : 'red';
  return [
    '',
    ...areas.map((area) =>
      areaLine(
        area.padEnd(width),
        cases.filter((one) => one.description.area === area),
        paint,
      ),
    ),
    ...(flaky.length === 0 ? [] : [paint('yellow', `  ${flakyText(record)}`)]),
    '',
    `${paint('bold', paint(colour, verdict.toUpperCase()))} in ${duration(record.finished?.durationMs ?? 0)}${reason === undefined ? '' : `: ${reason}`}`,
  ];
}

function areaLine(area: string, cases: readonly CaseRecord[], paint: Paint): string {
  const of = (status: keyof typeof marks): number => cases.filter((one) => statusOf(one) === status).length;
  const parts = (Object.keys(marks) as (keyof typeof marks)[])
    .filter((status) => of(status) > 0)
    .map((status) => paint(styles[status], `${of(status)} ${status}`));
  return `  ${area}  ${parts.join(', ')}`;
}

/** `850 ms`, `12.3 s`, `4 min 10 s`. */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

type Paint = (style: Style, text: string) => string;

function painter(options: TerminalOptions): Paint {
  return (style, text) => (options.colour ? styleText(style, text, { validateStream: false }) : text);
}

function oneLine(text: string): string {
  return cut(text.replaceAll(/\s+/g, ' '), 300);
}

function cut(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, Math.max(0, length - 1))}…`;
}

export interface TerminalView {
  onEvent(event: ResultEvent): void;
  close(): void;
}

const repaintMs = 200;

/** Prints a run while it goes on. `stream` is stdout or anything else that takes text. */
export function terminalView(
  stream: NodeJS.WriteStream,
  options: { readonly verbose: boolean; readonly colour: boolean },
): TerminalView {
  const record = emptyRecord();
  const live = stream.isTTY === true;
  let painted = 0;
  let last = '';
  const layout = (): TerminalOptions => ({ ...options, columns: stream.columns ?? 120 });
  const wipe = (): string => (painted === 0 ? '' : `\u001b[${painted}F\u001b[0J`);
  const repaint = (above: readonly string[]): void => {
    const lines = live ? liveLines(record, new Date(), layout()) : [];
    const below = lines.map((line) => `${line}\n`).join('');
    if (above.length === 0 && below === last) return;
    stream.write(wipe() + above.map((line) => `${line}\n`).join('') + below);
    painted = lines.length;
    last = below;
  };
  const timer = live ? setInterval(() => repaint([]), repaintMs) : undefined;
  timer?.unref();
  return {
    onEvent(event) {
      applyEvent(record, event);
      repaint(finalLines(event, record, layout()));
    },
    close() {
      clearInterval(timer);
      if (painted > 0) stream.write(wipe());
      painted = 0;
      last = '';
    },
  };
}
