// SPDX-License-Identifier: Apache-2.0
// The cluster's names: which records the Kubernetes DNS specification (1.1.0) gives a question. Pure: the state of the
// cluster comes in as an interface, records go out.

import { familyOf } from '../network/addresses.ts';
import { isWithin, reverseAddress } from './names.ts';
import { recordTypes } from './wire.ts';
import type { Endpoint, EndpointSlice, Service } from '../machinery/api-types.ts';
import type { Rcode, ResourceRecord } from './wire.ts';

/** What the zone knows about the cluster. */
export interface ClusterState {
  service(namespace: string, name: string): Service | undefined;
  slices(namespace: string, name: string): readonly EndpointSlice[];
  hasNamespace(name: string): boolean;
  /** Services that have this ClusterIP. */
  servicesWithAddress(address: string): readonly Service[];
  /** Slices that list this address. */
  slicesWithAddress(address: string): readonly EndpointSlice[];
  hasPod(namespace: string, address: string): boolean;
}

export interface ZoneOptions {
  /** The domain that the question is in. Lower case, without final dot. */
  readonly domain: string;
  readonly ttl: number;
  /** `insecure` answers any well-formed pod name, `verified` only those of pods that exist, `disabled` none. */
  readonly pods: 'insecure' | 'verified' | 'disabled';
  readonly serial: number;
  /** Address of the DNS Service itself, for the zone's NS record. */
  readonly nameServers: readonly string[];
  /** Endpoints without hostname are called as their pods, not by their address. */
  readonly endpointPodNames?: boolean;
  /** Headless Services and single endpoints do not exist. */
  readonly noEndpoints?: boolean;
  /** Services without a ready endpoint do not exist. */
  readonly ignoreEmptyService?: boolean;
  /** Namespaces that are shown; empty: all. */
  readonly namespaces?: readonly string[];
}

export interface ZoneAnswer {
  readonly rcode: Extract<Rcode, 'NOERROR' | 'NXDOMAIN' | 'REFUSED'>;
  readonly answers: readonly ResourceRecord[];
  readonly additional: readonly ResourceRecord[];
  /** The last CNAME leaves the zone: its target is to be resolved elsewhere. */
  readonly chase?: string;
}

/** Longest chain of ExternalName Services that is followed. */
const longestChain = 8;

const noData: ZoneAnswer = { rcode: 'NOERROR', answers: [], additional: [] };
const noName: ZoneAnswer = { rcode: 'NXDOMAIN', answers: [], additional: [] };

/** The answer to a question for a name within the domain. Empty NOERROR answers are NODATA. */
export function answerInZone(name: string, type: number, state: ClusterState, options: ZoneOptions): ZoneAnswer {
  if (type === recordTypes.AXFR) return { rcode: 'REFUSED', answers: [], additional: [] };
  if (type === recordTypes.ANY) {
    const exists = answerInZone(name, recordTypes.A, state, options);
    // RFC 8482: one small record instead of everything, so that ANY does not amplify.
    return exists.rcode === 'NXDOMAIN'
      ? noName
      : { ...noData, answers: [{ type: 'HINFO', name, ttl: options.ttl, cpu: 'RFC8482', os: '' }] };
  }
  return lookUp({ name, type, state, options, depth: 0 });
}

/** The answer to a question for a name within one of the cluster's reverse zones. */
export function answerReverse(query: { name: string; type: number; zone: string }, with_: ReverseLookup): ZoneAnswer {
  const { name, type, zone } = query;
  const { state, options } = with_;
  if (type === recordTypes.AXFR) return { rcode: 'REFUSED', answers: [], additional: [] };
  if (name === zone) return apex({ name, type, state, options, depth: 0 }, zone);
  const address = reverseAddress(name);
  if (address === undefined) return isPartOfReverse(name) ? noData : noName;
  const names = reverseNames(address, state, options);
  if (names.length === 0) return noName;
  if (type !== recordTypes.PTR) return noData;
  return { ...noData, answers: names.map((target) => ({ type: 'PTR', name, ttl: options.ttl, target })) };
}

