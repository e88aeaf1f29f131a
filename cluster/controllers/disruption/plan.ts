// SPDX-License-Identifier: Apache-2.0
// How many pods of a PodDisruptionBudget may be evicted at this moment.
import type { Pod, PodDisruptionBudget, PodDisruptionBudgetStatus } from '../../machinery/api-types.ts';
import { setCondition } from '../conditions.ts';
import { resolveCount } from '../int-or-percent.ts';
import { isFinished, isReady, isTerminating } from '../pod-state.ts';

/** An eviction that has not led to a deletion after this time is taken to have failed. */
const evictionTimeoutMs = 120_000;

/**
 * `scale`: the number of pods that the pods' owners want together, or why it cannot be told; percentages and
 * maxUnavailable count from it.
 */
export function budgetStatus(options: {
  budget: PodDisruptionBudget;
  pods: readonly Pod[];
  scale: { readonly expected: number } | { readonly problem: string };
  now: number;
}): { readonly status: PodDisruptionBudgetStatus; readonly recheckMs: number | undefined } {
  const { budget, scale, now } = options;
  const spec = budget.spec ?? {};
  const pods = options.pods.filter((pod) => !isFinished(pod));
  const disrupted: Record<string, string> = {};
  let recheckMs: number | undefined;
  for (const [name, time] of Object.entries(budget.status?.disruptedPods ?? {})) {
    const pod = pods.find(({ metadata }) => metadata.name === name);
    const left = Date.parse(time) + evictionTimeoutMs - now;
    if (!pod || isTerminating(pod) || left <= 0) continue;
    disrupted[name] = time;
    recheckMs = Math.min(recheckMs ?? left, left);
  }
  const healthy = pods.filter(
    (pod) => isReady(pod) && !isTerminating(pod) && disrupted[pod.metadata.name ?? ''] === undefined,
  ).length;
  const problem = 'problem' in scale ? scale.problem : undefined;
  const expectedOfOwners = 'expected' in scale ? scale.expected : 0;
  let expectedPods = pods.length;
  let desiredHealthy = 0;
  if (spec.maxUnavailable !== undefined) {
    expectedPods = expectedOfOwners;
    desiredHealthy = Math.max(0, expectedPods - resolveCount(spec.maxUnavailable, expectedPods, 'up'));
  } else if (typeof spec.minAvailable === 'string') {
    expectedPods = expectedOfOwners;
    desiredHealthy = resolveCount(spec.minAvailable, expectedPods, 'up');
  } else if (spec.minAvailable !== undefined) {
    desiredHealthy = spec.minAvailable;
  }
  const needsScale = spec.maxUnavailable !== undefined || typeof spec.minAvailable === 'string';
  const failed = needsScale && problem !== undefined;
  const disruptionsAllowed = failed || expectedPods <= 0 ? 0 : Math.max(0, healthy - desiredHealthy);
  const condition = failed
    ? { status: 'False' as const, reason: 'SyncFailed', message: problem }
    : disruptionsAllowed > 0
      ? { status: 'True' as const, reason: 'SufficientPods', message: '' }
      : { status: 'False' as const, reason: 'InsufficientPods', message: '' };
  const observedGeneration = budget.metadata.generation ?? 0;
  const conditions = setCondition(
    budget.status?.conditions,
    { type: 'DisruptionAllowed', observedGeneration, lastTransitionTime: '', ...condition },
    now,
  ).map((one) => (one.type === 'DisruptionAllowed' ? { ...one, observedGeneration } : one));
  const status: PodDisruptionBudgetStatus = {
    observedGeneration,
    ...(Object.keys(disrupted).length > 0 && { disruptedPods: disrupted }),
    disruptionsAllowed,
    currentHealthy: healthy,
    desiredHealthy,
    expectedPods,
    conditions,
  };
  return { status, recheckMs };
}
