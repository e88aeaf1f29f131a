// SPDX-License-Identifier: Apache-2.0
/** Verdicts over recorded traces, and over the same with one thing changed; and the texts that programs of nodes print. */
import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { differences } from './baseline.ts';
import { resolverPlan } from './dns-steps.ts';
import { judge } from './judge.ts';
import { dropsAfter, parseDrops } from './kernel-drops.ts';
import type { Observations, RuleStep, Sighting } from './observations.ts';
import { waysOf } from './path.ts';
import { parseConntrack, parseConntrackEvents, parseRouteGet } from './route-text.ts';
import { markingCommands, parseRuleTrace } from './rule-trace.ts';
import { traceLines } from './trace-lines.ts';

function recorded(name: string): Observations {
  return JSON.parse(
    readFileSync(new URL(`../../fixtures/traces/${name}.json`, import.meta.url), 'utf8'),
  ) as Observations;
}

const delivered = recorded('delivered');
const { there, back } = waysOf(delivered);
const dropped = [{ outcome: 'dropped', error: 'no answer to the SYN', latencyMs: 1500, payloadOctets: 0 }];

/** The request seen at the first places only, and no answer. */
function lostAfter(places: number, more: Partial<Observations> = {}): Observations {
  return { ...delivered, attempts: dropped, sightings: there.slice(0, places), rules: [], ...more };
}

/** A routing rule may refuse as a firewall does. */
function prohibited(observations: Observations): Observations {
  return {
    ...observations,
    sightings: observations.sightings.map((sighting) =>
      sighting.error === undefined ? sighting : { ...sighting, error: { ...sighting.error, what: 'prohibited' } },
    ),
  };
}

function rule(table: string, chain: string, text: string, node = 'node-b'): RuleStep {
  return { node, trace: 't', table, chain, rule: text, verdict: 'drop', packet: undefined };
}

const forbidden: Observations['policies'] = [
  {
    direction: 'ingress',
    subject: 'shop/web-0',
    allowed: false,
    why: 'no ingress rule of shop/friends matches',
    policies: ['shop/friends'],
    noRulesAtAll: false,
  },
];
const facts = (grown: Record<string, number>, more: object = {}): Observations['facts'] => [
  {
    node: 'node-b',
    grown,
    forwarding: true,
    conntrackFull: false,
    failedNeighbours: [],
    downInterfaces: [],
    listeners: [],
    mtus: {},
    ...more,
  },
];
const inPod = (more: object): Observations['facts'] => facts({}, { pod: 'shop/web-0', ...more });
const answer = (flags: string): Sighting[] => back.map((sighting) => ({ ...sighting, flags }));

