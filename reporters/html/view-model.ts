// SPDX-License-Identifier: Apache-2.0
/** Everything that the page shows, computed beforehand, so that the template only places it. Pure. */
import type { CaseStatus, Verdict } from '../../runner/results/events.ts';
import { countCases, verdictOf, type CaseRecord, type Counts } from '../../runner/results/run-record.ts';
import { flakyText, reasonOf, statusOf } from '../case-outcome.ts';
import { explanationsOf, textOf } from '../explanations.ts';
import type { ReportInput, ResultFiles } from '../report.ts';
import { duration } from '../terminal/terminal.ts';
import { timeline, type Timeline } from './timeline.ts';

const evidenceTextMax = 40_000;
/** Beyond this a file is named but not put into the page. */
const evidenceEmbedMax = 400_000;
const slowestShown = 10;

export interface ViewModel {
  readonly title: string;
  readonly verdict: string;
  readonly verdictWord: string;
  readonly statement: string;
  readonly startedAt: string;
  readonly duration: string;
  readonly runFacts: readonly Fact[];
  readonly clusterFacts: readonly Fact[];
  readonly tiles: readonly Tile[];
  readonly areas: readonly AreaRow[];
  readonly nodes: readonly object[];
  readonly features: readonly object[];
  readonly attention: readonly CaseView[];
  readonly cases: readonly CaseView[];
  readonly timeline: Timeline;
  readonly slowest: readonly object[];
  readonly figures: readonly object[];
  readonly preflight: readonly object[];
  readonly troubles: readonly object[];
}

interface Fact {
  readonly name: string;
  readonly value: string;
}

interface Tile {
  readonly status: CaseStatus;
  readonly count: number;
  readonly mark: string;
}

interface AreaRow {
  readonly area: string;
  readonly total: number;
  readonly passed: number;
  readonly rate: string;
  readonly segments: readonly { readonly status: CaseStatus; readonly count: number; readonly percent: string }[];
}

interface CaseView {
  readonly id: string;
  readonly anchor: string;
  readonly area: string;
  readonly title: string;
  readonly description: string;
  readonly requirements: string;
  readonly status: CaseStatus;
  readonly mark: string;
  readonly reason: string;
  readonly skipped: boolean;
  readonly duration: string;
  readonly durationMs: number;
  readonly attempts: number;
  readonly explanation: string;
  readonly error:
    | {
        readonly name: string;
        readonly message: string;
        readonly step: string;
        readonly expected: string;
        readonly actual: string;
        readonly stack: string;
      }
    | undefined;
  readonly steps: readonly object[];
  readonly messages: readonly string[];
  readonly figures: readonly string[];
  readonly evidence: readonly object[];
  readonly troubles: readonly string[];
  readonly retries: readonly string[];
}

export const marks: Readonly<Record<CaseStatus, string>> = {
  passed: '✓',
  failed: '✗',
  inconclusive: '?',
  skipped: '–',
};
const order: readonly CaseStatus[] = ['failed', 'inconclusive', 'passed', 'skipped'];

