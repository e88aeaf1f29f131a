// SPDX-License-Identifier: Apache-2.0
/** Which flows are tried to find out what works: a few for each kind of path, from pods and nodes that may use them. Pure. */
import type { V1Pod } from '@kubernetes/client-node';
import type { Observations, Party, PolicyOpinion } from '../../probes/trace/observations.ts';
import { addressesOfNode, type NetworkObjects } from '../target/network-objects.ts';
import { describeAddress, partyOfNode, partyOfPod } from './parties.ts';
import { isDnsService } from './workloads.ts';

export interface PlannedProbe {
  readonly from: Party;
  /** As it is told: `svc/shop/web:80`. */
  readonly to: string;
  readonly host: string;
  readonly port: number;
  readonly protocol: 'tcp' | 'udp' | 'http' | 'dns';
  readonly kind: 'dns' | 'zone' | 'service' | 'endpoint' | 'local-pod' | 'health' | 'node-port' | 'large' | 'forbidden';
  /** `namespace/name`. */
  readonly service?: string;
  /** Node of the server, where there is only one. */
  readonly toNode?: string;
  readonly payloadOctets?: number;
  /** Whose work the server does, where it is none of the users'. */
  readonly part?: 'storage' | 'dns';
  /** Of HTTP. */
  readonly path?: string;
  /** Of DNS: the domain that is asked about; absent: a name of the cluster. */
  readonly zone?: string;
  /** Of a forbidden flow. */
  readonly policies?: readonly string[];
}

export interface PlanInput {
  readonly objects: NetworkObjects;
  readonly opinions: (
    input: { from: Party; protocol: 'tcp' | 'udp'; throughService: boolean },
    servers: Observations['question']['servers'],
  ) => readonly PolicyOpinion[];
  /** Nodes that can be looked at. */
  readonly nodes: readonly string[];
  /** Domains that cluster DNS forwards to servers of their own. */
  readonly forwardedZones: readonly string[];
}

const most = {
  services: 60,
  endpoints: 60,
  dnsPods: 8,
  dnsPodsOfNamespace: 3,
  forbidden: 12,
  nodePorts: 12,
  local: 20,
  health: 30,
  zones: 4,
} as const;
export const largeOctets = 3_000;

export function planProbes(input: PlanInput): PlannedProbe[] {
  const { objects, nodes } = input;
  const vantages = nodes.flatMap((node) => vantagesOn(objects, node).slice(0, 40));
  const byNode = new Map(nodes.map((node) => [node, vantages.filter((pod) => pod.node === node)]));
  const fromNodes = nodes.flatMap((node) => {
    const here = byNode.get(node) ?? [];
    return [
      ...dnsProbes(input, here),
      ...serviceProbes(input, here, node),
      ...endpointProbes(input, here),
      ...localProbes(input, node),
      ...healthProbes(input, node),
      ...nodePortProbes(input, node),
      ...forbiddenProbes(input, here),
    ];
  });
  // Who asks matters little here: it is the servers behind cluster DNS that are asked about.
  const asking = fromNodes.find(({ kind, host }) => kind === 'dns' && host === '');
  return [...fromNodes, ...(asking === undefined ? [] : zoneProbes(asking, input.forwardedZones))];
}

function zoneProbes(asking: PlannedProbe, zones: readonly string[]): PlannedProbe[] {
  return zones.slice(0, most.zones).map((zone) => ({ ...asking, kind: 'zone', zone }));
}

/** What kubelets ask of programs over HTTP: a program that hangs is known by it before it is restarted. */
function healthProbes({ objects }: PlanInput, node: string): PlannedProbe[] {
  const from = nodeParty(objects, node);
  if (from === undefined) return [];
  return objects.pods
    .filter(({ spec, status }) => spec?.nodeName === node && status?.phase === 'Running' && status.podIP !== undefined)
    .flatMap((pod): PlannedProbe[] => {
      const party = partyOfPod(pod);
      const running = new Set(
        (pod.status?.containerStatuses ?? []).flatMap(({ name, state }) =>
          state?.running === undefined ? [] : [name],
        ),
      );
      const asked = (pod.spec?.containers ?? [])
        .filter(({ name }) => running.has(name))
        .flatMap((container) => {
          const get = container.livenessProbe?.httpGet ?? container.readinessProbe?.httpGet;
          const port = Number(container.ports?.find(({ name }) => name === get?.port)?.containerPort ?? get?.port);
          return get === undefined || get.scheme === 'HTTPS' || get.host !== undefined || Number.isNaN(port)
            ? []
            : [{ port, path: get.path ?? '/' }];
        });
      return asked.map(({ port, path }) => ({
        from,
        to: `${party.name}:${port}`,
        host: party.addresses[0] ?? '',
        port,
        path,
        protocol: 'http',
        kind: 'health',
        toNode: node,
        ...partOf(pod),
      }));
    })
    .slice(0, most.health);
}

