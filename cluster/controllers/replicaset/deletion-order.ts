// SPDX-License-Identifier: Apache-2.0
// Which pods of a ReplicaSet go first when there are too many.
import type { Pod } from '../../machinery/api-types.ts';
import { isReady, podCondition, restartCount } from '../pod-state.ts';

const costAnnotation = 'controller.kubernetes.io/pod-deletion-cost';
const phases = ['Pending', 'Unknown', 'Running'];

/**
 * The `count` pods to delete: unassigned before assigned, pending before running, not ready before ready, cheap before
 * dear (pod-deletion-cost), crowded nodes before others (by `related`, the pods of all sets of the same owner), recently
 * ready before long ready, often restarted before stable, young before old; ages count in doubling steps.
 */
export function podsToDelete(options: {
  pods: readonly Pod[];
  related: readonly Pod[];
  count: number;
  now: number;
}): Pod[] {
  const { pods, related, count, now } = options;
  if (count >= pods.length) return [...pods];
  const onNode = new Map<string, number>();
  for (const pod of related) {
    const node = pod.spec?.nodeName;
    if (node) onNode.set(node, (onNode.get(node) ?? 0) + 1);
  }
  const rank = (pod: Pod): number[] => {
    const ready = isReady(pod);
    const readySince = ready ? Date.parse(podCondition(pod, 'Ready')?.lastTransitionTime ?? '') : Number.NaN;
    return [
      pod.spec?.nodeName ? 1 : 0,
      phases.indexOf(pod.status?.phase ?? 'Pending'),
      ready ? 1 : 0,
      deletionCost(pod),
      -(onNode.get(pod.spec?.nodeName ?? '') ?? 0),
      ready ? ageStep(readySince, now) : 0,
      -restartCount(pod),
      ageStep(Date.parse(pod.metadata.creationTimestamp ?? ''), now),
    ];
  };
  return pods
    .map((pod) => ({ pod, rank: rank(pod) }))
    .toSorted(
      (a, b) => compareRanks(a.rank, b.rank) || ((a.pod.metadata.uid ?? '') < (b.pod.metadata.uid ?? '') ? -1 : 1),
    )
    .slice(0, count)
    .map(({ pod }) => pod);
}

function deletionCost(pod: Pod): number {
  const text = pod.metadata.annotations?.[costAnnotation] ?? '0';
  const cost = Number(text);
  return /^-?\d+$/.test(text) && Math.abs(cost) < 2 ** 31 ? cost : 0;
}

/** Doubling steps of age, so that pods of about the same age are picked at random rather than by milliseconds. */
function ageStep(since: number, now: number): number {
  if (Number.isNaN(since)) return -1;
  return Math.floor(Math.log2(Math.max(1, now - since)));
}

function compareRanks(a: readonly number[], b: readonly number[]): number {
  for (const [index, value] of a.entries()) {
    const difference = value - (b[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
