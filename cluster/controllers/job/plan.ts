// SPDX-License-Identifier: Apache-2.0
// What a Job does next, from its status and its pods. A finished pod counts exactly once: it is first written down in
// `status.uncountedTerminatedPods`, then loses its finalizer, and only then moves into the counters.
import type { Job, JobStatus, Pod } from '../../machinery/api-types.ts';
import { findCondition } from '../conditions.ts';
import { isReady, isTerminating, restartCount } from '../pod-state.ts';
import { judgeFailure } from './failure-policy.ts';
import { formatIndexes, parseIndexes } from './indexes.ts';

export const trackingFinalizer = 'batch.kubernetes.io/job-tracking';
export const indexAnnotation = 'batch.kubernetes.io/job-completion-index';
const failureCountAnnotation = 'batch.kubernetes.io/job-index-failure-count';

export interface Ending {
  readonly type: 'Complete' | 'Failed';
  readonly reason: string;
  readonly message: string;
}

export interface JobPlan {
  /** Counters and conditions-free status after this round. */
  readonly status: JobStatus;
  /** Finished pods whose finalizer may go, once `status` is stored. */
  readonly release: readonly Pod[];
  /** Uids that are in the counters after `release` is done; they leave the uncounted list. */
  readonly ending: Ending | undefined;
  readonly active: readonly Pod[];
  readonly terminating: number;
  readonly remove: readonly Pod[];
  /** How many pods to create; `indexes` names them for Indexed jobs, each with its failures so far. */
  readonly create: number;
  readonly indexes: readonly { readonly index: number; readonly failures: number }[];
  /** Failures that were new in this round, for the back-off. */
  readonly newFailures: number;
  readonly newSuccesses: number;
}

export interface JobInput {
  readonly job: Job;
  readonly pods: readonly Pod[];
  readonly now: number;
}

export function isJobFinished(job: Job): Ending['type'] | undefined {
  const ended = job.status?.conditions?.find(
    ({ type, status }) => (type === 'Complete' || type === 'Failed') && status === 'True',
  );
  return ended?.type as Ending['type'] | undefined;
}

export function planJob({ job, pods, now }: JobInput): JobPlan {
  const spec = job.spec ?? { template: {} };
  const indexed = spec.completionMode === 'Indexed';
  const completions = spec.completions;
  const tally = count({ job, pods, now });
  const { status, failedIndexes, completed } = tally;
  const active = pods.filter((pod) => !isTerminating(pod) && !isDone(pod));
  const terminating = pods.filter((pod) => isTerminating(pod) && !isDone(pod));
  status.active = active.length;
  status.ready = active.filter(isReady).length;
  status.terminating = terminating.length;

  const ending = endingOf({ job, now, tally, active });
  const base = {
    status,
    release: tally.release,
    ending,
    active,
    terminating: terminating.length,
    newFailures: tally.newFailures,
    newSuccesses: tally.newSuccesses,
  };
  if (ending || spec.suspend) return { ...base, remove: active, create: 0, indexes: [] };

  const succeeded = (status.succeeded ?? 0) + (status.uncountedTerminatedPods?.succeeded?.length ?? 0);
  const parallelism = spec.parallelism ?? 1;
  const replaceOnlyFailed = spec.podReplacementPolicy === 'Failed' || spec.podFailurePolicy !== undefined;
  const busy = active.length + (replaceOnlyFailed ? terminating.length : 0);
  let wanted: number;
  if (completions === undefined) wanted = succeeded > 0 ? Math.min(active.length, parallelism) : parallelism;
  else
    wanted = Math.min(
      parallelism,
      completions - (indexed ? completed.size : succeeded) - (indexed ? failedIndexes.size : 0),
    );
  wanted = Math.max(0, wanted);
  const remove =
    active.length > wanted
      ? [...active].toSorted((a, b) => Number(isReady(a)) - Number(isReady(b))).slice(0, active.length - wanted)
      : [];
  let create = Math.max(0, wanted - busy);
  let indexes: JobPlan['indexes'] = [];
  if (indexed && completions !== undefined) {
    const taken = new Set([...(replaceOnlyFailed ? [...active, ...terminating] : active)].map(indexOf));
    const free: { index: number; failures: number }[] = [];
    for (let index = 0; index < completions && free.length < create; index++) {
      if (completed.has(index) || failedIndexes.has(index) || taken.has(index)) continue;
      free.push({ index, failures: tally.indexFailures.get(index) ?? 0 });
    }
    indexes = free;
    create = free.length;
  }
  return { ...base, remove, create, indexes };
}

