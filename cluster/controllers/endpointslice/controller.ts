// SPDX-License-Identifier: Apache-2.0
// Keeps the EndpointSlices of every Service with a selector.
import type { EndpointSlice, Node, Pod, Service } from '../../machinery/api-types.ts';
import { isNotFound } from '../../machinery/client.ts';
import type { Client } from '../../machinery/client.ts';
import { keyOf, splitKey } from '../../machinery/informer.ts';
import { resources } from '../../machinery/resources.ts';
import { WorkQueue } from '../../machinery/work-queue.ts';
import type { Controller, ControllerContext, Running } from '../controller.ts';
import { hasSelector, isHeadless, selects, watchPods } from '../endpoints/service-pods.ts';
import { Expectations } from '../expectations.ts';
import { ownerReferenceTo } from '../ownership.ts';
import { addressTypes, endpointGroups, zoneLabel } from './endpoints.ts';
import { planSlices } from './plan.ts';
import type { SlicePlan } from './plan.ts';
import { TriggerTimes, withTriggerTime } from './trigger-times.ts';

export const endpointSliceController: Controller = {
  name: 'endpointslice-controller',
  serviceAccount: 'endpointslice-controller',
  setup,
};

export const serviceNameLabel = 'kubernetes.io/service-name';
export const managedByLabel = 'endpointslice.kubernetes.io/managed-by';
const manager = 'endpointslice-controller.k8s.io';

function setup({ client, informers }: ControllerContext): Running {
  const services = informers.get<Service>(resources.services);
  const pods = informers.get<Pod>(resources.pods);
  const nodes = informers.get<Node>(resources.nodes);
  const slices = informers.get<EndpointSlice>(resources.endpointSlices);
  slices.addIndex('service', (slice) => [`${slice.metadata.namespace}/${slice.metadata.labels?.[serviceNameLabel]}`]);
  const expectations = new Expectations();
  const triggers = new TriggerTimes();
  const queue = new WorkQueue({ name: 'endpointslice-controller', reconcile });

  services.onChange(({ type, object }) => {
    if (type === 'deleted') {
      expectations.forget(keyOf(object));
      triggers.forget(keyOf(object));
    }
    queue.add(keyOf(object));
  });
  watchPods(pods, services, (key) => queue.add(key));
  nodes.onChange(({ object, old }) => {
    if (old && old.metadata.labels?.[zoneLabel] === object.metadata.labels?.[zoneLabel]) return;
    for (const service of services.list()) if (hasSelector(service)) queue.add(keyOf(service));
  });
  slices.onChange(({ type, object }) => {
    const { labels, namespace, uid = '' } = object.metadata;
    if (labels?.[managedByLabel] !== manager) return;
    const key = `${namespace}/${labels[serviceNameLabel]}`;
    if (type === 'added') expectations.created(key);
    if (type === 'deleted') expectations.deleted(key, uid);
    queue.add(key);
  });

  async function reconcile(key: string): Promise<void> {
    const { name, namespace } = splitKey(key);
    const service = services.get(name, namespace);
    if (!service || !hasSelector(service) || service.metadata.deletionTimestamp || !expectations.satisfied(key)) return;
    const identity = {
      metadata: {
        generateName: `${name}-`,
        namespace: namespace ?? '',
        labels: {
          ...service.metadata.labels,
          [serviceNameLabel]: name,
          [managedByLabel]: manager,
          ...(isHeadless(service) && { 'service.kubernetes.io/headless': '' }),
        },
        ownerReferences: [ownerReferenceTo(service, resources.services)],
      },
      addressTypes: addressTypes(service),
    };
    const selected = pods.list(namespace).filter((pod) => selects(service, pod.metadata.labels));
    const groups = endpointGroups(service, selected, (node) => nodes.get(node));
    const existing = slices
      .byIndex('service', key)
      .filter(({ metadata }) => metadata.labels?.[managedByLabel] === manager);
    const { create, update, remove } = planSlices(identity, groups, existing);
    const trigger = triggers.observe(key, service, selected);
    const dated = (slice: EndpointSlice): EndpointSlice => withTriggerTime(slice, trigger);
    const plan: SlicePlan = { create: create.map(dated), update: update.map(dated), remove };
    expectations.expect(key, plan.create.length);
    try {
      await writeSlices(client, plan);
    } catch (error) {
      expectations.forget(key);
      throw error;
    }
  }

  return { queues: [queue] };
}

/** Creates before it deletes, so that a proxy always has something to go by. */
export async function writeSlices(client: Client, plan: SlicePlan): Promise<void> {
  for (const slice of plan.create) await client.create(resources.endpointSlices, slice);
  for (const slice of plan.update) await client.update(resources.endpointSlices, slice);
  for (const { metadata } of plan.remove) {
    const { name = '', namespace, uid } = metadata;
    try {
      await client.delete(resources.endpointSlices, name, { namespace, uid });
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }
}
