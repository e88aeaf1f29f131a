// SPDX-License-Identifier: Apache-2.0
/** Which endpoints a node must offer at each address and port that a Service has, from what the API says alone. */
import type { V1Endpoint, V1EndpointSlice, V1Node, V1Service, V1ServicePort } from '@kubernetes/client-node';
import type { ApiObjects } from './finding.ts';

export interface ExpectedEntry {
  /** `shop/web`. */
  readonly service: string;
  /** `http`, or the number where the port has no name. */
  readonly port: string;
  readonly kind: 'ClusterIP' | 'NodePort' | 'externalIP' | 'load balancer address';
  readonly address: string;
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  readonly number: number;
  /** `address:port` of every endpoint that may be chosen, sorted. */
  readonly endpoints: readonly string[];
  /** Endpoints that the API has for the port, chosen or not, with why they are not. */
  readonly known: ReadonlyMap<string, string>;
  /** Those of the endpoints that are on this node. */
  readonly onNode: ReadonlySet<string>;
  /** Only endpoints of this node may be chosen; the client's address must be kept. */
  readonly local: boolean;
  /** Clients from elsewhere are refused. Empty: all are admitted. */
  readonly sourceRanges: readonly string[];
}

export function expectedEntries(api: ApiObjects, node: V1Node): ExpectedEntry[] {
  const slices = new Map<string, V1EndpointSlice[]>();
  for (const slice of api.endpointSlices) {
    const owner = slice.metadata?.labels?.['kubernetes.io/service-name'];
    if (owner === undefined) continue;
    const key = `${slice.metadata?.namespace}/${owner}`;
    slices.set(key, [...(slices.get(key) ?? []), slice]);
  }
  return api.services.flatMap((service) =>
    isProgrammed(service)
      ? entriesOf(service, {
          node,
          slices: slices.get(`${service.metadata?.namespace}/${service.metadata?.name}`) ?? [],
        })
      : [],
  );
}

/** Not headless, not a name for somewhere else, and not given to another proxy. */
function isProgrammed({ metadata, spec }: V1Service): boolean {
  return (
    spec?.clusterIP !== undefined &&
    spec.clusterIP !== '' &&
    spec.clusterIP !== 'None' &&
    spec.type !== 'ExternalName' &&
    metadata?.labels?.['service.kubernetes.io/service-proxy-name'] === undefined &&
    metadata?.deletionTimestamp === undefined
  );
}

interface Around {
  readonly node: V1Node;
  readonly slices: readonly V1EndpointSlice[];
}

function entriesOf(service: V1Service, around: Around): ExpectedEntry[] {
  const { spec, status } = service;
  const clusterIps = spec?.clusterIPs ?? [spec?.clusterIP ?? ''];
  const balanced = (status?.loadBalancer?.ingress ?? []).filter(({ ipMode }) => ipMode !== 'Proxy');
  const nodeAddresses = (around.node.status?.addresses ?? [])
    .filter(({ type }) => type === 'InternalIP')
    .map(({ address }) => address);
  return (spec?.ports ?? []).flatMap((port) => {
    const at = (
      kind: ExpectedEntry['kind'],
      addresses: readonly (string | undefined)[],
      number: number | undefined,
    ): ExpectedEntry[] =>
      addresses.flatMap((address) => {
        if (address === undefined || number === undefined || number === 0) return [];
        return [entry(service, port, { ...around, kind, address, number })];
      });
    return [
      ...at('ClusterIP', clusterIps, port.port),
      ...at('NodePort', hasFamily(nodeAddresses, clusterIps), port.nodePort),
      ...at('externalIP', spec?.externalIPs ?? [], port.port),
      ...at(
        'load balancer address',
        balanced.map(({ ip }) => ip),
        port.port,
      ),
    ];
  });
}

function hasFamily(addresses: readonly string[], like: readonly string[]): string[] {
  return addresses.filter((address) => like.some((one) => one.includes(':') === address.includes(':')));
}

