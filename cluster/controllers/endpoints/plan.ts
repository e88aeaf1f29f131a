// SPDX-License-Identifier: Apache-2.0
// The Endpoints object of a Service, from its pods.
import type { EndpointAddress, EndpointSubset, Endpoints, Pod, Service } from '../../machinery/api-types.ts';
import { isFinished, isReady, isTerminating } from '../pod-state.ts';
import { hostnameFor, isHeadless, portsOf } from './service-pods.ts';
import type { ResolvedPort } from './service-pods.ts';

const capacity = 1000;
const overCapacity = 'endpoints.kubernetes.io/over-capacity';

/** The object as it should be; `old` gives what others have set on it. */
export function planEndpoints(service: Service, pods: readonly Pod[], old: Endpoints | undefined): Endpoints {
  const publishNotReady = service.spec?.publishNotReadyAddresses === true;
  const groups = new Map<string, { ports: ResolvedPort[]; ready: EndpointAddress[]; notReady: EndpointAddress[] }>();
  for (const pod of pods) {
    const ip = addressOf(service, pod);
    if (!ip || isFinished(pod) || (isTerminating(pod) && !publishNotReady)) continue;
    const ports = portsOf(service, pod);
    if (ports.length === 0 && (service.spec?.ports ?? []).length > 0) continue;
    const key = JSON.stringify(ports);
    const group = groups.get(key) ?? { ports, ready: [], notReady: [] };
    groups.set(key, group);
    const hostname = hostnameFor(service, pod);
    const { name = '', namespace = '', uid = '' } = pod.metadata;
    const address: EndpointAddress = {
      ip,
      ...(hostname && { hostname }),
      ...(pod.spec?.nodeName && { nodeName: pod.spec.nodeName }),
      targetRef: { kind: 'Pod', namespace, name, uid },
    };
    (publishNotReady || isReady(pod) ? group.ready : group.notReady).push(address);
  }
  const total = [...groups.values()].reduce((sum, { ready, notReady }) => sum + ready.length + notReady.length, 0);
  let room = capacity;
  const take = (addresses: EndpointAddress[]): EndpointAddress[] => {
    const taken = addresses.toSorted((a, b) => (a.ip < b.ip ? -1 : 1)).slice(0, room);
    room -= taken.length;
    return taken;
  };
  const subsets = [...groups]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([, { ports, ready, notReady }]): EndpointSubset => {
      const addresses = take(ready);
      const notReadyAddresses = take(notReady);
      return {
        ...(addresses.length > 0 && { addresses }),
        ...(notReadyAddresses.length > 0 && { notReadyAddresses }),
        ...(ports.length > 0 && { ports: ports.map(({ name, ...port }) => ({ ...(name && { name }), ...port })) }),
      };
    })
    .filter(({ addresses, notReadyAddresses }) => addresses || notReadyAddresses);
  const { [overCapacity]: _, ...annotations } = old?.metadata.annotations ?? {};
  if (total > capacity) annotations[overCapacity] = 'truncated';
  return {
    ...old,
    metadata: {
      ...(old?.metadata ?? { name: service.metadata.name ?? '', namespace: service.metadata.namespace ?? '' }),
      labels: {
        ...service.metadata.labels,
        'endpoints.kubernetes.io/managed-by': 'endpoint-controller',
        ...(isHeadless(service) && { 'service.kubernetes.io/headless': '' }),
      },
      ...((old?.metadata.annotations || total > capacity) && { annotations }),
    },
    ...(subsets.length > 0 ? { subsets } : { subsets: [] }),
  };
}

/** The pod's address in the Service's first family. */
function addressOf(service: Service, pod: Pod): string | undefined {
  const wantV6 = service.spec?.ipFamilies?.[0] === 'IPv6';
  const addresses = pod.status?.podIPs?.map(({ ip }) => ip) ?? (pod.status?.podIP ? [pod.status.podIP] : []);
  return addresses.find((ip) => ip.includes(':') === wantV6);
}