describe('trace: judge', () => {
  it('follows a recorded request through a Service to another node and back', () => {
    const verdict = judge(delivered);
    expect(verdict.outcome).to.equal('delivered');
    const stations = (hops: typeof verdict.there): string[] => hops.map(({ place }) => `${place.node} ${place.kind}`);
    const way = ['node-a pod', 'node-a host-side', 'node-a uplink', 'node-b uplink', 'node-b host-side', 'node-b pod'];
    expect(stations(verdict.there)).to.deep.equal(way);
    expect(stations(verdict.back)).to.deep.equal(way.toReversed());
    expect(verdict.there.map(({ translated }) => translated).indexOf(true), 'at the first uplink').to.equal(2);
    expect(verdict.there[2]?.rules.join(' ')).to.contain('dnat');
  });

  it('says that another endpoint than the one met by chance does not answer', () => {
    const well = {
      address: '10.244.1.2',
      port: 8080,
      pod: 'shop/web-0',
      outcome: 'allowed',
      latencyMs: 1,
      payloadOctets: 0,
    };
    const ill = { ...well, address: '10.244.2.9', pod: 'shop/web-1', outcome: 'dropped', latencyMs: 1500 };
    expect(judge({ ...delivered, endpoints: [well, well] }).summary).to.equal(judge(delivered).summary);
    const verdict = judge({ ...delivered, endpoints: [well, ill] });
    expect(verdict.outcome).to.equal('delivered');
    expect(verdict.summary).to.contain('1 of 2 do not answer, among them shop/web-1:8080 (dropped)');
    expect(verdict.objects).to.deep.equal(['Pod shop/web-1']);
    expect(verdict.next).to.match(/plumb trace pod\/\S+ shop\/web-1:8080$/);
  });

  const cases: readonly (readonly [string, Observations, string, RegExp])[] = [
    ['a recorded unreachable route', recorded('unreachable-route'), 'no-route', /Node node-a has no usable route/],
    ['a rule that prohibits the way', prohibited(recorded('unreachable-route')), 'no-route', /has no usable route/],
    ['a recorded name that nobody has', recorded('no-such-name'), 'name-resolution', /does not exist in the cluster/],
    [
      'a policy with its rule',
      lostAfter(4, { policies: forbidden, rules: [rule('inet np', 'in', 'drop comment "shop/friends"')] }),
      'policy',
      /shop\/friends forbids/,
    ],
    ['a policy without a rule to be seen', lostAfter(4, { policies: forbidden }), 'policy', /shop\/friends forbids/],
    [
      'a policy without any rules',
      lostAfter(4, { policies: forbidden.map((one) => ({ ...one, noRulesAtAll: true })) }),
      'default-deny',
      /forbids/,
    ],
    [
      'policy rules that no policy asks for',
      lostAfter(4, { rules: [rule('ip filter', 'KUBE-POD-FW-X', 'drop')] }),
      'policy-engine',
      /no policy of the cluster forbids/,
    ],
    [
      'a rule of somebody else',
      lostAfter(4, { rules: [rule('inet corp', 'fw', 'tcp dport 8080 drop')] }),
      'foreign-firewall',
      /table inet corp, chain fw/,
    ],
    [
      'a rule of somebody else beside a policy that is not met',
      lostAfter(2, { policies: forbidden, rules: [rule('inet corp', 'fw', 'drop', 'node-a')] }),
      'foreign-firewall',
      /on node-a/,
    ],
    ['nothing between the nodes', lostAfter(3), 'between-nodes', /left node-a at eth0/],
    [
      'a missing tunnel on the other side',
      lostAfter(3, {
        sightings: there.slice(0, 3).map((one) => (one.place.kind === 'uplink' ? { ...one, tunnel: 'vxlan' } : one)),
      }),
      'tunnel',
      /vxlan/,
    ],
    [
      'strict reverse path',
      lostAfter(4, { facts: facts({ 'TcpExt.IPReversePathFilter': 3 }) }),
      'reverse-path',
      /rp_filter/,
    ],
    [
      'forwarding turned off',
      lostAfter(4, { facts: facts({}, { forwarding: false }) }),
      'forwarding-off',
      /ip_forward/,
    ],
    ['a full connection table', lostAfter(4, { facts: facts({}, { conntrackFull: true }) }), 'conntrack-full', /full/],
    [
      'a clash of connections',
      lostAfter(4, { facts: facts({ 'conntrack.insert_failed': 2 }) }),
      'conntrack-clash',
      /insert_failed/,
    ],
    [
      'a next hop that is silent',
      lostAfter(4, {
        neighbours: [
          {
            place: { node: 'node-b', kind: 'uplink', interface: 'eth0' },
            seconds: 1,
            wanted: '10.244.1.3',
            answered: false,
          },
        ],
      }),
      'neighbour-missing',
      /Nobody answers for 10\.244\.1\.3/,
    ],
    ['a wrong checksum', lostAfter(6, { facts: inPod({ grown: { 'Tcp.InCsumErrors': 1 } }) }), 'checksum', /checksum/],
    [
      'a full backlog',
      lostAfter(6, { facts: inPod({ grown: { 'TcpExt.ListenOverflows': 1 } }) }),
      'application',
      /queue of its program is full/,
    ],
    [
      'a stale rule of the proxy',
      lostAfter(3, {
        sightings: there
          .slice(0, 3)
          .map((one) => (one.place.kind === 'uplink' ? { ...one, destination: '10.244.9.9' } : one)),
      }),
      'stale-endpoint',
      /10\.244\.9\.9/,
    ],
    [
      'an answer that is lost',
      {
        ...delivered,
        attempts: dropped,
        sightings: [...there, ...back.slice(0, 3)],
        rules: [rule('inet corp', 'fw', 'drop')],
      },
      'foreign-firewall',
      /corp/,
    ],
    [
      'a closed port',
      { ...delivered, attempts: [{ ...dropped[0]!, outcome: 'refused' }], sightings: [...there, ...answer('R.')] },
      'no-listener',
      /Nothing in shop\/web-0 listens on tcp\/8080/,
    ],
    [
      'a program on loopback',
      {
        ...delivered,
        attempts: [{ ...dropped[0]!, outcome: 'refused' }],
        sightings: [...there, ...answer('R.')],
        facts: inPod({ listeners: [{ protocol: 'tcp', address: '127.0.0.1', port: 8080 }] }),
      },
      'no-listener',
      /only at 127\.0\.0\.1/,
    ],
    [
      'a program that cuts connections off',
      { ...delivered, attempts: [{ ...dropped[0]!, outcome: 'reset' }] },
      'application',
      /accepted the connection/,
    ],
    [
      'large packets that do not pass',
      {
        ...delivered,
        attempts: [
          { ...dropped[0]!, outcome: 'allowed' },
          { ...dropped[0]!, payloadOctets: 3000 },
        ],
      },
      'mtu',
      /large ones \(3000 octets\) do not/,
    ],
    [
      'a node that is gone',
      lostAfter(3, { troubledNodes: { 'node-b': 'NodeStatusUnknown: no report' } }),
      'node-down',
      /node-b is not Ready/,
    ],
  ];
  for (const [name, observations, reason, summary] of cases) {
    it(`tells ${name}`, () => {
      const verdict = judge(observations);
      expect(verdict.reason, verdict.summary).to.equal(reason);
      expect(verdict.summary).to.match(summary);
      expect(verdict.outcome).to.equal('not-delivered');
      expect(verdict.next).not.to.equal('');
    });
  }

  it('names the Service, its selector and its pods where nobody serves', () => {
    const { service } = delivered.question;
    if (service === undefined) throw new TypeError('the recorded trace goes through a Service');
    const without = (more: Partial<typeof service>): string =>
      judge(
        lostAfter(2, {
          question: { ...delivered.question, servers: [], service: { ...service, endpoints: [], ...more } },
        }),
      ).summary;
    expect(without({ selected: [] })).to.contain('selects no pod');
    expect(without({ selected: [{ name: 'shop/web-0', ready: false, phase: 'Running' }] })).to.contain(
      'none of them Ready: shop/web-0',
    );
    expect(without({ hasPort: false })).to.contain('has no port');
  });

  it('narrows down without seeing packets, and claims no proof', () => {
    const blind = (more: Partial<Observations>) =>
      judge({ ...delivered, attempts: [], sightings: [], rules: [], ...more });
    const reach = (reached: boolean, words: string): Observations['reach'] => [
      { server: 'shop/web-0:8080', reached, words },
    ];
    expect(blind({ reach: reach(true, 'HTTP status 200') })).to.include({ outcome: 'inconclusive', reason: 'unknown' });
    expect(blind({ reach: reach(false, 'dial tcp: connection refused') }).reason).to.equal('no-listener');
    expect(blind({ policies: forbidden }).summary).to.contain('Whether the cluster enforces it was not tried');
  });

  it('draws the way, and marks where it ended', () => {
    const observations = lostAfter(4, { rules: [rule('inet corp', 'fw', 'tcp dport 8080 drop')] });
    const text = traceLines(observations, judge(observations), {
      names: new Map([['10.244.0.4', 'shop/client']]),
      colour: false,
    }).join('\n');
    expect(text).to.match(/there\n {2}o {2}node-a {2}eth0 of shop\/client +10\.244\.0\.4:\d+ \(shop\/client\) >/);
    expect(text).to.contain('x  ended on node-b');
    expect(text).to.contain('NOT DELIVERED: foreign-firewall');
  });

  it('compares with a better day', () => {
    const good = { schema: 1, verdict: judge(delivered), observations: delivered } as const;
    expect(differences(good, good)).to.deep.equal([]);
    const worse = lostAfter(3);
    const found = differences(good, { schema: 1, verdict: judge(worse), observations: worse }).join('\n');
    expect(found).to.contain('outcome: was delivered, is not-delivered');
    expect(found).to.contain('way there: was node-a/eth0 of shop/client');
  });
});

