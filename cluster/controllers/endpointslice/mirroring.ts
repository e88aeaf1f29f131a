// SPDX-License-Identifier: Apache-2.0
// Copies Endpoints that people or other programs write for Services without a selector into EndpointSlices, which are
// all that proxies read.
import type { Endpoint, EndpointAddress, EndpointSlice, Endpoints, Service } from '../../machinery/api-types.ts';
import { keyOf, splitKey } from '../../machinery/informer.ts';
import { resources } from '../../machinery/resources.ts';
import { WorkQueue } from '../../machinery/work-queue.ts';
import type { Controller, ControllerContext, Running } from '../controller.ts';
import { hasSelector } from '../endpoints/service-pods.ts';
import { ownerReferenceTo } from '../ownership.ts';
import { managedByLabel, serviceNameLabel, writeSlices } from './controller.ts';
import type { EndpointGroup } from './endpoints.ts';
import { planSlices } from './plan.ts';

export const endpointSliceMirroringController: Controller = {
  name: 'endpointslice-mirroring-controller',
  serviceAccount: 'endpointslicemirroring-controller',
  setup,
};

const manager = 'endpointslicemirroring-controller.k8s.io';
const skipLabel = 'endpointslice.kubernetes.io/skip-mirror';
const leaderAnnotation = 'control-plane.alpha.kubernetes.io/leader';

function setup({ client, informers }: ControllerContext): Running {
  const services = informers.get<Service>(resources.services);
  const endpoints = informers.get<Endpoints>(resources.endpoints);
  const slices = informers.get<EndpointSlice>(resources.endpointSlices);
  slices.addIndex('service', (slice) => [`${slice.metadata.namespace}/${slice.metadata.labels?.[serviceNameLabel]}`]);
  const queue = new WorkQueue({ name: 'endpointslice-mirroring-controller', reconcile });
  services.onChange(({ object }) => queue.add(keyOf(object)));
  endpoints.onChange(({ object }) => queue.add(keyOf(object)));
  slices.onChange(({ object }) => {
    const { labels, namespace } = object.metadata;
    if (labels?.[managedByLabel] === manager) queue.add(`${namespace}/${labels[serviceNameLabel]}`);
  });

  async function reconcile(key: string): Promise<void> {
    const { name, namespace } = splitKey(key);
    const source = endpoints.get(name, namespace);
    const service = services.get(name, namespace);
    const existing = slices
      .byIndex('service', key)
      .filter(({ metadata }) => metadata.labels?.[managedByLabel] === manager);
    if (!source || !service || hasSelector(service) || !isMirrored(source)) {
      if (existing.length > 0) await writeSlices(client, { create: [], update: [], remove: existing });
      return;
    }
    const identity = {
      metadata: {
        generateName: `${name}-`,
        namespace: namespace ?? '',
        labels: { ...source.metadata.labels, [serviceNameLabel]: name, [managedByLabel]: manager },
        ownerReferences: [ownerReferenceTo(source, resources.endpoints)],
      },
      addressTypes: [],
    };
    await writeSlices(client, planSlices(identity, mirrorGroups(source), existing));
  }

  return { queues: [queue] };
}

function isMirrored({ metadata }: Endpoints): boolean {
  return metadata.labels?.[skipLabel] !== 'true' && metadata.annotations?.[leaderAnnotation] === undefined;
}

/** One group per address family and set of ports. */
export function mirrorGroups(source: Endpoints): EndpointGroup[] {
  const groups = new Map<string, EndpointGroup>();
  for (const subset of source.subsets ?? []) {
    const ports = (subset.ports ?? []).map(({ name = '', port, protocol = 'TCP', appProtocol }) => ({
      name,
      port,
      protocol,
      ...(appProtocol && { appProtocol }),
    }));
    const put = (address: EndpointAddress, ready: boolean): void => {
      const addressType = address.ip.includes(':') ? 'IPv6' : 'IPv4';
      const key = `${addressType} ${JSON.stringify(ports)}`;
      const group = groups.get(key) ?? { addressType, ports, endpoints: [] };
      groups.set(key, group);
      group.endpoints.push(endpointOf(address, ready));
    };
    for (const address of subset.addresses ?? []) put(address, true);
    for (const address of subset.notReadyAddresses ?? []) put(address, false);
  }
  return [...groups.values()];
}

function endpointOf({ ip, hostname, nodeName, targetRef }: EndpointAddress, ready: boolean): Endpoint {
  return {
    addresses: [ip],
    conditions: { ready },
    ...(hostname && { hostname }),
    ...(targetRef && { targetRef }),
    ...(nodeName && { nodeName }),
  };
}
