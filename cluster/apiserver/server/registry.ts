// SPDX-License-Identifier: Apache-2.0
// The `Registry` that declarations, admission plugins and subresource handlers work with, on top of the store and the same
// write pipeline that requests go through.
import type { KubeObject, Registry, RequestContext, ResourceDefinition } from '../resources/definition.ts';
import { conflict, pathNotFound } from '../status.ts';
import type { Served } from './catalog.ts';
import { internalContext } from './core.ts';
import type { Core } from './core.ts';
import { copy } from './json.ts';
import { createObject, deleteObject, updateObject } from './writes.ts';

export function createRegistry(core: () => Core): Registry {
  const served = (resource: string): Served => {
    const found = core().catalog.byId(resource);
    if (found === undefined) {
      throw pathNotFound();
    }
    return found;
  };
  const storedAs = (resource: string): string => core().catalog.byId(resource)?.storedAs ?? resource;
  return {
    get: (resource, namespace, name) =>
      core()
        .store.cache(storedAs(resource))
        .get(namespace ?? '', name)?.object,
    list: (resource, namespace) =>
      core()
        .store.cache(storedAs(resource))
        .list(namespace)
        .map((entry) => entry.object),
    definition: (resource: string): ResourceDefinition | undefined => core().catalog.byId(resource)?.definition,
    async create(resource: string, object: KubeObject, from?: Partial<RequestContext>): Promise<KubeObject> {
      const target = served(resource);
      const context = internalContext(core(), target, { ...from, verb: 'create' });
      return (await createObject(core(), target, { object: copy(object) }, context)).object;
    },
    // The five parameters are the seam's.
    // oxlint-disable-next-line max-params
    async update(resource, namespace, name, mutate, options = {}): Promise<KubeObject> {
      const target = served(resource);
      const view = options.subresource;
      const known = view === 'status' || (view !== undefined && target.definition.views?.[view] !== undefined);
      const outcome = await updateObject(
        core(),
        target,
        {
          namespace: namespace ?? '',
          name,
          ...(view === undefined ? {} : { view }),
          // Handlers of subresources such as binding write fields that no view of the object may change.
          raw: view !== undefined && !known,
          change: (current) => {
            checkExpected(target, current, options);
            const next = mutate(copy(current));
            if (next !== undefined && options.resourceVersion === undefined) {
              delete next.metadata.resourceVersion;
            }
            return next;
          },
        },
        internalContext(core(), target, options.context),
      );
      return outcome.object;
    },
    async delete(resource, namespace, name, options = {}): Promise<KubeObject> {
      const target = served(resource);
      const { dryRun, ...rest } = options;
      const context = internalContext(core(), target, { verb: 'delete', dryRun: dryRun === true });
      return (await deleteObject(core(), target, { namespace: namespace ?? '', name, ...rest }, context)).object;
    },
  };
}

function checkExpected(
  served: Served,
  current: KubeObject,
  expected: { resourceVersion?: string; uid?: string },
): void {
  const { uid, resourceVersion, name = '' } = current.metadata;
  if (expected.uid !== undefined && expected.uid !== uid) {
    const why = `Precondition failed: UID in precondition: ${expected.uid}, UID in object meta: ${uid}`;
    throw conflict(served.definition, name, why);
  }
  if (expected.resourceVersion !== undefined && expected.resourceVersion !== resourceVersion) {
    throw conflict(served.definition, name);
  }
}
