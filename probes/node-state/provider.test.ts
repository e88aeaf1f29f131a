// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { recogniseProviders } from './provider.ts';
import { sampleLink, sampleRoute, sampleState } from './sample-states.ts';

interface Topology {
  readonly provider: string;
  readonly manner: string;
  readonly hidden: string | null;
  readonly what: string;
  readonly links: readonly string[];
  readonly routes: readonly string[];
  readonly cni?: { readonly name: string; readonly plugins: readonly string[] };
  readonly chains?: readonly string[];
  readonly tables?: readonly string[];
  readonly ipsets?: readonly string[];
  readonly programs?: readonly string[];
}

const { nodes } = JSON.parse(
  readFileSync(new URL('../../fixtures/topologies/providers.json', import.meta.url), 'utf8'),
) as { nodes: readonly Topology[] };

function stateOf({ links, routes, cni, chains = [], tables = [], ipsets = [], programs = [] }: Topology) {
  return sampleState({
    links: links.map((text) => {
      const [name = '', mtu, kind] = text.split(' ');
      return sampleLink(name, { mtu: Number(mtu), kind });
    }),
    routes: routes.map(sampleRoute),
    cni:
      cni === undefined
        ? []
        : [{ name: '10.conflist', config: { name: cni.name, plugins: cni.plugins.map((type) => ({ type })) } }],
    iptables: [
      {
        backend: 'nft',
        family: 4,
        strangeLines: 0,
        tables: [{ name: 'filter', chains: chains.map((name) => ({ name, policy: undefined, rules: [] })) }],
      },
    ],
    nft: { tables: tables.map((name) => ({ family: 'inet', name, chains: [], sets: [] })) },
    ipsets: ipsets.map((name) => ({ name, type: 'hash:ip', entries: [] })),
    programs,
  });
}

describe('recogniseProviders', () => {
  for (const topology of nodes) {
    it(topology.what, () => {
      const [first] = recogniseProviders(stateOf(topology));
      expect(first).to.include({
        name: topology.provider,
        manner: topology.manner,
        hidden: topology.hidden ?? undefined,
      });
      expect(first?.clues.length, 'clues').to.be.above(0);
      // Each by what is its own: nobody else is as likely.
      expect(
        recogniseProviders(stateOf(topology)).filter(({ confidence }) => confidence !== 'possible').length,
      ).to.equal(1);
    });
  }

  it('knows two that work together, and says nothing of a node without any', () => {
    const canal = sampleState({ links: ['flannel.1', 'cali0123456789a'].map((name) => sampleLink(name)) });
    expect(recogniseProviders(canal).map(({ name }) => name)).to.have.members(['Flannel', 'Calico']);
    const bare = sampleState({
      links: [sampleLink('eth0 10.0.0.1/24')],
      routes: [sampleRoute('default via 10.0.0.9 dev eth0')],
    });
    expect(recogniseProviders(bare)).to.deep.equal([]);
  });
});
