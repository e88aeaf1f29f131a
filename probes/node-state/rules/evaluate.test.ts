// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import fc from 'fast-check';
import { parseIptablesSave } from '../parse/iptables-save.ts';
import { parseNftRuleset } from '../parse/nft-json.ts';
import type { NodeState } from '../node-state.ts';
import { sampleLink, sampleRoute, sampleState } from '../sample-states.ts';
import { addressNumber, inRange, parseRange } from './addresses.ts';
import { evaluatePacket, prepareRules, type EvaluateOptions, type Outcome } from './evaluate.ts';
import { routeLookup } from './route-lookup.ts';
import type { VirtualPacket } from './walk.ts';

const base: Partial<NodeState> = {
  links: [sampleLink('eth0 10.0.0.1/24'), sampleLink('veth1')],
  routes: [
    'default via 10.0.0.9 dev eth0',
    '10.244.0.5 dev veth1',
    '10.244.1.0/24 via 10.0.0.2 dev eth0',
    'blackhole 10.244.0.0/24',
    'local 10.0.0.1 dev eth0 table local',
    'default via fe80::9 dev eth0',
  ].map(sampleRoute),
};

const packet: VirtualPacket = { source: '10.244.0.5', destination: '10.96.0.10', protocol: 'udp', port: 53 };

function through(
  rules: Partial<NodeState>,
  parts: Partial<VirtualPacket> = {},
  options: EvaluateOptions = {},
): Outcome[] {
  return evaluatePacket(prepareRules(sampleState({ ...base, ...rules })), { ...packet, ...parts }, options);
}

const iptables = (text: string): Partial<NodeState> => ({
  iptables: [parseIptablesSave(text, { backend: 'legacy', family: 4 })],
});

const chain = (name: string, hook?: { hook: string; type: string; prio: number }): object => ({
  chain: { family: 'ip', table: 't', name, ...hook },
});
const rule = (name: string, ...expr: object[]): object => ({
  rule: { family: 'ip', table: 't', chain: name, handle: 1, expr },
});
const nft = (...objects: object[]): Partial<NodeState> => ({
  nft: parseNftRuleset(JSON.stringify({ nftables: [{ table: { family: 'ip', name: 't' } }, ...objects] })),
});
const destination = { payload: { protocol: 'ip', field: 'daddr' } };
const forward = { hook: 'forward', type: 'filter', prio: 0 };
const prerouting = { hook: 'prerouting', type: 'nat', prio: -100 };

