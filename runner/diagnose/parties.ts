// SPDX-License-Identifier: Apache-2.0
/** FROM and TO of `plumb trace`: what the words on the command line mean in this cluster. Pure. */
import { isIP } from 'node:net';
import type { V1Node, V1Pod, V1Service, V1ServicePort } from '@kubernetes/client-node';
import type { PodOnNode } from '../../probes/capture/capture-points.ts';
import type { Described } from '../../probes/trace/collect.ts';
import type { Endpoint, Party, ServiceFacts } from '../../probes/trace/observations.ts';
import { Problem } from '../problem.ts';
import { addressesOfNode, type NetworkObjects } from '../target/network-objects.ts';

export interface Place {
  readonly objects: NetworkObjects;
  /** Of pods and Services that are named without one. */
  readonly namespace: string;
}

/** Throws a Problem that names what is not there. */
export function partyFrom(text: string, { objects, namespace }: Place): Party {
  if (text === 'outside') return { kind: 'outside', name: 'outside', node: undefined, addresses: [] };
  const [kind, ...rest] = text.split('/');
  if (kind === 'node' && rest.length === 1) {
    const node = objects.nodes.find(({ metadata }) => metadata?.name === rest[0]);
    if (node === undefined) throw new Problem(`there is no node ${rest[0]}`, 'Look with: kubectl get nodes');
    return partyOfNode(node);
  }
  return partyOfPod(findPod(objects, text, namespace));
}

export interface TargetWords {
  /** Address or name to send to. */
  readonly host: string;
  readonly port: number;
  readonly protocol: 'tcp' | 'udp';
}

/** Throws a Problem that names what is not there, or which port is missing. */
export function parseTarget(text: string, place: Place): TargetWords {
  const { objects, namespace } = place;
  const { name, port } = splitPort(text);
  if (isIP(name) !== 0) return { host: name, ...portOf(text, port, servicePorts(serviceWith(objects, name))) };
  const [kind = '', ...rest] = name.split('/');
  if (kind === 'svc' || kind === 'service') return toService(text, { place, words: rest, port });
  if (kind === 'node' && rest.length === 1) {
    const party = partyFrom(name, place);
    return { host: addressOf(party, name), ...portOf(text, port, []) };
  }
  if (rest.length > 0) {
    const podName = kind === 'pod' ? rest.join('/') : name;
    const [space = '', own = ''] = podName.includes('/') ? podName.split('/') : [namespace, podName];
    const pod = objects.pods.find(({ metadata }) => metadata?.namespace === space && metadata.name === own);
    const service = objects.services.find(({ metadata }) => metadata?.namespace === space && metadata.name === own);
    if (pod === undefined && service !== undefined && kind !== 'pod')
      return toService(text, { place, words: [space, own], port });
    const party = partyOfPod(findPod(objects, name, namespace));
    return { host: addressOf(party, party.name), ...portOf(text, port, podPorts(pod)) };
  }
  // A bare word is a name, resolved as the source does it; its port may be known from the Service that it stands for.
  const [first = '', second] = name.split('.');
  const service = objects.services.find(
    ({ metadata }) => metadata?.name === first && metadata.namespace === (second ?? namespace),
  );
  return { host: name, ...portOf(text, port, servicePorts(service)) };
}

function toService(
  text: string,
  { place, words, port }: { place: Place; words: readonly string[]; port: number | undefined },
): TargetWords {
  const [space, name] = words.length > 1 ? words : [place.namespace, words[0]];
  const service = place.objects.services.find(
    ({ metadata }) => metadata?.namespace === space && metadata?.name === name,
  );
  if (service === undefined) {
    const near = place.objects.services
      .filter(({ metadata }) => metadata?.namespace === space)
      .map(({ metadata }) => metadata?.name);
    throw new Problem(
      `there is no Service ${name} in namespace ${space}`,
      near.length > 0 ? `Services there: ${near.slice(0, 10).join(', ')}.` : 'Name its namespace with -n.',
    );
  }
  const address = service.spec?.clusterIP;
  const headless = address === undefined || address === '' || address === 'None';
  return { host: headless ? `${name}.${space}.svc` : address, ...portOf(text, port, servicePorts(service)) };
}

