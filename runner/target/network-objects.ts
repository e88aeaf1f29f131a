// SPDX-License-Identifier: Apache-2.0
/** The objects that a packet's way depends on, read once, as the API has them: dates are texts. */
import type { V1EndpointSlice, V1Node, V1Pod, V1Service } from '@kubernetes/client-node';
import type { KubeClients } from '../../suites/kube-clients.ts';

export interface NetworkObjects {
  readonly pods: readonly V1Pod[];
  readonly services: readonly V1Service[];
  readonly slices: readonly V1EndpointSlice[];
  readonly nodes: readonly V1Node[];
  /** As the API has them, for the oracle's own decoders. */
  readonly namespaces: readonly unknown[];
  readonly policies: readonly unknown[];
  /** Empty where the API does not know the kind. */
  readonly clusterPolicies: readonly unknown[];
}

/** Errors: one that names the list and the API server's answer. */
export async function readNetworkObjects(kube: KubeClients): Promise<NetworkObjects> {
  const list = async <T>(path: string, optional = false): Promise<T[]> => {
    const response = await kube.request({ path });
    if (optional && response.status === 404) return [];
    if (response.status !== 200) throw new Error(`GET ${path}: the API server answered ${response.status}`);
    return (response.json() as { readonly items: T[] }).items;
  };
  const [pods, services, slices, nodes, namespaces, policies, clusterPolicies] = await Promise.all([
    list<V1Pod>('/api/v1/pods'),
    list<V1Service>('/api/v1/services'),
    list<V1EndpointSlice>('/apis/discovery.k8s.io/v1/endpointslices'),
    list<V1Node>('/api/v1/nodes'),
    list<unknown>('/api/v1/namespaces'),
    list<unknown>('/apis/networking.k8s.io/v1/networkpolicies'),
    list<unknown>('/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies', true),
  ]);
  return { pods, services, slices, nodes, namespaces, policies, clusterPolicies };
}

/** Pods as `namespace/name`, Services as `svc/namespace/name`, nodes as `node/name`. Pods in a node's network go by the node's name. */
export function namesByAddress({ pods, services, nodes }: NetworkObjects): Map<string, string> {
  const names = new Map<string, string>();
  for (const { metadata, spec } of services)
    for (const address of spec?.clusterIPs ?? [spec?.clusterIP ?? ''])
      if (address !== '' && address !== 'None') names.set(address, `svc/${metadata?.namespace}/${metadata?.name}`);
  for (const { metadata, spec, status } of pods) {
    if (spec?.hostNetwork === true || status?.phase === 'Succeeded' || status?.phase === 'Failed') continue;
    for (const { ip } of status?.podIPs ?? []) names.set(ip, `${metadata?.namespace}/${metadata?.name}`);
  }
  for (const node of nodes)
    for (const address of addressesOfNode(node)) names.set(address, `node/${node.metadata?.name}`);
  return names;
}

export function addressesOfNode({ status }: V1Node): string[] {
  return (status?.addresses ?? [])
    .filter(({ type }) => type === 'InternalIP' || type === 'ExternalIP')
    .map(({ address }) => address);
}
