// SPDX-License-Identifier: Apache-2.0
// The endpoints that a Service should have, grouped by address family and ports.
import type { DiscoveryV1EndpointPort, Endpoint, Node, Pod, Service } from '../../machinery/api-types.ts';
import { hostnameFor, portsOf } from '../endpoints/service-pods.ts';
import { isFinished, isReady, isTerminating } from '../pod-state.ts';

/** Endpoints of one address family that share their ports; a slice holds endpoints of one group. */
export interface EndpointGroup {
  readonly addressType: string;
  readonly ports: DiscoveryV1EndpointPort[];
  readonly endpoints: Endpoint[];
}

export const zoneLabel = 'topology.kubernetes.io/zone';

/** Terminating pods stay in, marked so that a proxy can drain them; finished ones do not. */
export function endpointGroups(
  service: Service,
  pods: readonly Pod[],
  nodeOf: (name: string) => Node | undefined,
): EndpointGroup[] {
  const groups = new Map<string, EndpointGroup>();
  for (const addressType of addressTypes(service)) {
    for (const pod of pods) {
      const addresses = (pod.status?.podIPs?.map(({ ip }) => ip) ?? [pod.status?.podIP ?? '']).filter(
        (ip) => ip !== '' && ip.includes(':') === (addressType === 'IPv6'),
      );
      if (addresses.length === 0 || isFinished(pod)) continue;
      const resolved = portsOf(service, pod);
      if (resolved.length === 0 && (service.spec?.ports ?? []).length > 0) continue;
      const ports = resolved.toSorted((a, b) => (portKey(a) < portKey(b) ? -1 : 1));
      const key = `${addressType} ${JSON.stringify(ports)}`;
      const group: EndpointGroup = groups.get(key) ?? { addressType, ports, endpoints: [] };
      groups.set(key, group);
      group.endpoints.push(endpointOf(service, pod, { addresses, node: nodeOf(pod.spec?.nodeName ?? '') }));
    }
  }
  return withHints(service, [...groups.values()]);
}

export function addressTypes(service: Service): string[] {
  const families = service.spec?.ipFamilies ?? [];
  if (families.length > 0) return families;
  return [service.spec?.clusterIP?.includes(':') ? 'IPv6' : 'IPv4'];
}

function endpointOf(service: Service, pod: Pod, place: { addresses: string[]; node: Node | undefined }): Endpoint {
  const serving = isReady(pod);
  const terminating = isTerminating(pod);
  const ready = service.spec?.publishNotReadyAddresses === true || (serving && !terminating);
  const hostname = hostnameFor(service, pod);
  const zone = place.node?.metadata.labels?.[zoneLabel];
  const { name = '', namespace = '', uid = '' } = pod.metadata;
  return {
    addresses: place.addresses,
    conditions: { ready, serving, terminating },
    ...(hostname && { hostname }),
    targetRef: { kind: 'Pod', namespace, name, uid },
    ...(pod.spec?.nodeName && { nodeName: pod.spec.nodeName }),
    ...(zone && { zone }),
  };
}

/**
 * `trafficDistribution` names for each endpoint the zone or node that should prefer it: its own. The older `Auto` mode is
 * honoured the same way as long as no zone would be left without an endpoint.
 */
function withHints(service: Service, groups: EndpointGroup[]): EndpointGroup[] {
  const distribution = service.spec?.trafficDistribution;
  const auto = /^auto$/i.test(service.metadata.annotations?.['service.kubernetes.io/topology-mode'] ?? '');
  if (!distribution && !auto) return groups;
  return groups.map((group) => {
    const ready = group.endpoints.filter(({ conditions }) => conditions?.ready);
    if (ready.some(({ zone, nodeName }) => (distribution === 'PreferSameNode' ? !nodeName : !zone))) return group;
    if (auto && !distribution && new Set(ready.map(({ zone }) => zone)).size < 2) return group;
    const hint = ({ zone = '', nodeName = '' }: Endpoint): NonNullable<Endpoint['hints']> => ({
      ...(zone && { forZones: [{ name: zone }] }),
      ...(distribution === 'PreferSameNode' && { forNodes: [{ name: nodeName }] }),
    });
    const endpoints = group.endpoints.map((endpoint) =>
      endpoint.conditions?.ready ? { ...endpoint, hints: hint(endpoint) } : endpoint,
    );
    return { ...group, endpoints };
  });
}

function portKey(port: { name: string; port: number; protocol: string }): string {
  return `${port.name} ${port.port} ${port.protocol}`;
}
