// SPDX-License-Identifier: Apache-2.0
// When nothing fits: which lower-priority pods would have to go, on which node. Pure; the caller evicts and nominates.
import type { Pod, PodDisruptionBudget } from '../machinery/api-types.ts';
import { matchesLabelSelector } from '../machinery/selectors.ts';
import { snapshotWith } from './cache.ts';
import type { FilterPlugin, NodeInfo, PodInfo, Rejection, Snapshot } from './framework.ts';
import { withPods } from './pod-info.ts';
import { fits, histogram } from './select-node.ts';

/** At most this many nodes are tried in earnest. */
const CANDIDATES_MAX = 100;

export interface PreemptionInput {
  readonly pod: PodInfo;
  readonly snapshot: Snapshot;
  readonly filters: readonly FilterPlugin[];
  readonly rejections: ReadonlyMap<string, Rejection>;
  readonly budgets: readonly PodDisruptionBudget[];
}

export type Preemption =
  | { readonly nodeName: string; readonly victims: readonly PodInfo[] }
  /** Why it would not help, for the pod's event. */
  | { readonly message: string };

interface Candidate {
  readonly nodeName: string;
  readonly victims: readonly PodInfo[];
  readonly violations: number;
}

export function planPreemption(input: PreemptionInput): Preemption {
  const { pod, snapshot, rejections } = input;
  const refusal = ineligibility(pod, snapshot);
  const total = snapshot.nodes.length;
  if (refusal !== undefined) return { message: `preemption: ${refusal}` };
  const reasons: string[] = [];
  const candidates: Candidate[] = [];
  for (const node of snapshot.nodes) {
    const rejection = rejections.get(node.name);
    if (rejection === undefined || rejection.permanent) {
      reasons.push('Preemption is not helpful for scheduling');
      continue;
    }
    if (candidates.length >= CANDIDATES_MAX) break;
    const candidate = findVictims(input, node);
    if (candidate === undefined) reasons.push('No preemption victims found for incoming pod');
    else candidates.push(candidate);
  }
  const chosen = candidates.toSorted(compareCandidates)[0];
  if (chosen === undefined) return { message: `preemption: 0/${total} nodes are available: ${histogram(reasons)}.` };
  return { nodeName: chosen.nodeName, victims: chosen.victims };
}

function ineligibility(pod: PodInfo, snapshot: Snapshot): string | undefined {
  if (pod.pod.spec?.preemptionPolicy === 'Never') return 'not eligible due to preemptionPolicy=Never.';
  const nominated = pod.pod.status?.nominatedNodeName;
  const leaving = snapshot
    .get(nominated ?? '')
    ?.pods.some((other) => other.pod.metadata.deletionTimestamp !== undefined && other.priority < pod.priority);
  return leaving === true ? 'not eligible due to a terminating pod on the nominated node.' : undefined;
}

/** Removes all lower pods, then lets back in, most important first, everyone who does not stand in the way. */
function findVictims({ pod, snapshot, filters, budgets }: PreemptionInput, node: NodeInfo): Candidate | undefined {
  const lower = node.pods.filter((other) => other.priority < pod.priority);
  if (lower.length === 0) return undefined;
  const fitsWith = (pods: readonly PodInfo[]) => {
    const imagined = withPods(node, pods);
    return fits(pod, imagined, snapshotWith(snapshot, new Map([[node.name, imagined]])), filters);
  };
  let kept = node.pods.filter((other) => other.priority >= pod.priority);
  if (!fitsWith(kept)) return undefined;
  const violating = new Set(podsViolatingBudgets(lower, budgets));
  const victims: PodInfo[] = [];
  let violations = 0;
  // Pods whose eviction would break a budget are asked back first.
  const order = [...lower].toSorted(
    (a, b) => Number(violating.has(b)) - Number(violating.has(a)) || byImportance(a, b),
  );
  for (const other of order) {
    if (fitsWith([...kept, other])) {
      kept = [...kept, other];
      continue;
    }
    victims.push(other);
    if (violating.has(other)) violations += 1;
  }
  return { nodeName: node.name, victims: victims.toSorted(byImportance), violations };
}

/** Budgets are spent in order of importance; whoever comes after the last allowed disruption violates. */
function podsViolatingBudgets(pods: readonly PodInfo[], budgets: readonly PodDisruptionBudget[]): PodInfo[] {
  const allowed = budgets.map((budget) => budget.status?.disruptionsAllowed ?? 0);
  return pods.toSorted(byImportance).filter((pod) => {
    let violates = false;
    for (const [index, budget] of budgets.entries()) {
      const covers =
        budget.metadata.namespace === pod.namespace &&
        budget.spec?.selector !== undefined &&
        matchesLabelSelector(budget.spec.selector, pod.labels) &&
        budget.status?.disruptedPods?.[pod.pod.metadata.name ?? ''] === undefined;
      if (!covers) continue;
      const left = (allowed[index] ?? 0) - 1;
      allowed[index] = left;
      if (left < 0) violates = true;
    }
    return violates;
  });
}

/** Fewest broken budgets, then lowest top priority, then lowest sum, then fewest victims, then the youngest top victims. */
function compareCandidates(a: Candidate, b: Candidate): number {
  const top = (candidate: Candidate) => candidate.victims[0]?.priority ?? Number.NEGATIVE_INFINITY;
  // The offset keeps a sum over many negative priorities from looking cheaper than a sum over few.
  const sum = (candidate: Candidate) =>
    candidate.victims.reduce((total, victim) => total + victim.priority + 2 ** 31, 0);
  const started = (candidate: Candidate) =>
    candidate.victims
      .filter((victim) => victim.priority === top(candidate))
      .map((victim) => startTime(victim.pod))
      .reduce((earliest, time) => (time < earliest ? time : earliest), '9999');
  return (
    a.violations - b.violations ||
    top(a) - top(b) ||
    sum(a) - sum(b) ||
    a.victims.length - b.victims.length ||
    (started(a) > started(b) ? -1 : 1)
  );
}

function byImportance(a: PodInfo, b: PodInfo): number {
  return b.priority - a.priority || (startTime(a.pod) < startTime(b.pod) ? -1 : 1);
}

function startTime(pod: Pod): string {
  return pod.status?.startTime ?? pod.metadata.creationTimestamp ?? '';
}
