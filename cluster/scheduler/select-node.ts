// SPDX-License-Identifier: Apache-2.0
// One scheduling decision: filter, score, choose. Pure: the same pod, snapshot and random source give the same node.
import type { ClusterEvent, FilterPlugin, NodeInfo, PodInfo, Rejection, ScorePlugin, Snapshot } from './framework.ts';
import { snapshotWith } from './cache.ts';
import { withPods } from './pod-info.ts';

/** Below this many nodes all are looked at; above, enough feasible ones are (as upstream's percentageOfNodesToScore). */
const NODES_MIN = 100;

export interface SelectionInput {
  readonly pod: PodInfo;
  readonly snapshot: Snapshot;
  readonly filters: readonly FilterPlugin[];
  readonly scores: readonly ScorePlugin[];
  /** Pods that were promised a node by preemption and are not there yet, by node name. */
  readonly nominated: (nodeName: string) => readonly PodInfo[];
  /** Where to start among the nodes, so that large clusters are filled evenly. */
  readonly startIndex: number;
  /** 0 <= random() < 1; breaks ties. */
  readonly random: () => number;
}

export type Selection = { readonly node: NodeInfo; readonly evaluated: number } | { readonly unschedulable: Diagnosis };

/** Why no node fits. */
export interface Diagnosis {
  readonly nodeCount: number;
  readonly rejections: ReadonlyMap<string, Rejection>;
  /** Set when the pod itself cannot be placed anywhere. */
  readonly podRejection?: Rejection;
  readonly curedBy: ReadonlySet<ClusterEvent>;
}

export function selectNode(input: SelectionInput): Selection {
  const { pod, snapshot, filters } = input;
  const cycle = preFilter(pod, snapshot, filters);
  if ('podRejection' in cycle) {
    const { podRejection, plugin } = cycle;
    const diagnosis = { nodeCount: snapshot.nodes.length, rejections: new Map(), curedBy: new Set(plugin.events) };
    return { unschedulable: { ...diagnosis, podRejection } };
  }
  const rejections = new Map<string, Rejection>();
  const curedBy = new Set<ClusterEvent>(['node-added']);
  const feasible: NodeInfo[] = [];
  const all = snapshot.nodes;
  const enough = feasibleNodesToFind(all.length);
  let evaluated = 0;
  for (; evaluated < all.length && feasible.length < enough; evaluated++) {
    const node = all[(input.startIndex + evaluated) % all.length];
    if (node === undefined) break;
    const failure =
      cycle.nodeNames !== undefined && !cycle.nodeNames.has(node.name)
        ? { rejection: { permanent: true, reasons: ["node(s) didn't satisfy plugin(s) [NodeAffinity]"] } }
        : filterWithNominated(input, node, cycle);
    if (failure === undefined) {
      feasible.push(node);
      continue;
    }
    rejections.set(node.name, failure.rejection);
    for (const event of failure.plugin?.events ?? []) curedBy.add(event);
  }
  if (feasible.length === 0) {
    return { unschedulable: { nodeCount: all.length, rejections, curedBy } };
  }
  return { node: best(input, feasible), evaluated };
}

/** Whether the pod would fit on this node in this snapshot; what preemption asks again and again. */
export function fits(pod: PodInfo, node: NodeInfo, snapshot: Snapshot, filters: readonly FilterPlugin[]): boolean {
  const cycle = preFilter(pod, snapshot, filters);
  if ('podRejection' in cycle) return false;
  if (cycle.nodeNames !== undefined && !cycle.nodeNames.has(node.name)) return false;
  return runFilters(pod, node, cycle.states) === undefined;
}

/** `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.` */
export function formatDiagnosis(diagnosis: Diagnosis): string {
  const prefix = `0/${diagnosis.nodeCount} nodes are available`;
  if (diagnosis.podRejection !== undefined) return `${prefix}: ${diagnosis.podRejection.reasons.join(', ')}.`;
  if (diagnosis.nodeCount === 0) return 'no nodes available to schedule pods';
  return `${prefix}: ${histogram([...diagnosis.rejections.values()].flatMap(({ reasons }) => reasons))}.`;
}