/** Ready pods of their own network; those of different namespaces first. */
function vantagesOn({ pods }: NetworkObjects, node: string): Party[] {
  const running = pods.filter(isProbing).filter(({ spec }) => spec?.nodeName === node);
  const seen = new Map<string, number>();
  return running
    .map((pod) => {
      const namespace = pod.metadata?.namespace ?? '';
      const turn = seen.get(namespace) ?? 0;
      seen.set(namespace, turn + 1);
      return { party: partyOfPod(pod), turn, system: namespace.startsWith('kube-') ? 1 : 0 };
    })
    .toSorted((a, b) => a.turn - b.turn || a.system - b.system)
    .map(({ party }) => party);
}

function isProbing({ spec, status, metadata }: V1Pod): boolean {
  return (
    spec?.hostNetwork !== true &&
    status?.phase === 'Running' &&
    status.podIP !== undefined &&
    metadata?.deletionTimestamp === undefined
  );
}

/** Pods with the node's own resolver say nothing about cluster DNS. */
function asksCluster({ pods }: NetworkObjects, name: string): boolean {
  const pod = pods.find(({ metadata }) => `${metadata?.namespace}/${metadata?.name}` === name);
  return pod?.spec?.dnsPolicy !== 'Default';
}

/** Each pod asks the nameserver that it is told; who may ask it at all is for the policies to say elsewhere. */
function dnsProbes({ objects }: PlanInput, vantages: readonly Party[]): PlannedProbe[] {
  const service = objects.services.find(isDnsService);
  const [first] = vantages;
  const asking = vantages.filter(({ name }) => asksCluster(objects, name));
  const before = (party: Party, index: number): number =>
    asking.slice(0, index).filter(({ name }) => name.split('/')[0] === party.name.split('/')[0]).length;
  const chosen = asking.filter((party, index) => before(party, index) < most.dnsPodsOfNamespace).slice(0, most.dnsPods);
  const asked = chosen.map((from): PlannedProbe => ({
    from,
    to: "the pod's own nameserver",
    host: '',
    port: 53,
    protocol: 'dns',
    kind: 'dns',
    ...(service === undefined ? {} : { service: nameOf(service) }),
  }));
  if (service === undefined || first === undefined) return asked;
  const servers = describeAddress(objects, { address: service.spec?.clusterIP, port: 53, protocol: 'udp' }).servers;
  const direct = servers.map((server): PlannedProbe => ({
    from: first,
    to: `${server.name}:${server.port}`,
    host: server.addresses[0] ?? '',
    port: server.port,
    protocol: 'dns',
    kind: 'dns',
    service: nameOf(service),
    ...(server.node === undefined ? {} : { toNode: server.node }),
  }));
  return [...asked, ...direct];
}

function serviceProbes(input: PlanInput, vantages: readonly Party[], node: string): PlannedProbe[] {
  const { objects } = input;
  return objects.services.slice(0, most.services).flatMap((service) => {
    const address = service.spec?.clusterIP;
    if (address === undefined || address === 'None' || address === '' || isDnsService(service)) return [];
    return (service.spec?.ports ?? []).flatMap(({ port, protocol, name, appProtocol }): PlannedProbe[] => {
      if ((protocol ?? 'TCP') !== 'TCP') return [];
      const { servers } = describeAddress(objects, { address, port, protocol: 'tcp' });
      if (servers.length === 0) return [];
      const itself = nodeParty(objects, node);
      const from = [...vantages, ...(itself === undefined ? [] : [itself])].find((party) =>
        isAllowed(input, party, servers, true),
      );
      if (from === undefined) return [];
      const http = /^http(?!s)/.test(appProtocol ?? name ?? '');
      return [
        {
          from,
          to: `svc/${nameOf(service)}:${port}`,
          host: address,
          port,
          protocol: http ? 'http' : 'tcp',
          kind: 'service',
          service: nameOf(service),
        },
      ];
    });
  });
}

/** Each endpoint of a Service by itself: a Service hides which of them is broken. One large request goes to each other node as well. */
function endpointProbes(input: PlanInput, vantages: readonly Party[]): PlannedProbe[] {
  const { objects } = input;
  const found: PlannedProbe[] = [];
  const large = new Set<string>();
  for (const service of objects.services) {
    const address = service.spec?.clusterIP;
    if (address === undefined || address === '' || isDnsService(service)) continue;
    for (const { port, protocol, name, appProtocol } of service.spec?.ports ?? []) {
      if ((protocol ?? 'TCP') !== 'TCP') continue;
      const http = /^http(?!s)/.test(appProtocol ?? name ?? '');
      for (const server of describeAddress(objects, { address, port, protocol: 'tcp' }).servers.slice(0, 4)) {
        const from = vantages.find((party) => party.name !== server.name && isAllowed(input, party, [server], false));
        const host = server.addresses[0];
        if (from === undefined || host === undefined || found.length >= most.endpoints) continue;
        const probe: PlannedProbe = {
          from,
          to: `${server.name}:${server.port}`,
          host,
          port: server.port,
          protocol: http ? 'http' : 'tcp',
          kind: 'endpoint',
          service: nameOf(service),
          ...(server.node === undefined ? {} : { toNode: server.node }),
        };
        found.push(probe);
        if (
          http &&
          server.kind === 'pod' &&
          server.node !== undefined &&
          server.node !== from.node &&
          !large.has(server.node)
        ) {
          large.add(server.node);
          found.push({ ...probe, kind: 'large', payloadOctets: largeOctets });
        }
      }
    }
  }
  return found;
}

