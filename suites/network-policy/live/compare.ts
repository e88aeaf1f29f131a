// SPDX-License-Identifier: Apache-2.0
/**
 * Compares every cell of a live table with the oracle, and waits no longer than needed: first the cells that the change must turn are asked
 * until they have turned, then all cells once, then those that must be closed and have been silent only once.
 *
 * A closed cell costs a time-out. It may be short, because the cells that must be open are asked in the same window: the slowest of their
 * answers says how long an answer takes here and now, and silence counts as silence only after twice that time. And a request that arrives at its server
 * counts as open, whether or not the answer comes back.
 */
import { AssertionError } from 'chai';
import { probeMatrix } from '../../../probes/connectivity/matrix.ts';
import { InconclusiveError, type CaseContext } from '../../case.ts';
import { tableCells, type CellSelection, type TableCell } from './cells.ts';
import { describeWrong, drawTables, isWrong, type Result } from './judged.ts';
import type { LiveTable } from './live-table.ts';
import { percentile } from './streams.ts';

type PlannedCell = Omit<TableCell, 'timeoutMs'>;

/** An answer that should come may take its time on a busy machine. */
const answerMs = 3_000;
const silenceLeastMs = 200;
const silenceMostMs = 2_000;
const settleMs = 15_000;
/** However late it is: on a busy machine an answer may come too late a few times in a row. */
const windowsLeast = 8;
/** So much longer may everything take where answers are slow. */
const slowFactor = 3;
const pauseMs = 20;
/** Of the cells of one source that must be open; more at once would wait for each other, and look slow. */
const openAtOnce = 8;
/** How much of the slowest answer's time still counts in the next window. */
const memory = 0.6;

export interface Comparison {
  readonly selection: Omit<CellSelection, 'families'>;
  /** What the change is called in messages. */
  readonly step: string;
  /** How long a table may take to become right. Default 15 s. */
  readonly deadlineMs?: number;
}

export interface Outcome {
  readonly cells: number;
  /** Cells that readings of the API do not agree about; not asked. */
  readonly unjudged: number;
  /** From the API's answer until every cell that had to turn was seen turned. */
  readonly turnedMs: number | undefined;
  /** Cells that were wrong in the first window over all cells. */
  readonly wrongAtFirst: readonly Result[];
  /** Cells that were right, then wrong, then right again. */
  readonly wavering: readonly Result[];
  /** Cells that are wrong at the end. */
  readonly wrong: readonly Result[];
  readonly results: readonly Result[];
  readonly windows: number;
}

/** Asks and judges; fails the case where a cell is wrong at the end. */
export async function expectTable(table: LiveTable, comparison: Comparison): Promise<Outcome> {
  const { t } = table;
  const outcome = await compareTable(table, comparison);
  for (const { cell } of outcome.wavering)
    t.flake(`${cell.key} was right, then wrong, then right again (${comparison.step})`);
  if (outcome.wrongAtFirst.length > 0)
    t.log(
      `${comparison.step}: at first ${outcome.wrongAtFirst.length} cells were wrong, such as ${describeWrong(outcome.wrongAtFirst[0])}`,
    );
  const { wrong } = outcome;
  if (wrong.length === 0) return outcome;
  await t.attach({
    name: 'truth-table.txt',
    content: drawTables([...table.pods.keys()], outcome.results),
    summary: `${wrong.length} of ${outcome.cells} cells are wrong`,
  });
  const apart = (sameNode: boolean): number => wrong.filter(({ cell }) => cell.sameNode === sameNode).length;
  const error = new AssertionError(
    `${comparison.step}: ${wrong.length} of ${outcome.cells} cells are not as the policies say after ${outcome.windows} windows ` +
      `(same node: ${apart(true)}, across nodes: ${apart(false)}); for example ${describeWrong(wrong[0])}`,
  );
  throw Object.assign(error, { attempt: wrong[0]?.result });
}

