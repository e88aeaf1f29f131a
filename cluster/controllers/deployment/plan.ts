// SPDX-License-Identifier: Apache-2.0
// The next step of a Deployment's roll-out, decided from its ReplicaSets alone. Each step keeps at least
// `replicas - maxUnavailable` pods available and never asks for more than `replicas + maxSurge`.
import type { Deployment, Pod, ReplicaSet } from '../../machinery/api-types.ts';
import { resolveCount } from '../int-or-percent.ts';
import { isFinished } from '../pod-state.ts';
import {
  byAge,
  currentAnnotations,
  desiredOf,
  maxOf,
  newReplicaSet,
  revisionOf,
  sizeAnnotations,
  sizeOf,
  splitReplicaSets,
} from './replica-sets.ts';

export interface Plan {
  readonly current: ReplicaSet | undefined;
  readonly others: readonly ReplicaSet[];
  /** Revision that the Deployment is to show, when a current set exists or is created. */
  readonly revision: bigint | undefined;
  readonly create?: ReplicaSet;
  /** Annotations and minReadySeconds of the current set, when they are not right. */
  readonly refresh?: { readonly set: ReplicaSet; readonly annotations: Record<string, string> };
  readonly scale: readonly {
    readonly set: ReplicaSet;
    readonly replicas: number;
    readonly annotations: Record<string, string>;
  }[];
  readonly remove: readonly ReplicaSet[];
}

export interface Limits {
  readonly replicas: number;
  readonly maxSurge: number;
  readonly maxUnavailable: number;
}

/** `oldPods`: the pods of a set, which Recreate must see gone before it goes on. */
export function planRollout(
  deployment: Deployment,
  sets: readonly ReplicaSet[],
  podsOf: (set: ReplicaSet) => readonly Pod[],
): Plan {
  const { current, others } = splitReplicaSets(deployment, sets);
  const limits = limitsOf(deployment);
  const nextRevision = largest(others.map(revisionOf)) + 1n;
  const revision = current ? largest([nextRevision, revisionOf(current)]) : undefined;
  const idle: Plan = { current, others, revision, scale: [], remove: [] };
  if (deployment.metadata.deletionTimestamp) return { ...idle, revision: undefined };

  const annotations =
    current && revision !== undefined ? currentAnnotations(deployment, current, nextRevision) : undefined;
  const stale =
    current &&
    annotations &&
    (Object.entries(annotations).some(([key, value]) => current.metadata.annotations?.[key] !== value) ||
      (current.spec?.minReadySeconds ?? 0) !== (deployment.spec?.minReadySeconds ?? 0));
  const base: Plan = stale ? { ...idle, refresh: { set: current, annotations } } : idle;
  const steps = (sizes: Map<ReplicaSet, number>): Plan => ({ ...base, scale: scaleSteps(sizes, limits) });

  const resized = sets.some((set) => sizeOf(set) > 0 && (desiredOf(set) ?? limits.replicas) !== limits.replicas);
  if (deployment.spec?.paused || resized) {
    const sizes = proportionalSizes(deployment, current, others, limits);
    return deployment.spec?.paused ? { ...steps(sizes), remove: removable(deployment, others) } : steps(sizes);
  }
  const create = (replicas: number): Plan => ({
    ...base,
    revision: nextRevision,
    create: newReplicaSet(deployment, { replicas, revision: nextRevision, maxSurge: limits.maxSurge }),
  });
  const sizes = new Map<ReplicaSet, number>();
  if (deployment.spec?.strategy?.type === 'Recreate') {
    for (const set of others) if (sizeOf(set) > 0) sizes.set(set, 0);
    if (sizes.size > 0) return steps(sizes);
    if (others.some((set) => podsOf(set).some((pod) => !isFinished(pod)))) return base;
    if (!current) return create(limits.replicas);
    if (sizeOf(current) !== limits.replicas) sizes.set(current, limits.replicas);
  } else {
    if (!current) return create(sizeForNew(undefined, others, limits));
    const wanted = sizeForNew(current, others, limits);
    if (wanted !== sizeOf(current)) return steps(new Map([[current, wanted]]));
    for (const [set, size] of shrinkOld(current, others, limits)) sizes.set(set, size);
  }
  if (sizes.size > 0) return steps(sizes);
  return isComplete(deployment, current, others) ? { ...base, remove: removable(deployment, others) } : base;
}

/** Surge and unavailability as counts; both zero would never get anywhere, so one pod may then be unavailable. */
export function limitsOf(deployment: Deployment): Limits {
  const replicas = deployment.spec?.replicas ?? 1;
  if (deployment.spec?.strategy?.type === 'Recreate') return { replicas, maxSurge: 0, maxUnavailable: 0 };
  const { maxSurge = '25%', maxUnavailable = '25%' } = deployment.spec?.strategy?.rollingUpdate ?? {};
  const surge = resolveCount(maxSurge, replicas, 'up');
  const unavailable = resolveCount(maxUnavailable, replicas, 'down');
  const least = surge === 0 && unavailable === 0 ? 1 : unavailable;
  return { replicas, maxSurge: surge, maxUnavailable: replicas === 0 ? 0 : Math.min(least, replicas) };
}

/** Everything runs the present template and is available. */
export function isComplete(
  deployment: Deployment,
  current: ReplicaSet | undefined,
  others: readonly ReplicaSet[],
): boolean {
  const replicas = deployment.spec?.replicas ?? 1;
  return (
    current !== undefined &&
    (current.status?.replicas ?? 0) === replicas &&
    (current.status?.availableReplicas ?? 0) === replicas &&
    others.every((set) => (set.status?.replicas ?? 0) === 0)
  );
}

