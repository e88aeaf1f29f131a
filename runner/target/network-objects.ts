// SPDX-License-Identifier: Apache-2.0
/** The objects that a packet's way depends on, read once. */
import type { V1EndpointSlice, V1Namespace, V1NetworkPolicy, V1Node, V1Pod, V1Service } from '@kubernetes/client-node';
import type { KubeClients } from '../../suites/kube-clients.ts';

export interface NetworkObjects {
  readonly pods: readonly V1Pod[];
  readonly services: readonly V1Service[];
  readonly slices: readonly V1EndpointSlice[];
  readonly nodes: readonly V1Node[];
  readonly namespaces: readonly V1Namespace[];
  readonly policies: readonly V1NetworkPolicy[];
}

export async function readNetworkObjects({ core, discovery, networking }: KubeClients): Promise<NetworkObjects> {
  const [pods, services, slices, nodes, namespaces, policies] = await Promise.all([
    core.listPodForAllNamespaces(),
    core.listServiceForAllNamespaces(),
    discovery.listEndpointSliceForAllNamespaces(),
    core.listNode(),
    core.listNamespace(),
    networking.listNetworkPolicyForAllNamespaces(),
  ]);
  return {
    pods: pods.items,
    services: services.items,
    slices: slices.items,
    nodes: nodes.items,
    namespaces: namespaces.items,
    policies: policies.items,
  };
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
