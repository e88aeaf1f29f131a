// SPDX-License-Identifier: Apache-2.0
// The zone's view of the cluster, kept by informers. Objects are stripped to what names are made of.

import { Informer } from '../machinery/informer.ts';
import { resources } from '../machinery/resources.ts';
import { Changes, partOf } from './changes.ts';
import type { EndpointSlice, Namespace, ObjectMeta, Pod, Service } from '../machinery/api-types.ts';
import type { Client } from '../machinery/client.ts';
import type { ClusterState } from './zone.ts';

export interface WatchedState extends ClusterState {
  readonly synced: boolean;
  /** Seconds since the epoch of the last change. */
  readonly serial: number;
  /** Of what names are made of. */
  readonly changes: Changes;
  /** Namespace of the pod with this address in the pods' network, if pods are watched. */
  namespaceOf(address: string): string | undefined;
  /** Resolves when everything is known. Pods are many, and needed only to verify pod records and for autopath. */
  start(signal: AbortSignal, options: { readonly pods: boolean }): Promise<void>;
}

const serviceNameLabel = 'kubernetes.io/service-name';
const triggerAnnotation = 'endpoints.kubernetes.io/last-change-trigger-time';

/** `onProgrammed` is told how many seconds after its cause a change of a headless Service's endpoints arrived here. */
export function watchCluster(
  client: Pick<Client, 'list' | 'watch'>,
  onProgrammed: (seconds: number) => void,
): WatchedState {
  const services = new Informer<Service>(client, resources.services, {
    indexers: { address: ({ spec }) => spec?.clusterIPs ?? [spec?.clusterIP ?? ''] },
    transform: leanService,
  });
  const slices = new Informer<EndpointSlice>(client, resources.endpointSlices, {
    indexers: {
      service: ({ metadata }) => [`${metadata.namespace}/${metadata.labels?.[serviceNameLabel] ?? ''}`],
      address: ({ endpoints }) => [...new Set((endpoints ?? []).flatMap(({ addresses }) => addresses))],
    },
    transform: leanSlice,
  });
  const namespaces = new Informer<Namespace>(client, resources.namespaces, {
    transform: ({ metadata }) => ({ metadata: leanMeta(metadata) }),
  });
  const pods = new Informer<Pod>(client, resources.pods, {
    indexers: {
      namespacedAddress: (pod) => podAddresses(pod).map((ip) => `${pod.metadata.namespace}/${ip}`),
      address: podAddresses,
    },
    transform: ({ metadata, spec, status }) => ({
      metadata: leanMeta(metadata),
      spec: { containers: [], ...(spec?.hostNetwork === true && { hostNetwork: true }) },
      status: {
        ...(status?.podIPs && { podIPs: status.podIPs }),
        ...(status?.phase && { phase: status.phase }),
      },
    }),
  });
  let serial = Math.floor(Date.now() / 1000);
  const changes = new Changes();
  const changed = (parts: Iterable<string>): void => {
    serial = Math.floor(Date.now() / 1000);
    changes.note(parts);
  };
  services.onChange(({ object, old }) => changed([...partsOfService(object), ...(old ? partsOfService(old) : [])]));
  slices.onChange(({ object, old }) => changed([...partsOfSlice(object), ...(old ? partsOfSlice(old) : [])]));
  slices.onChange(({ type, object, old }) => {
    const trigger = object.metadata.annotations?.[triggerAnnotation];
    if (type === 'deleted' || !slices.synced || trigger === undefined) return;
    if (trigger === old?.metadata.annotations?.[triggerAnnotation]) return;
    const service = services.get(object.metadata.labels?.[serviceNameLabel] ?? '', object.metadata.namespace ?? '');
    if (service?.spec?.clusterIP === 'None') onProgrammed((Date.now() - Date.parse(trigger)) / 1000);
  });
  namespaces.onChange(({ type, object }) => {
    if (type !== 'updated') changed([partOf.namespace(object.metadata.name ?? '')]);
  });
  pods.onChange(({ type, object, old }) => {
    if (type === 'updated' && old !== undefined && podAddresses(object).join() === podAddresses(old).join()) return;
    const { namespace = '' } = object.metadata;
    const addresses = [...podAddresses(object), ...(old ? podAddresses(old) : [])];
    changed(addresses.map((address) => partOf.podAddress(namespace, address)));
  });
  let base: Promise<unknown> | undefined;
  let podsStarted: Promise<void> | undefined;
  return {
    service: (namespace, name) => services.get(name, namespace),
    slices: (namespace, name) => slices.byIndex('service', `${namespace}/${name}`),
    hasNamespace: (name) => namespaces.get(name) !== undefined,
    servicesWithAddress: (address) => services.byIndex('address', address),
    slicesWithAddress: (address) => slices.byIndex('address', address),
    hasPod: (namespace, address) => pods.byIndex('namespacedAddress', `${namespace}/${address}`).length > 0,
    namespaceOf: (address) =>
      pods
        .byIndex('address', address)
        .find(({ spec, status }) => spec?.hostNetwork !== true && !hasEnded(status?.phase))?.metadata.namespace,
    get synced() {
      return services.synced && slices.synced && namespaces.synced && (podsStarted === undefined || pods.synced);
    },
    get serial() {
      return serial;
    },
    changes,
    start: async (signal, options) => {
      base ??= Promise.all([services.start(signal), slices.start(signal), namespaces.start(signal)]);
      if (options.pods) podsStarted ??= pods.start(signal);
      await Promise.all([base, podsStarted]);
    },
  };
}