/** `2 Insufficient cpu, 1 node(s) were unschedulable`, sorted as text. */
export function histogram(reasons: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const reason of reasons) counts.set(reason, (counts.get(reason) ?? 0) + 1);
  return [...counts]
    .map(([reason, count]) => `${count} ${reason}`)
    .toSorted()
    .join(', ');
}

interface Cycle {
  readonly states: ReadonlyArray<{ readonly plugin: FilterPlugin; readonly state: unknown }>;
  readonly nodeNames?: ReadonlySet<string>;
}

function preFilter(
  pod: PodInfo,
  snapshot: Snapshot,
  filters: readonly FilterPlugin[],
): Cycle | { podRejection: Rejection; plugin: FilterPlugin } {
  const states: Array<{ plugin: FilterPlugin; state: unknown }> = [];
  let nodeNames: ReadonlySet<string> | undefined;
  for (const plugin of filters) {
    const result = plugin.preFilter(pod, snapshot);
    if (result.rejection !== undefined) return { podRejection: result.rejection, plugin };
    if (result.state !== undefined) states.push({ plugin, state: result.state });
    if (result.nodeNames !== undefined) nodeNames = nodeNames?.intersection(result.nodeNames) ?? result.nodeNames;
  }
  return nodeNames === undefined ? { states } : { states, nodeNames };
}

function runFilters(pod: PodInfo, node: NodeInfo, states: Cycle['states']) {
  for (const { plugin, state } of states) {
    const rejection = plugin.filter(state, pod, node);
    if (rejection !== undefined) return { rejection, plugin };
  }
  return undefined;
}

/** A node must fit both with the pods nominated to it (they have the room) and without (they may never come). */
function filterWithNominated(
  { pod, snapshot, filters, nominated }: SelectionInput,
  node: NodeInfo,
  cycle: Cycle,
): { rejection: Rejection; plugin?: FilterPlugin } | undefined {
  const others = nominated(node.name).filter((other) => other.priority >= pod.priority && other.uid !== pod.uid);
  if (others.length > 0) {
    const crowded = withPods(node, [...node.pods, ...others]);
    const imagined = preFilter(pod, snapshotWith(snapshot, new Map([[node.name, crowded]])), filters);
    if ('podRejection' in imagined) return { rejection: imagined.podRejection, plugin: imagined.plugin };
    const failure = runFilters(pod, crowded, imagined.states);
    if (failure !== undefined) return failure;
  }
  return runFilters(pod, node, cycle.states);
}

function best({ pod, snapshot, scores, random }: SelectionInput, feasible: readonly NodeInfo[]): NodeInfo {
  const [first] = feasible;
  if (first === undefined) throw new Error('best() needs at least one feasible node');
  if (feasible.length === 1) return first;
  const totals = feasible.map(() => 0);
  for (const plugin of scores) {
    const state = plugin.preScore(pod, feasible, snapshot);
    if (state === undefined) continue;
    const raw = feasible.map((node) => plugin.score(state, pod, node));
    const normalized = plugin.normalize?.(raw, state) ?? raw;
    for (const [index, score] of normalized.entries()) totals[index] = (totals[index] ?? 0) + score * plugin.weight;
  }
  const top = totals.reduce((a, b) => Math.max(a, b));
  const winners = feasible.filter((_node, index) => totals[index] === top);
  return winners[Math.floor(random() * winners.length)] ?? first;
}

function feasibleNodesToFind(nodeCount: number): number {
  if (nodeCount < NODES_MIN) return nodeCount;
  const percentage = Math.max(5, 50 - nodeCount / 125);
  return Math.max(NODES_MIN, Math.floor((nodeCount * percentage) / 100));
}
