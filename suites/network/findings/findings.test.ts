// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import type { V1Node } from '@kubernetes/client-node';
import { expect } from 'chai';
import { parseIptablesSave } from '../../../probes/node-state/parse/iptables-save.ts';
import { parseNftRuleset } from '../../../probes/node-state/parse/nft-json.ts';
import type { NetworkNamespace, NodeState } from '../../../probes/node-state/node-state.ts';
import { sampleLink, sampleRoute, sampleState } from '../../../probes/node-state/sample-states.ts';
import type { ApiObjects, Finding } from './finding.ts';
import { growthFindings } from './kernel-findings.ts';
import { nodeFindings } from './node-findings.ts';
import { serviceFindings } from './service-rules.ts';

const topologies = new URL('../../../fixtures/topologies/', import.meta.url);
const read = (name: string): string => readFileSync(new URL(name, topologies), 'utf8');

function kubeProxy(mode: 'nftables' | 'iptables', change: (text: string) => string = (text) => text) {
  const { api, node } = JSON.parse(read('kube-proxy.json')) as {
    api: ApiObjects;
    node: { node: string; routes: (NodeState['routes'][number] & { family?: number })[]; links: NodeState['links'] };
  };
  const routes = node.routes.map((route) => ({ ...route, family: 4 as const, metric: 0 }));
  const shown =
    mode === 'nftables'
      ? {
          nft: parseNftRuleset(
            `{"nftables":[${change(read('kube-proxy-nftables.jsonl')).trim().split('\n').join(',')}]}`,
          ),
        }
      : { iptables: [parseIptablesSave(change(read('kube-proxy-iptables.txt')), { backend: 'nft', family: 4 })] };
  return { api, state: sampleState({ node: node.node, routes, ...shown }) };
}

const whatOf = (findings: readonly Finding[]): string[] => findings.map(({ object, what }) => `${object}: ${what}`);

describe('serviceFindings, on rules that kube-proxy itself wrote', () => {
  for (const mode of ['nftables', 'iptables'] as const) {
    it(`finds nothing wrong in ${mode} mode`, () => {
      const { api, state } = kubeProxy(mode);
      expect(serviceFindings(state, api)).to.deep.equal([]);
    });

    it(`names a stale endpoint in ${mode} mode, by Service, endpoint and rule`, () => {
      const { api, state } = kubeProxy(mode, (text) =>
        mode === 'nftables'
          ? text.replaceAll('"10.244.0.4",9153]', '"10.244.0.250",9153]')
          : text.replace('--to-destination 10.244.0.4:9153', '--to-destination 10.244.0.250:9153'),
      );
      const found = serviceFindings(state, api);
      expect(whatOf(found).join('\n'))
        .to.match(
          /kube-system\/kube-dns port metrics: .*leads to 10\.244\.0\.250:9153 with probability 0\.500, which the API does not have/,
        )
        .and.match(/never leads to 10\.244\.0\.4:9153/);
      expect(found.find(({ what }) => what.includes('0.250'))?.proof.join()).to.match(/kube-proxy service-|KUBE-SEP-/);
    });

    it(`names a Service that is gone from the API, and one without rules, in ${mode} mode`, () => {
      const { api, state } = kubeProxy(mode);
      const services = api.services.map((one) =>
        one.metadata?.name === 'kube-dns'
          ? { ...one, spec: { ...one.spec, clusterIP: '10.96.0.77', clusterIPs: ['10.96.0.77'] } }
          : one,
      );
      const found = whatOf(serviceFindings(state, { ...api, services })).join('\n');
      expect(found)
        .to.contain('rule for 10.96.0.10:53/udp: leads to')
        .and.contain('ClusterIP 10.96.0.77:53/udp: leads nowhere');
    });

    it(`sees an endpoint that is not ready any more in ${mode} mode`, () => {
      const { api, state } = kubeProxy(mode);
      const endpointSlices = structuredClone(api.endpointSlices) as ApiObjects['endpointSlices'][number][];
      const [first] =
        endpointSlices.find(({ metadata }) => metadata?.labels?.['kubernetes.io/service-name'] === 'kube-dns')
          ?.endpoints ?? [];
      if (first !== undefined) first.conditions = { ready: false };
      expect(whatOf(serviceFindings(state, { ...api, endpointSlices })).join('\n')).to.contain(
        'although it is not ready',
      );
    });
  }

  it('sees wrong probabilities, lost masquerading, source ranges that are not heeded', () => {
    const changed = (from: RegExp | string, to: string): string => {
      const { api, state } = kubeProxy('iptables', (text) => {
        expect(text, String(from)).to.match(from instanceof RegExp ? from : new RegExp(from));
        return text.replaceAll(from, to);
      });
      return whatOf(serviceFindings(state, api)).join('\n');
    };
    expect(changed(/--probability 0\.5\d*/g, '--probability 0.1')).to.contain(
      'with probability 0.100 instead of 0.500',
    );
    expect(changed(/.* -j KUBE-POSTROUTING\n/g, '')).to.contain('so that answers do not come back');
    expect(changed(/.*-A KUBE-PROXY-FIREWALL .*\n/g, '')).to.contain('admits 198.51.100.23');
    expect(changed(/.*has no endpoints.*\n/g, '')).to.contain('is not refused, but sent out');
  });

  it('says nothing where eBPF stands in for kube-proxy', () => {
    const { api, state } = kubeProxy('nftables', (text) => text.replaceAll('10.244.0.4', '10.244.0.9'));
    const cilium = { ...state, links: [sampleLink('cilium_host')] };
    expect(
      nodeFindings([cilium], { ...api, pods: [] }).filter(({ component }) => component === 'kube-proxy'),
    ).to.deep.equal([]);
  });
});

