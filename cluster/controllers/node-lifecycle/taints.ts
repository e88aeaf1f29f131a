// SPDX-License-Identifier: Apache-2.0
// Which taints a node's state asks for, and when a pod has to leave because of them.
import type { Node, Pod, Taint, Toleration } from '../../machinery/api-types.ts';
import { sameJson } from '../canonical-json.ts';
import { timestamp } from '../conditions.ts';

const notReady = 'node.kubernetes.io/not-ready';
const unreachable = 'node.kubernetes.io/unreachable';

/** Condition type to the taint that it stands for while the condition is True. */
const pressureTaints: Readonly<Record<string, string>> = {
  MemoryPressure: 'node.kubernetes.io/memory-pressure',
  DiskPressure: 'node.kubernetes.io/disk-pressure',
  PIDPressure: 'node.kubernetes.io/pid-pressure',
  NetworkUnavailable: 'node.kubernetes.io/network-unavailable',
};

const unschedulable = 'node.kubernetes.io/unschedulable';
const managed = new Set([notReady, unreachable, unschedulable, ...Object.values(pressureTaints)]);

/** The node's taints as they should be, or undefined when they are right; taints that others set are kept. */
export function planTaints(node: Node, now: number): Taint[] | undefined {
  const wanted: Taint[] = [];
  const conditions = node.status?.conditions ?? [];
  const ready = conditions.find(({ type }) => type === 'Ready')?.status;
  if (ready !== 'True') {
    const key = ready === 'False' || ready === undefined ? notReady : unreachable;
    wanted.push({ key, effect: 'NoSchedule' }, { key, effect: 'NoExecute', timeAdded: timestamp(now) });
  }
  for (const { type, status } of conditions) {
    const key = pressureTaints[type];
    if (key && status === 'True') wanted.push({ key, effect: 'NoSchedule' });
  }
  if (node.spec?.unschedulable) wanted.push({ key: unschedulable, effect: 'NoSchedule', timeAdded: timestamp(now) });
  const current = node.spec?.taints ?? [];
  const kept = current.filter(
    (taint) =>
      !managed.has(taint.key) || wanted.some(({ key, effect }) => key === taint.key && effect === taint.effect),
  );
  const added = wanted.filter(({ key, effect }) => !kept.some((taint) => taint.key === key && taint.effect === effect));
  const next = [...kept, ...added];
  return sameJson(next, current) ? undefined : next;
}

export function tolerates(toleration: Toleration, taint: Taint): boolean {
  if (toleration.effect && toleration.effect !== taint.effect) return false;
  if (toleration.key && toleration.key !== taint.key) return false;
  if (!toleration.key && toleration.operator !== 'Exists') return false;
  return toleration.operator === 'Exists' || (toleration.value ?? '') === (taint.value ?? '');
}

/**
 * Milliseconds since the epoch at which the pod must go, because a NoExecute taint is not tolerated or tolerated only
 * for a time; undefined when it may stay. `since` says from when a toleration's seconds count.
 */
export function evictionTime(pod: Pod, taints: readonly Taint[], since: (taint: Taint) => number): number | undefined {
  let earliest: number | undefined;
  for (const taint of taints) {
    if (taint.effect !== 'NoExecute') continue;
    const tolerations = (pod.spec?.tolerations ?? []).filter((toleration) => tolerates(toleration, taint));
    if (tolerations.length === 0) return since(taint);
    const limits = tolerations
      .map(({ tolerationSeconds }) => tolerationSeconds)
      .filter((seconds) => seconds !== undefined);
    if (limits.length === 0) continue;
    const at = since(taint) + Math.max(0, Math.min(...limits)) * 1000;
    earliest = Math.min(earliest ?? at, at);
  }
  return earliest;
}
