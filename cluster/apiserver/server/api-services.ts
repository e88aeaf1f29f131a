// SPDX-License-Identifier: Apache-2.0
// Keeps an APIService for every group version that this server has itself, as clients of apiregistration.k8s.io expect.
import type { Logger } from '../../machinery/log.ts';
import { groupsOf } from '../discovery/discovery.ts';
import type { KubeObject } from '../resources/definition.ts';
import { isReason } from '../status.ts';
import type { Core } from './core.ts';
import { timestamp } from './core.ts';

const resource = 'apiservices.apiregistration.k8s.io';
const managedLabel = 'kube-aggregator.kubernetes.io/automanaged';

/** Makes what is missing now and after every change of the catalog; removes what is no longer served. */
export async function followApiServices(core: Core, log: Logger): Promise<void> {
  let pending = Promise.resolve();
  const reconcile = (): Promise<void> => {
    pending = pending
      .then(() => reconcileAll(core))
      .catch((error: unknown) => log.error('cannot keep APIServices', error));
    return pending;
  };
  core.catalog.onChange(() => void reconcile());
  await reconcile();
}

async function reconcileAll(core: Core): Promise<void> {
  const custom = new Set(core.catalog.definitions.flatMap((one) => (one.custom === true ? [one.group] : [])));
  const wanted = new Map<string, KubeObject>();
  for (const [at, { group, versions }] of groupsOf(core.catalog.definitions).entries()) {
    for (const [rank, version] of versions.entries()) {
      const object = local({ group, version, custom: custom.has(group), groupRank: at, versionRank: rank });
      wanted.set(object.metadata.name ?? '', object);
    }
  }
  const present = core.registry.list(resource);
  const gone = present.filter(
    ({ metadata }) => metadata.labels?.[managedLabel] !== undefined && !wanted.has(metadata.name ?? ''),
  );
  const names = new Set(present.map(({ metadata }) => metadata.name));
  const missing = [...wanted.values()].filter(({ metadata }) => !names.has(metadata.name));
  await Promise.all([
    ...missing.map((object) => make(core, object)),
    ...gone.map(({ metadata }) => core.registry.delete(resource, undefined, metadata.name ?? '')),
  ]);
}

async function make(core: Core, object: KubeObject): Promise<void> {
  try {
    await core.registry.create(resource, object);
    await core.registry.update(
      resource,
      undefined,
      object.metadata.name ?? '',
      (current) => {
        current['status'] = available();
        return current;
      },
      { subresource: 'status' },
    );
  } catch (error) {
    if (!isReason(error, 'AlreadyExists')) {
      throw error;
    }
  }
}

function local(of: {
  group: string;
  version: string;
  custom: boolean;
  groupRank: number;
  versionRank: number;
}): KubeObject {
  const { group, version, custom } = of;
  return {
    apiVersion: 'apiregistration.k8s.io/v1',
    kind: 'APIService',
    metadata: { name: `${version}.${group}`, labels: { [managedLabel]: custom ? 'true' : 'onstart' } },
    spec: {
      ...(group === '' ? {} : { group }),
      version,
      groupPriorityMinimum: custom ? 1_000 : 18_000 - of.groupRank * 100,
      versionPriority: Math.max(1, 15 - of.versionRank),
    },
  };
}

function available(): object {
  const condition = {
    type: 'Available',
    status: 'True',
    reason: 'Local',
    message: 'Local APIServices are always available',
    lastTransitionTime: timestamp(),
  };
  return { conditions: [condition] };
}
