// SPDX-License-Identifier: Apache-2.0
// Deletes what has lost its owners: watches every resource that discovery knows, custom ones too, and carries out
// background, foreground and orphaning deletion. An owner counts as absent only when the API server itself says so.
import type { CustomResourceDefinition, ObjectMeta } from '../../machinery/api-types.ts';
import { isConflict, isNotFound } from '../../machinery/client.ts';
import { Informer } from '../../machinery/informer.ts';
import { logger } from '../../machinery/log.ts';
import { apiVersionOf, resources } from '../../machinery/resources.ts';
import type { Resource } from '../../machinery/resources.ts';
import { WorkQueue } from '../../machinery/work-queue.ts';
import { every } from '../controller.ts';
import type { Controller, ControllerContext, Running } from '../controller.ts';
import { discoverResources } from '../discovery.ts';
import { Graph, decide, stateOf } from './graph.ts';
import type { GraphNode, OwnerVerdict } from './graph.ts';

export const garbageCollectorController: Controller = {
  name: 'garbage-collector-controller',
  serviceAccount: 'generic-garbage-collector',
  setup,
};

type Bare = { metadata: ObjectMeta };

const rediscoverMs = 30_000;
/** They come and go by the thousand and nobody owns or is owned by them. */
const ignored = new Set(['events.', 'events.events.k8s.io']);
const log = logger('garbage-collector');