function scaleSteps(sizes: Map<ReplicaSet, number>, limits: Limits): Plan['scale'] {
  const annotations = sizeAnnotations(limits.replicas, limits.maxSurge);
  return [...sizes]
    .filter(
      ([set, size]) =>
        size !== sizeOf(set) ||
        Object.entries(annotations).some(([key, value]) => set.metadata.annotations?.[key] !== value),
    )
    .map(([set, replicas]) => ({ set, replicas, annotations }));
}

function sizeForNew(current: ReplicaSet | undefined, others: readonly ReplicaSet[], limits: Limits): number {
  const size = current ? sizeOf(current) : 0;
  if (size >= limits.replicas) return limits.replicas;
  const total = size + sum(others, sizeOf);
  const room = limits.replicas + limits.maxSurge - total;
  return room <= 0 ? size : size + Math.min(room, limits.replicas - size);
}

/** Old sets lose first what is not available anyway, then what availability allows, oldest sets first. */
function shrinkOld(current: ReplicaSet, others: readonly ReplicaSet[], limits: Limits): Map<ReplicaSet, number> {
  const sizes = new Map<ReplicaSet, number>();
  const old = byAge(others).filter((set) => sizeOf(set) > 0);
  const minAvailable = limits.replicas - limits.maxUnavailable;
  const unavailableNew = sizeOf(current) - (current.status?.availableReplicas ?? 0);
  let unhealthyBudget = sum([current, ...others], sizeOf) - minAvailable - unavailableNew;
  if (old.length === 0 || unhealthyBudget <= 0) return sizes;
  for (const set of old) {
    const cut = Math.min(unhealthyBudget, sizeOf(set) - (set.status?.availableReplicas ?? 0));
    if (cut <= 0) continue;
    sizes.set(set, sizeOf(set) - cut);
    unhealthyBudget -= cut;
  }
  let budget = sum([current, ...others], (set) => set.status?.availableReplicas ?? 0) - minAvailable;
  for (const set of old) {
    if (budget <= 0) break;
    const size = sizes.get(set) ?? sizeOf(set);
    const cut = Math.min(size, budget);
    if (cut > 0) sizes.set(set, size - cut);
    budget -= cut;
  }
  return sizes;
}

/** Sizes after the Deployment was resized: one set takes it all, several share it in proportion to their sizes. */
function proportionalSizes(
  deployment: Deployment,
  current: ReplicaSet | undefined,
  others: readonly ReplicaSet[],
  limits: Limits,
): Map<ReplicaSet, number> {
  const all = current ? [current, ...others] : [...others];
  const active = all.filter((set) => sizeOf(set) > 0);
  if (active.length <= 1) {
    const only = active[0] ?? current ?? byAge(others).at(-1);
    return only ? new Map([[only, limits.replicas]]) : new Map();
  }
  const saturated =
    current &&
    sizeOf(current) === limits.replicas &&
    desiredOf(current) === limits.replicas &&
    (current.status?.availableReplicas ?? 0) === limits.replicas;
  if (saturated) return new Map(others.filter((set) => sizeOf(set) > 0).map((set) => [set, 0]));
  if (deployment.spec?.strategy?.type === 'Recreate') return new Map();

  const total = sum(active, sizeOf);
  const allowed = limits.replicas > 0 ? limits.replicas + limits.maxSurge : 0;
  const change = allowed - total;
  const newestFirst = byAge(active).toReversed();
  const ordered = (change > 0 ? newestFirst : newestFirst.toReversed()).toSorted((a, b) => sizeOf(b) - sizeOf(a));
  const sizes = new Map<ReplicaSet, number>();
  let spent = 0;
  for (const set of ordered) {
    const share = shareOf(set, deployment, limits);
    const part =
      change === 0
        ? 0
        : change > 0
          ? Math.max(0, Math.min(share, change - spent))
          : Math.min(0, Math.max(share, change - spent));
    sizes.set(set, sizeOf(set) + part);
    spent += part;
  }
  const largest = ordered[0];
  if (largest) sizes.set(largest, Math.max(0, (sizes.get(largest) ?? 0) + change - spent));
  return sizes;
}

function shareOf(set: ReplicaSet, deployment: Deployment, limits: Limits): number {
  if (limits.replicas === 0) return -sizeOf(set);
  const before = maxOf(set) || (deployment.status?.replicas ?? 0) || 1;
  return Math.round((sizeOf(set) * (limits.replicas + limits.maxSurge)) / before) - sizeOf(set);
}

/** Old, empty, settled sets beyond the history limit, lowest revisions first. */
function removable(deployment: Deployment, others: readonly ReplicaSet[]): ReplicaSet[] {
  const limit = deployment.spec?.revisionHistoryLimit ?? 10;
  const alive = others.filter((set) => !set.metadata.deletionTimestamp);
  return alive
    .toSorted((a, b) => (revisionOf(a) < revisionOf(b) ? -1 : 1))
    .slice(0, Math.max(0, alive.length - limit))
    .filter(
      (set) =>
        sizeOf(set) === 0 &&
        (set.status?.replicas ?? 0) === 0 &&
        (set.metadata.generation ?? 0) <= (set.status?.observedGeneration ?? 0),
    );
}

function sum<T>(items: readonly T[], value: (item: T) => number): number {
  return items.reduce((total, item) => total + value(item), 0);
}

const largest = (revisions: readonly bigint[]): bigint =>
  revisions.reduce((most, revision) => (revision > most ? revision : most), 0n);
