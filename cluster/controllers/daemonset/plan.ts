// SPDX-License-Identifier: Apache-2.0
// What a DaemonSet should do next, node by node, and the status that follows from its pods.
import type { DaemonSet, DaemonSetStatus, Node, Pod } from '../../machinery/api-types.ts';
import { resolveCount } from '../int-or-percent.ts';
import { isAvailable, isReady, isTerminating } from '../pod-state.ts';
import { revisionLabel } from '../revisions.ts';
import { nodeOf, placement } from './nodes.ts';

export interface DaemonPlan {
  /** Nodes that need a pod. */
  readonly create: string[];
  readonly remove: Pod[];
  /** Pods that failed: they are removed too, and told of in an event. */
  readonly failed: Pod[];
}

export interface DaemonInput {
  readonly daemonSet: DaemonSet;
  readonly nodes: readonly Node[];
  readonly pods: readonly Pod[];
  /** Hash of the present template. */
  readonly hash: string;
  readonly now: number;
}

export function planDaemonSet(input: DaemonInput): DaemonPlan {
  const { daemonSet, nodes, now } = input;
  const byNode = groupByNode(input.pods);
  const plan: DaemonPlan = { create: [], remove: [], failed: [] };
  const minReadySeconds = daemonSet.spec?.minReadySeconds ?? 0;
  const { surge } = limits(input);
  for (const node of nodes) {
    const name = node.metadata.name ?? '';
    const pods = byNode.get(name) ?? [];
    const { run, stay } = placement(daemonSet, node);
    const failed = pods.filter((pod) => pod.status?.phase === 'Failed' && !isTerminating(pod));
    if (stay) plan.failed.push(...failed);
    const rest = pods.filter((pod) => !failed.includes(pod));
    const live = rest.filter((pod) => !isTerminating(pod));
    if (run && rest.length === 0) plan.create.push(name);
    else if (!stay) plan.remove.push(...live, ...failed);
    else if (live.length > 1) {
      const keep = new Set<Pod>();
      const oldest = byCreation(live)[0];
      const isNew = (pod: Pod): boolean => pod.metadata.labels?.[revisionLabel] === input.hash;
      const newest = live.find(isNew);
      if (surge > 0 && newest) {
        keep.add(newest);
        // The old pod goes when the new one can take over, or when it is no use any more.
        const old = byCreation(live.filter((pod) => !isNew(pod)))[0];
        if (old && isReady(old) && !isAvailable(newest, minReadySeconds, now)) keep.add(old);
      } else if (oldest) keep.add(oldest);
      plan.remove.push(...live.filter((pod) => !keep.has(pod)));
    }
  }
  const known = new Set(nodes.map(({ metadata }) => metadata.name));
  for (const [name, pods] of byNode) {
    if (!known.has(name)) plan.remove.push(...pods.filter((pod) => !isTerminating(pod)));
  }
  return plan;
}

/** Further steps of a rolling update, once every node has its pod. */
export function planUpdate(input: DaemonInput): { readonly create: string[]; readonly remove: Pod[] } {
  const { daemonSet, now, hash } = input;
  if (daemonSet.spec?.updateStrategy?.type === 'OnDelete') return { create: [], remove: [] };
  const minReadySeconds = daemonSet.spec?.minReadySeconds ?? 0;
  const byNode = groupByNode(input.pods.filter((pod) => pod.status?.phase !== 'Failed'));
  const wanted = input.nodes.filter((node) => placement(daemonSet, node).run);
  const { surge, unavailable } = limits(input);
  const useless: Pod[] = [];
  const candidates: Pod[] = [];
  const surgeNodes: string[] = [];
  let down = 0;
  let surging = 0;
  for (const node of wanted) {
    const name = node.metadata.name ?? '';
    const pods = byNode.get(name) ?? [];
    const live = pods.filter((pod) => !isTerminating(pod));
    const old = live.filter((pod) => pod.metadata.labels?.[revisionLabel] !== hash);
    const fresh = live.filter((pod) => pod.metadata.labels?.[revisionLabel] === hash);
    const anyAvailable = live.some((pod) => isAvailable(pod, minReadySeconds, now));
    if (!anyAvailable) down++;
    if (fresh.length > 0) {
      if (old.length > 0) surging++;
      continue;
    }
    for (const pod of old) (isAvailable(pod, minReadySeconds, now) ? candidates : useless).push(pod);
    if (old.length > 0) surgeNodes.push(name);
  }
  if (surge > 0) {
    const uselessNodes = new Set(useless.map(nodeOf));
    const room = Math.max(0, surge - surging);
    const create = [...surgeNodes]
      .toSorted((a, b) => Number(uselessNodes.has(b)) - Number(uselessNodes.has(a)))
      .slice(0, room);
    return { create, remove: [] };
  }
  return { create: [], remove: [...useless, ...byCreation(candidates).slice(0, Math.max(0, unavailable - down))] };
}