function setup(context: ControllerContext): Running {
  const { client, informers } = context;
  const graph = new Graph();
  const watched = new Map<string, { stop: AbortController; informer: Informer<Bare> }>();
  const byKind = new Map<string, Resource>();
  /** Owners that the server has said do not exist; uids are never used again. */
  const absent = new Set<string>();
  const queue = new WorkQueue({
    name: 'garbage-collector',
    reconcile,
    concurrency: 20,
    backoff: { baseMs: 20, maxMs: 30_000 },
  });
  const definitions = informers.get<CustomResourceDefinition & Bare>(resources.customResourceDefinitions);
  let rediscover: () => void = () => {};
  definitions.onChange(() => rediscover());

  async function discover(signal: AbortSignal): Promise<void> {
    const { found, failures } = await discoverResources(client);
    const current = new Set<string>();
    for (const { resource, verbs } of found) {
      byKind.set(`${apiVersionOf(resource)}/${resource.kind}`, resource);
      const key = `${resource.plural}.${resource.group}`;
      if (ignored.has(key) || !['list', 'watch', 'delete'].every((verb) => verbs.includes(verb))) continue;
      current.add(key);
      if (!watched.has(key)) watch(key, resource, signal);
    }
    if (failures.length > 0) {
      log.warn('some groups cannot be discovered', { failures });
      return;
    }
    for (const [key, { stop, informer }] of watched) {
      if (current.has(key)) continue;
      stop.abort();
      watched.delete(key);
      for (const { metadata } of informer.list()) wake(graph.remove(metadata.uid ?? ''));
    }
  }

  function watch(key: string, resource: Resource, signal: AbortSignal): void {
    const stop = new AbortController();
    const shared = informers.find(resource.group, resource.plural);
    const informer = shared ?? new Informer<Bare>(client, resource, { transform: bare });
    watched.set(key, { stop, informer });
    informer.onChange(({ type, object }) => {
      if (stop.signal.aborted) return;
      const { uid = '' } = object.metadata;
      if (type === 'deleted') {
        absent.add(uid);
        wake(graph.remove(uid));
      } else wake(graph.put(resource, object.metadata));
    });
    if (!shared) void informer.start(AbortSignal.any([stop.signal, signal]));
  }

  function wake(uids: readonly string[]): void {
    for (const uid of uids) {
      const node = graph.get(uid);
      if (node && (node.owners.length > 0 || node.state === 'foreground' || node.state === 'orphan')) queue.add(uid);
    }
  }

  async function reconcile(uid: string): Promise<void | { requeueAfterMs: number }> {
    const node = graph.get(uid);
    if (!node) return;
    let live: Bare;
    try {
      live = await client.get<Bare>(node.resource, node.name, node.namespace);
    } catch (error) {
      if (isNotFound(error)) return;
      throw error;
    }
    if (live.metadata.uid !== uid) return;
    const state = stateOf(live.metadata);
    try {
      if (state === 'foreground') await finishForeground(node, live.metadata);
      else if (state === 'orphan') await orphanDependents(node, live.metadata);
      if (state === 'live' || state === 'foreground') await judge(node, live.metadata, state);
    } catch (error) {
      if (isNotFound(error)) return;
      if (!isConflict(error)) throw error;
      return { requeueAfterMs: 20 };
    }
  }

  async function judge(node: GraphNode, metadata: ObjectMeta, state: GraphNode['state']): Promise<void> {
    if (state !== 'live') return;
    const verdicts = await Promise.all((metadata.ownerReferences ?? []).map((owner) => verdictOn(node, owner)));
    const decision = decide(node, metadata, verdicts);
    if (decision.action === 'drop-owners') await patchOwners(node, metadata, decision.keep);
    if (decision.action !== 'delete') return;
    if (decision.unblock && graph.dependentsOf(node.uid).some((dependent) => dependent.state === 'foreground')) {
      // A circle of owners that all wait for each other would never end.
      await patchOwners(
        node,
        metadata,
        (metadata.ownerReferences ?? []).map((owner) => ({ ...owner, blockOwnerDeletion: false })),
      );
    }
    log.debug('deleting', { resource: node.resource.plural, name: node.name, namespace: node.namespace });
    await client.delete(node.resource, node.name, {
      namespace: node.namespace,
      uid: node.uid,
      propagationPolicy: decision.propagationPolicy,
    });
  }

  async function verdictOn(node: GraphNode, owner: OwnerVerdict['owner']): Promise<OwnerVerdict> {
    const known = graph.get(owner.uid);
    if (known)
      return { owner, verdict: known.state === 'foreground' && owner.blockOwnerDeletion ? 'waiting' : 'solid' };
    if (absent.has(owner.uid)) return { owner, verdict: 'absent' };
    const resource = byKind.get(`${owner.apiVersion}/${owner.kind}`);
    // A kind that is not served (yet) says nothing about its objects.
    if (!resource)
      throw new Error(
        `owner kind ${owner.apiVersion} ${owner.kind} of ${node.resource.plural} ${node.name} is not served`,
      );
    if (resource.namespaced && node.namespace === '') return { owner, verdict: 'solid' };
    try {
      const live = await client.get<Bare>(resource, owner.name, resource.namespaced ? node.namespace : undefined);
      if (live.metadata.uid === owner.uid) {
        return {
          owner,
          verdict: stateOf(live.metadata) === 'foreground' && owner.blockOwnerDeletion ? 'waiting' : 'solid',
        };
      }
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
    if (absent.size > 5000) absent.clear();
    absent.add(owner.uid);
    return { owner, verdict: 'absent' };
  }

  async function finishForeground(node: GraphNode, metadata: ObjectMeta): Promise<void> {
    const blockers = graph.blockersOf(node.uid);
    if (blockers.length === 0) {
      await removeFinalizer(node, metadata, 'foregroundDeletion');
      return;
    }
    for (const blocker of blockers) if (blocker.state === 'live') queue.add(blocker.uid);
  }

  async function orphanDependents(node: GraphNode, metadata: ObjectMeta): Promise<void> {
    for (const dependent of graph.dependentsOf(node.uid)) {
      const live = await client
        .get<Bare>(dependent.resource, dependent.name, dependent.namespace)
        .catch((error: unknown) => {
          if (!isNotFound(error)) throw error;
        });
      if (!live) continue;
      const keep = (live.metadata.ownerReferences ?? []).filter(({ uid }) => uid !== node.uid);
      await patchOwners(dependent, live.metadata, keep);
    }
    await removeFinalizer(node, metadata, 'orphan');
  }

  async function patchOwners(node: GraphNode, metadata: ObjectMeta, ownerReferences: readonly object[]): Promise<void> {
    const { uid, resourceVersion } = metadata;
    const body = { metadata: { uid, resourceVersion, ownerReferences } };
    await client.patch(node.resource, node.name, { namespace: node.namespace, type: 'merge', body });
  }

  async function removeFinalizer(node: GraphNode, metadata: ObjectMeta, finalizer: string): Promise<void> {
    const { uid, resourceVersion } = metadata;
    const finalizers = (metadata.finalizers ?? []).filter((one) => one !== finalizer);
    const body = { metadata: { uid, resourceVersion, finalizers } };
    await client.patch(node.resource, node.name, { namespace: node.namespace, type: 'merge', body });
  }

  return {
    queues: [queue],
    run: (signal) => {
      let timer: NodeJS.Timeout | undefined;
      rediscover = () => {
        clearTimeout(timer);
        if (!signal.aborted) timer = setTimeout(() => void discover(signal).catch(() => {}), 500);
      };
      every(rediscoverMs, signal, () => discover(signal));
    },
  };
}

/** Keeps of an object what the graph needs. */
function bare(object: Bare): Bare {
  const { uid, name, namespace, ownerReferences, finalizers, deletionTimestamp, resourceVersion } = object.metadata;
  return {
    metadata: {
      ...(uid && { uid }),
      ...(name && { name }),
      ...(namespace && { namespace }),
      ...(ownerReferences && { ownerReferences }),
      ...(finalizers && { finalizers }),
      ...(deletionTimestamp && { deletionTimestamp }),
      ...(resourceVersion && { resourceVersion }),
    },
  };
}
