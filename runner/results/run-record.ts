// SPDX-License-Identifier: Apache-2.0
/** Folds the events of a run into one tree, case by case: what reporters look at. Also usable while the run goes on. */
import type {
  CaseDescription,
  CaseFinished,
  CaseRetried,
  CaseStatus,
  CleanedUp,
  ClusterDisturbed,
  ClusterObserved,
  EvidenceAttached,
  FigureMeasured,
  FlakeObserved,
  MessageLogged,
  PreflightChecked,
  ResultEvent,
  RunFinished,
  RunStarted,
  SnapshotSection,
  StepFinished,
  Verdict,
} from './events.ts';

export interface CaseRecord {
  readonly description: CaseDescription;
  /** ISO time of the present attempt; undefined before the first. */
  startedAt?: string;
  finished?: CaseFinished;
  readonly steps: StepFinished[];
  readonly evidence: EvidenceAttached[];
  readonly figures: FigureMeasured[];
  readonly retries: CaseRetried[];
  readonly flakes: FlakeObserved[];
  readonly messages: MessageLogged[];
}

export interface RunRecord {
  run?: RunStarted;
  cluster?: ClusterObserved;
  finished?: RunFinished;
  cleanup?: CleanedUp;
  readonly preflight: PreflightChecked[];
  readonly cases: Map<string, CaseRecord>;
  readonly disturbances: ClusterDisturbed[];
  readonly snapshot: SnapshotSection[];
  readonly messages: MessageLogged[];
}

export function emptyRecord(): RunRecord {
  return { preflight: [], cases: new Map(), disturbances: [], snapshot: [], messages: [] };
}

export function foldEvents(events: Iterable<ResultEvent>): RunRecord {
  const record = emptyRecord();
  for (const event of events) applyEvent(record, event);
  return record;
}

export function applyEvent(record: RunRecord, event: ResultEvent): void {
  switch (event.type) {
    case 'run-started':
      record.run = event;
      return;
    case 'cluster-observed':
      record.cluster = event;
      return;
    case 'preflight-checked':
      record.preflight.push(event);
      return;
    case 'plan-made':
      for (const description of event.cases) record.cases.set(description.id, newCase(description));
      return;
    case 'cluster-disturbed':
      record.disturbances.push(event);
      return;
    case 'snapshot-section':
      record.snapshot.push(event);
      return;
    case 'cleaned-up':
      record.cleanup = event;
      return;
    case 'run-finished':
      record.finished = event;
      return;
    case 'message-logged':
      if (event.caseId === undefined) record.messages.push(event);
      else record.cases.get(event.caseId)?.messages.push(event);
      return;
    default:
      applyCaseEvent(record.cases.get(event.caseId), event);
  }
}

type CaseEvent = Exclude<Extract<ResultEvent, { caseId: string }>, MessageLogged>;

function applyCaseEvent(one: CaseRecord | undefined, event: CaseEvent): void {
  if (one === undefined) return;
  switch (event.type) {
    case 'case-started':
      one.startedAt = event.time;
      return;
    case 'case-finished':
      one.finished = event;
      return;
    case 'case-retried':
      one.retries.push(event);
      return;
    case 'flake-observed':
      one.flakes.push(event);
      return;
    case 'step-finished':
      one.steps.push(event);
      return;
    case 'evidence-attached':
      one.evidence.push(event);
      return;
    case 'figure-measured':
      one.figures.push(event);
      return;
  }
}

function newCase(description: CaseDescription): CaseRecord {
  return { description, steps: [], evidence: [], figures: [], retries: [], flakes: [], messages: [] };
}

export type Counts = Readonly<Record<CaseStatus | 'total' | 'unfinished', number>>;

export function countCases(cases: Iterable<CaseRecord>): Counts {
  const counts = { passed: 0, failed: 0, skipped: 0, inconclusive: 0, unfinished: 0, total: 0 };
  for (const one of cases) {
    counts.total++;
    counts[one.finished?.status ?? 'unfinished']++;
  }
  return counts;
}

/** Needed more than one try, or wavered: what a flake budget counts. */
export function isFlaky(one: CaseRecord): boolean {
  return one.retries.length > 0 || one.flakes.length > 0;
}

/** How many flaky cases a budget (`3`, `5%`) allows of so many that were carried out. */
export function flakesAllowed(budget: string, carriedOut: number): number {
  const value = Number(budget.replace(/%$/, ''));
  return budget.endsWith('%') ? Math.floor((carriedOut * value) / 100) : value;
}

function flakeTrouble(record: RunRecord): string | undefined {
  const budget: unknown = record.run?.flakeBudget;
  if (typeof budget !== 'string') return undefined;
  const cases = [...record.cases.values()];
  const flaky = cases.filter(isFlaky).length;
  const carriedOut = cases.filter((one) => (one.finished?.attempts ?? 0) > 0).length;
  const allowed = flakesAllowed(budget, carriedOut);
  return flaky > allowed
    ? `${flaky} of ${carriedOut} cases were flaky, and the flake budget ${budget} allows ${allowed}`
    : undefined;
}

/**
 * What a record says as a whole, also one that was cut off. A failure counts most, because it is a fact about the cluster; then
 * whatever keeps us from a statement. A run in which nothing passed says nothing.
 */
export function verdictOf(record: RunRecord): { readonly verdict: Verdict; readonly reason?: string } {
  const counts = countCases(record.cases.values());
  if (record.finished?.verdict === 'error') {
    return { verdict: 'error', ...(record.finished.reason === undefined ? {} : { reason: record.finished.reason }) };
  }
  if (counts.failed > 0) return { verdict: 'failed', reason: `${counts.failed} of ${counts.total} cases failed` };
  const flaky = flakeTrouble(record);
  if (flaky !== undefined) return { verdict: 'failed', reason: flaky };
  if (record.finished === undefined) return { verdict: 'inconclusive', reason: 'the run was cut off before its end' };
  if (record.finished.interrupted) return { verdict: 'inconclusive', reason: 'the run was interrupted' };
  if (counts.inconclusive > 0) {
    return { verdict: 'inconclusive', reason: `${counts.inconclusive} of ${counts.total} cases could not find out` };
  }
  if (counts.unfinished > 0) return { verdict: 'inconclusive', reason: `${counts.unfinished} cases have no result` };
  if (counts.passed === 0) return { verdict: 'inconclusive', reason: 'no case was carried out' };
  return { verdict: 'passed' };
}