export function viewModel(input: ReportInput): ViewModel {
  const { record, files } = input;
  const cases = [...record.cases.values()];
  const views = cases.map((one) => caseView(one, files));
  const counts = merged(countCases(cases));
  const { verdict, reason } = verdictOf(record);
  const ready = record.cluster?.nodes.filter((node) => node.ready).length ?? 0;
  return {
    title: `${verdictWords[verdict]} · ${record.cluster?.serverVersion ?? 'cluster'} · ${record.run?.runId ?? ''}`,
    verdict,
    verdictWord: verdictWords[verdict],
    statement: statement(counts, reason, verdict),
    startedAt: record.run?.time ?? '',
    duration: duration(record.finished?.durationMs ?? 0),
    runFacts: facts({
      Run: record.run?.runId,
      Mode: record.run?.mode,
      Focus: record.run?.focus,
      Skip: record.run?.skip,
      'Repeats failures of': record.run?.rerunOf,
      Started: readableTime(record.run?.time),
      Duration: duration(record.finished?.durationMs ?? 0),
      'Cases at once': record.run?.parallel.toString(),
      'First tries': flakyText(record),
      Tool: `Plumbline ${record.run?.toolVersion ?? ''}`,
      'Probe image': record.run?.image,
    }),
    clusterFacts: facts({
      'API server': record.run?.target.server,
      Kubernetes: record.cluster?.serverVersion,
      Platform: record.cluster?.platform,
      Identity: record.cluster?.uid,
      Nodes: record.cluster === undefined ? undefined : `${ready} of ${record.cluster.nodes.length} Ready`,
      Kind: record.run?.target.embedded === true ? 'the embedded cluster' : undefined,
    }),
    tiles: order.map((status) => ({ status, count: counts[status], mark: marks[status] })),
    areas: areaRows(cases),
    nodes: (record.cluster?.nodes ?? []).map((node) => ({
      ...node,
      roles: node.roles.join(', ') || 'worker',
      addresses: node.internalIps.join(', '),
      memory: readableMemory(node.memory),
    })),
    features: Object.entries(record.cluster?.features ?? {}).map(([name, feature]) => ({ name, ...feature })),
    attention: views.filter((one) => one.status === 'failed' || one.status === 'inconclusive'),
    cases: views.toSorted((a, b) =>
      a.area === b.area ? a.id.localeCompare(b.id, 'en') : a.area.localeCompare(b.area, 'en'),
    ),
    timeline: timeline(record),
    slowest: slowest(views),
    figures: views.flatMap((one) => one.figures.map((text) => ({ id: one.id, anchor: one.anchor, text }))),
    preflight: record.preflight.map((check) => ({ ...check, duration: duration(check.durationMs) })),
    troubles: troubles(input),
  };
}

const verdictWords: Readonly<Record<Verdict, string>> = {
  passed: 'Passed',
  failed: 'Failed',
  inconclusive: 'Inconclusive',
  error: 'Not carried out',
};

function statement(counts: Counts, reason: string | undefined, verdict: Verdict): string {
  if (verdict === 'error') return `The run could not be carried out: ${reason ?? 'unknown reason'}.`;
  const carriedOut = counts.total - counts.skipped;
  const skipped =
    counts.skipped === 0
      ? ''
      : counts.skipped === 1
        ? ' 1 was skipped, with its reason.'
        : ` ${counts.skipped} were skipped, each with its reason.`;
  if (verdict === 'passed') {
    return `Everything that could be tested on this cluster works: ${counts.passed} of ${carriedOut} cases passed.${skipped}`;
  }
  const open = counts.inconclusive === 0 ? '' : ` ${counts.inconclusive} could not find out.`;
  const why = verdict === 'inconclusive' && reason !== undefined ? ` No verdict: ${reason}.` : '';
  return `${counts.failed} of ${carriedOut} cases failed, ${counts.passed} passed.${open}${skipped}${why}`;
}

/** Cases without a result count as inconclusive. */
function merged(counts: Counts): Counts {
  return { ...counts, inconclusive: counts.inconclusive + counts.unfinished };
}

function areaRows(cases: readonly CaseRecord[]): AreaRow[] {
  const areas = [...new Set(cases.map((one) => one.description.area))];
  return areas.map((area) => {
    const counts = merged(countCases(cases.filter((one) => one.description.area === area)));
    const carriedOut = counts.total - counts.skipped;
    return {
      area,
      total: counts.total,
      passed: counts.passed,
      rate: carriedOut === 0 ? 'not tested' : `${Math.floor((100 * counts.passed) / carriedOut)} %`,
      segments: (['passed', 'failed', 'inconclusive', 'skipped'] as const)
        .filter((status) => counts[status] > 0)
        .map((status) => ({
          status,
          count: counts[status],
          percent: ((100 * counts[status]) / counts.total).toFixed(2),
        })),
    };
  });
}

