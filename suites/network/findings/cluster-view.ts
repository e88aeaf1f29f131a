// SPDX-License-Identifier: Apache-2.0
/** States of nodes and objects of the API brought together: which addresses are whose. */
import type { V1Node, V1Pod } from '@kubernetes/client-node';
import type { Family, Link, NetworkNamespace, NodeState } from '../../../probes/node-state/node-state.ts';
import { familyOf } from '../../../probes/node-state/rules/addresses.ts';
import { routeLookup, type RouteLookup } from '../../../probes/node-state/rules/route-lookup.ts';
import { recogniseProviders, type Provider } from '../../../probes/node-state/provider.ts';
import type { ApiObjects } from './finding.ts';

export interface NodeView {
  readonly name: string;
  readonly state: NodeState;
  readonly node: V1Node;
  readonly addresses: readonly string[];
  readonly routes: RouteLookup;
  /** Device that leads out of the node, per family: the one of the node's own address. */
  readonly uplink: (family: Family) => Link | undefined;
  readonly providers: readonly Provider[];
}

export interface PodView {
  readonly name: string;
  readonly uid: string;
  readonly node: string;
  readonly addresses: readonly string[];
}

export interface ClusterView {
  readonly nodes: readonly NodeView[];
  /** Running pods with an address of their own. */
  readonly pods: readonly PodView[];
  readonly owners: ReadonlyMap<string, string>;
  readonly api: ApiObjects;
}

/** A node of which these could not be read is not judged. */
const essential = new Set(['links', 'routes4', 'routes6', 'rules4', 'rules6']);

export function clusterView(states: readonly NodeState[], api: ApiObjects): ClusterView {
  const nodes = states.flatMap((state): NodeView[] => {
    const node = api.nodes.find(({ metadata }) => metadata?.name === state.node);
    if (node === undefined || state.gaps.some(({ section }) => essential.has(section))) return [];
    const addresses = internalAddresses(node);
    return [
      {
        name: state.node,
        state,
        node,
        addresses,
        routes: routeLookup(state),
        uplink: (family) =>
          state.links.find((link) =>
            link.addresses.some((one) => one.family === family && addresses.includes(one.address)),
          ),
        providers: recogniseProviders(state),
      },
    ];
  });
  return {
    nodes,
    pods: podViews(api),
    owners: new Map(
      api.nodes.flatMap((node) => internalAddresses(node).map((one) => [one, node.metadata?.name ?? ''])),
    ),
    api,
  };
}

export function internalAddresses(node: V1Node): string[] {
  return (node.status?.addresses ?? []).filter(({ type }) => type === 'InternalIP').map(({ address }) => address);
}

export function podViews({ pods }: ApiObjects): PodView[] {
  return pods.flatMap(podView);
}

function podView({ metadata, spec, status }: V1Pod): PodView[] {
  const addresses = (status?.podIPs ?? []).map(({ ip }) => ip);
  if (spec?.hostNetwork === true || status?.phase !== 'Running' || addresses.length === 0) return [];
  // One that is going may have lost its wires already.
  if (metadata?.deletionTimestamp !== undefined) return [];
  const isReady = status.containerStatuses?.some(({ state }) => state?.running !== undefined) === true;
  if (!isReady) return [];
  return [
    {
      name: `${metadata?.namespace}/${metadata?.name}`,
      uid: metadata?.uid ?? '',
      node: spec?.nodeName ?? '',
      addresses,
    },
  ];
}

/** The pod's own network namespace as the node shows it, found by the pod's uid or its address. */
export function namespaceOf(pod: PodView, { state }: NodeView): NetworkNamespace | undefined {
  return state.namespaces.find(
    ({ podUid, links }) =>
      podUid === pod.uid ||
      links.some(({ addresses }) =>
        addresses.some(({ address, scope }) => scope === 'global' && pod.addresses.includes(address)),
      ),
  );
}

/** The pod's device with that address, and the device at its other end. */
export function wireOf(
  pod: PodView,
  view: NodeView,
): { readonly inside: Link; readonly host: Link | undefined; readonly namespace: NetworkNamespace } | undefined {
  const namespace = namespaceOf(pod, view);
  const inside = namespace?.links.find(({ addresses }) =>
    addresses.some(({ address }) => pod.addresses.includes(address)),
  );
  if (namespace === undefined || inside === undefined) return undefined;
  const host = view.state.links.find(
    ({ index, kind, peerIndex }) => index === inside.peerIndex && (kind !== 'veth' || peerIndex === inside.index),
  );
  return { inside, host, namespace };
}

export function familyOfAddress(address: string): Family {
  return familyOf(address) ?? 4;
}
