// SPDX-License-Identifier: Apache-2.0
/** What two looks at a node, before and after the attempt, say about it and its pods. Pure. */
import type { Link, Listener, NetworkNamespace, NodeState } from '../node-state/node-state.ts';
import type { NetworkFacts } from './observations.ts';

/** Interfaces of these kinds being down is no fault: nothing is behind them. */
const idleKinds = new Set([
  'dummy',
  'veth',
  'ifb',
  'sit',
  'ip6tnl',
  'gre',
  'gretap',
  'erspan',
  'ip_vti',
  'ip6_vti',
  'ipip',
  'bridge',
  'openvswitch',
]);

export function factsOfNode(before: NodeState | undefined, after: NodeState): NetworkFacts {
  const max = Number(after.sysctls['net/netfilter/nf_conntrack_max'] ?? Number.NaN);
  const count = Number(after.sysctls['net/netfilter/nf_conntrack_count'] ?? Number.NaN);
  const forward = after.sysctls['net/ipv4/ip_forward'];
  return {
    node: after.node,
    grown: {
      ...(before === undefined ? {} : grown(before.counters, after.counters)),
      ...(before === undefined ? {} : prefixed('conntrack.', grown(before.conntrack, after.conntrack))),
    },
    forwarding: forward === undefined ? undefined : forward !== '0',
    conntrackFull: Number.isNaN(max) || Number.isNaN(count) ? undefined : count >= max * 0.99,
    failedNeighbours: failed(after.neighbours),
    downInterfaces: down(after.links),
    listeners: after.listeners.map(listenerOf),
    mtus: mtusOf(after.links),
  };
}

export function factsOfPod(
  pod: string,
  {
    node,
    before,
    after,
  }: { readonly node: string; readonly before: NetworkNamespace | undefined; readonly after: NetworkNamespace },
): NetworkFacts {
  return {
    node,
    pod,
    grown: before === undefined ? {} : grown(before.counters, after.counters),
    forwarding: undefined,
    conntrackFull: undefined,
    failedNeighbours: failed(after.neighbours),
    downInterfaces: down(after.links),
    listeners: after.listeners.map(listenerOf),
    mtus: mtusOf(after.links),
  };
}

/** Counters that count trouble; the others grow all the time. */
const telling =
  /Error|Drop|Discard|NoRoute|NoPort|Overflow|ReversePath|FragFail|InAddr|Csum|early_drop|insert_failed|^drop$|invalid|search_restart|clash|Prune|Pressure|Full/i;

function grown(
  before: Readonly<Record<string, number>>,
  after: Readonly<Record<string, number>>,
): Record<string, number> {
  return Object.fromEntries(
    Object.entries(after)
      .map(([name, value]) => [name, value - (before[name] ?? 0)] as const)
      .filter(([name, by]) => by > 0 && telling.test(name)),
  );
}

function prefixed(prefix: string, values: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [prefix + name, value]));
}

function failed(neighbours: NodeState['neighbours']): string[] {
  return neighbours
    .filter(({ states }) => states.includes('FAILED') || states.includes('INCOMPLETE'))
    .map(({ address, device }) => `${address} dev ${device}`);
}

function down(links: readonly Link[]): string[] {
  return links
    .filter(({ flags, state, kind, name, addresses }) => {
      if (name === 'lo') return !flags.includes('UP');
      const useful = addresses.some(({ scope }) => scope === 'global');
      return (
        (!flags.includes('UP') || state === 'DOWN' || state === 'LOWERLAYERDOWN') &&
        (useful || kind === undefined || !idleKinds.has(kind))
      );
    })
    .map(({ name }) => name);
}

function listenerOf({ protocol, address, port }: Listener): NetworkFacts['listeners'][number] {
  return { protocol, address, port };
}

function mtusOf(links: readonly Link[]): Record<string, number> {
  return Object.fromEntries(
    links.filter(({ type, name }) => type !== 'loopback' && name !== 'lo').map(({ name, mtu }) => [name, mtu]),
  );
}