interface ReverseLookup {
  readonly state: ClusterState;
  readonly options: ZoneOptions;
}

/** Whether complete reverse names can be below: denying such a name would deny them too (RFC 8020). */
function isPartOfReverse(name: string): boolean {
  const labels = name.split('.').slice(0, -2);
  return name.endsWith('.ip6.arpa')
    ? labels.length < 32 && labels.every((label) => /^[0-9a-f]$/.test(label))
    : labels.length < 4 && labels.every((label) => /^\d{1,3}$/.test(label) && Number(label) < 256);
}

/** Names that point to `address`; empty when the cluster has none. */
function reverseNames(address: string, state: ClusterState, options: ZoneOptions): string[] {
  const { domain } = options;
  const shown = (namespace: string | undefined): boolean => isShown(namespace ?? '', options);
  const names = state
    .servicesWithAddress(address)
    .filter(({ metadata }) => shown(metadata.namespace))
    .map(({ metadata }) => `${metadata.name}.${metadata.namespace}.svc.${domain}`);
  if (names.length > 0 || options.noEndpoints === true) return names;
  const found = new Set<string>();
  for (const slice of state.slicesWithAddress(address)) {
    const serviceName = slice.metadata.labels?.['kubernetes.io/service-name'] ?? '';
    const namespace = slice.metadata.namespace ?? '';
    const service = state.service(namespace, serviceName);
    if (service === undefined || !isHeadless(service) || !shown(namespace)) continue;
    for (const endpoint of slice.endpoints ?? []) {
      if (!endpoint.addresses.includes(address) || !isPublished(endpoint, service)) continue;
      found.add(`${endpointName(endpoint, options)}.${serviceName}.${namespace}.svc.${domain}`);
    }
  }
  return [...found];
}

function isShown(namespace: string, { namespaces = [] }: ZoneOptions): boolean {
  return namespaces.length === 0 || namespaces.includes(namespace);
}

interface Lookup {
  readonly name: string;
  readonly type: number;
  readonly state: ClusterState;
  readonly options: ZoneOptions;
  readonly depth: number;
}

function lookUp(lookup: Lookup): ZoneAnswer {
  const { name, options, state } = lookup;
  const { domain } = options;
  if (name === domain) return apex(lookup, domain);
  // From the right: ["svc", "default", "kubernetes"].
  const labels = name
    .slice(0, -domain.length - 1)
    .split('.')
    .toReversed();
  const [kind = '', namespace, first, ...rest] = labels;
  if (kind === 'dns-version' && labels.length === 1) {
    return lookup.type === recordTypes.TXT
      ? { ...noData, answers: [{ type: 'TXT', name, ttl: options.ttl, text: '1.1.0' }] }
      : noData;
  }
  if (kind === 'dns') {
    if (labels.length === 1) return noData;
    return namespace === 'ns' && labels.length === 2 ? addresses(lookup, options.nameServers) : noName;
  }
  if (kind !== 'svc' && (kind !== 'pod' || options.pods === 'disabled')) return noName;
  if (namespace === undefined) return noData;
  if (!isShown(namespace, options) || !state.hasNamespace(namespace)) return noName;
  if (first === undefined) return noData;
  if (kind === 'pod') return rest.length === 0 ? podAnswer(lookup, namespace, first) : noName;
  const service = state.service(namespace, first);
  if (service === undefined) return noName;
  return serviceAnswer(lookup, service, rest);
}

function apex({ name, type, options }: Lookup, zone: string): ZoneAnswer {
  const server = `ns.dns.${options.domain}`;
  if (type === recordTypes.SOA) return { ...noData, answers: [soaRecord(zone, options)] };
  if (type !== recordTypes.NS) return noData;
  return {
    rcode: 'NOERROR',
    answers: [{ type: 'NS', name, ttl: options.ttl, target: server }],
    additional: options.nameServers.map((address) => addressRecord(server, address, options.ttl)),
  };
}

