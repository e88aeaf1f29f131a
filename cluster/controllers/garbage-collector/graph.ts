// SPDX-License-Identifier: Apache-2.0
// Who depends on whom, over all resources: the garbage collector's picture of the cluster, and its decisions on it.
import type { ObjectMeta, OwnerReference } from '../../machinery/api-types.ts';
import type { Resource } from '../../machinery/resources.ts';

export interface GraphNode {
  readonly uid: string;
  readonly resource: Resource;
  readonly name: string;
  readonly namespace: string;
  owners: readonly OwnerReference[];
  /** `foreground`: waits for its dependents; `orphan`: lets go of them; `deleting`: on its way in some other manner. */
  state: 'live' | 'deleting' | 'foreground' | 'orphan';
  readonly dependents: Set<string>;
}

const foregroundFinalizer = 'foregroundDeletion';
const orphanFinalizer = 'orphan';

export class Graph {
  readonly #nodes = new Map<string, GraphNode>();
  /** Dependents of owners that have not been seen (yet). */
  readonly #waiting = new Map<string, Set<string>>();

  get(uid: string): GraphNode | undefined {
    return this.#nodes.get(uid);
  }

  /** Takes an object in or brings it up to date; returns the uids that must be looked at because of it. */
  put(resource: Resource, metadata: ObjectMeta): string[] {
    const uid = metadata.uid ?? '';
    const owners = metadata.ownerReferences ?? [];
    const state = stateOf(metadata);
    const known = this.#nodes.get(uid);
    const due: string[] = [];
    const gone = known?.owners.filter((old) => !owners.some((owner) => owner.uid === old.uid)) ?? [];
    for (const owner of gone) {
      this.#unlink(owner.uid, uid);
      due.push(owner.uid);
    }
    for (const owner of owners) {
      this.#link(owner.uid, uid);
      const before = known?.owners.find((old) => old.uid === owner.uid);
      if (before?.blockOwnerDeletion && !owner.blockOwnerDeletion) due.push(owner.uid);
    }
    if (known) {
      const changed = known.state !== state;
      known.owners = owners;
      known.state = state;
      if (changed && state !== 'live') due.push(uid, ...(state === 'foreground' ? known.dependents : []));
    } else {
      const dependents = this.#waiting.get(uid) ?? new Set<string>();
      this.#waiting.delete(uid);
      const { name = '', namespace = '' } = metadata;
      this.#nodes.set(uid, { uid, resource, name, namespace, owners, state, dependents });
      due.push(uid);
    }
    if (owners.length > 0 && !due.includes(uid) && state === 'live') due.push(uid);
    return due;
  }

  /** Forgets an object; returns its dependents, which may have nobody left, and its owners, which may wait for it. */
  remove(uid: string): string[] {
    const node = this.#nodes.get(uid);
    if (!node) return [];
    this.#nodes.delete(uid);
    for (const owner of node.owners) this.#unlink(owner.uid, uid);
    if (node.dependents.size > 0) this.#waiting.set(uid, node.dependents);
    const waitingOwners = node.owners.filter((owner) => this.#nodes.get(owner.uid)?.state === 'foreground');
    return [...node.dependents, ...waitingOwners.map((owner) => owner.uid)];
  }

  dependentsOf(uid: string): GraphNode[] {
    const uids = this.#nodes.get(uid)?.dependents ?? this.#waiting.get(uid) ?? [];
    return [...uids].map((dependent) => this.#nodes.get(dependent)).filter((node) => node !== undefined);
  }

  /** Dependents that keep `uid` from going in a foreground deletion. */
  blockersOf(uid: string): GraphNode[] {
    return this.dependentsOf(uid).filter((node) =>
      node.owners.some((owner) => owner.uid === uid && owner.blockOwnerDeletion === true),
    );
  }

  #link(owner: string, dependent: string): void {
    const node = this.#nodes.get(owner);
    if (node) node.dependents.add(dependent);
    else this.#waiting.set(owner, (this.#waiting.get(owner) ?? new Set()).add(dependent));
  }

  #unlink(owner: string, dependent: string): void {
    this.#nodes.get(owner)?.dependents.delete(dependent);
    const waiting = this.#waiting.get(owner);
    waiting?.delete(dependent);
    if (waiting?.size === 0) this.#waiting.delete(owner);
  }
}

export function stateOf(metadata: ObjectMeta): GraphNode['state'] {
  if (!metadata.deletionTimestamp) return 'live';
  if (metadata.finalizers?.includes(foregroundFinalizer)) return 'foreground';
  return metadata.finalizers?.includes(orphanFinalizer) ? 'orphan' : 'deleting';
}

export interface OwnerVerdict {
  readonly owner: OwnerReference;
  readonly verdict: 'solid' | 'absent' | 'waiting';
}

/** What to do with a dependent, given what is known of its owners. */
export function decide(
  node: GraphNode,
  metadata: ObjectMeta,
  verdicts: readonly OwnerVerdict[],
):
  | { readonly action: 'keep' }
  | { readonly action: 'drop-owners'; readonly keep: OwnerReference[] }
  | {
      readonly action: 'delete';
      readonly propagationPolicy: 'Background' | 'Foreground' | 'Orphan';
      readonly unblock: boolean;
    } {
  if (verdicts.length === 0) return { action: 'keep' };
  const solid = verdicts.filter(({ verdict }) => verdict === 'solid');
  if (solid.length > 0) {
    if (solid.length === verdicts.length) return { action: 'keep' };
    return { action: 'drop-owners', keep: solid.map(({ owner }) => owner) };
  }
  if (verdicts.some(({ verdict }) => verdict === 'waiting') && node.dependents.size > 0) {
    return { action: 'delete', propagationPolicy: 'Foreground', unblock: true };
  }
  const finalizers = metadata.finalizers ?? [];
  if (finalizers.includes(orphanFinalizer)) return { action: 'delete', propagationPolicy: 'Orphan', unblock: false };
  if (finalizers.includes(foregroundFinalizer))
    return { action: 'delete', propagationPolicy: 'Foreground', unblock: false };
  return { action: 'delete', propagationPolicy: 'Background', unblock: false };
}