function entry(
  service: V1Service,
  port: V1ServicePort,
  place: Around & Pick<ExpectedEntry, 'kind' | 'address' | 'number'>,
): ExpectedEntry {
  const { spec, metadata } = service;
  const { node, kind, address, number } = place;
  const name = node.metadata?.name ?? '';
  const isExternal = kind !== 'ClusterIP';
  const local = (isExternal ? spec?.externalTrafficPolicy : spec?.internalTrafficPolicy) === 'Local';
  const family = address.includes(':') ? 'IPv6' : 'IPv4';
  const all = place.slices
    .filter(({ addressType }) => addressType === family)
    .flatMap((slice) =>
      (slice.ports ?? [])
        .filter((one) => (one.name ?? '') === (port.name ?? '') && (one.protocol ?? 'TCP') === (port.protocol ?? 'TCP'))
        .flatMap((one) =>
          (slice.endpoints ?? []).flatMap((endpoint): Candidate[] => {
            const [first] = endpoint.addresses;
            return first === undefined || one.port === undefined
              ? []
              : [{ endpoint, target: `${bracketed(first)}:${one.port}`, isHere: endpoint.nodeName === name }];
          }),
        ),
    );
  const chosen = local ? usable(all.filter(({ isHere }) => isHere)) : near(usable(all), node);
  return {
    service: `${metadata?.namespace}/${metadata?.name}`,
    port: port.name ?? String(port.port),
    kind,
    address,
    protocol: (port.protocol ?? 'TCP').toLowerCase() as ExpectedEntry['protocol'],
    number,
    endpoints: [...new Set(chosen.map(({ target }) => target))].toSorted(),
    known: new Map(all.map((one) => [one.target, whyNot(one, local)])),
    onNode: new Set(all.filter(({ isHere }) => isHere).map(({ target }) => target)),
    local,
    sourceRanges: kind === 'load balancer address' ? (spec?.loadBalancerSourceRanges ?? []) : [],
  };
}

interface Candidate {
  readonly endpoint: V1Endpoint;
  readonly target: string;
  readonly isHere: boolean;
}

/** The ready ones; where there is none, those that end and still serve. */
function usable(candidates: readonly Candidate[]): readonly Candidate[] {
  const ready = candidates.filter(({ endpoint }) => endpoint.conditions?.ready !== false);
  if (ready.length > 0) return ready;
  return candidates.filter(
    ({ endpoint: { conditions } }) => conditions?.terminating === true && conditions.serving !== false,
  );
}

/** Hints narrow the choice only where every endpoint has one and something is left for this node. */
function near(candidates: readonly Candidate[], node: V1Node): readonly Candidate[] {
  const name = node.metadata?.name;
  const zone = node.metadata?.labels?.['topology.kubernetes.io/zone'];
  const nodes = ({ endpoint }: Candidate): readonly string[] => (endpoint.hints?.forNodes ?? []).map((one) => one.name);
  const zones = ({ endpoint }: Candidate): readonly string[] => (endpoint.hints?.forZones ?? []).map((one) => one.name);
  for (const [hints, mine] of [
    [nodes, name],
    [zones, zone],
  ] as const) {
    if (mine === undefined || candidates.some((one) => hints(one).length === 0)) continue;
    const found = candidates.filter((one) => hints(one).includes(mine));
    if (found.length > 0) return found;
  }
  return candidates;
}

function whyNot({ endpoint, isHere }: Candidate, local: boolean): string {
  if (local && !isHere) return 'it is on another node, and the traffic policy is Local';
  if (endpoint.conditions?.terminating === true) return 'it is terminating';
  if (endpoint.conditions?.ready === false) return 'it is not ready';
  return 'it is for other nodes, as its hints say';
}

function bracketed(address: string): string {
  return address.includes(':') ? `[${address}]` : address;
}