function splitPort(text: string): { readonly name: string; readonly port: number | undefined } {
  const bracketed = /^\[([^\]]+)\](?::(\d+))?$/.exec(text);
  if (bracketed !== null) return { name: bracketed[1] ?? '', port: numberOf(bracketed[2]) };
  if (isIP(text) === 6) return { name: text, port: undefined };
  const match = /^(.*):(\d+)$/.exec(text);
  return match === null ? { name: text, port: undefined } : { name: match[1] ?? '', port: numberOf(match[2]) };
}

function numberOf(text: string | undefined): number | undefined {
  return text === undefined ? undefined : Number(text);
}

interface PortChoice {
  readonly port: number;
  readonly protocol: 'tcp' | 'udp';
}

function portOf(text: string, port: number | undefined, known: readonly PortChoice[]): PortChoice {
  if (port !== undefined) {
    if (port < 1 || port > 65_535) throw new Problem(`${text}: ${port} is no port`, 'Ports go from 1 to 65535.');
    return known.find((one) => one.port === port) ?? { port, protocol: 'tcp' };
  }
  const [first] = known;
  if (first !== undefined) return first;
  throw new Problem(`${text} has no port`, `Add one: ${text}:80`);
}

function servicePorts(service: V1Service | undefined): PortChoice[] {
  return (service?.spec?.ports ?? []).map(({ port, protocol }) => ({
    port,
    protocol: protocol === 'UDP' ? 'udp' : 'tcp',
  }));
}

function podPorts(pod: V1Pod | undefined): PortChoice[] {
  return (pod?.spec?.containers ?? [])
    .flatMap(({ ports = [] }) => ports)
    .map(({ containerPort, protocol }) => ({ port: containerPort, protocol: protocol === 'UDP' ? 'udp' : 'tcp' }));
}

function addressOf({ addresses }: Party, what: string): string {
  const [address] = addresses;
  if (address === undefined) throw new Problem(`${what} has no address`, 'Wait until it has started.');
  return address;
}

function findPod({ pods }: NetworkObjects, text: string, namespace: string): V1Pod {
  const words = text.split('/').filter((word, index) => !(index === 0 && (word === 'pod' || word === 'pods')));
  const [space, name] = words.length > 1 ? words : [namespace, words[0]];
  const found = pods.find(({ metadata }) => metadata?.namespace === space && metadata?.name === name);
  if (found !== undefined) return found;
  const near = pods.filter(({ metadata }) => metadata?.namespace === space).map(({ metadata }) => metadata?.name);
  throw new Problem(
    `there is no pod ${name} in namespace ${space}`,
    near.length > 0
      ? `Pods there: ${near.slice(0, 10).join(', ')}.`
      : 'Write it as namespace/pod, or name the namespace with -n.',
  );
}

export function partyOfPod({ metadata, spec, status }: V1Pod): Party {
  return {
    kind: 'pod',
    name: `${metadata?.namespace}/${metadata?.name}`,
    node: spec?.nodeName,
    addresses: (status?.podIPs ?? []).map(({ ip }) => ip),
    ...(spec?.hostNetwork === true ? { hostNetwork: true } : {}),
    ready: (status?.conditions ?? []).some((one) => one.type === 'Ready' && one.status === 'True'),
    phase: status?.phase ?? 'Unknown',
  };
}

export function partyOfNode(node: V1Node): Party {
  const name = node.metadata?.name ?? '';
  return { kind: 'node', name, node: name, addresses: addressesOfNode(node) };
}

export function podsByName({ pods }: NetworkObjects): Map<string, PodOnNode> {
  return new Map(
    pods.map(({ metadata, status }) => [
      `${metadata?.namespace}/${metadata?.name}`,
      {
        namespace: metadata?.namespace ?? '',
        name: metadata?.name ?? '',
        uid: metadata?.uid ?? '',
        addresses: (status?.podIPs ?? []).map(({ ip }) => ip),
      },
    ]),
  );
}

/** Nodes that are not Ready, in their own words. */
export function troubledNodes({ nodes }: NetworkObjects): Record<string, string> {
  return Object.fromEntries(
    nodes.flatMap(({ metadata, status }) => {
      const ready = (status?.conditions ?? []).find(({ type }) => type === 'Ready');
      return ready?.status === 'True'
        ? []
        : [[metadata?.name ?? '', `${ready?.reason ?? 'no condition'}: ${ready?.message ?? 'nothing is known'}`]];
    }),
  );
}

