// SPDX-License-Identifier: Apache-2.0
// Pod affinity and anti-affinity: counts matching pods per topology value once per cycle, then each node is a look-up.
import { filterPlugin, reject, rejectPermanently, SCORE_MAX, scorePlugin } from '../framework.ts';
import type {
  AffinityTerm,
  FilterPlugin,
  NamespaceLabels,
  NodeInfo,
  PodInfo,
  ScorePlugin,
  Snapshot,
} from '../framework.ts';

/** Topology key to topology value to a count. */
type Counts = Map<string, Map<string, number>>;

interface FilterState {
  /** Pods here whose own required anti-affinity selects the incoming pod. */
  readonly existingAnti: Counts;
  /** Pods that all required affinity terms of the incoming pod select. */
  readonly affinity: Counts;
  /** Pods that a required anti-affinity term of the incoming pod selects. */
  readonly anti: Counts;
  /** True when the incoming pod satisfies its own affinity, so that the first pod of a group can start. */
  readonly selfMatch: boolean;
}

/** How strongly an existing pod's required affinity draws others near, compared with preferred weights of 1..100. */
const HARD_AFFINITY_WEIGHT = 1;

export function interPodAffinity(namespaceLabels: NamespaceLabels): FilterPlugin {
  return filterPlugin<FilterState>({
    name: 'InterPodAffinity',
    events: ['node-added', 'node-labels', 'pod-added', 'pod-labels', 'pod-deleted'],
    preFilter: (pod, snapshot) => {
      const existingAnti = countExistingAnti(pod, snapshot, namespaceLabels);
      const { required, requiredAnti } = pod.affinity;
      if (existingAnti.size === 0 && required.length === 0 && requiredAnti.length === 0) return {};
      const affinity: Counts = new Map();
      const anti: Counts = new Map();
      if (required.length > 0 || requiredAnti.length > 0) {
        forEachPod(snapshot, (other, node) => {
          if (required.length > 0 && required.every((term) => term.selects(other, namespaceLabels))) {
            for (const term of required) count(affinity, term.topologyKey, node, 1);
          }
          for (const term of requiredAnti) {
            if (term.selects(other, namespaceLabels)) count(anti, term.topologyKey, node, 1);
          }
        });
      }
      const selfMatch = required.every((term) => term.selects(pod, namespaceLabels));
      return { state: { existingAnti, affinity, anti, selfMatch } };
    },
    filter: (state, pod, node) => {
      if (!satisfiesAffinity(state, pod.affinity.required, node)) {
        return rejectPermanently("node(s) didn't match pod affinity rules");
      }
      if (pod.affinity.requiredAnti.some((term) => lookUp(state.anti, term.topologyKey, node) > 0)) {
        return reject("node(s) didn't match pod anti-affinity rules");
      }
      for (const key of state.existingAnti.keys()) {
        if (lookUp(state.existingAnti, key, node) > 0) {
          return reject("node(s) didn't satisfy existing pods anti-affinity rules");
        }
      }
      return undefined;
    },
  });
}

export function interPodAffinityScore(namespaceLabels: NamespaceLabels): ScorePlugin {
  return scorePlugin<Counts>({
    name: 'InterPodAffinity',
    weight: 2,
    preScore: (pod, _nodes, snapshot) => {
      const counts: Counts = new Map();
      const { preferred, preferredAnti } = pod.affinity;
      const own = preferred.length > 0 || preferredAnti.length > 0;
      // Pods without affinity of their own matter only to a pod that has preferences.
      const nodes = own ? snapshot.nodes : snapshot.nodesWithAffinityPods();
      for (const node of nodes) {
        for (const other of node.pods) {
          for (const term of preferred) {
            if (term.selects(other, namespaceLabels)) count(counts, term.topologyKey, node, term.weight);
          }
          for (const term of preferredAnti) {
            if (term.selects(other, namespaceLabels)) count(counts, term.topologyKey, node, -term.weight);
          }
          for (const term of other.affinity.required) {
            if (term.selects(pod, namespaceLabels)) count(counts, term.topologyKey, node, HARD_AFFINITY_WEIGHT);
          }
          for (const term of other.affinity.preferred) {
            if (term.selects(pod, namespaceLabels)) count(counts, term.topologyKey, node, term.weight);
          }
          for (const term of other.affinity.preferredAnti) {
            if (term.selects(pod, namespaceLabels)) count(counts, term.topologyKey, node, -term.weight);
          }
        }
      }
      return counts.size === 0 ? undefined : counts;
    },
    score: (counts, _pod, node) => {
      let sum = 0;
      for (const key of counts.keys()) sum += lookUp(counts, key, node);
      return sum;
    },
    normalize: (scores) => {
      const min = Math.min(...scores);
      const range = Math.max(...scores) - min;
      return scores.map((score) => (range === 0 ? 0 : Math.floor((SCORE_MAX * (score - min)) / range)));
    },
  });
}

function satisfiesAffinity(state: FilterState, required: readonly AffinityTerm[], node: NodeInfo): boolean {
  if (required.length === 0) return true;
  const labels = node.node.metadata.labels ?? {};
  if (required.some((term) => labels[term.topologyKey] === undefined)) return false;
  if (required.every((term) => lookUp(state.affinity, term.topologyKey, node) > 0)) return true;
  // The first pod of a group that wants to be near itself may start anywhere.
  return state.affinity.size === 0 && state.selfMatch;
}

function countExistingAnti(pod: PodInfo, snapshot: Snapshot, namespaceLabels: NamespaceLabels): Counts {
  const counts: Counts = new Map();
  for (const node of snapshot.nodesWithAffinityPods()) {
    for (const other of node.pods) {
      for (const term of other.affinity.requiredAnti) {
        if (term.selects(pod, namespaceLabels)) count(counts, term.topologyKey, node, 1);
      }
    }
  }
  return counts;
}

function forEachPod(snapshot: Snapshot, visit: (pod: PodInfo, node: NodeInfo) => void): void {
  for (const node of snapshot.nodes) {
    for (const pod of node.pods) visit(pod, node);
  }
}

function count(counts: Counts, key: string, node: NodeInfo, amount: number): void {
  const value = node.node.metadata.labels?.[key];
  if (value === undefined) return;
  const values = counts.get(key) ?? new Map<string, number>();
  values.set(value, (values.get(value) ?? 0) + amount);
  counts.set(key, values);
}

function lookUp(counts: Counts, key: string, node: NodeInfo): number {
  const value = node.node.metadata.labels?.[key];
  return value === undefined ? 0 : (counts.get(key)?.get(value) ?? 0);
}