/** The SOA record of `zone`; in the authority section it makes an empty answer cacheable. */
export function soaRecord(zone: string, { domain, ttl, serial }: ZoneOptions): ResourceRecord {
  return {
    type: 'SOA',
    name: zone,
    ttl,
    primary: `ns.dns.${domain}`,
    contact: `hostmaster.${domain}`,
    serial,
    minimum: ttl,
  };
}

function podAnswer(lookup: Lookup, namespace: string, label: string): ZoneAnswer {
  const dots = label.replaceAll('-', '.');
  const colons = label.replaceAll('-', ':');
  if (familyOf(dots) !== 4 && familyOf(colons) !== 6) return noName;
  // Pods' addresses are listed in the one canonical spelling.
  const address = familyOf(dots) === 4 ? dots : new URL(`http://[${colons}]/`).hostname.slice(1, -1);
  if (lookup.options.pods === 'verified' && !lookup.state.hasPod(namespace, address)) return noName;
  return addresses(lookup, [address]);
}

/** `rest` are the labels left of the Service's name, from the right. */
function serviceAnswer(lookup: Lookup, service: Service, rest: readonly string[]): ZoneAnswer {
  const { name, type, options } = lookup;
  const { spec, metadata } = service;
  if (spec?.type === 'ExternalName') return rest.length === 0 ? externalName(lookup, spec.externalName ?? '') : noName;
  const base = `${metadata.name}.${metadata.namespace}.svc.${options.domain}`;
  const headless = isHeadless(service);
  if (headless && options.noEndpoints === true) return noName;
  const empty = options.ignoreEmptyService === true;
  const published = headless || empty ? publishedEndpoints(lookup, service) : [];
  if ((headless || empty) && published.length === 0) return noName;

  const [first, second, ...more] = rest;
  if (first === undefined) {
    if (type === recordTypes.SRV) return srvAnswer({ lookup, service, base, published, matches: () => true });
    return addresses(lookup, headless ? published.map(({ address }) => address) : clusterIPs(service));
  }
  if (first.startsWith('_')) {
    if (more.length > 0) return noName;
    const protocol = first.slice(1);
    const named = (port: { name?: string; protocol?: string }): boolean =>
      (port.protocol ?? 'TCP').toLowerCase() === protocol &&
      (second === undefined || (second.length > 1 && (port.name ?? '').toLowerCase() === second.slice(1)));
    const ports = headless ? published.flatMap((endpoint) => endpoint.ports) : (spec?.ports ?? []);
    if ((second !== undefined && !second.startsWith('_')) || !ports.some(named)) return noName;
    // "_tcp.web" only holds the names below it.
    if (second === undefined || type !== recordTypes.SRV) return noData;
    return srvAnswer({ lookup, service, base, published, matches: named });
  }
  if (!headless || second !== undefined) return noName;
  const own = published.filter((endpoint) => endpoint.name === first);
  if (own.length === 0) return noName;
  if (type === recordTypes.SRV) return srvAnswer({ lookup, service, base, published: own, matches: () => true, name });
  return addresses(
    lookup,
    own.map(({ address }) => address),
  );
}

interface SrvLookup {
  readonly lookup: Lookup;
  readonly service: Service;
  readonly base: string;
  readonly published: readonly PublishedEndpoint[];
  readonly matches: (port: { name?: string; protocol?: string }) => boolean;
  readonly name?: string;
}