/** What kubelets do: reach the pods of their own node from the node. */
function localProbes({ objects }: PlanInput, node: string): PlannedProbe[] {
  const from = nodeParty(objects, node);
  if (from === undefined) return [];
  const seen = new Set<string>();
  return objects.services
    .flatMap((service) => (service.spec?.ports ?? []).map((port) => ({ service, port })))
    .filter(({ service, port }) => (port.protocol ?? 'TCP') === 'TCP' && (service.spec?.clusterIP ?? '') !== '')
    .flatMap(({ service, port }): PlannedProbe[] =>
      describeAddress(objects, { address: service.spec?.clusterIP, port: port.port, protocol: 'tcp' })
        .servers.filter(
          (server) =>
            server.kind === 'pod' && server.node === node && server.hostNetwork !== true && !seen.has(server.name),
        )
        .map((server) => {
          seen.add(server.name);
          return {
            from,
            to: `${server.name}:${server.port}`,
            host: server.addresses[0] ?? '',
            port: server.port,
            protocol: 'tcp',
            kind: 'local-pod',
            toNode: node,
            service: nameOf(service),
          };
        }),
    )
    .slice(0, most.local);
}

/** Node plugins of storage are known by the folder in which the kubelet looks for them. */
function partOf({ metadata, spec }: V1Pod): Pick<PlannedProbe, 'part'> {
  if (metadata?.labels?.['k8s-app'] === 'kube-dns') return { part: 'dns' };
  const folders = (spec?.volumes ?? []).map(({ hostPath }) => hostPath?.path ?? '');
  return folders.some((path) => path.startsWith('/var/lib/kubelet')) ? { part: 'storage' } : {};
}

/** From one node to the next one's. */
function nodePortProbes({ objects, nodes }: PlanInput, node: string): PlannedProbe[] {
  const from = nodeParty(objects, node);
  const other = nodes[(nodes.indexOf(node) + 1) % nodes.length];
  const target = objects.nodes.find(({ metadata }) => metadata?.name === other);
  const host = target === undefined || other === node ? undefined : addressesOfNode(target)[0];
  if (from === undefined || host === undefined || other === undefined) return [];
  return objects.services
    .filter(({ spec }) => spec?.externalTrafficPolicy !== 'Local')
    .flatMap((service) =>
      (service.spec?.ports ?? []).flatMap(({ nodePort, protocol }): PlannedProbe[] => {
        if (nodePort === undefined || (protocol ?? 'TCP') !== 'TCP') return [];
        if (describeAddress(objects, { address: host, port: nodePort, protocol: 'tcp' }).servers.length === 0)
          return [];
        return [
          {
            from,
            to: `node/${other}:${nodePort}`,
            host,
            port: nodePort,
            protocol: 'tcp',
            kind: 'node-port',
            service: nameOf(service),
            toNode: other,
          },
        ];
      }),
    )
    .slice(0, most.nodePorts);
}

/** Flows that policies forbid: an open one shows that they are not enforced. */
function forbiddenProbes(input: PlanInput, vantages: readonly Party[]): PlannedProbe[] {
  const { objects } = input;
  const found: PlannedProbe[] = [];
  for (const service of objects.services) {
    for (const { port, protocol } of service.spec?.ports ?? []) {
      if ((protocol ?? 'TCP') !== 'TCP' || (service.spec?.clusterIP ?? '') === '') continue;
      for (const server of describeAddress(objects, {
        address: service.spec?.clusterIP,
        port,
        protocol: 'tcp',
      }).servers.slice(0, 3)) {
        if (server.kind !== 'pod' || found.length >= most.forbidden) continue;
        for (const from of vantages) {
          if (from.name === server.name) continue;
          const denied = input
            .opinions({ from, protocol: 'tcp', throughService: false }, [server])
            .filter(({ allowed }) => !allowed);
          if (denied.length === 0) continue;
          found.push({
            from,
            to: `${server.name}:${server.port}`,
            host: server.addresses[0] ?? '',
            port: server.port,
            protocol: 'tcp',
            kind: 'forbidden',
            ...(server.node === undefined ? {} : { toNode: server.node }),
            policies: denied.flatMap(({ policies }) => policies),
          });
          break;
        }
      }
    }
  }
  return found;
}

function isAllowed(
  input: PlanInput,
  from: Party,
  servers: Observations['question']['servers'],
  throughService: boolean,
): boolean {
  return input.opinions({ from, protocol: 'tcp', throughService }, servers).every(({ allowed }) => allowed);
}

function nodeParty({ nodes }: NetworkObjects, name: string): Party | undefined {
  const node = nodes.find(({ metadata }) => metadata?.name === name);
  return node === undefined ? undefined : partyOfNode(node);
}

function nameOf({ metadata }: { metadata?: { namespace?: string; name?: string } }): string {
  return `${metadata?.namespace}/${metadata?.name}`;
}