describe('trace: what programs print', () => {
  it('reads the rules that nft says a packet met', () => {
    const text = `trace id abcb4b2f inet own out packet: oif "lo" ip saddr 127.0.0.1 ip daddr 127.0.0.2 ip ttl 64 ip id 52052 ip protocol tcp ip length 60 tcp sport 55768 tcp dport 80 tcp flags == syn
trace id abcb4b2f inet own out unknown rule handle 4 (verdict continue)
trace id abcb4b2f inet foo nat rule tcp dport 80 dnat ip to 127.0.0.1:99 comment "svc (a)" (verdict accept)
trace id abcb4b2f inet foo output policy accept
trace id abcb4b2f ip filter FORWARD policy drop
nonsense`;
    const mark = { name: 'own', protocol: 'tcp', clientPort: 55_768, servers: [] } as const;
    const steps = parseRuleTrace(text, 'n', mark);
    expect(steps.map(({ rule: words, verdict }) => `${words} -> ${verdict}`)).to.deep.equal([
      'tcp dport 80 dnat ip to 127.0.0.1:99 comment "svc (a)" -> accept',
      'undefined -> drop',
    ]);
    expect(
      parseRuleTrace(text, 'n', { ...mark, clientPort: 4_000 }),
      'of a packet that another trace marked',
    ).to.deep.equal([]);
    const server = { ...mark, clientPort: 4_000, servers: [{ address: '127.0.0.2', port: 80 }] };
    expect(parseRuleTrace(text, 'n', server), 'behind a translation of the source').to.have.length(2);
    expect(steps[0]?.packet).to.deep.equal({
      source: '127.0.0.1',
      sourcePort: 55_768,
      destination: '127.0.0.2',
      destinationPort: 80,
      identification: 52_052,
    });
  });

  it('marks packets in a table that goes with its maker', () => {
    const text = markingCommands({
      name: 'x',
      protocol: 'udp',
      clientPort: 22_000,
      servers: [{ address: 'fd00::1', port: 53 }],
    });
    expect(text).to.contain('add table inet x { flags owner; }');
    expect(text).to.contain('add rule inet x pre ip6 daddr fd00::1 udp dport 53 limit rate');
    const servers = [{ address: '10.0.0.1', port: 6443 }];
    const tcp = markingCommands({ name: 'x', protocol: 'tcp', clientPort: 22_000, servers });
    expect(tcp, 'not each packet of the stream that carries the trace').to.contain(
      'add rule inet x out ip saddr 10.0.0.1 tcp sport 6443 tcp flags & (syn | rst) != 0 limit rate',
    );
  });

  it('takes a drop for the cause only if every transmission was followed by it', () => {
    const text = `          node-12 [001] ..s1. 100.000100: kfree_skb: skbaddr=00 rx_sk=00 protocol=2048 location=nf_hook_slow+0xa4/0x150 reason: NETFILTER_DROP
          node-12 [001] ..s1. 100.000300: kfree_skb: skbaddr=00 rx_sk=00 protocol=2048 location=tcp_v4_rcv+0x1 reason: TCP_CLOSE
          node-12 [001] ..s1. 101.000200: kfree_skb: skbaddr=00 rx_sk=00 protocol=2048 location=nf_hook_slow+0xa4/0x150 reason: NETFILTER_DROP`;
    const drops = parseDrops(text, 'node-a', 1000);
    expect(drops).to.have.length(2);
    const at = (seconds: number): Sighting => ({ ...(there[0] as Sighting), seconds });
    expect(dropsAfter(drops, [at(1100), at(1101)]).map(({ reason, at: place }) => `${reason} ${place}`)).to.deep.equal([
      'NETFILTER_DROP nf_hook_slow+0xa4',
    ]);
    expect(dropsAfter(drops, [at(1100), at(1102)])).to.deep.equal([]);
  });

  it('reads routes and tracked connections', () => {
    const asked = { node: 'n', destination: '10.0.0.1' };
    expect(
      parseRouteGet(
        { exitCode: 0, stdout: '[{"dst":"10.0.0.1","gateway":"10.9.0.1","dev":"eth0"}]', stderr: '' },
        asked,
      ),
    ).to.include({ gateway: '10.9.0.1', device: 'eth0' });
    expect(
      parseRouteGet({ exitCode: 2, stdout: '', stderr: 'RTNETLINK answers: Invalid argument\n' }, asked).error,
    ).to.equal('a blackhole route');
    const line =
      'tcp      6 118 SYN_SENT src=10.0.0.1 dst=10.96.0.1 sport=4000 dport=80 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 sport=8080 dport=4000 mark=0 use=1';
    expect(parseConntrack(line, 'n')[0]).to.deep.include({ state: 'SYN_SENT', unreplied: true });
    const tuples =
      'src=127.0.0.1 dst=127.0.0.1 sport=4444 dport=8080 src=127.0.0.1 dst=127.0.0.1 sport=8080 dport=4444';
    const events = [
      `[1795307032.111868]\t    [NEW] tcp      6 120 SYN_SENT ${tuples.replace('8080 ', '8080 [UNREPLIED] ')}`,
      `[1795307032.111975]\t[DESTROY] tcp      6 120 CLOSE ${tuples}`,
      `[1795307033.000000]\t[DESTROY] udp      17 ${tuples}`,
      'conntrack v1.4.7 (conntrack-tools): 3 flow events have been shown.',
    ].join('\n');
    expect(
      parseConntrackEvents(events, 'n', 500).map(({ event, state, unreplied, seconds }) => [
        event,
        state,
        unreplied,
        seconds,
      ]),
    ).to.deep.equal([
      ['NEW', 'SYN_SENT', true, 1_795_307_032.611_868],
      ['DESTROY', 'CLOSE', false, 1_795_307_032.611_975],
      ['DESTROY', '', false, 1_795_307_033.5],
    ]);
  });

  it('asks for names as resolvers do', () => {
    const files = {
      resolvConf: 'search shop.svc.cluster.local svc.cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n',
      hosts: '10.1.1.1 own own.shop\n',
    };
    expect(resolverPlan('web', files).candidates).to.deep.equal([
      'web.shop.svc.cluster.local.',
      'web.svc.cluster.local.',
      'web.',
    ]);
    expect(resolverPlan('web.shop.svc.cluster.local.', files).candidates).to.deep.equal([
      'web.shop.svc.cluster.local.',
    ]);
    expect(resolverPlan('a.b.c.d.e.f', files).candidates[0]).to.equal('a.b.c.d.e.f.');
    expect(resolverPlan('own.shop', files).fromHosts).to.equal('10.1.1.1');
  });
});
