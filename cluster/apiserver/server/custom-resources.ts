// SPDX-License-Identifier: Apache-2.0
// Follows CustomResourceDefinitions: serves what they define as soon as their names are accepted, stops when they go, removes
// the instances of a deleted definition, and tells all of it in their conditions.
import type { Logger } from '../../machinery/log.ts';
import { definitionFromCrd } from '../extensions/custom-resource.ts';
import type { KubeObject, ResourceDefinition } from '../resources/definition.ts';
import { isReason } from '../status.ts';
import type { Core } from './core.ts';
import { timestamp } from './core.ts';
import { equal } from './json.ts';

const crds = 'customresourcedefinitions.apiextensions.k8s.io';
/** Held by every definition, so that its instances go before it does. */
const instancesFinalizer = 'customresourcecleanup.apiextensions.k8s.io';

interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
  readonly lastTransitionTime?: string;
}

interface Names {
  readonly plural: string;
  readonly kind: string;
  readonly singular?: string;
  readonly listKind?: string;
  readonly shortNames?: readonly string[];
}

/** The parts of the object that are used here; its schema has been checked on the way in. */
interface CustomResourceDefinition {
  readonly metadata: KubeObject['metadata'];
  readonly spec?: {
    readonly group: string;
    readonly names: Names;
    readonly versions: readonly { readonly name: string; readonly storage: boolean }[];
  };
  readonly status?: { readonly conditions?: readonly Condition[]; readonly storedVersions?: readonly string[] };
}

/** Starts with the definitions that are there, then follows changes. Returns when the first are served. */
export async function followCustomResources(core: Core, log: Logger, signal: AbortSignal): Promise<void> {
  let running = false;
  let again = false;
  const built = new Map<string, { revision: string; definitions: readonly ResourceDefinition[] }>();

  async function reconcile(): Promise<void> {
    if (running) {
      again = true;
      return;
    }
    running = true;
    do {
      again = false;
      try {
        await reconcileAll(core, built, log);
      } catch (error) {
        log.error('cannot reconcile custom resources', error);
      }
    } while (again && !signal.aborted);
    running = false;
  }

  core.store.onReload(() => void follow());
  function follow(): Promise<void> {
    const stop = core.store.cache(crds).onChange(() => void reconcile());
    signal.addEventListener('abort', stop, { once: true });
    return reconcile();
  }
  await follow();
}

async function reconcileAll(
  core: Core,
  built: Map<string, { revision: string; definitions: readonly ResourceDefinition[] }>,
  log: Logger,
): Promise<void> {
  const all = core.registry.list(crds);
  const taken = new Map<string, string>();
  const served: ResourceDefinition[] = [];
  const statuses: { name: string; conditions: Condition[]; names: Names | undefined }[] = [];
  // Older definitions keep their names when a younger one wants the same.
  for (const object of all.toSorted(byAge)) {
    const crd = object as unknown as CustomResourceDefinition;
    const { name = '', uid = '', generation } = object.metadata;
    const conflict = nameConflict(core, crd, taken);
    let broken: string | undefined;
    if (conflict === undefined) {
      const revision = `${uid} ${generation}`;
      try {
        const known = built.get(name);
        const definitions = known?.revision === revision ? known.definitions : definitionFromCrd(object, core.registry);
        built.set(name, { revision, definitions });
        served.push(...definitions);
      } catch (error) {
        broken = (error as Error).message;
      }
    }
    statuses.push({ name, conditions: conditionsFor(conflict, broken), names: crd.spec?.names });
  }
  if (!sameDefinitions(core, served)) {
    core.catalog.setCustom(served);
  }
  for (const { name, conditions, names } of statuses) {
    await writeStatus(core, name, { conditions, names }).catch((error: unknown) => {
      if (!isReason(error, 'NotFound')) {
        throw error;
      }
    });
  }
  for (const object of all) {
    if (object.metadata.deletionTimestamp !== undefined && object.metadata.finalizers?.includes(instancesFinalizer)) {
      await removeInstances(core, object, log);
    }
  }
}

function byAge(a: KubeObject, b: KubeObject): number {
  const left = `${a.metadata.creationTimestamp} ${a.metadata.name}`;
  const right = `${b.metadata.creationTimestamp} ${b.metadata.name}`;
  return left < right ? -1 : 1;
}