describe('evaluatePacket', () => {
  it('routes without rules: forwarded, local, refused by a blackhole, without a route', () => {
    const end = (to: string, family: Partial<NodeState> = {}): string =>
      through(family, { destination: to })[0]?.end ?? '';
    expect(['10.244.1.7', '10.0.0.1', '10.244.0.99', '8.8.8.8'].map((to) => end(to))).to.deep.equal([
      'forwarded',
      'local',
      'no-route',
      'forwarded',
    ]);
    expect(end('8.8.8.8', { routes: [] })).to.equal('no-route');
  });

  it('follows every choice of iptables with its probability, and the mark to the masquerade', () => {
    const outcomes = through(
      iptables(`*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:SVC - [0:0]
:A - [0:0]
:B - [0:0]
:C - [0:0]
:MARK-IT - [0:0]
-A PREROUTING -d 10.96.0.10/32 -p udp -m udp --dport 53 -j SVC
-A SVC ! -s 10.244.0.0/16 -j MARK-IT
-A SVC -m statistic --mode random --probability 0.33333333349 -j A
-A SVC -m statistic --mode random --probability 0.50000000000 -j B
-A SVC -j C
-A A -p udp -j DNAT --to-destination 10.244.1.1:53
-A B -p udp -j DNAT --to-destination 10.244.1.2:53
-A C -s 10.244.0.5/32 -j MARK-IT
-A C -p udp -j DNAT --to-destination 10.244.1.3:53
-A MARK-IT -j MARK --set-xmark 0x4000/0x4000
-A POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A POSTROUTING -j MASQUERADE --random-fully
COMMIT
`),
    );
    expect(
      outcomes.map((one) => [one.destination, one.port, one.probability.toFixed(3), one.source]),
    ).to.have.deep.members([
      ['10.244.1.1', 53, '0.333', '10.244.0.5'],
      ['10.244.1.2', 53, '0.333', '10.244.0.5'],
      ['10.244.1.3', 53, '0.333', 'node'],
    ]);
    expect(outcomes.reduce((sum, { probability }) => sum + probability, 0)).to.be.closeTo(1, 1e-9);
  });

  it('names the rule that refuses, in its own language, and the policy that drops', () => {
    const [refused] = through(
      iptables(`*filter
:FORWARD DROP [0:0]
:KUBE-SERVICES - [0:0]
-A FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES
-A FORWARD -i veth1 -o eth0 -p tcp -j ACCEPT
-A KUBE-SERVICES -d 10.96.0.10/32 -p udp -m comment --comment "a/b has no endpoints" -m udp --dport 53 -j REJECT
COMMIT
`),
    );
    expect(refused?.end).to.equal('rejected');
    expect(refused?.by).to.include({
      backend: 'iptables-legacy',
      table: 'filter',
      chain: 'KUBE-SERVICES',
      handle: 1,
      comment: 'a/b has no endpoints',
    });
    const rules = iptables('*filter\n:FORWARD DROP [0:0]\n-A FORWARD -i veth1 -o eth0 -p tcp -j ACCEPT\nCOMMIT\n');
    expect(through(rules)[0]).to.deep.include({
      end: 'dropped',
      by: undefined,
      policyOf: 'iptables (legacy) filter FORWARD',
    });
    expect(through(rules, { protocol: 'tcp' })[0]?.end).to.equal('forwarded');
  });

  it('walks nft: jump comes back, goto does not, accept ends one base chain only, sets hold ranges', () => {
    const inSet = { match: { op: '==', left: destination, right: '@s' } };
    const rules = nft(
      {
        set: {
          family: 'ip',
          table: 't',
          name: 's',
          elem: [{ prefix: { addr: '10.96.0.0', len: 16 } }, { range: ['10.97.0.1', '10.97.0.9'] }],
        },
      },
      chain('first', { ...forward, prio: -5 }),
      chain('second', forward),
      chain('side'),
      chain('away'),
      rule('first', { jump: { target: 'side' } }),
      rule('first', { accept: null }),
      rule('first', { drop: null }),
      rule('side', { return: null }),
      rule('side', { drop: null }),
      rule('second', { match: { op: '==', left: destination, right: '10.97.0.10' } }, { goto: { target: 'away' } }),
      rule('second', inSet, { counter: { packets: 0, bytes: 0 } }, { drop: null }),
      rule('away', { return: null }),
    );
    expect(
      ['10.96.3.4', '10.97.0.9', '10.97.0.10', '10.98.0.1'].map((to) => through(rules, { destination: to })[0]?.end),
    ).to.deep.equal(['dropped', 'dropped', 'forwarded', 'forwarded']);
    expect(through(rules)[0]?.by).to.include({ chain: 'second', text: 'ip daddr @s counter drop' });
  });

  it('looks maps up by concatenations, and balances by random numbers', () => {
    const key = {
      concat: [destination, { meta: { key: 'l4proto' } }, { payload: { protocol: 'th', field: 'dport' } }],
    };
    const rules = nft(
      {
        map: {
          family: 'ip',
          table: 't',
          name: 'm',
          elem: [[{ elem: { val: { concat: ['10.96.0.10', 'udp', 53] }, comment: 'x' } }, { goto: { target: 'b' } }]],
        },
      },
      chain('p', prerouting),
      chain('b'),
      chain('e'),
      rule('p', { vmap: { key, data: '@m' } }),
      rule('b', {
        vmap: {
          key: { numgen: { mode: 'random', mod: 4, offset: 0 } },
          data: {
            set: [
              [0, { goto: { target: 'e' } }],
              [{ range: [1, 2] }, { drop: null }],
            ],
          },
        },
      }),
      rule('e', { dnat: { addr: { concat: ['10.244.1.9', 5353] } } }),
    );
    const outcomes = through(rules);
    expect(
      outcomes.filter(({ end }) => end === 'dropped').reduce((sum, { probability }) => sum + probability, 0),
    ).to.equal(0.5);
    expect(outcomes.find((one) => one.destination === '10.244.1.9')).to.include({ port: 5353, probability: 0.25 });
    // Established connections are translated by what is remembered, not by rules.
    expect(through(rules, { state: 'established' })).to.have.length(1);
  });

  it('says what it does not understand, and takes such a rule as not matching', () => {
    const [outcome] = through(
      nft(chain('f', forward), rule('f', { xt: { type: 'match', name: 'bpf' } }, { drop: null })),
    );
    expect(outcome?.end).to.equal('forwarded');
    expect(outcome?.doubts).to.have.length(1);
  });

  it('sends what a process of the node sends through output', () => {
    const text =
      '*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -d 10.96.0.10/32 -j DNAT --to-destination 10.244.0.5:53\nCOMMIT\n';
    const [outcome] = through(iptables(text), { source: '10.0.0.1' }, { fromNode: true });
    expect(outcome).to.include({ end: 'forwarded', device: 'veth1', destination: '10.244.0.5' });
  });

  it('gives up on chains that lead into each other', () => {
    const loop = { jump: { target: 'a' } };
    const [outcome] = through(nft(chain('f', forward), chain('a'), rule('f', loop), rule('a', loop)));
    expect(outcome?.doubts.join()).to.contain('chains deep at a');
  });

  it('ends, with probabilities that sum to 1, whatever the rules are', () => {
    const verdict = fc.oneof(
      fc.constantFrom<object>(
        { accept: null },
        { drop: null },
        { return: null },
        { masquerade: null },
        { reject: null },
        { xt: null },
        { jump: { target: 'b' } },
        { goto: { target: 'b' } },
      ),
      fc.integer({ min: 1, max: 3 }).map((mod) => ({
        vmap: {
          key: { numgen: { mode: 'random', mod, offset: 0 } },
          data: {
            set: [
              [0, { goto: { target: 'b' } }],
              [1, { jump: { target: 'b' } }],
            ],
          },
        },
      })),
      fc
        .json({ maxDepth: 3 })
        .map((text) => ({ [text.length % 2 === 0 ? 'match' : 'dnat']: JSON.parse(text) as unknown })),
    );
    const rules = fc.array(fc.array(verdict, { minLength: 1, maxLength: 2 }), { maxLength: 5 });
    fc.assert(
      fc.property(rules, (all) => {
        const outcomes = through(
          nft(
            chain('p', prerouting),
            chain('b'),
            ...all.map((expr) => rule('p', ...expr)),
            rule('b', { counter: { packets: 0 } }),
          ),
        );
        expect(outcomes.reduce((sum, { probability }) => sum + probability, 0)).to.be.closeTo(1, 1e-6);
      }),
      { numRuns: 100 },
    );
  });
});

