// SPDX-License-Identifier: Apache-2.0
/** Where to capture: the interfaces of pods, their other ends on the node, tunnels, and the node's uplinks, read off what the node shows. Pure. */
import type { Link, NetworkNamespace, NodeState } from '../node-state/node-state.ts';

export interface CapturePoint {
  readonly node: string;
  /** `pod`: within the pod. `host-side`: the node's end of the pod's interface. */
  readonly kind: 'pod' | 'host-side' | 'tunnel' | 'uplink';
  /** Name of the interface where it is. */
  readonly interface: string;
  /** Of a process in whose network namespace the interface is; absent: the node's own. */
  readonly pid?: number;
  /** The pod that it belongs to. */
  readonly pod?: { readonly namespace: string; readonly name: string };
  /** `node/namespace/pod/eth0`, `node/veth1a2b`. */
  readonly name: string;
}

export interface PodOnNode {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly addresses: readonly string[];
}

const tunnelKinds = new Set(['vxlan', 'geneve', 'ipip', 'sit', 'gre', 'gretap', 'ip6tnl', 'wireguard', 'tun', 'xfrm']);

/** The pod's network namespace: by its uid, or else by an address of the pod. */
export function namespaceOf(state: NodeState, pod: PodOnNode): NetworkNamespace | undefined {
  return (
    state.namespaces.find(({ podUid }) => podUid === pod.uid) ??
    state.namespaces.find(({ links }) =>
      links.some(({ addresses }) => addresses.some(({ address }) => pod.addresses.includes(address))),
    )
  );
}

/** Empty for a pod in the host network, or one whose processes are not to be seen. */
export function pointsOfPod(state: NodeState, pod: PodOnNode): CapturePoint[] {
  const namespace = namespaceOf(state, pod);
  if (namespace === undefined) return [];
  const { node } = state;
  const owner = { namespace: pod.namespace, name: pod.name };
  return namespace.links.filter(isOpen).flatMap((link): CapturePoint[] => {
    const inside: CapturePoint = {
      node,
      kind: 'pod',
      interface: link.name,
      pid: namespace.pid,
      pod: owner,
      name: `${node}/${pod.namespace}/${pod.name}/${link.name}`,
    };
    const outside = otherEnd(state, link);
    if (outside === undefined) return [inside];
    const name = `${node}/${outside.name}`;
    return [inside, { node, kind: 'host-side', interface: outside.name, pod: owner, name }];
  });
}

/** Interfaces that lead to other nodes and to the world, and the tunnels between nodes. */
export function pointsOfNode(state: NodeState, nodeAddresses: readonly string[]): CapturePoint[] {
  const { node } = state;
  const defaults = new Set(
    state.routes
      .filter(({ destination }) => destination === '0.0.0.0/0' || destination === '::/0')
      .flatMap(({ nextHops }) => nextHops.map(({ device }) => device)),
  );
  const points: CapturePoint[] = [];
  for (const link of state.links.filter(isOpen)) {
    const leadsOut = defaults.has(link.name) || link.addresses.some(({ address }) => nodeAddresses.includes(address));
    const kind = link.kind !== undefined && tunnelKinds.has(link.kind) ? 'tunnel' : leadsOut ? 'uplink' : undefined;
    if (kind !== undefined) points.push({ node, kind, interface: link.name, name: `${node}/${link.name}` });
  }
  return points;
}

function isOpen({ type, flags, name }: Link): boolean {
  return type !== 'loopback' && name !== 'lo' && flags.includes('UP');
}

/** By the numbers that both ends have of each other; a number alone may occur in every namespace. */
function otherEnd(state: NodeState, { index, peerIndex, kind }: Link): Link | undefined {
  if (peerIndex === undefined || (kind !== 'veth' && kind !== undefined)) return undefined;
  return state.links.find((link) => link.index === peerIndex && link.peerIndex === index && link.kind === 'veth');
}