/** Why the names cannot be had; takes them when they can. */
function nameConflict(core: Core, crd: CustomResourceDefinition, taken: Map<string, string>): string | undefined {
  const { group = '', names } = crd.spec ?? {};
  const owner = crd.metadata?.name ?? '';
  const builtIn = core.catalog.definitions.some(
    (one) => one.custom !== true && one.group === group && (one.plural === names?.plural || one.kind === names?.kind),
  );
  if (builtIn) {
    return `"${names?.plural}" is already in use`;
  }
  const wanted = [names?.plural, names?.singular, names?.kind, names?.listKind, ...(names?.shortNames ?? [])].filter(
    (one): one is string => one !== undefined && one !== '',
  );
  for (const one of wanted) {
    const holder = taken.get(`${group} ${one}`);
    if (holder !== undefined && holder !== owner) {
      return `"${one}" is already in use`;
    }
  }
  for (const one of wanted) {
    taken.set(`${group} ${one}`, owner);
  }
  return undefined;
}

function conditionsFor(conflict: string | undefined, broken: string | undefined): Condition[] {
  if (conflict !== undefined) {
    return [
      { type: 'NamesAccepted', status: 'False', reason: 'NameConflict', message: conflict },
      { type: 'Established', status: 'False', reason: 'NotAccepted', message: 'not all names are accepted' },
    ];
  }
  const accepted = { type: 'NamesAccepted', status: 'True', reason: 'NoConflicts', message: 'no conflicts found' };
  return broken === undefined
    ? [
        accepted,
        {
          type: 'Established',
          status: 'True',
          reason: 'InitialNamesAccepted',
          message: 'the initial names have been accepted',
        },
      ]
    : [accepted, { type: 'Established', status: 'False', reason: 'NotServed', message: broken }];
}

async function writeStatus(
  core: Core,
  name: string,
  wanted: { conditions: Condition[]; names: Names | undefined },
): Promise<void> {
  await core.registry.update(
    crds,
    undefined,
    name,
    (object) => {
      const crd = object as unknown as CustomResourceDefinition;
      const before = crd.status?.conditions ?? [];
      const kept = before.filter((one) => !wanted.conditions.some(({ type }) => type === one.type));
      const conditions = wanted.conditions.map((condition) => {
        const known = before.find(({ type }) => type === condition.type);
        return known?.status === condition.status && known.message === condition.message
          ? known
          : { ...condition, lastTransitionTime: timestamp() };
      });
      const storage = (crd.spec?.versions ?? []).find((version) => version.storage)?.name;
      const stored = new Set([...(crd.status?.storedVersions ?? []), ...(storage === undefined ? [] : [storage])]);
      const status = {
        ...crd.status,
        acceptedNames: wanted.names,
        conditions: [...kept, ...conditions],
        storedVersions: [...stored],
      };
      const { metadata } = object;
      const guarded = metadata.deletionTimestamp !== undefined || metadata.finalizers?.includes(instancesFinalizer);
      if (guarded === true && equal(status, crd.status)) {
        return undefined;
      }
      if (guarded !== true) {
        metadata.finalizers = [...(metadata.finalizers ?? []), instancesFinalizer];
      }
      object['status'] = status;
      return object;
    },
    { subresource: 'status' },
  );
}

async function removeInstances(core: Core, crd: KubeObject, log: Logger): Promise<void> {
  const { group = '', names } = (crd as unknown as CustomResourceDefinition).spec ?? {};
  const resource = `${names?.plural}.${group}`;
  if (core.registry.definition(resource) !== undefined) {
    for (const instance of core.registry.list(resource)) {
      const { name = '', namespace } = instance.metadata;
      await core.registry.delete(resource, namespace, name).catch((error: unknown) => {
        if (!isReason(error, 'NotFound')) {
          log.warn('cannot delete an instance of a deleted definition', { resource, name });
        }
      });
    }
    if (core.registry.list(resource).length > 0) {
      // Finalizers hold some: look again when they have gone.
      const stop = core.store.cache(resource).onChange(() => {
        stop();
        core.store.cache(crds).notify();
      });
      return;
    }
  }
  await core.registry.update(
    crds,
    undefined,
    crd.metadata.name ?? '',
    (current) => {
      current.metadata.finalizers = (current.metadata.finalizers ?? []).filter((one) => one !== instancesFinalizer);
      return current;
    },
    { subresource: 'finalizers' },
  );
}

function sameDefinitions(core: Core, served: readonly ResourceDefinition[]): boolean {
  const present = core.catalog.definitions.filter((one) => one.custom === true);
  return present.length === served.length && present.every((one, at) => one === served[at]);
}
