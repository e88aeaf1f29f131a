// SPDX-License-Identifier: Apache-2.0
// Empties a namespace that is being deleted, by everything that discovery lists, and then lets it go.
import type { Namespace, NamespaceCondition, ObjectMeta } from '../../machinery/api-types.ts';
import { ApiError, isConflict, isNotFound } from '../../machinery/client.ts';
import { describeError } from '../../machinery/log.ts';
import { resources } from '../../machinery/resources.ts';
import type { Resource } from '../../machinery/resources.ts';
import { WorkQueue } from '../../machinery/work-queue.ts';
import { sameJson } from '../canonical-json.ts';
import { setCondition } from '../conditions.ts';
import type { Controller, ControllerContext, Running } from '../controller.ts';
import { discoverResources } from '../discovery.ts';

export const namespaceController: Controller = {
  name: 'namespace-controller',
  serviceAccount: 'namespace-controller',
  setup,
};

/** What one round of emptying found. */
export interface Emptying {
  /** Objects that are still there, by `plural.group`. */
  readonly remaining: ReadonlyMap<string, number>;
  /** Their finalizers, with the number of objects that carry each. */
  readonly finalizers: ReadonlyMap<string, number>;
  readonly discoveryFailure?: string;
  readonly deletionFailure?: string;
}

