// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import fc from 'fast-check';
import { parseNodeState } from './collect.ts';
import { parseIptablesSave } from './parse/iptables-save.ts';
import { parseListeners, parsePrograms } from './parse/text-tables.ts';

const nonce = '0123abcd';
const of = { node: 'a', nonce, began: 1_000_000, ended: 1_000_400 };

function section(name: string, text: string, { code = 0, message = '' } = {}): string {
  return `@@${nonce} begin ${name}\n${text}\n@@${nonce} end ${code} ${message}\n`;
}

const adjtimex = (seconds: number, status: number): string =>
  `    status:       ${status} (X)\n    time.tv_sec:  ${seconds}\n    time.tv_usec: 200000\n`;

const links = JSON.stringify([
  {},
  {
    ifindex: 4,
    ifname: 'flannel.1',
    mtu: 1450,
    flags: ['UP', 'LOWER_UP'],
    operstate: 'UNKNOWN',
    link_type: 'ether',
    address: '02:00:00:00:00:04',
    linkinfo: {
      info_kind: 'vxlan',
      info_data: { id: 1, local: '10.0.0.1', link: 'eth0', port: 8472, learning: false },
    },
    addr_info: [{ family: 'inet', local: '10.244.0.0', prefixlen: 32, scope: 'global' }],
    stats64: { rx: { bytes: 9, packets: 1, errors: 2, dropped: 3 }, tx: {} },
  },
]);

const answer = [
  section('clock-first', adjtimex(1_000, 64)),
  section('kernel', '6.1.0'),
  section('links', links),
  section(
    'routes4',
    JSON.stringify([
      { dst: 'default', gateway: '10.0.0.9', dev: 'eth0', protocol: 'dhcp', metrics: [{ mtu: 1400 }] },
      { type: 'blackhole', dst: '10.7.0.0/26', protocol: 'bird' },
      {
        dst: '10.5.0.0/24',
        nexthops: [
          { gateway: '10.0.0.2', dev: 'eth0' },
          { gateway: '10.0.0.3', dev: 'eth1' },
        ],
      },
    ]),
  ),
  section(
    'rules4',
    JSON.stringify([
      { priority: 5, src: '10.0.0.0', srclen: 8, not: null, fwmark: '0x40', fwmask: '0xf0', table: '99' },
    ]),
  ),
  section(
    'fdb',
    JSON.stringify([{ dst: '10.0.0.2', dev: 'flannel.1', lladdr: '02:00:00:00:00:05', state: ['PERMANENT'] }]),
  ),
  section(
    'iptables-nft4',
    '*nat\n:KUBE-SERVICES - [0:0]\n[7:420] -A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m comment --comment "a \\"b\\" -c" -m tcp ! --dport 443 -j KUBE-SVC-X\nCOMMIT\nwhat\n',
  ),
  section('ipset', '', { code: 127, message: "nsenter: can't execute 'ipset': No such file or directory" }),
  section('nft', '{', { code: 0 }),
  section('sysctls', '/proc/sys/net/ipv4/ip_forward:1\n/proc/sys/net/ipv4/conf/eth0.5/rp_filter:2'),
  section('conntrack', 'cpu=0 found=1 insert_failed=2\ncpu=1 found=0 insert_failed=3'),
  section('counters', 'Ip: Forwarding InDiscards\nIp: 1 9\nTcpExt: ListenDrops\nTcpExt: 4\nIp6InDiscards 12'),
  section(
    'cni',
    '==> 10-x.conflist <==\n{"name":"x","kubernetes":{"k8s_auth_token":"geheim"}}\n==> 20.conf <==\nnot json\n',
  ),
  `@@${nonce} namespace 77 net:[4026]\n`,
  section('cgroup', '0::/kubepods.slice/kubepods-pod0d0eeb05_7308_4d38_81bc_48e115d3b83d.slice/cri-x'),
  section('links', '[]'),
  `@@${nonce} node\n`,
  section('clock-last', adjtimex(1_000, 0)),
].join('');

