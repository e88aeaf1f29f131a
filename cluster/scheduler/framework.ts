// SPDX-License-Identifier: Apache-2.0
// The words of the scheduler: what a cycle looks at (PodInfo, NodeInfo, Snapshot) and what a plugin may say about it.
//
//   queue ──▶ preFilter ─▶ filter (per node) ─▶ preScore ─▶ score (per node) ─▶ normalize ─▶ reserve ─▶ preBind ─▶ bind
//                 │            │                                                    (asynchronous from here on)
//                 └────────────┴──▶ no node fits: preemption nominates one, or the pod waits for an event
//
// Everything up to `reserve` runs synchronously, so the cache is its own consistent snapshot for one pod.
import type { Node, Pod } from '../machinery/api-types.ts';
import type { Amounts } from '../machinery/pod-resources.ts';

/** A pod with everything parsed that plugins ask for again and again. */
export interface PodInfo {
  readonly pod: Pod;
  /** `namespace/name` */
  readonly key: string;
  readonly uid: string;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly priority: number;
  readonly requests: Amounts;
  /** CPU (thousandths) and memory (bytes) with a small default where nothing is asked, so that scoring spreads such pods. */
  readonly nonZero: { readonly cpu: number; readonly memory: number };
  readonly hostPorts: readonly HostPort[];
  readonly affinity: PodAffinity;
  /** Names of the claims that its volumes use, generic ephemeral volumes included. */
  readonly claims: readonly string[];
}

/** One (anti-)affinity term, bound to the pod that carries it. */
export interface AffinityTerm {
  readonly topologyKey: string;
  readonly weight: number;
  readonly selects: (other: PodInfo, namespaceLabels: NamespaceLabels) => boolean;
}

export type NamespaceLabels = (namespace: string) => Readonly<Record<string, string>>;

export interface PodAffinity {
  readonly required: readonly AffinityTerm[];
  readonly requiredAnti: readonly AffinityTerm[];
  readonly preferred: readonly AffinityTerm[];
  readonly preferredAnti: readonly AffinityTerm[];
}

export interface HostPort {
  readonly ip: string;
  readonly protocol: string;
  readonly port: number;
}

/** A node and what already runs, or is assumed to run, on it. */
export interface NodeInfo {
  readonly node: Node;
  readonly name: string;
  readonly pods: readonly PodInfo[];
  readonly allocatable: Amounts;
  readonly requested: Amounts;
  readonly nonZeroRequested: { readonly cpu: number; readonly memory: number };
  /** Image names present on the node with their size in bytes. */
  readonly images: ReadonlyMap<string, number>;
}

export interface Snapshot {
  readonly nodes: readonly NodeInfo[];
  get(name: string): NodeInfo | undefined;
  /** Nodes that run at least one pod with pod affinity or anti-affinity of any kind. */
  nodesWithAffinityPods(): Iterable<NodeInfo>;
}

/** Why a node cannot take a pod. `permanent` rejections cannot be cured by removing pods from the node. */
export interface Rejection {
  readonly permanent: boolean;
  readonly reasons: readonly string[];
}

/** What happened in the cluster, as far as it can make a pending pod schedulable. */
export type ClusterEvent =
  | 'node-added'
  | 'node-allocatable'
  | 'node-labels'
  | 'node-taints'
  | 'pod-added'
  | 'pod-labels'
  | 'pod-deleted'
  | 'storage';

export interface PreFilterResult<State> {
  /** Absent when the plugin has nothing to say about this pod: its filter is skipped. */
  readonly state?: State;
  /** Set when no node can take the pod. */
  readonly rejection?: Rejection;
  /** When set, only these nodes are worth a look. */
  readonly nodeNames?: ReadonlySet<string>;
}

/** A filter plugin: decides whether a node can take a pod. Pure: reads the snapshot, returns data. */
export interface FilterPlugin<State = unknown> {
  /** Name as in KubeSchedulerConfiguration. */
  readonly name: string;
  /** Events that may turn this plugin's rejection into a fit. */
  readonly events: readonly ClusterEvent[];
  preFilter(pod: PodInfo, snapshot: Snapshot): PreFilterResult<State>;
  filter(state: State, pod: PodInfo, node: NodeInfo): Rejection | undefined;
}

/** A score plugin: prefers among the nodes that fit. */
export interface ScorePlugin<State = unknown> {
  readonly name: string;
  readonly weight: number;
  /** Undefined when the plugin has no preference for this pod: it is skipped. */
  preScore(pod: PodInfo, nodes: readonly NodeInfo[], snapshot: Snapshot): State | undefined;
  score(state: State, pod: PodInfo, node: NodeInfo): number;
  /** Brings raw scores to 0..100; absent when `score` already returns that. */
  readonly normalize?: (scores: readonly number[], state: State) => number[];
}

export const SCORE_MAX = 100;

export function reject(...reasons: string[]): Rejection {
  return { permanent: false, reasons };
}

export function rejectPermanently(...reasons: string[]): Rejection {
  return { permanent: true, reasons };
}

/** Erases the state type, so that plugins of different state live in one list. The state only ever returns to its own plugin. */
export function filterPlugin<State>(plugin: FilterPlugin<State>): FilterPlugin {
  return plugin as FilterPlugin;
}

export function scorePlugin<State>(plugin: ScorePlugin<State>): ScorePlugin {
  return plugin as ScorePlugin;
}

/** Scales to 0..100 by the greatest score; `reverse` turns "more is worse" round. */
export function scaleToMax(scores: readonly number[], reverse: boolean): number[] {
  const max = Math.max(0, ...scores);
  return scores.map((score) => {
    const scaled = max === 0 ? 0 : Math.floor((SCORE_MAX * score) / max);
    return reverse ? SCORE_MAX - scaled : scaled;
  });
}