function setup(context: ControllerContext): Running {
  const { client, now } = context;
  const namespaces = context.informers.get<Namespace>(resources.namespaces);
  const queue = new WorkQueue({ name: 'namespace-controller', reconcile, concurrency: 10 });
  namespaces.onChange(({ type, object }) => {
    if (type !== 'deleted' && object.metadata.deletionTimestamp) queue.add(object.metadata.name ?? '');
  });

  async function reconcile(name: string): Promise<void | { requeueAfterMs: number }> {
    const namespace = namespaces.get(name);
    if (!namespace?.metadata.deletionTimestamp) return;
    if ((namespace.spec?.finalizers ?? []).length === 0) return;
    const emptying = await empty(name);
    const conditions = deletionConditions(namespace.status?.conditions, emptying, now());
    const done = emptying.remaining.size === 0 && !emptying.discoveryFailure && !emptying.deletionFailure;
    try {
      let latest = namespace;
      if (namespace.status?.phase !== 'Terminating' || !sameJson(conditions, namespace.status.conditions)) {
        const status = { ...namespace.status, phase: 'Terminating' as const, conditions };
        latest = await client.update<Namespace>(
          resources.namespaces,
          { ...namespace, status },
          { subresource: 'status' },
        );
      }
      if (done) {
        const finalizers = (latest.spec?.finalizers ?? []).filter((finalizer) => finalizer !== 'kubernetes');
        await client.update(resources.namespaces, { ...latest, spec: { finalizers } }, { subresource: 'finalize' });
        return;
      }
    } catch (error) {
      if (isNotFound(error)) return;
      if (!isConflict(error)) throw error;
    }
    return { requeueAfterMs: emptying.remaining.size > 0 && emptying.finalizers.size === 0 ? 100 : 1000 };
  }

  async function empty(namespace: string): Promise<Emptying> {
    const { found, failures } = await discoverResources(client);
    const errors: string[] = [];
    const remaining = new Map<string, number>();
    const finalizers = new Map<string, number>();
    const deletable = found.filter(
      ({ resource, verbs }) => resource.namespaced && verbs.includes('delete') && verbs.includes('list'),
    );
    const emptyOne = async ({ resource, verbs }: (typeof deletable)[number]): Promise<void> => {
      try {
        const left = await emptyResource(resource, namespace, verbs);
        if (left.length === 0) return;
        remaining.set(resource.group ? `${resource.plural}.${resource.group}` : resource.plural, left.length);
        for (const { metadata } of left) {
          for (const finalizer of metadata.finalizers ?? [])
            finalizers.set(finalizer, (finalizers.get(finalizer) ?? 0) + 1);
        }
      } catch (error) {
        if (error instanceof ApiError && (error.code === 404 || error.code === 405)) return;
        errors.push(describeError(error));
      }
    };
    const isPods = ({ resource }: (typeof deletable)[number]): boolean =>
      resource.group === '' && resource.plural === 'pods';
    // Pods first, and nothing else while there are any: they may still need what protects or configures them.
    await Promise.all(deletable.filter(isPods).map(emptyOne));
    if (remaining.size === 0 && errors.length === 0) {
      await Promise.all(deletable.filter((one) => !isPods(one)).map(emptyOne));
    }
    return {
      remaining,
      finalizers,
      ...(failures.length > 0 && { discoveryFailure: failures.join('; ') }),
      ...(errors.length > 0 && { deletionFailure: errors.join('; ') }),
    };
  }

  /** Deletes what is there and returns what is still there afterwards. */
  async function emptyResource(
    resource: Resource,
    namespace: string,
    verbs: readonly string[],
  ): Promise<{ metadata: ObjectMeta }[]> {
    const { items } = await client.list<{ metadata: ObjectMeta }>(resource, { namespace });
    const fresh = items.filter(({ metadata }) => !metadata.deletionTimestamp);
    if (items.length === 0) return [];
    if (fresh.length > 0) {
      if (verbs.includes('deletecollection')) {
        const path = `/${resource.group ? `apis/${resource.group}` : 'api'}/${resource.version}/namespaces/${namespace}/${resource.plural}`;
        const body = { kind: 'DeleteOptions', apiVersion: 'v1', propagationPolicy: 'Background' };
        const reply = await client.raw('DELETE', path, body, { 'content-type': 'application/json' });
        if (reply.status >= 400)
          throw new Error(`DELETE ${path}: ${reply.status} ${reply.body.toString('utf8').slice(0, 300)}`);
      } else {
        await Promise.all(fresh.map(({ metadata }) => remove(resource, namespace, metadata.name ?? '')));
      }
    }
    return (await client.list<{ metadata: ObjectMeta }>(resource, { namespace })).items;
  }

  async function remove(resource: Resource, namespace: string, name: string): Promise<void> {
    try {
      await client.delete(resource, name, { namespace, propagationPolicy: 'Background' });
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  return { queues: [queue] };
}

/** The five conditions of a namespace that is being deleted. */
export function deletionConditions(
  old: readonly NamespaceCondition[] | undefined,
  emptying: Emptying,
  now: number,
): NamespaceCondition[] {
  const list = (counts: ReadonlyMap<string, number>, what: string): string =>
    [...counts]
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, count]) => `${name} has ${count} ${what}`)
      .join(', ');
  const wanted: [type: string, failed: boolean, failure: [string, string], success: [string, string]][] = [
    [
      'NamespaceDeletionDiscoveryFailure',
      emptying.discoveryFailure !== undefined,
      ['DiscoveryFailed', `Discovery failed for some groups: ${emptying.discoveryFailure}`],
      ['ResourcesDiscovered', 'All resources successfully discovered'],
    ],
    [
      'NamespaceDeletionGroupVersionParsingFailure',
      false,
      ['GroupVersionParsingFailed', ''],
      ['ParsedGroupVersions', 'All legacy kube types successfully parsed'],
    ],
    [
      'NamespaceDeletionContentFailure',
      emptying.deletionFailure !== undefined,
      ['ContentDeletionFailed', `Failed to delete all resource types: ${emptying.deletionFailure}`],
      ['ContentDeleted', 'All content successfully deleted, may be waiting on finalization'],
    ],
    [
      'NamespaceContentRemaining',
      emptying.remaining.size > 0,
      ['SomeResourcesRemain', `Some resources are remaining: ${list(emptying.remaining, 'resource instances')}`],
      ['ContentRemoved', 'All content successfully removed'],
    ],
    [
      'NamespaceFinalizersRemaining',
      emptying.finalizers.size > 0,
      [
        'SomeFinalizersRemain',
        `Some content in the namespace has finalizers remaining: ${list(emptying.finalizers, 'resource instances').replaceAll(' has ', ' in ')}`,
      ],
      ['ContentHasNoFinalizers', 'All content-preserving finalizers finished'],
    ],
  ];
  let conditions = [...(old ?? [])];
  for (const [type, failed, failure, success] of wanted) {
    const [reason, message] = failed ? failure : success;
    conditions = setCondition(conditions, { type, status: failed ? 'True' : 'False', reason, message }, now);
  }
  return conditions;
}
