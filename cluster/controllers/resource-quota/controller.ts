// SPDX-License-Identifier: Apache-2.0
// Recalculates what each ResourceQuota uses. Admission raises usage as objects are made; this brings it down again and
// corrects it.
import type { PersistentVolumeClaim, Pod, ResourceQuota, Service } from '../../machinery/api-types.ts';
import { isNotFound } from '../../machinery/client.ts';
import { keyOf, splitKey } from '../../machinery/informer.ts';
import { resources } from '../../machinery/resources.ts';
import type { Resource } from '../../machinery/resources.ts';
import { WorkQueue } from '../../machinery/work-queue.ts';
import { sameJson } from '../canonical-json.ts';
import { every } from '../controller.ts';
import type { Controller, ControllerContext, Running } from '../controller.ts';
import { discoverResources } from '../discovery.ts';
import { isFinished } from '../pod-state.ts';
import { quotaUsage } from './usage.ts';

export const resourceQuotaController: Controller = {
  name: 'resourcequota-controller',
  serviceAccount: 'resourcequota-controller',
  setup,
};

const resyncMs = 300_000;

function setup({ client, informers }: ControllerContext): Running {
  const quotas = informers.get<ResourceQuota>(resources.resourceQuotas);
  const pods = informers.get<Pod>(resources.pods);
  const services = informers.get<Service>(resources.services);
  const claims = informers.get<PersistentVolumeClaim>(resources.persistentVolumeClaims);
  const queue = new WorkQueue({ name: 'resource-quota', reconcile, backoff: { baseMs: 20, maxMs: 10_000 } });
  const wake = (namespace: string | undefined): void => {
    for (const quota of quotas.list(namespace)) queue.add(keyOf(quota));
  };
  quotas.onChange(({ type, object, old }) => {
    if (type !== 'deleted' && !sameJson(object.spec, old?.spec)) queue.add(keyOf(object));
  });
  pods.onChange(({ type, object, old }) => {
    if (type === 'deleted' || (old && isFinished(object) && !isFinished(old))) wake(object.metadata.namespace);
  });
  for (const informer of [services, claims]) {
    informer.onChange(({ type, object, old }) => {
      if (type === 'deleted' || (old && !sameJson(object.spec, old.spec))) wake(object.metadata.namespace);
    });
  }
  // Deletions of whatever else is counted are heard of where some controller watches it anyway.
  for (const resource of [
    resources.configMaps,
    resources.replicaSets,
    resources.deployments,
    resources.statefulSets,
    resources.jobs,
    resources.replicationControllers,
  ]) {
    informers.get(resource).onChange(({ type, object }) => {
      if (type === 'deleted') wake(object.metadata.namespace);
    });
  }

  async function reconcile(key: string): Promise<void> {
    const { name, namespace = '' } = splitKey(key);
    const quota = quotas.get(name, namespace);
    if (!quota || quota.metadata.deletionTimestamp) return;
    const counts = await countObjects(namespace, Object.keys(quota.spec?.hard ?? {}));
    const used = quotaUsage(quota.spec ?? {}, {
      pods: pods.list(namespace),
      services: services.list(namespace),
      claims: claims.list(namespace),
      countOf: (resource) => counts.get(resource) ?? 0,
    });
    const status = { hard: quota.spec?.hard ?? {}, used };
    if (sameJson(status, quota.status)) return;
    try {
      await client.update(resources.resourceQuotas, { ...quota, status }, { subresource: 'status' });
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  /** Counts from a shared cache where there is one, and by asking the server otherwise. */
  async function countObjects(namespace: string, names: readonly string[]): Promise<Map<string, number>> {
    const counts = new Map<string, number>();
    const wanted = names
      .map((name) => name.replace(/^count\//, ''))
      .filter((name) => !/^(requests|limits)\.|^(cpu|memory|ephemeral-storage)$|\//.test(name));
    let known: readonly Resource[] | undefined;
    for (const name of wanted) {
      const dot = name.indexOf('.');
      const [plural, group] = dot < 0 ? [name, ''] : [name.slice(0, dot), name.slice(dot + 1)];
      const informer = informers.find(group, plural);
      if (informer) {
        counts.set(name, informer.list(namespace).length);
        continue;
      }
      known ??= (await discoverResources(client)).found.map(({ resource }) => resource);
      const resource = known.find((one) => one.plural === plural && one.group === group && one.namespaced);
      if (resource) counts.set(name, (await client.list(resource, { namespace })).items.length);
    }
    return counts;
  }

  return {
    queues: [queue],
    run: (signal) => every(resyncMs, signal, () => quotas.list().forEach((quota) => queue.add(keyOf(quota)))),
  };
}
