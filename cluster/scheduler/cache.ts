// SPDX-License-Identifier: Apache-2.0
// The scheduler's view of nodes and of the pods on them. Pods count as soon as a node is chosen ("assumed"):
//
//   assume ──▶ assumed ──(API shows spec.nodeName)──▶ confirmed ──(deleted, or terminal)──▶ gone
//                 └──────(bind failed: forget)──▶ gone
//
// Node values are replaced, never changed, so a cycle that holds one keeps a consistent view of it.
import type { Node } from '../machinery/api-types.ts';
import type { NodeInfo, PodInfo, Snapshot } from './framework.ts';
import { emptyNodeInfo, hasAffinity, withPods } from './pod-info.ts';

export class SchedulerCache implements Snapshot {
  readonly #nodes = new Map<string, NodeInfo>();
  /** Pods on nodes that are not known (yet, or any more). */
  readonly #strays = new Map<string, Map<string, PodInfo>>();
  readonly #placed = new Map<string, string>();
  readonly #affinityPods = new Map<string, number>();
  #list: readonly NodeInfo[] | undefined;

  get nodes(): readonly NodeInfo[] {
    this.#list ??= [...this.#nodes.values()];
    return this.#list;
  }

  get(name: string): NodeInfo | undefined {
    return this.#nodes.get(name);
  }

  *nodesWithAffinityPods(): Iterable<NodeInfo> {
    for (const name of this.#affinityPods.keys()) {
      const node = this.#nodes.get(name);
      if (node !== undefined) yield node;
    }
  }

  setNode(node: Node): void {
    const name = node.metadata.name ?? '';
    const pods = this.#nodes.get(name)?.pods ?? [...(this.#strays.get(name)?.values() ?? [])];
    this.#strays.delete(name);
    this.#replace(withPods(emptyNodeInfo(node), pods));
  }

  deleteNode(name: string): void {
    const pods = this.#nodes.get(name)?.pods ?? [];
    if (pods.length > 0) this.#strays.set(name, new Map(pods.map((pod) => [pod.uid, pod])));
    this.#nodes.delete(name);
    this.#list = undefined;
  }

  /** Counts the pod on the node, whether assumed or confirmed; moves it if it was counted elsewhere. */
  placePod(pod: PodInfo, nodeName: string): void {
    this.removePod(pod.uid);
    this.#placed.set(pod.uid, nodeName);
    if (hasAffinity(pod)) this.#affinityPods.set(nodeName, (this.#affinityPods.get(nodeName) ?? 0) + 1);
    const node = this.#nodes.get(nodeName);
    if (node === undefined) {
      const strays = this.#strays.get(nodeName) ?? new Map<string, PodInfo>();
      this.#strays.set(nodeName, strays.set(pod.uid, pod));
    } else {
      this.#replace(withPods(node, [...node.pods, pod]));
    }
  }

  /** @returns the node that the pod was counted on. */
  removePod(uid: string): string | undefined {
    const nodeName = this.#placed.get(uid);
    if (nodeName === undefined) return undefined;
    this.#placed.delete(uid);
    this.#strays.get(nodeName)?.delete(uid);
    const node = this.#nodes.get(nodeName);
    const pod = node?.pods.find((candidate) => candidate.uid === uid);
    if (node !== undefined && pod !== undefined) {
      this.#replace(
        withPods(
          node,
          node.pods.filter((candidate) => candidate !== pod),
        ),
      );
      if (hasAffinity(pod)) {
        const left = (this.#affinityPods.get(nodeName) ?? 1) - 1;
        if (left === 0) this.#affinityPods.delete(nodeName);
        else this.#affinityPods.set(nodeName, left);
      }
    }
    return nodeName;
  }

  nodeOf(uid: string): string | undefined {
    return this.#placed.get(uid);
  }

  #replace(node: NodeInfo): void {
    this.#nodes.set(node.name, node);
    this.#list = undefined;
  }
}

/** The snapshot as it would be with some nodes replaced; preemption looks at it before it evicts anybody. */
export function snapshotWith(base: Snapshot, replaced: ReadonlyMap<string, NodeInfo>): Snapshot {
  const nodes = base.nodes.map((node) => replaced.get(node.name) ?? node);
  return {
    nodes,
    get: (name) => replaced.get(name) ?? base.get(name),
    nodesWithAffinityPods: () => nodes.filter((node) => node.pods.some(hasAffinity)),
  };
}
