// SPDX-License-Identifier: Apache-2.0
// The zone's view of the cluster, kept by informers. Objects are stripped to what names are made of.

import { Informer } from '../machinery/informer.ts';
import { resources } from '../machinery/resources.ts';
import type { EndpointSlice, Namespace, ObjectMeta, Pod, Service } from '../machinery/api-types.ts';
import type { Client } from '../machinery/client.ts';
import type { ClusterState } from './zone.ts';

export interface WatchedState extends ClusterState {
  readonly synced: boolean;
  /** Seconds since the epoch of the last change. */
  readonly serial: number;
  start(signal: AbortSignal): Promise<void>;
}

const serviceNameLabel = 'kubernetes.io/service-name';

/** `watchPods` is needed only to verify pod records. */
export function watchCluster(client: Client, options: { readonly watchPods: boolean }): WatchedState {
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
  const pods = options.watchPods
    ? new Informer<Pod>(client, resources.pods, {
        indexers: {
          address: ({ metadata, status }) => (status?.podIPs ?? []).map(({ ip }) => `${metadata.namespace}/${ip}`),
        },
        transform: ({ metadata, status }) => ({
          metadata: leanMeta(metadata),
          status: status?.podIPs === undefined ? {} : { podIPs: status.podIPs },
        }),
      })
    : undefined;
  let serial = Math.floor(Date.now() / 1000);
  const changed = (): void => {
    serial = Math.floor(Date.now() / 1000);
  };
  services.onChange(changed);
  slices.onChange(changed);
  return {
    service: (namespace, name) => services.get(name, namespace),
    slices: (namespace, name) => slices.byIndex('service', `${namespace}/${name}`),
    hasNamespace: (name) => namespaces.get(name) !== undefined,
    servicesWithAddress: (address) => services.byIndex('address', address),
    slicesWithAddress: (address) => slices.byIndex('address', address),
    hasPod: (namespace, address) => (pods?.byIndex('address', `${namespace}/${address}`).length ?? 0) > 0,
    get synced() {
      return services.synced && slices.synced && namespaces.synced && pods?.synced !== false;
    },
    get serial() {
      return serial;
    },
    start: async (signal) => {
      await Promise.all([services, slices, namespaces, pods].map((informer) => informer?.start(signal)));
    },
  };
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
  return {
    metadata: { ...leanMeta(slice.metadata), ...(label && { labels: { [serviceNameLabel]: label } }) },
    addressType: slice.addressType,
    ...(slice.ports && { ports: slice.ports }),
    endpoints: (slice.endpoints ?? []).map(({ addresses, conditions, hostname }) => ({
      addresses,
      ...(conditions && { conditions }),
      ...(hostname && { hostname }),
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