function partsOfService({ metadata, spec }: Service): string[] {
  const addresses = spec?.clusterIPs ?? [spec?.clusterIP ?? ''];
  return [partOf.service(metadata.namespace ?? '', metadata.name ?? ''), ...addresses.map(partOf.address)];
}

function partsOfSlice({ metadata, endpoints }: EndpointSlice): string[] {
  const addresses = (endpoints ?? []).flatMap((endpoint) => endpoint.addresses);
  const service = metadata.labels?.[serviceNameLabel] ?? '';
  return [partOf.slices(metadata.namespace ?? '', service), ...addresses.map(partOf.address)];
}

function podAddresses({ status }: Pod): string[] {
  return (status?.podIPs ?? []).flatMap(({ ip }) => ip ?? []);
}

function hasEnded(phase: string | undefined): boolean {
  return phase === 'Succeeded' || phase === 'Failed';
}

function leanService({ metadata, spec }: Service): Service {
  return {
    metadata: leanMeta(metadata),
    spec: {
      ...(spec?.type && { type: spec.type }),
      ...(spec?.clusterIP && { clusterIP: spec.clusterIP }),
      ...(spec?.clusterIPs && { clusterIPs: spec.clusterIPs }),
      ...(spec?.externalName && { externalName: spec.externalName }),
      ...(spec?.publishNotReadyAddresses && { publishNotReadyAddresses: true }),
      ports: (spec?.ports ?? []).map(({ name, protocol, port }) => ({
        port,
        ...(name && { name }),
        ...(protocol && { protocol }),
      })),
    },
  };
}

function leanSlice(slice: EndpointSlice): EndpointSlice {
  const label = slice.metadata.labels?.[serviceNameLabel];
  const trigger = slice.metadata.annotations?.[triggerAnnotation];
  return {
    metadata: {
      ...leanMeta(slice.metadata),
      ...(label && { labels: { [serviceNameLabel]: label } }),
      ...(trigger && { annotations: { [triggerAnnotation]: trigger } }),
    },
    addressType: slice.addressType,
    ...(slice.ports && { ports: slice.ports }),
    endpoints: (slice.endpoints ?? []).map(({ addresses, conditions, hostname, targetRef }) => ({
      addresses,
      ...(conditions && { conditions }),
      ...(hostname && { hostname }),
      ...(targetRef?.kind === 'Pod' && targetRef.name && { targetRef: { kind: 'Pod', name: targetRef.name } }),
    })),
  };
}

function leanMeta({ name, namespace, uid, resourceVersion }: ObjectMeta): ObjectMeta {
  return {
    ...(name && { name }),
    ...(namespace && { namespace }),
    ...(uid && { uid }),
    ...(resourceVersion && { resourceVersion }),
  };
}