/** Asks until the table is right or the time is up; judges nothing. */
export async function compareTable(table: LiveTable, comparison: Comparison): Promise<Outcome> {
  const { t, families, world, model, pods } = table;
  const { deadlineMs = settleMs } = comparison;
  const { cells, unjudged } = tableCells({ t, world, model, pods }, { families, ...comparison.selection });
  const before = table.expected;
  table.expected = new Map(cells.map(({ key, allowed }) => [key, allowed]));
  const began = performance.now();
  const windows = new Windows(t);
  const timeLeft = (): boolean =>
    performance.now() - began < (windows.slow ? slowFactor * deadlineMs : deadlineMs) || windows.count < windowsLeast;
  /** Until all of these are right, or the time is up. */
  const askUntilRight = async (asked: readonly PlannedCell[]): Promise<void> => {
    let open = asked;
    for (;;) {
      open = wrongOf(await windows.ask(open)).map(({ cell }) => cell);
      if (open.length === 0 || !timeLeft()) return;
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  };

  const turning = cells.filter(({ key, allowed }) => (before.get(key) ?? true) !== allowed);
  const silentOnce = cells.filter((cell) => !cell.allowed && !turning.includes(cell));
  let turnedMs: number | undefined;
  if (turning.length > 0) {
    await askUntilRight(turning);
    turnedMs = Math.round(performance.now() - began);
  }
  let results = await windows.ask(cells);
  const wrongAtFirst = wrongOf(results);
  const wavering = new Map<string, Result>();
  let wrong = wrongAtFirst;
  for (;;) {
    if (wrong.length === 0) {
      if (silentOnce.length === 0) break;
      const again = await windows.ask(silentOnce);
      wrong = wrongOf(again);
      if (wrong.length === 0) break;
      const renewed = new Map(again.map((one) => [one.cell.key, one]));
      results = results.map((one) => renewed.get(one.cell.key) ?? one);
      for (const one of wrong) wavering.set(one.cell.key, one);
    }
    if (!timeLeft()) break;
    await askUntilRight(wrong.map(({ cell }) => cell));
    results = await windows.ask(cells);
    wrong = wrongOf(results);
  }
  assertControls(results);
  if (wrong.length > 0 && windows.slow && wrong.every(({ cell }) => cell.allowed)) {
    throw new InconclusiveError(
      `${wrong.length} cells that must be open gave no answer within ${answerMs} ms, but where answers came they took ${Math.round(typicalMs)} ms: ` +
        'the nodes or the harness are too busy to tell what is closed from what is late',
    );
  }
  return {
    cells: cells.length,
    unjudged,
    turnedMs,
    wrongAtFirst,
    wavering: wrong.length === 0 ? [...wavering.values()].filter(({ cell }) => !cell.allowed || !windows.slow) : [],
    wrong,
    results,
    windows: windows.count,
  };
}

/** Slowest answer seen lately, which says how long silence must be; kept from case to case. */
let slowestMs = 0;
/** What nine of ten answers of the newest window took at most; kept from case to case. */
let typicalMs = 0;

class Windows {
  readonly #t: CaseContext;
  count = 0;

  constructor(t: CaseContext) {
    this.#t = t;
  }

  /** Answers take so long that a missing one says little. */
  get slow(): boolean {
    return typicalMs > answerMs / 6;
  }

  async ask(cells: readonly PlannedCell[]): Promise<Result[]> {
    this.#t.signal.throwIfAborted();
    this.count++;
    const silenceMs = silenceFor(slowestMs);
    const [open, closed] = [cells.filter(({ allowed }) => allowed), cells.filter(({ allowed }) => !allowed)];
    const [answered, silent] = await Promise.all([
      probeMatrix(timed(open, answerMs), { concurrency: openAtOnce }),
      askClosed(closed, silenceMs),
    ]);
    const answers = answered.flatMap(({ result }) => (result.outcome === 'allowed' ? [result.latencyMs] : []));
    // A pod that does not even reach itself in time has no time.
    const starved = answered.some(({ cell, result }) => isControl(cell) && result.outcome === 'dropped');
    typicalMs = starved ? answerMs : answers.length === 0 ? typicalMs : percentile(answers, 0.9);
    const slowest = Math.max(0, ...answers.filter((latency) => latency < answerMs / 3));
    // Falls slowly, rises at once.
    slowestMs = Math.max(slowest, slowestMs * memory);
    if (silenceMs >= Math.min(2 * slowest, silenceMostMs)) return [...answered, ...silent];
    // The machine was slower in this window than expected: what was silent gets more time.
    const [arrived, again] = [
      silent.filter(({ requestArrived }) => requestArrived),
      silent.filter(({ requestArrived }) => !requestArrived),
    ];
    const later = await askClosed(
      again.map(({ cell }) => cell),
      silenceFor(slowest),
    );
    return [...answered, ...arrived, ...later];
  }
}

/** All at once: silence costs nothing but its time. */
function askClosed(cells: readonly PlannedCell[], silenceMs: number): Promise<Result[]> {
  return probeMatrix(timed(cells, silenceMs), { concurrency: Math.max(1, cells.length) });
}

function silenceFor(answer: number): number {
  return Math.min(silenceMostMs, Math.max(silenceLeastMs, Math.round(3 * answer)));
}

function timed(cells: readonly PlannedCell[], timeoutMs: number): TableCell[] {
  return cells.map((cell) => ({ ...cell, timeoutMs }));
}

function wrongOf(results: readonly Result[]): Result[] {
  return results.filter(isWrong);
}

function isControl({ column, from, to }: TableCell): boolean {
  return column === 'pod' && from === to;
}

/** "Blocked" counts only if the same prober and the same listener worked in the same window: each pod must reach itself. */
function assertControls(results: readonly Result[]): void {
  const broken = results.find(({ cell, result }) => isControl(cell) && result.outcome !== 'allowed');
  if (broken === undefined) return;
  throw new InconclusiveError(
    `${broken.cell.source.description} does not reach itself (${broken.cell.key}: ${broken.result.outcome}): its prober or listener is broken`,
  );
}