describe('addresses and routes', () => {
  it('reads addresses in every spelling', () => {
    expect(addressNumber('::ffff:10.0.0.1')).to.equal(0xff_ff_0a_00_00_01n);
    expect(addressNumber('fd00::1')).to.equal(addressNumber('fd00:0:0:0:0:0:0:1'));
    expect(parseRange('10.1.2.3/255.255.0.0')).to.deep.equal(parseRange('10.1.0.0/16'));
    fc.assert(
      fc.property(fc.ipV4(), fc.integer({ min: 0, max: 32 }), (address, length) => {
        const range = parseRange(`${address}/${length}`);
        expect(range !== undefined && inRange(address, range)).to.equal(true);
      }),
      { numRuns: 100 },
    );
  });

  it('prefers the longest prefix, then the lowest metric, and heeds rules by mark', () => {
    const mark = { value: 0x10, mask: 0xf0 };
    const state = sampleState({
      routes: [
        '10.0.0.0/8 dev a',
        '10.1.0.0/16 dev b metric 20',
        '10.1.0.0/16 dev c metric 10',
        'default dev d table 7',
      ].map(sampleRoute),
    });
    const marked = state.rules.map((one) => ({ ...one, mark: undefined, priority: one.priority + 10 }));
    const first = { ...(state.rules[0] as NodeState['rules'][number]), priority: 1, mark, table: '7' };
    const find = (to: string, value = 0): string | undefined =>
      routeLookup({ routes: state.routes, rules: [first, ...marked] }).find({ destination: to, mark: value })
        ?.nextHops[0]?.device;
    expect([find('10.2.0.1'), find('10.1.0.1'), find('10.1.0.1', 0x1f), find('11.0.0.1')]).to.deep.equal([
      'a',
      'c',
      'd',
      undefined,
    ]);
  });
});