describe('parseNodeState', () => {
  const state = parseNodeState(answer, of);

  it('reads links, routes, rules and the forwarding database', () => {
    expect(state.links.map(({ name, kind, vxlan, received }) => ({ name, kind, vxlan, received }))).to.deep.equal([
      {
        name: 'flannel.1',
        kind: 'vxlan',
        vxlan: { id: 1, port: 8472, local: '10.0.0.1', device: 'eth0', learning: false },
        received: { bytes: 9, packets: 1, errors: 2, dropped: 3 },
      },
    ]);
    expect(
      state.routes.map(({ type, destination, mtu, nextHops }) => [type, destination, mtu, nextHops.length]),
    ).to.deep.equal([
      ['unicast', '0.0.0.0/0', 1400, 1],
      ['blackhole', '10.7.0.0/26', undefined, 0],
      ['unicast', '10.5.0.0/24', undefined, 2],
    ]);
    expect(state.rules[0]).to.deep.include({
      from: '10.0.0.0/8',
      not: true,
      mark: { value: 0x40, mask: 0xf0 },
      table: '99',
    });
    expect(state.fdb[0]).to.include({ remote: '10.0.0.2', device: 'flannel.1' });
  });

  it('reads rules of iptables with negation, quotes and counters, and counts lines that are none', () => {
    const [ruleset] = state.iptables;
    expect(ruleset?.strangeLines).to.equal(1);
    const rule = ruleset?.tables[0]?.chains[0]?.rules[0];
    expect(rule).to.include({ target: 'KUBE-SVC-X', comment: 'a "b" -c', packets: 7, isGoto: false });
    expect(rule?.options.find(({ name }) => name === '--dport')).to.deep.equal({
      name: '--dport',
      negated: true,
      values: ['443'],
    });
  });

  it('reads counters, sysctls, clocks, pods and files, and leaves secrets out', () => {
    expect(state.conntrack).to.deep.equal({ found: 1, insert_failed: 5 });
    expect(state.counters).to.deep.equal({
      'Ip.Forwarding': 1,
      'Ip.InDiscards': 9,
      'TcpExt.ListenDrops': 4,
      Ip6InDiscards: 12,
    });
    expect(state.sysctls).to.deep.equal({ 'net/ipv4/ip_forward': '1', 'net/ipv4/conf/eth0.5/rp_filter': '2' });
    expect(state.clock).to.deep.equal({ offsetLeastMs: -200, offsetMostMs: 200, synchronised: true });
    expect(state.namespaces[0]).to.include({
      pid: 77,
      inode: 'net:[4026]',
      podUid: '0d0eeb05-7308-4d38-81bc-48e115d3b83d',
    });
    expect(JSON.stringify(state.cni)).to.contain('"name":"x"').and.not.contain('geheim');
  });

  it('names what could not be read, and tells what is absent from what failed', () => {
    const kinds = Object.fromEntries(state.gaps.map(({ section: name, kind }) => [name, kind]));
    expect(kinds).to.include({ ipset: 'absent', nft: 'failed', cni: 'failed', routes6: 'failed' });
    expect(kinds['namespace of process 77: routes4']).to.equal('failed');
  });

  it('keeps what came before the answer was cut off, wherever that is', () => {
    fc.assert(
      fc.property(fc.nat(answer.length), (length) => {
        const cut = parseNodeState(answer.slice(0, length), of);
        expect(cut.links.length).to.equal(length > answer.indexOf(`end 0 \n@@${nonce} begin routes4`) + 4 ? 1 : 0);
      }),
      { numRuns: 200 },
    );
  });

  it('never throws, whatever the sections hold', () => {
    const names = [...answer.matchAll(/begin (\S+)/g)].map(([, name]) => name ?? '');
    const anything = fc.oneof(fc.string(), fc.json(), fc.lorem(), fc.constant('*nat\n:A - [0:0]\n-A A "'));
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.constantFrom(...names), anything), { maxLength: 8 }), (sections) => {
        parseNodeState(sections.map(([name, text]) => section(name, text)).join(''), of);
      }),
      { numRuns: 500 },
    );
  });
});

describe('texts of a node', () => {
  it('tells listening sockets apart', () => {
    const text =
      'tcp LISTEN 0 4096 127.0.0.1:10248 0.0.0.0:* users:(("kubelet",pid=1,fd=2))\nudp UNCONN 3 0 [fe80::1]%eth0:546 [::]:*\ntcp LISTEN 0 511 *:80 *:*\n';
    expect(
      parseListeners(text).map(({ protocol, address, port, program }) => [protocol, address, port, program]),
    ).to.deep.equal([
      ['tcp', '127.0.0.1', 10_248, 'kubelet'],
      ['udp', 'fe80::1', 546, undefined],
      ['tcp', '*', 80, undefined],
    ]);
  });

  it('names programs and scripts, and keeps no argument', () => {
    const text =
      '==> /proc/1/cmdline <==\n/usr/bin/kubelet\0--token=geheim\0\n==> /proc/2/cmdline <==\n/usr/bin/node\0--max-old=5\0/app/agent.mjs\0x\0\n==> /proc/3/cmdline <==\nnginx: master process\0';
    expect(parsePrograms(text)).to.deep.equal(['agent.mjs', 'kubelet', 'nginx:', 'node']);
  });

  it('puts iptables-save back together from what it parsed', () => {
    const word = fc.stringMatching(/^[a-z0-9./:,-]{1,12}$/).filter((text) => !text.startsWith('-'));
    const option = fc.tuple(fc.constantFrom('-s', '-d', '--dport', '--mark'), word).map((parts) => parts.join(' '));
    fc.assert(
      fc.property(fc.array(fc.array(option, { maxLength: 4 }), { maxLength: 6 }), (rules) => {
        const lines = rules.map((options) => [...options, '-j DROP'].join(' '));
        const text = `*filter\n:FORWARD DROP [0:0]\n${lines.map((line) => `-A FORWARD ${line}\n`).join('')}COMMIT\n`;
        const parsed = parseIptablesSave(text, { backend: 'legacy', family: 4 });
        expect(parsed.tables[0]?.chains[0]?.rules.map((rule) => rule.text)).to.deep.equal(lines);
        expect(
          parsed.tables[0]?.chains[0]?.rules.flatMap(({ options }) =>
            options.map(({ name, values }) => `${name} ${values.join(' ')}`),
          ),
        ).to.deep.equal(rules.flat());
      }),
      { numRuns: 200 },
    );
  });
});
