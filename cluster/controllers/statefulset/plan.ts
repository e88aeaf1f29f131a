// SPDX-License-Identifier: Apache-2.0
// What a StatefulSet does next. Ordered sets change one pod at a time and wait until it is available; parallel ones do not
// wait. Pods are replaced from the highest ordinal down to the partition.
import type { Pod, StatefulSet, StatefulSetStatus } from '../../machinery/api-types.ts';
import { resolveCount } from '../int-or-percent.ts';
import { isAvailable, isReady, isTerminating } from '../pod-state.ts';
import { revisionLabel } from '../revisions.ts';
import { ordinalOf } from './pods.ts';

export interface SetPlan {
  /** Ordinals to create, each with the name of the revision to make it from. */
  readonly create: { readonly ordinal: number; readonly revision: string }[];
  readonly remove: { readonly pod: Pod; readonly reason: 'finished' | 'surplus' | 'outdated' }[];
  /** Pods beyond the wanted number, whether or not they go now. */
  readonly condemned: ReadonlySet<Pod>;
}

export interface SetInput {
  readonly set: StatefulSet;
  readonly pods: readonly Pod[];
  /** Names of the revision that the set comes from and of the one that it goes to. */
  readonly currentRevision: string;
  readonly updateRevision: string;
  readonly now: number;
}

export function planStatefulSet(input: SetInput): SetPlan {
  const { set, now } = input;
  const { start, replicas, byOrdinal, condemned } = sort(input);
  const plan = { create: [] as SetPlan['create'], remove: [] as SetPlan['remove'], condemned: new Set(condemned) };
  if (set.metadata.deletionTimestamp) return plan;
  const ordered = set.spec?.podManagementPolicy !== 'Parallel';
  const minReadySeconds = set.spec?.minReadySeconds ?? 0;
  const healthy = (pod: Pod): boolean => !isTerminating(pod) && isAvailable(pod, minReadySeconds, now);

  for (let ordinal = start; ordinal < start + replicas; ordinal++) {
    const pod = byOrdinal.get(ordinal);
    if (!pod) plan.create.push({ ordinal, revision: revisionFor(input, ordinal) });
    else if (pod.status?.phase === 'Failed' || pod.status?.phase === 'Succeeded') {
      if (!isTerminating(pod)) plan.remove.push({ pod, reason: 'finished' });
    } else if (healthy(pod) || !ordered) continue;
    if (ordered) return plan;
  }
  const firstUnhealthy = [...byOrdinal.values(), ...condemned.toReversed()].find((pod) => !healthy(pod));
  for (const pod of condemned) {
    if (isTerminating(pod)) {
      if (ordered) return plan;
      continue;
    }
    if (ordered && !healthy(pod) && pod !== firstUnhealthy) return plan;
    plan.remove.push({ pod, reason: 'surplus' });
    if (ordered) return plan;
  }
  if (set.spec?.updateStrategy?.type === 'OnDelete' || plan.create.length > 0) return plan;
  const { partition = 0, maxUnavailable = 1 } = set.spec?.updateStrategy?.rollingUpdate ?? {};
  let budget = Math.max(1, resolveCount(maxUnavailable, replicas, 'up'));
  for (let ordinal = start + replicas - 1; ordinal >= start + partition; ordinal--) {
    const pod = byOrdinal.get(ordinal);
    if (budget <= 0) break;
    if (!pod || !healthy(pod)) budget--;
    if (pod && !isTerminating(pod) && pod.metadata.labels?.[revisionLabel] !== input.updateRevision) {
      if (healthy(pod)) budget--;
      plan.remove.push({ pod, reason: 'outdated' });
    }
  }
  return plan;
}

export function statefulSetStatus(input: SetInput, collisionCount: number): StatefulSetStatus {
  const { set, now, updateRevision } = input;
  const minReadySeconds = set.spec?.minReadySeconds ?? 0;
  const alive = input.pods.filter((pod) => ordinalOf(set, pod) !== undefined);
  const count = (test: (pod: Pod) => boolean): number => alive.filter(test).length;
  const of =
    (revision: string) =>
    (pod: Pod): boolean =>
      !isTerminating(pod) && pod.metadata.labels?.[revisionLabel] === revision;
  const ready = count((pod) => !isTerminating(pod) && isReady(pod));
  let currentRevision = input.currentRevision;
  let current = count(of(currentRevision));
  const updated = count(of(updateRevision));
  const replicas = set.spec?.replicas ?? 1;
  const rolling = set.spec?.updateStrategy?.type !== 'OnDelete';
  if (rolling && updated === alive.length && updated === replicas && ready === replicas) {
    currentRevision = updateRevision;
    current = updated;
  }
  const available = count((pod) => !isTerminating(pod) && isAvailable(pod, minReadySeconds, now));
  const { conditions } = set.status ?? {};
  return {
    observedGeneration: set.metadata.generation ?? 0,
    replicas: alive.length,
    availableReplicas: available,
    ...(ready > 0 && { readyReplicas: ready }),
    ...(current > 0 && { currentReplicas: current }),
    ...(updated > 0 && { updatedReplicas: updated }),
    currentRevision,
    updateRevision,
    collisionCount,
    ...(conditions && { conditions }),
  };
}

/** A missing pod below the partition, or one that the roll-out has not come to, is made from the old revision. */
function revisionFor({ set, currentRevision, updateRevision }: SetInput, ordinal: number): string {
  const { type, rollingUpdate } = set.spec?.updateStrategy ?? {};
  if (type === 'OnDelete') return updateRevision;
  const start = set.spec?.ordinals?.start ?? 0;
  const partition = rollingUpdate?.partition ?? 0;
  return ordinal < start + partition ? currentRevision : updateRevision;
}

function sort({ set, pods }: SetInput): {
  start: number;
  replicas: number;
  byOrdinal: Map<number, Pod>;
  condemned: Pod[];
} {
  const start = set.spec?.ordinals?.start ?? 0;
  const replicas = set.spec?.replicas ?? 1;
  const byOrdinal = new Map<number, Pod>();
  const condemned: { ordinal: number; pod: Pod }[] = [];
  for (const pod of pods.toSorted((a, b) => (ordinalOf(set, a) ?? 0) - (ordinalOf(set, b) ?? 0))) {
    const ordinal = ordinalOf(set, pod);
    if (ordinal === undefined) continue;
    if (ordinal >= start && ordinal < start + replicas) byOrdinal.set(ordinal, pod);
    else condemned.push({ ordinal, pod });
  }
  return { start, replicas, byOrdinal, condemned: condemned.toReversed().map(({ pod }) => pod) };
}