export function indexOf(pod: Pod): number | undefined {
  const text = pod.metadata.annotations?.[indexAnnotation] ?? pod.metadata.labels?.[indexAnnotation];
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined;
}

export function failureCountOf(pod: Pod): number {
  return Number(pod.metadata.annotations?.[failureCountAnnotation] ?? 0) || 0;
}

export { failureCountAnnotation };

interface Tally {
  readonly status: JobStatus;
  readonly release: Pod[];
  readonly completed: Set<number>;
  readonly failedIndexes: Set<number>;
  readonly indexFailures: Map<number, number>;
  readonly failJob: string | undefined;
  readonly newFailures: number;
  readonly newSuccesses: number;
}

function count({ job, pods }: JobInput): Tally {
  const spec = job.spec ?? { template: {} };
  const indexed = spec.completionMode === 'Indexed';
  const completions = spec.completions ?? 0;
  const { conditions: _, ...old } = job.status ?? {};
  const status: JobStatus = structuredClone(old);
  const completed = parseIndexes(status.completedIndexes, completions);
  const perIndex = spec.backoffLimitPerIndex;
  const failedIndexes = perIndex === undefined ? new Set<number>() : parseIndexes(status.failedIndexes, completions);
  const byUid = new Map(pods.map((pod) => [pod.metadata.uid ?? '', pod]));
  const tracked = (pod: Pod): boolean => pod.metadata.finalizers?.includes(trackingFinalizer) ?? false;

  // Those written down earlier whose finalizer is gone move into the counters.
  const uncounted = {
    succeeded: new Set(status.uncountedTerminatedPods?.succeeded),
    failed: new Set(status.uncountedTerminatedPods?.failed),
  };
  for (const kind of ['succeeded', 'failed'] as const) {
    for (const uid of uncounted[kind]) {
      const pod = byUid.get(uid);
      if (pod && tracked(pod)) continue;
      uncounted[kind].delete(uid);
      if (kind === 'failed' || !indexed) status[kind] = (status[kind] ?? 0) + 1;
    }
  }
  const release: Pod[] = [];
  const indexFailures = new Map<number, number>();
  let failJob: string | undefined;
  let newFailures = 0;
  let newSuccesses = 0;
  const replaceOnlyFailed = spec.podReplacementPolicy === 'Failed' || spec.podFailurePolicy !== undefined;
  for (const pod of pods) {
    const uid = pod.metadata.uid ?? '';
    const phase = pod.status?.phase;
    const failed = phase === 'Failed' || (!replaceOnlyFailed && isTerminating(pod) && phase !== 'Succeeded');
    const index = indexed ? indexOf(pod) : undefined;
    if (phase === 'Failed' || failed) {
      const verdict = judgeFailure(spec.podFailurePolicy, pod);
      if (verdict.action === 'FailJob' && phase === 'Failed') failJob ??= verdict.message;
      if (index !== undefined && index < completions) {
        const failures = failureCountOf(pod) + (verdict.action === 'Ignore' ? 0 : 1);
        indexFailures.set(index, Math.max(indexFailures.get(index) ?? 0, failures));
        if (perIndex !== undefined && !completed.has(index) && (failures > perIndex || verdict.action === 'FailIndex'))
          failedIndexes.add(index);
      }
      if (!tracked(pod)) continue;
      release.push(pod);
      if (uncounted.failed.has(uid) || verdict.action === 'Ignore') continue;
      uncounted.failed.add(uid);
      newFailures++;
    } else if (phase === 'Succeeded') {
      if (index !== undefined && index < completions) completed.add(index);
      if (!tracked(pod)) continue;
      release.push(pod);
      if (uncounted.succeeded.has(uid)) continue;
      if (!indexed) uncounted.succeeded.add(uid);
      newSuccesses++;
    }
  }
  if (indexed) {
    status.succeeded = completed.size;
    if (completed.size > 0) status.completedIndexes = formatIndexes(completed);
    if (perIndex !== undefined) status.failedIndexes = formatIndexes(failedIndexes);
  }
  status.uncountedTerminatedPods = {
    ...(uncounted.succeeded.size > 0 && { succeeded: [...uncounted.succeeded] }),
    ...(uncounted.failed.size > 0 && { failed: [...uncounted.failed] }),
  };
  return { status, release, completed, failedIndexes, indexFailures, failJob, newFailures, newSuccesses };
}