/** Who serves an address and port, by Services, NodePorts, pods and nodes. */
export function describeAddress(
  objects: NetworkObjects,
  {
    address,
    port,
    protocol,
  }: { readonly address: string | undefined; readonly port: number; readonly protocol: 'tcp' | 'udp' },
): Described {
  if (address === undefined) return { servers: [] };
  const upper = protocol.toUpperCase();
  const byAddress = serviceWith(objects, address);
  const node = objects.nodes.find((one) => addressesOfNode(one).includes(address));
  const byNodePort =
    node === undefined
      ? undefined
      : objects.services.find(({ spec }) =>
          (spec?.ports ?? []).some((one) => one.nodePort === port && (one.protocol ?? 'TCP') === upper),
        );
  const service = byAddress ?? byNodePort;
  if (service !== undefined) {
    const servicePort = (service.spec?.ports ?? []).find(
      (one) =>
        (byAddress === undefined ? one.nodePort === port : one.port === port) && (one.protocol ?? 'TCP') === upper,
    );
    const facts = factsOfService(objects, service, servicePort);
    const servers = facts.endpoints.filter(({ ready }) => ready).map((endpoint) => serverOf(objects, endpoint));
    return { servers, service: facts };
  }
  return { servers: [serverOf(objects, { address, port, ready: true, pod: undefined, node: undefined })] };
}

function serviceWith({ services }: NetworkObjects, address: string): V1Service | undefined {
  return services.find(({ spec, status }) =>
    [
      ...(spec?.clusterIPs ?? [spec?.clusterIP ?? '']),
      ...(spec?.externalIPs ?? []),
      ...(status?.loadBalancer?.ingress ?? []).map(({ ip }) => ip),
    ].includes(address),
  );
}

function factsOfService(
  { slices, pods }: NetworkObjects,
  { metadata, spec }: V1Service,
  port: V1ServicePort | undefined,
): ServiceFacts {
  const own = slices.filter(
    (slice) =>
      slice.metadata?.namespace === metadata?.namespace &&
      slice.metadata?.labels?.['kubernetes.io/service-name'] === metadata?.name,
  );
  const selector = Object.entries(spec?.selector ?? {});
  const selected = pods.filter(
    (pod) =>
      selector.length > 0 &&
      pod.metadata?.namespace === metadata?.namespace &&
      pod.metadata?.deletionTimestamp === undefined &&
      selector.every(([key, value]) => pod.metadata?.labels?.[key] === value),
  );
  const endpoints = own.flatMap((slice): Endpoint[] =>
    (slice.endpoints ?? []).flatMap(({ addresses, conditions, targetRef, nodeName }) =>
      (slice.ports ?? [])
        .filter((one) => port !== undefined && (one.name ?? '') === (port.name ?? '') && one.port !== undefined)
        .flatMap((one) =>
          addresses.map((address) => ({
            address,
            port: one.port ?? 0,
            ready: conditions?.ready !== false,
            pod: targetRef?.kind === 'Pod' ? `${targetRef.namespace}/${targetRef.name}` : undefined,
            node: nodeName,
          })),
        ),
    ),
  );
  return {
    name: `${metadata?.namespace}/${metadata?.name}`,
    type: spec?.type ?? 'ClusterIP',
    hasPort: port !== undefined,
    ports: (spec?.ports ?? []).map((one) => `${one.port}/${(one.protocol ?? 'TCP').toLowerCase()}`),
    selector: selector.map(([key, value]) => `${key}=${value}`).join(','),
    endpoints,
    selected: selected.map((pod) => {
      const { name, ready, phase } = partyOfPod(pod);
      return { name, ready: ready === true, phase: phase ?? 'Unknown' };
    }),
    localOnly: spec?.internalTrafficPolicy === 'Local',
  };
}

function serverOf(
  objects: NetworkObjects,
  { address, port, pod: podName }: Endpoint,
): Party & { readonly port: number } {
  const pod = objects.pods.find((one) =>
    podName === undefined
      ? one.spec?.hostNetwork !== true &&
        (one.status?.podIPs ?? []).some(({ ip }) => ip === address) &&
        one.status?.phase === 'Running'
      : `${one.metadata?.namespace}/${one.metadata?.name}` === podName,
  );
  if (pod !== undefined) return { ...partyOfPod(pod), port };
  const node = objects.nodes.find((one) => addressesOfNode(one).includes(address));
  if (node !== undefined) return { ...partyOfNode(node), port };
  return { kind: 'outside', name: address, node: undefined, addresses: [address], port };
}
