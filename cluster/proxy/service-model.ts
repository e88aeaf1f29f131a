// SPDX-License-Identifier: Apache-2.0
// Services and EndpointSlices reduced to what a node's data path needs, one address family at a time. Pure.

import { familyOf } from '../network/addresses.ts';
import type { EndpointSlice, Service } from '../machinery/api-types.ts';
import type { IpFamily } from '../network/addresses.ts';

/** One port of one Service, as reachable in one address family. */
export interface ServicePort {
  readonly namespace: string;
  readonly name: string;
  /** Name of the port; empty when the Service has a single unnamed one. */
  readonly portName: string;
  /** `tcp`, `udp` or `sctp`. */
  readonly protocol: string;
  readonly port: number;
  readonly clusterIP: string;
  readonly nodePort: number | undefined;
  /** Where load balancers ask whether this node has endpoints (externalTrafficPolicy Local). */
  readonly healthCheckNodePort: number | undefined;
  readonly externalIPs: readonly string[];
  readonly loadBalancerIPs: readonly string[];
  readonly loadBalancerSourceRanges: readonly string[];
  /** Seconds for which a client stays with its endpoint; undefined without ClientIP affinity. */
  readonly affinitySeconds: number | undefined;
  readonly externalLocal: boolean;
  readonly internalLocal: boolean;
}

/** One address behind one port of a Service. */
export interface Backend {
  readonly address: string;
  readonly port: number;
  /** Runs on this node. */
  readonly local: boolean;
  readonly ready: boolean;
  readonly serving: boolean;
  readonly terminating: boolean;
  readonly forZones: readonly string[];
  readonly forNodes: readonly string[];
}

export interface NodeIdentity {
  readonly name: string;
  readonly zone: string | undefined;
}

const defaultAffinitySeconds = 10_800;

/** The ports to program for a Service; none for headless and ExternalName Services or another family's. */
export function servicePorts(service: Service, family: IpFamily): ServicePort[] {
  const { spec, metadata } = service;
  if (spec?.clusterIP === undefined || spec.type === 'ExternalName') return [];
  if (metadata.labels?.['service.kubernetes.io/service-proxy-name'] !== undefined) return [];
  const ofFamily = (addresses: readonly string[]): string[] => [
    ...new Set(addresses.filter((address) => familyOf(address) === family)),
  ];
  const [clusterIP] = ofFamily(spec.clusterIPs ?? [spec.clusterIP]);
  if (clusterIP === undefined) return [];
  const ingress = service.status?.loadBalancer?.ingress ?? [];
  const common = {
    namespace: metadata.namespace ?? '',
    name: metadata.name ?? '',
    clusterIP,
    externalIPs: ofFamily(spec.externalIPs ?? []),
    loadBalancerIPs:
      spec.type === 'LoadBalancer'
        ? ofFamily(ingress.flatMap((i) => (i.ip && i.ipMode !== 'Proxy' ? [i.ip] : [])))
        : [],
    loadBalancerSourceRanges: (spec.loadBalancerSourceRanges ?? []).filter(
      (range) => familyOf(range.trim().split('/')[0] ?? '') === family,
    ),
    affinitySeconds:
      spec.sessionAffinity === 'ClientIP'
        ? (spec.sessionAffinityConfig?.clientIP?.timeoutSeconds ?? defaultAffinitySeconds)
        : undefined,
    healthCheckNodePort: spec.healthCheckNodePort === 0 ? undefined : spec.healthCheckNodePort,
    externalLocal: spec.externalTrafficPolicy === 'Local',
    internalLocal: spec.internalTrafficPolicy === 'Local',
  };
  return (spec.ports ?? []).map((port) => ({
    ...common,
    portName: port.name ?? '',
    protocol: (port.protocol ?? 'TCP').toLowerCase(),
    port: port.port,
    nodePort: port.nodePort === undefined || port.nodePort === 0 ? undefined : port.nodePort,
  }));
}

/** The backends of one Service by port name, from all of its slices of one family. Duplicates count once. */
export function backendsByPort(
  slices: readonly EndpointSlice[],
  node: NodeIdentity,
  family: IpFamily,
): Map<string, Backend[]> {
  const byPort = new Map<string, Map<string, Backend>>();
  for (const slice of slices) {
    if (slice.addressType !== `IPv${family}`) continue;
    for (const port of slice.ports ?? []) {
      if (port.port === undefined) continue;
      const key = `${port.name ?? ''}/${(port.protocol ?? 'TCP').toLowerCase()}`;
      let backends = byPort.get(key);
      if (backends === undefined) byPort.set(key, (backends = new Map()));
      for (const endpoint of slice.endpoints ?? []) {
        const address = endpoint.addresses[0];
        if (address === undefined) continue;
        const ready = endpoint.conditions?.ready ?? true;
        const backend: Backend = {
          address,
          port: port.port,
          local: endpoint.nodeName === node.name,
          ready,
          serving: endpoint.conditions?.serving ?? ready,
          terminating: endpoint.conditions?.terminating ?? false,
          forZones: (endpoint.hints?.forZones ?? []).map((zone) => zone.name),
          forNodes: (endpoint.hints?.forNodes ?? []).map((hint) => hint.name),
        };
        const id = `${address}:${port.port}`;
        // A pod that moves between slices is listed twice for a moment; the ready listing wins.
        if (!backends.has(id) || backend.ready) backends.set(id, backend);
      }
    }
  }
  return new Map([...byPort].map(([key, backends]) => [key, sortedBackends(backends)]));
}

/** Backends that packets may be sent to, by the two traffic policies. */
export interface UsableBackends {
  readonly cluster: readonly Backend[];
  readonly local: readonly Backend[];
}

/**
 * Ready backends; where there are none, those that terminate but still serve, so that the last pods of a roll-out can
 * finish. Topology hints narrow the cluster-wide choice when every ready backend carries them and one fits this node.
 */
export function usableBackends(backends: readonly Backend[], node: NodeIdentity): UsableBackends {
  const local = readyOrDraining(backends.filter((backend) => backend.local));
  const ready = backends.filter((backend) => backend.ready);
  if (ready.length === 0) return { cluster: readyOrDraining(backends), local };
  return { cluster: hinted(ready, node), local };
}

function readyOrDraining(backends: readonly Backend[]): readonly Backend[] {
  const ready = backends.filter((backend) => backend.ready);
  return ready.length > 0 ? ready : backends.filter((backend) => backend.serving && backend.terminating);
}

function hinted(ready: readonly Backend[], node: NodeIdentity): readonly Backend[] {
  if (ready.every((backend) => backend.forNodes.length > 0)) {
    const here = ready.filter((backend) => backend.forNodes.includes(node.name));
    if (here.length > 0) return here;
  }
  const { zone } = node;
  if (zone !== undefined && ready.every((backend) => backend.forZones.length > 0)) {
    const here = ready.filter((backend) => backend.forZones.includes(zone));
    if (here.length > 0) return here;
  }
  return ready;
}

function sortedBackends(backends: ReadonlyMap<string, Backend>): Backend[] {
  return [...backends].toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)).map(([, backend]) => backend);
}
