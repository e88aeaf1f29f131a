// SPDX-License-Identifier: Apache-2.0
/** The objects of a cluster that a diagnosis looks at, read at one go. Kinds that may not be read are gaps, not errors. */
import type {
  CoreV1Event,
  V1ConfigMap,
  V1CSINode,
  V1EndpointSlice,
  V1Lease,
  V1Node,
  V1Pod,
  V1Service,
} from '@kubernetes/client-node';
import type { KubeClients } from '../../suites/kube-clients.ts';
import { readableMessage } from '../execute/failure.ts';
import { isRecord, toDocuments, type SourceDocument } from '../cli/policy-documents.ts';

export interface ClusterObjects {
  readonly nodes: readonly V1Node[];
  readonly pods: readonly V1Pod[];
  readonly services: readonly V1Service[];
  readonly endpointSlices: readonly V1EndpointSlice[];
  readonly leases: readonly V1Lease[];
  readonly csiNodes: readonly V1CSINode[];
  /** Of namespace kube-system. */
  readonly configMaps: readonly V1ConfigMap[];
  readonly events: readonly CoreV1Event[];
  /** Everything that decides on policy, as `plumb policy` reads it. */
  readonly documents: readonly SourceDocument[];
}

const paths = {
  nodes: '/api/v1/nodes',
  pods: '/api/v1/pods',
  services: '/api/v1/services',
  endpointSlices: '/apis/discovery.k8s.io/v1/endpointslices',
  leases: '/apis/coordination.k8s.io/v1/leases',
  csiNodes: '/apis/storage.k8s.io/v1/csinodes',
  configMaps: '/api/v1/namespaces/kube-system/configmaps',
  events: '/api/v1/events',
  namespaces: '/api/v1/namespaces',
  networkPolicies: '/apis/networking.k8s.io/v1/networkpolicies',
  clusterNetworkPolicies: '/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies',
} as const;
type Kind = keyof typeof paths;

/** What decides on policy; the rest of `paths` is only for other questions. */
const forPolicy: readonly Kind[] = [
  'nodes',
  'pods',
  'services',
  'endpointSlices',
  'namespaces',
  'networkPolicies',
  'clusterNetworkPolicies',
];

export async function readClusterObjects(
  kube: KubeClients,
  signal: AbortSignal,
): Promise<{ objects: ClusterObjects; gaps: string[] }> {
  const gaps: string[] = [];
  const lists = new Map<Kind, unknown>();
  await Promise.all(
    Object.entries(paths).map(async ([kind, path]) => {
      try {
        const response = await kube.request({ path, signal });
        if (response.status === 200) lists.set(kind as Kind, response.json());
        // Not every cluster serves cluster-wide policies or drivers for storage.
        else if (response.status !== 404)
          gaps.push(`${kind} could not be read: GET ${path} answered ${response.status}`);
      } catch (error) {
        signal.throwIfAborted();
        gaps.push(`${kind} could not be read: ${readableMessage(error)}`);
      }
    }),
  );
  const items = <T>(kind: Kind): T[] => (lists.get(kind) as { items?: T[] } | undefined)?.items ?? [];
  const documents = forPolicy.flatMap((kind) => {
    const list = lists.get(kind);
    return isRecord(list) ? toDocuments(list, 'the cluster').map((one) => ({ ...one, origin: 'the cluster' })) : [];
  });
  return {
    objects: {
      nodes: items('nodes'),
      pods: items('pods'),
      services: items('services'),
      endpointSlices: items('endpointSlices'),
      leases: items('leases'),
      csiNodes: items('csiNodes'),
      configMaps: items('configMaps'),
      events: items('events'),
      documents,
    },
    gaps,
  };
}
