// SPDX-License-Identifier: Apache-2.0
/** Small states of nodes for tests: everything that is not given is as on a node that has nothing. */
import type { Address, Link, NodeState, Route } from './node-state.ts';

export function sampleState(parts: Partial<NodeState> = {}): NodeState {
  return {
    node: 'a',
    takenAt: 0,
    kernel: '6.1.0',
    clock: undefined,
    links: [],
    routes: [],
    rules: sampleRules,
    neighbours: [],
    fdb: [],
    nft: undefined,
    iptables: [],
    ipsets: [],
    sysctls: {},
    conntrack: {},
    counters: {},
    sockets: {},
    listeners: [],
    cni: [],
    programs: [],
    namespaces: [],
    gaps: [],
    ...parts,
  };
}

const anything = {
  from: undefined,
  to: undefined,
  inDevice: undefined,
  outDevice: undefined,
  mark: undefined,
  not: false,
  action: undefined,
};

const sampleRules: NodeState['rules'] = ([4, 6] as const).flatMap((family) => [
  { ...anything, family, priority: 0, table: 'local' },
  { ...anything, family, priority: 32_766, table: 'main' },
]);

/** `eth0 10.0.0.1/24 fd00::1/64`: name and addresses. */
export function sampleLink(text: string, parts: Partial<Link> = {}): Link {
  const [name = '', ...addresses] = text.split(' ');
  const none = { bytes: 0, packets: 0, errors: 0, dropped: 0 };
  return {
    index: 1,
    name,
    mtu: 1500,
    flags: ['BROADCAST', 'MULTICAST', 'UP', 'LOWER_UP'],
    state: 'UP',
    type: 'ether',
    mac: undefined,
    master: undefined,
    peerIndex: undefined,
    peerNamespaceId: undefined,
    kind: undefined,
    vxlan: undefined,
    addresses: addresses.map((one): Address => {
      const [address = '', prefix] = one.split('/');
      return { family: address.includes(':') ? 6 : 4, address, prefix: Number(prefix), scope: 'global', flags: [] };
    }),
    received: none,
    sent: none,
    ...parts,
  };
}

/** A line of `ip route`: `blackhole 10.0.0.0/26 proto bird`, `default via 10.0.0.1 dev eth0`, `local 10.0.0.1 dev eth0 table local`. */
export function sampleRoute(line: string): Route {
  const words = line.split(' ');
  const isTyped = /^(blackhole|unreachable|prohibit|local|broadcast)$/.test(words[0] ?? '');
  const after = (word: string): string | undefined =>
    words.includes(word) ? words[words.indexOf(word) + 1] : undefined;
  const destination = (isTyped ? words[1] : words[0]) ?? '';
  const gateway = after('via');
  const device = after('dev');
  const family = `${destination} ${gateway ?? ''}`.includes(':') ? 6 : 4;
  const whole = destination === 'default' ? (family === 4 ? '0.0.0.0/0' : '::/0') : destination;
  return {
    family,
    type: isTyped ? (words[0] ?? '') : 'unicast',
    destination: whole.includes('/') ? whole : `${whole}/${family === 4 ? 32 : 128}`,
    table: after('table') ?? 'main',
    protocol: after('proto') ?? 'boot',
    scope: after('scope'),
    metric: Number(after('metric') ?? 0),
    source: after('src'),
    mtu: after('mtu') === undefined ? undefined : Number(after('mtu')),
    nextHops:
      gateway === undefined && device === undefined
        ? []
        : [{ gateway, device, flags: words.includes('onlink') ? ['onlink'] : [] }],
  };
}