function caseView(one: CaseRecord, files: ResultFiles): CaseView {
  const { id, area, title, description, requirements } = one.description;
  const error = one.finished?.error;
  const status = statusOf(one);
  return {
    id,
    anchor: `case-${id.replaceAll(/[^a-z0-9-]/g, '-')}`,
    area,
    title,
    description,
    requirements: requirements.join(', '),
    status,
    mark: marks[status],
    reason: reasonOf(one),
    skipped: status === 'skipped',
    duration: (one.finished?.attempts ?? 0) === 0 ? '' : duration(one.finished?.durationMs ?? 0),
    durationMs: one.finished?.durationMs ?? 0,
    attempts: one.finished?.attempts ?? 0,
    explanation: explanationsOf(one, files).join('\n\n'),
    error: error && {
      name: error.name,
      message: error.message,
      step: error.step ?? '',
      expected: error.expected ?? '',
      actual: error.actual ?? '',
      stack: error.stack ?? '',
    },
    steps: one.steps.map((step) => ({ ...step, duration: duration(step.durationMs) })),
    messages: one.messages.map((message) => message.message),
    figures: one.figures.map(
      (figure) =>
        `${figure.name}: ${figure.value} ${figure.unit}${figure.limit === undefined ? '' : ` (limit ${figure.limit})`}`,
    ),
    evidence: one.evidence.filter((item) => item.role === 'detail').map((item) => evidenceView(item, files)),
    troubles: one.finished?.troubles ?? [],
    retries: [
      ...one.retries.map((retry) => `attempt ${retry.attempt}: ${retry.reason}`),
      ...one.flakes.map(({ what }) => what),
    ],
  };
}

function evidenceView(item: CaseRecord['evidence'][number], files: ResultFiles): object {
  const content = files.read(item.file);
  const name = item.file.split('/').at(-1);
  const isText = /^(text\/|application\/(json|jsonl|yaml))/.test(item.mediaType);
  const base = { name, file: item.file, summary: item.summary ?? '', size: size(item.bytes) };
  if (content === undefined) return { ...base, missing: true };
  if (isText) return { ...base, text: textOf(content, evidenceTextMax) };
  if (content.byteLength > evidenceEmbedMax) return base;
  return { ...base, data: `data:application/octet-stream;base64,${Buffer.from(content).toString('base64')}` };
}

function slowest(views: readonly CaseView[]): object[] {
  const longest = Math.max(1, ...views.map((one) => one.durationMs));
  return views
    .filter((one) => one.attempts > 0)
    .toSorted((a, b) => b.durationMs - a.durationMs)
    .slice(0, slowestShown)
    .map((one) => ({ ...one, percent: ((100 * one.durationMs) / longest).toFixed(1) }));
}

function troubles({ record }: ReportInput): { what: string; text: string }[] {
  return [
    ...record.disturbances.map((one) => ({ what: 'Cluster', text: `${readableTime(one.time)}: ${one.message}` })),
    ...record.snapshot
      .filter((one) => one.error !== undefined)
      .map((one) => ({ what: 'Snapshot', text: `${one.name}: ${one.error}` })),
    ...(record.cleanup?.left ?? []).map((text) => ({ what: 'Clean-up', text: `not deleted: ${text}` })),
    ...record.messages
      .filter((one) => one.level === 'error' || one.level === 'warning')
      .map((one) => ({ what: 'Run', text: one.message })),
  ];
}

function facts(values: Readonly<Record<string, string | undefined>>): Fact[] {
  return Object.entries(values).flatMap(([name, value]) =>
    value === undefined || value === '' ? [] : [{ name, value }],
  );
}

export function readableTime(iso: string | undefined): string {
  return iso === undefined ? '' : `${iso.slice(0, 10)} ${iso.slice(11, 19)} UTC`;
}

/** `24682416Ki` as `23.5 GiB`; anything else as it is. */
function readableMemory(quantity: string): string {
  const kibibytes = /^(\d+)Ki$/.exec(quantity)?.[1];
  return kibibytes === undefined ? quantity : `${(Number(kibibytes) / 1024 / 1024).toFixed(1)} GiB`;
}

function size(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  return bytes < 1024 * 1024 ? `${(bytes / 1024).toFixed(1)} KiB` : `${(bytes / 1024 / 1024).toFixed(1)} MiB`;
}