export function daemonSetStatus(input: DaemonInput, collisionCount: number): DaemonSetStatus {
  const { daemonSet, now, hash } = input;
  const byNode = groupByNode(input.pods);
  const minReadySeconds = daemonSet.spec?.minReadySeconds ?? 0;
  const counts = { desired: 0, current: 0, misscheduled: 0, ready: 0, available: 0, updated: 0 };
  for (const node of input.nodes) {
    const { run, stay } = placement(daemonSet, node);
    const pods = byCreation(
      (byNode.get(node.metadata.name ?? '') ?? []).filter((pod) => pod.status?.phase !== 'Failed'),
    );
    if (!run) {
      if (pods.length > 0 && !stay) counts.misscheduled++;
      else if (pods.length > 0) counts.misscheduled++;
      continue;
    }
    counts.desired++;
    if (pods.length === 0) continue;
    counts.current++;
    if (pods.some(isReady)) counts.ready++;
    if (pods.some((pod) => isAvailable(pod, minReadySeconds, now))) counts.available++;
    if (pods.some((pod) => pod.metadata.labels?.[revisionLabel] === hash)) counts.updated++;
  }
  const { conditions } = daemonSet.status ?? {};
  const unavailable = counts.desired - counts.available;
  return {
    currentNumberScheduled: counts.current,
    numberMisscheduled: counts.misscheduled,
    desiredNumberScheduled: counts.desired,
    numberReady: counts.ready,
    observedGeneration: daemonSet.metadata.generation ?? 0,
    ...(counts.updated > 0 && { updatedNumberScheduled: counts.updated }),
    ...(counts.available > 0 && { numberAvailable: counts.available }),
    ...(unavailable > 0 && { numberUnavailable: unavailable }),
    ...(collisionCount > 0 && { collisionCount }),
    ...(conditions && { conditions }),
  };
}

function limits({ daemonSet, nodes }: DaemonInput): { surge: number; unavailable: number } {
  const { maxSurge = 0, maxUnavailable = 1 } = daemonSet.spec?.updateStrategy?.rollingUpdate ?? {};
  const desired = nodes.filter((node) => placement(daemonSet, node).run).length;
  const surge = resolveCount(maxSurge, desired, 'up');
  const unavailable = resolveCount(maxUnavailable, desired, 'up');
  return { surge, unavailable: surge === 0 && unavailable === 0 ? 1 : unavailable };
}

function groupByNode(pods: readonly Pod[]): Map<string, Pod[]> {
  const groups = new Map<string, Pod[]>();
  for (const pod of pods) {
    const node = nodeOf(pod) ?? '';
    groups.set(node, [...(groups.get(node) ?? []), pod]);
  }
  return groups;
}

function byCreation(pods: readonly Pod[]): Pod[] {
  const age = ({ metadata }: Pod): string => `${metadata.creationTimestamp} ${metadata.name}`;
  return pods.toSorted((a, b) => (age(a) < age(b) ? -1 : 1));
}
