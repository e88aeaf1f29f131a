// SPDX-License-Identifier: Apache-2.0
// Services and EndpointSlices cut down to what the rules depend on, as every node of the cluster keeps all of them.

import type { EndpointSlice, ObjectMeta, Service } from '../machinery/api-types.ts';

const serviceNameLabel = 'kubernetes.io/service-name';

/** `namespace/name` of the Service that a slice belongs to. */
export function serviceKey(slice: ObjectMeta): string {
  return `${slice.namespace}/${slice.labels?.[serviceNameLabel] ?? ''}`;
}

export function leanService({ metadata, spec, status }: Service): Service {
  const { labels } = metadata;
  return {
    metadata: { ...leanMeta(metadata), ...(labels && { labels }) },
    ...(spec && { spec }),
    ...(status && { status }),
  };
}

export function leanSlice(slice: EndpointSlice): EndpointSlice {
  const { labels, annotations } = slice.metadata;
  return {
    metadata: { ...leanMeta(slice.metadata), ...(labels && { labels }), ...(annotations && { annotations }) },
    addressType: slice.addressType,
    ...(slice.ports && { ports: slice.ports }),
    endpoints: (slice.endpoints ?? []).map(({ addresses, conditions, nodeName, hints }) => ({
      addresses,
      ...(conditions && { conditions }),
      ...(nodeName && { nodeName }),
      ...(hints && { hints }),
    })),
  };
}

function leanMeta({ name, namespace, resourceVersion, uid }: ObjectMeta): ObjectMeta {
  return {
    ...(name && { name }),
    ...(namespace && { namespace }),
    ...(resourceVersion && { resourceVersion }),
    ...(uid && { uid }),
  };
}