function endingOf(options: { job: Job; now: number; tally: Tally; active: readonly Pod[] }): Ending | undefined {
  const { job, now, tally, active } = options;
  const spec = job.spec ?? { template: {} };
  const { status, completed, failedIndexes } = tally;
  const failed = (reason: string, message: string): Ending => ({ type: 'Failed', reason, message });
  const target = job.status?.conditions?.find(
    ({ type, status: value }) => (type === 'FailureTarget' || type === 'SuccessCriteriaMet') && value === 'True',
  );
  if (target) {
    return {
      type: target.type === 'FailureTarget' ? 'Failed' : 'Complete',
      reason: target.reason ?? '',
      message: target.message ?? '',
    };
  }
  if (tally.failJob) return failed('PodFailurePolicy', tally.failJob);
  const failures = (status.failed ?? 0) + (status.uncountedTerminatedPods?.failed?.length ?? 0);
  const limit = spec.backoffLimit ?? 6;
  if (failures > limit || restartsExceed(job, active, limit))
    return failed('BackoffLimitExceeded', 'Job has reached the specified backoff limit');
  const startedAt = Date.parse(job.status?.startTime ?? '');
  const suspended = spec.suspend || findCondition(job.status?.conditions, 'Suspended')?.status === 'True';
  if (spec.activeDeadlineSeconds !== undefined && !suspended && now - startedAt >= spec.activeDeadlineSeconds * 1000) {
    return failed('DeadlineExceeded', 'Job was active longer than specified deadline');
  }
  if (spec.maxFailedIndexes !== undefined && failedIndexes.size > spec.maxFailedIndexes) {
    return failed('MaxFailedIndexesExceeded', 'Job has exceeded the specified maximal number of failed indexes');
  }
  for (const [number, rule] of (spec.successPolicy?.rules ?? []).entries()) {
    const relevant =
      rule.succeededIndexes === undefined
        ? completed
        : new Set(
            [...parseIndexes(rule.succeededIndexes, spec.completions ?? 0)].filter((index) => completed.has(index)),
          );
    const needed =
      rule.succeededCount ??
      (rule.succeededIndexes === undefined
        ? Infinity
        : parseIndexes(rule.succeededIndexes, spec.completions ?? 0).size);
    if (relevant.size >= needed)
      return { type: 'Complete', reason: 'SuccessPolicy', message: `Matched rules at index ${number}` };
  }
  const succeeded = (status.succeeded ?? 0) + (status.uncountedTerminatedPods?.succeeded?.length ?? 0);
  const complete: Ending = {
    type: 'Complete',
    reason: 'CompletionsReached',
    message: 'Reached expected number of succeeded pods',
  };
  if (spec.completions === undefined) return succeeded > 0 && active.length === 0 ? complete : undefined;
  if (spec.completionMode === 'Indexed') {
    if (completed.size >= spec.completions) return complete;
    if (completed.size + failedIndexes.size >= spec.completions)
      return failed('FailedIndexes', 'Job has failed indexes');
    return undefined;
  }
  return succeeded >= spec.completions ? complete : undefined;
}

/** With restartPolicy OnFailure the kubelet tries again in place, and its restarts are what counts. */
function restartsExceed(job: Job, active: readonly Pod[], limit: number): boolean {
  if (job.spec?.template.spec?.restartPolicy !== 'OnFailure') return false;
  const restarts = active.reduce((sum, pod) => sum + restartCount(pod), 0);
  return limit === 0 ? restarts > 0 : restarts >= limit;
}

function isDone(pod: Pod): boolean {
  return pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed';
}
