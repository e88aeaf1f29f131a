// SPDX-License-Identifier: Apache-2.0
// Topology spread constraints: skew = matching pods in a domain, minus the least in any domain that counts.
import type { LabelSelector, TopologySpreadConstraint } from '../../machinery/api-types.ts';
import { matchesLabelSelector } from '../../machinery/selectors.ts';
import { filterPlugin, reject, rejectPermanently, SCORE_MAX, scorePlugin } from '../framework.ts';
import type { NodeInfo, PodInfo, Snapshot } from '../framework.ts';
import { matchesNodeAffinity, tolerates } from './node-filters.ts';

interface Domain {
  readonly constraint: TopologySpreadConstraint;
  readonly selector: LabelSelector | undefined;
  /** Topology value to the number of matching pods. */
  readonly counts: Map<string, number>;
  readonly selfMatch: boolean;
}

export const podTopologySpread = filterPlugin<readonly Domain[]>({
  name: 'PodTopologySpread',
  events: ['node-added', 'node-labels', 'node-taints', 'pod-added', 'pod-labels', 'pod-deleted'],
  preFilter: (pod, snapshot) => {
    const constraints = constraintsOf(pod, 'DoNotSchedule');
    return constraints.length === 0 ? {} : { state: countDomains(pod, constraints, snapshot.nodes) };
  },
  filter: (domains, _pod, node) => {
    for (const { constraint, counts, selfMatch } of domains) {
      const value = node.node.metadata.labels?.[constraint.topologyKey];
      if (value === undefined) {
        return rejectPermanently("node(s) didn't match pod topology spread constraints (missing required label)");
      }
      const least = counts.size < (constraint.minDomains ?? 1) ? 0 : Math.min(...counts.values());
      const skew = (counts.get(value) ?? 0) + (selfMatch ? 1 : 0) - (Number.isFinite(least) ? least : 0);
      if (skew > constraint.maxSkew) return reject("node(s) didn't match pod topology spread constraints");
    }
    return undefined;
  },
});

export const podTopologySpreadScore = scorePlugin<readonly Domain[]>({
  name: 'PodTopologySpread',
  weight: 2,
  preScore: (pod, nodes, snapshot) => {
    const constraints = constraintsOf(pod, 'ScheduleAnyway');
    return constraints.length === 0 || nodes.length === 0 ? undefined : countDomains(pod, constraints, snapshot.nodes);
  },
  score: (domains, _pod, node) => {
    let sum = 0;
    for (const { constraint, counts } of domains) {
      const value = node.node.metadata.labels?.[constraint.topologyKey];
      // A node without the label is worse than any that has it.
      if (value === undefined) sum += 1e6;
      // Many domains make each pod matter less, so that two constraints of different width weigh alike.
      else sum += (counts.get(value) ?? 0) * Math.log(counts.size + 2) + (constraint.maxSkew - 1);
    }
    return Math.round(sum);
  },
  normalize: (scores) => {
    const labelled = scores.filter((score) => score < 1e6);
    const max = Math.max(0, ...labelled);
    const min = Math.min(...labelled);
    return scores.map((score) => {
      if (score >= 1e6) return 0;
      return max === 0 ? SCORE_MAX : Math.floor((SCORE_MAX * (max + min - score)) / max);
    });
  },
});

function constraintsOf(pod: PodInfo, when: 'DoNotSchedule' | 'ScheduleAnyway'): TopologySpreadConstraint[] {
  return (pod.pod.spec?.topologySpreadConstraints ?? []).filter((constraint) => constraint.whenUnsatisfiable === when);
}

function countDomains(
  pod: PodInfo,
  constraints: readonly TopologySpreadConstraint[],
  nodes: Snapshot['nodes'],
): Domain[] {
  const eligible = nodes.filter((node) =>
    constraints.every((constraint) => node.node.metadata.labels?.[constraint.topologyKey] !== undefined),
  );
  return constraints.map((constraint) => {
    const selector = withLabelKeys(constraint, pod);
    const counts = new Map<string, number>();
    for (const node of eligible) {
      if (!countsForConstraint(constraint, pod, node)) continue;
      const value = node.node.metadata.labels?.[constraint.topologyKey] ?? '';
      const matching = node.pods.filter(
        (other) =>
          other.namespace === pod.namespace &&
          other.pod.metadata.deletionTimestamp === undefined &&
          selector !== undefined &&
          matchesLabelSelector(selector, other.labels),
      ).length;
      counts.set(value, (counts.get(value) ?? 0) + matching);
    }
    const selfMatch = selector !== undefined && matchesLabelSelector(selector, pod.labels);
    return { constraint, selector, counts, selfMatch };
  });
}

/** nodeAffinityPolicy (default Honor) and nodeTaintsPolicy (default Ignore) say which nodes form domains. */
function countsForConstraint(constraint: TopologySpreadConstraint, pod: PodInfo, node: NodeInfo): boolean {
  if ((constraint.nodeAffinityPolicy ?? 'Honor') === 'Honor' && !matchesNodeAffinity(pod.pod, node)) return false;
  if ((constraint.nodeTaintsPolicy ?? 'Ignore') === 'Ignore') return true;
  return !(node.node.spec?.taints ?? []).some(
    (taint) => taint.effect !== 'PreferNoSchedule' && !tolerates(pod.pod.spec?.tolerations, taint),
  );
}

function withLabelKeys(constraint: TopologySpreadConstraint, pod: PodInfo): LabelSelector | undefined {
  if (constraint.labelSelector === undefined) return undefined;
  const expressions = [...(constraint.labelSelector.matchExpressions ?? [])];
  for (const key of constraint.matchLabelKeys ?? []) {
    const value = pod.labels[key];
    if (value !== undefined) expressions.push({ key, operator: 'In', values: [value] });
  }
  return { ...constraint.labelSelector, matchExpressions: expressions };
}
