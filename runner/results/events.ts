// SPDX-License-Identifier: Apache-2.0
/**
 * The record of a run: events in the order in which they happened, one JSON object per line of `events.jsonl`. This is the only thing
 * that reporters read, the wire contract between a run and everything that looks at it later, also by a newer or older version.
 *
 * Rules: a reader ignores event types and fields that it does not know; a writer of schema 1 never changes the meaning of a field.
 * Times are ISO 8601 in UTC with milliseconds; durations are whole milliseconds; paths are relative to the results directory.
 */

export const schemaVersion = 1;

/**
 * `failed` is a statement about the cluster, `inconclusive` says that nothing can be stated (the prober or the harness broke),
 * `skipped` always has a reason.
 */
export const caseStatuses = ['passed', 'failed', 'skipped', 'inconclusive'] as const;
export type CaseStatus = (typeof caseStatuses)[number];

export interface CaseDescription {
  readonly id: string;
  readonly area: string;
  readonly title: string;
  readonly description: string;
  readonly requirements: readonly string[];
  readonly modes: readonly string[];
  readonly needs: readonly string[];
  readonly serial: boolean;
  readonly timeoutMs: number;
}

export interface RunStarted {
  readonly type: 'run-started';
  readonly time: string;
  readonly schema: typeof schemaVersion;
  readonly runId: string;
  /** RFC 4122; names the Sonobuoy tarball. */
  readonly uuid: string;
  readonly toolVersion: string;
  readonly mode: string;
  readonly focus?: string;
  readonly skip?: string;
  /** What --rerun-failed was given. */
  readonly rerunOf?: string;
  readonly parallel: number;
  /** `3` or `5%`: how many of the cases carried out may be flaky before the run fails. Absent: any. */
  readonly flakeBudget?: string;
  readonly target: { readonly server: string; readonly context: string; readonly embedded: boolean };
  readonly image: string;
}

export interface NodeFacts {
  readonly name: string;
  readonly ready: boolean;
  readonly roles: readonly string[];
  readonly kubeletVersion: string;
  readonly containerRuntime: string;
  readonly osImage: string;
  readonly kernel: string;
  readonly architecture: string;
  readonly internalIps: readonly string[];
  readonly cpu: string;
  readonly memory: string;
}

/** Identity and environment of the cluster under test, as preflight saw it. */
export interface ClusterObserved {
  readonly type: 'cluster-observed';
  readonly time: string;
  /** uid of namespace kube-system: the customary identity of a cluster. */
  readonly uid: string;
  readonly serverVersion: string;
  readonly platform: string;
  readonly nodes: readonly NodeFacts[];
  /** Need by need: whether the cluster has it, and how that was found out. */
  readonly features: Readonly<Record<string, { readonly present: boolean; readonly detail: string }>>;
}

export interface PreflightChecked {
  readonly type: 'preflight-checked';
  readonly time: string;
  readonly name: string;
  readonly status: 'ok' | 'warning' | 'failed';
  readonly message: string;
  readonly remedy?: string;
  readonly durationMs: number;
}

export interface PlanMade {
  readonly type: 'plan-made';
  readonly time: string;
  /** Every selected case, in the order in which they are started; skipped ones too. */
  readonly cases: readonly CaseDescription[];
}

export interface CaseStarted {
  readonly type: 'case-started';
  readonly time: string;
  readonly caseId: string;
  /** From 1. */
  readonly attempt: number;
}

export interface StepFinished {
  readonly type: 'step-finished';
  readonly time: string;
  readonly caseId: string;
  readonly name: string;
  readonly passed: boolean;
  readonly durationMs: number;
}

export interface EvidenceAttached {
  readonly type: 'evidence-attached';
  readonly time: string;
  readonly caseId: string;
  readonly attempt: number;
  readonly file: string;
  readonly mediaType: string;
  readonly bytes: number;
  readonly role: 'explanation' | 'detail';
  readonly summary?: string;
}

export interface FigureMeasured {
  readonly type: 'figure-measured';
  readonly time: string;
  readonly caseId: string;
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  readonly limit?: number;
}

/** A retry is never silent: the attempt that was thrown away, and why. */
export interface CaseRetried {
  readonly type: 'case-retried';
  readonly time: string;
  readonly caseId: string;
  readonly attempt: number;
  readonly reason: string;
}

/** Something was wrong in a case and came right by itself. */
export interface FlakeObserved {
  readonly type: 'flake-observed';
  readonly time: string;
  readonly caseId: string;
  readonly what: string;
}

export interface CaseError {
  readonly name: string;
  readonly message: string;
  readonly stack?: string;
  /** Step in which it was thrown, outermost first, joined by ` > `. */
  readonly step?: string;
  /** Of an assertion, as text. */
  readonly expected?: string;
  readonly actual?: string;
}

export interface CaseFinished {
  readonly type: 'case-finished';
  readonly time: string;
  readonly caseId: string;
  readonly status: CaseStatus;
  readonly attempts: number;
  readonly startedAt: string;
  /** Body and teardown of the last attempt. 0 for a case that never started. */
  readonly durationMs: number;
  /** Why skipped or inconclusive. */
  readonly reason?: string;
  readonly error?: CaseError;
  /** Errors of teardown and failure hooks: they do not change the status, and are not hidden. */
  readonly troubles?: readonly string[];
}

export interface MessageLogged {
  readonly type: 'message-logged';
  readonly time: string;
  readonly level: 'debug' | 'info' | 'warning' | 'error';
  readonly message: string;
  readonly caseId?: string;
}

/** Something happened to the cluster, not through a case: the API server was away, a node stopped being Ready. */
export interface ClusterDisturbed {
  readonly type: 'cluster-disturbed';
  readonly time: string;
  readonly what: 'api-unreachable' | 'node-not-ready' | 'node-gone';
  readonly subject: string;
  readonly message: string;
  /** Absent while it lasts. */
  readonly durationMs?: number;
}

/** One section of the snapshot taken at the end. A failed section is recorded and stops no other. */
export interface SnapshotSection {
  readonly type: 'snapshot-section';
  readonly time: string;
  readonly name: string;
  readonly files: number;
  readonly durationMs: number;
  readonly error?: string;
}

export interface CleanedUp {
  readonly type: 'cleaned-up';
  readonly time: string;
  readonly deleted: number;
  /** What could not be deleted, as `Kind namespace/name: reason`. */
  readonly left: readonly string[];
}

export const verdicts = ['passed', 'failed', 'inconclusive', 'error'] as const;
/** `error`: the run itself could not be carried out (preflight failed, harness error). */
export type Verdict = (typeof verdicts)[number];

export interface RunFinished {
  readonly type: 'run-finished';
  readonly time: string;
  readonly verdict: Verdict;
  readonly interrupted: boolean;
  readonly durationMs: number;
  /** In words, where the verdict is not `passed`. */
  readonly reason?: string;
}

export type ResultEvent =
  | RunStarted
  | ClusterObserved
  | PreflightChecked
  | PlanMade
  | CaseStarted
  | StepFinished
  | EvidenceAttached
  | FigureMeasured
  | CaseRetried
  | FlakeObserved
  | CaseFinished
  | MessageLogged
  | ClusterDisturbed
  | SnapshotSection
  | CleanedUp
  | RunFinished;

/** An event before the recorder has put the time on it. */
export type EventBody = {
  [Type in ResultEvent['type']]: Omit<Extract<ResultEvent, { type: Type }>, 'time'>;
}[ResultEvent['type']];