/** Two nodes with a pod each, routed over eth0; `change` spoils node a. */
function twoNodes(change: (a: NodeState) => Partial<NodeState> = () => ({}), other: Partial<NodeState> = {}) {
  const nodes = ['a', 'b'].map((name, index): V1Node => ({
    metadata: { name },
    spec: { podCIDRs: [`10.244.${index}.0/24`] },
    status: { addresses: [{ type: 'InternalIP', address: `10.0.0.${index + 1}` }] },
  }));
  const pods = ['a', 'b'].map((name, index) => ({
    metadata: { namespace: 'shop', name: `pod-${name}`, uid: `uid-${name}` },
    spec: { nodeName: name, containers: [] },
    status: {
      phase: 'Running',
      podIPs: [{ ip: `10.244.${index}.5` }],
      containerStatuses: [{ state: { running: {} } } as never],
    },
  }));
  const states = ['a', 'b'].map((node, index): NodeState => {
    const inside: NetworkNamespace = {
      inode: 'net:[1]',
      pid: 9,
      podUid: `uid-${node}`,
      links: [sampleLink(`eth0 10.244.${index}.5/24`, { index: 2, kind: 'veth', peerIndex: 7 })],
      routes: [sampleRoute('default via 10.244.0.1 dev eth0')],
      neighbours: [],
      listeners: [],
      counters: {},
    };
    return sampleState({
      node,
      links: [
        sampleLink(`eth0 10.0.0.${index + 1}/24`, { index: 3, mac: `02:00:00:00:00:0${index + 1}` }),
        sampleLink('veth1', { index: 7, kind: 'veth', peerIndex: 2, peerNamespaceId: 0 }),
      ],
      routes: [
        'default via 10.0.0.9 dev eth0',
        `10.244.${index}.5 dev veth1`,
        `unreachable 10.244.${index}.0/24 proto 144`,
        `10.244.${1 - index}.0/24 via 10.0.0.${2 - index} dev eth0`,
        `local 10.0.0.${index + 1} dev eth0 table local`,
        '10.0.0.0/24 dev eth0',
      ].map(sampleRoute),
      neighbours: [
        {
          family: 4,
          address: `10.0.0.${2 - index}`,
          device: 'eth0',
          mac: `02:00:00:00:00:0${2 - index}`,
          states: ['REACHABLE'],
          proxy: false,
        },
      ],
      sysctls: {
        'net/ipv4/ip_forward': '1',
        'net/netfilter/nf_conntrack_count': '5',
        'net/netfilter/nf_conntrack_max': '100',
      },
      clock: { offsetLeastMs: -50, offsetMostMs: 50, synchronised: true },
      namespaces: [inside],
    });
  });
  const [a = sampleState(), b = sampleState()] = states;
  const api: ApiObjects = { nodes, pods, services: [], endpointSlices: [] };
  return nodeFindings(
    [
      { ...a, ...change(a) },
      { ...b, ...other },
    ],
    api,
  );
}