function srvAnswer({ lookup, service, base, published, matches }: SrvLookup): ZoneAnswer {
  const { name, options } = lookup;
  const targets = new Map<string, string[]>();
  const ports: { target: string; port: number }[] = [];
  if (isHeadless(service)) {
    for (const endpoint of published) {
      const target = `${endpoint.name}.${base}`;
      for (const port of endpoint.ports) {
        if (port.port === undefined || !matches(port)) continue;
        ports.push({ target, port: port.port });
        targets.set(target, [...(targets.get(target) ?? []), endpoint.address]);
      }
    }
  } else {
    for (const port of service.spec?.ports ?? []) if (matches(port)) ports.push({ target: base, port: port.port });
    if (ports.length > 0) targets.set(base, clusterIPs(service));
  }
  const unique = [...new Map(ports.map((entry) => [`${entry.target}:${entry.port}`, entry])).values()];
  const weight = Math.max(1, Math.floor(100 / Math.max(1, unique.length)));
  return {
    rcode: 'NOERROR',
    answers: unique.map(({ target, port }) => ({
      type: 'SRV',
      name,
      ttl: options.ttl,
      priority: 0,
      weight,
      port,
      target,
    })),
    additional: [...targets].flatMap(([target, own]) =>
      [...new Set(own)].map((address) => addressRecord(target, address, options.ttl)),
    ),
  };
}

function externalName(lookup: Lookup, external: string): ZoneAnswer {
  const { name, type, state, options, depth } = lookup;
  const target = external.replace(/\.$/, '').toLowerCase();
  if (target === '' || familyOf(target) !== undefined) return noData;
  const cname: ResourceRecord = { type: 'CNAME', name, ttl: options.ttl, target };
  if (type === recordTypes.CNAME || depth >= longestChain) return { ...noData, answers: [cname] };
  if (!isWithin(target, options.domain)) return { ...noData, answers: [cname], chase: target };
  const next = lookUp({ name: target, type, state, options, depth: depth + 1 });
  return { ...next, rcode: next.rcode, answers: [cname, ...next.answers] };
}

function addresses({ name, type, options }: Lookup, all: readonly string[]): ZoneAnswer {
  const family = type === recordTypes.A ? 4 : type === recordTypes.AAAA ? 6 : undefined;
  const own = [...new Set(all)].filter((address) => familyOf(address) === family);
  return { ...noData, answers: own.map((address) => addressRecord(name, address, options.ttl)) };
}

function addressRecord(name: string, address: string, ttl: number): ResourceRecord {
  return { type: familyOf(address) === 6 ? 'AAAA' : 'A', name, ttl, address };
}

interface PublishedEndpoint {
  readonly name: string;
  readonly address: string;
  readonly ports: NonNullable<EndpointSlice['ports']>;
}

function publishedEndpoints({ state, options }: Lookup, service: Service): PublishedEndpoint[] {
  const { namespace = '', name = '' } = service.metadata;
  const published: PublishedEndpoint[] = [];
  for (const slice of state.slices(namespace, name)) {
    for (const endpoint of slice.endpoints ?? []) {
      if (!isPublished(endpoint, service)) continue;
      for (const address of endpoint.addresses) {
        published.push({ name: endpointName(endpoint, options), address, ports: slice.ports ?? [] });
      }
    }
  }
  return published;
}

/** The API server marks endpoints of publishNotReadyAddresses Services as ready, but an older slice may lag behind. */
function isPublished(endpoint: Endpoint, service: Service): boolean {
  return (endpoint.conditions?.ready ?? true) || service.spec?.publishNotReadyAddresses === true;
}

function endpointName(endpoint: Endpoint, { endpointPodNames }: ZoneOptions): string {
  if (endpoint.hostname !== undefined && endpoint.hostname !== '') return endpoint.hostname.toLowerCase();
  const pod = endpoint.targetRef?.kind === 'Pod' ? endpoint.targetRef.name : undefined;
  if (endpointPodNames === true && pod !== undefined) return pod;
  return (endpoint.addresses[0] ?? '').replaceAll(/[.:]/g, '-');
}

function isHeadless(service: Service): boolean {
  return service.spec?.clusterIP === 'None';
}

function clusterIPs({ spec }: Service): string[] {
  return spec?.clusterIPs ?? (spec?.clusterIP === undefined ? [] : [spec.clusterIP]);
}