const routesWith =
  (from: RegExp, ...lines: string[]) =>
  (a: NodeState): Partial<NodeState> => ({
    routes: [
      ...a.routes.filter(({ destination, type }) => !from.test(`${type} ${destination}`)),
      ...lines.map(sampleRoute),
    ],
  });

const faults: readonly [string, RegExp, (a: NodeState) => Partial<NodeState>][] = [
  ['a route is missing', /a: .*no route to pod range 10\.244\.1\.0\/24/, routesWith(/10\.244\.1|0\.0\.0\.0/)],
  ['a route leads to a blackhole', /a: .*refuses packets/, routesWith(/10\.244\.1/, 'blackhole 10.244.1.0/24')],
  [
    'a route leads to the wrong node',
    /a: .*to node a/,
    routesWith(/10\.244\.1/, '10.244.1.0/24 via 10.0.0.1 dev eth0'),
  ],
  [
    'two routes lead to one place',
    /a: route 10\.244\.1\.0\/24: a has 2 routes/,
    routesWith(/^$/, '10.244.1.0/24 via 10.0.0.7 dev eth0 metric 9'),
  ],
  ['the wire of a pod is away', /a: pod shop\/pod-a: a has no route to its own pod/, routesWith(/10\.244\.0\.5/)],
  [
    'the uplink takes smaller packets',
    /a: pod shop\/pod-a: sends packets of 1500 bytes, but eth0 .* takes 1400/,
    (a) => ({ links: a.links.map((link) => (link.name === 'eth0' ? { ...link, mtu: 1400 } : link)) }),
  ],
  [
    'the wire takes smaller packets',
    /a: pod shop\/pod-a: .*other end takes 1300/,
    (a) => ({ links: a.links.map((link) => (link.name === 'veth1' ? { ...link, mtu: 1300 } : link)) }),
  ],
  [
    'the host side of a wire is down',
    /a: pod shop\/pod-a: its interface veth1 on the node is down/,
    (a) => ({ links: a.links.map((link) => (link.name === 'veth1' ? { ...link, flags: [], state: 'DOWN' } : link)) }),
  ],
  [
    'a neighbour is silent',
    /a: node b: does not answer to 10\.0\.0\.2/,
    (a) => ({ neighbours: a.neighbours.map((one) => ({ ...one, mac: undefined, states: ['FAILED'] })) }),
  ],
  [
    'a neighbour is an impostor',
    /a: node b: a takes 02:00:00:00:00:77 for 10\.0\.0\.2/,
    (a) => ({ neighbours: a.neighbours.map((one) => ({ ...one, mac: '02:00:00:00:00:77' })) }),
  ],
  [
    'a node has the address of another',
    /a: interface eth0: it has the address 10\.0\.0\.2 of node b/,
    (a) => ({
      links: [...a.links.slice(1), sampleLink('eth0 10.0.0.1/24 10.0.0.2/24', { index: 3, mac: '02:00:00:00:00:01' })],
    }),
  ],
  [
    'a node has the address of a pod',
    /a: interface lo: it has the address 10\.244\.1\.5 of pod shop\/pod-b/,
    (a) => ({ links: [sampleLink('lo 127.0.0.1/8 10.244.1.5/32', { index: 1 }), ...a.links] }),
  ],
  [
    'forwarding is off',
    /a: sysctl net\/ipv4\/ip_forward: is off/,
    (a) => ({ sysctls: { ...a.sysctls, 'net/ipv4/ip_forward': '0' } }),
  ],
  [
    'connection tracking is nearly full',
    /a: connection tracking table: holds 90 of at most 100/,
    (a) => ({ sysctls: { ...a.sysctls, 'net/netfilter/nf_conntrack_count': '90' } }),
  ],
  [
    'the clock is wrong',
    /b: clock: is 60 s behind|a: clock: is 60 s ahead/,
    () => ({ clock: { offsetLeastMs: 59_950, offsetMostMs: 60_050, synchronised: false } }),
  ],
  [
    'answers leave by another device than packets come in by, and that is checked',
    /a: interface eth0: packets of shop\/pod-b come in by eth0, answers leave by wg0/,
    (a) => ({
      ...routesWith(/10\.244\.1/, '10.244.1.0/24 dev wg0')(a),
      links: [...a.links, sampleLink('wg0', { index: 9 })],
      sysctls: { ...a.sysctls, 'net/ipv4/conf/all/rp_filter': '1' },
    }),
  ],
  [
    'a tunnel does not know where to send',
    /a: .*the tunnel vx of a does not lead to b: 0a:0a has no place/,
    (a) => ({
      ...routesWith(/10\.244\.1/, '10.244.1.0/24 via 10.244.1.0 dev vx')(a),
      links: [
        ...a.links,
        sampleLink('vx', {
          index: 9,
          kind: 'vxlan',
          mtu: 1450,
          vxlan: { id: 1, port: 8472, local: '10.0.0.1', device: 'eth0', learning: false },
        }),
      ],
      neighbours: [
        { family: 4, address: '10.244.1.0', device: 'vx', mac: '0a:0a', states: ['PERMANENT'], proxy: false },
      ],
    }),
  ],
];

describe('nodeFindings', () => {
  it('finds nothing wrong with two nodes in order, nor where the network around them routes pods', () => {
    expect(twoNodes()).to.deep.equal([]);
    const fabric = (a: NodeState): Partial<NodeState> => routesWith(/10\.244\.1/)(a);
    const b = twoNodes(fabric).filter(({ node }) => node === 'a');
    expect(b).to.deep.equal([]);
  });

  for (const [title, pattern, change] of faults) {
    it(`finds it when ${title}`, () => {
      const found = twoNodes(change);
      expect(found.map(({ node, object, what }) => `${node}: ${object}: ${what}`).join('\n')).to.match(pattern);
      for (const { proof, remedy } of found)
        expect(proof.length > 0 && remedy.length > 0, 'proof and remedy').to.equal(true);
    });
  }

  it('does not judge what could not be read', () => {
    const unread = twoNodes(() => ({
      routes: [],
      gaps: [{ section: 'routes4', kind: 'failed', reason: 'took too long' }],
    }));
    expect(unread.filter(({ node }) => node === 'a')).to.deep.equal([]);
  });

  it('sees ranges that overlap and addresses that are given out twice', () => {
    const nodes = ['a', 'b'].map((name): V1Node => ({ metadata: { name }, spec: { podCIDRs: ['10.244.0.0/24'] } }));
    const found = nodeFindings([], { nodes, pods: [], services: [], endpointSlices: [] });
    expect(whatOf(found)).to.deep.equal(['pod ranges of a and b: 10.244.0.0/24 and 10.244.0.0/24 overlap']);
  });

  it('sees what grew between two readings', () => {
    const link = sampleLink('eth0');
    const before = sampleState({ links: [link], conntrack: { drop: 1, insert_failed: 0 } });
    const grown = { ...link, received: { bytes: 9, packets: 100, errors: 0, dropped: 50 } };
    expect(growthFindings(before, before)).to.deep.equal([]);
    expect(
      whatOf(growthFindings(before, sampleState({ links: [grown], conntrack: { drop: 9, insert_failed: 3 } }))),
    ).to.deep.equal([
      'interface eth0: 50 dropped packets received beside 100 packets between two readings',
      'connection tracking table: drop grew by 8 between two readings: new connections are lost',
    ]);
  });
});
