// SPDX-License-Identifier: Apache-2.0
/** Switches and limits of the kernel that pods' packets depend on, and the clocks. */
import type { NodeState } from '../../../probes/node-state/node-state.ts';
import { familyOfAddress, type ClusterView, type NodeView } from './cluster-view.ts';
import { finding, type Finding } from './finding.ts';

const tableShareMost = 0.8;
const neighbourShareMost = 0.9;
const skewMostMs = 1_000;

export function kernelFindings(view: ClusterView): Finding[] {
  return [
    ...view.nodes.flatMap((node) => [
      ...forwarding(node, view),
      ...reversePath(node, view),
      ...tables(node),
      ...bridges(node),
    ]),
    ...clocks(view),
    ...cniFiles(view),
  ];
}

function report(
  at: NodeView,
  parts: {
    readonly about: string;
    readonly object: string;
    readonly what: string;
    readonly proof: readonly string[];
    readonly remedy: string;
  },
): Finding {
  return finding({ component: 'kernel', node: at.name, ...parts });
}

function forwarding(at: NodeView, { pods }: ClusterView): Finding[] {
  const families = new Set(pods.flatMap(({ addresses }) => addresses.map(familyOfAddress)));
  const { sysctls } = at.state;
  const off = (key: string, why: string): Finding[] =>
    sysctls[key] !== '0'
      ? []
      : [
          report(at, {
            about: key,
            object: `sysctl ${key}`,
            what: `is off: ${why}`,
            proof: [`${key} = 0`],
            remedy: `sysctl -w ${key}=1, and find out who set it to 0 (a network manager, a hardening script, a reboot).`,
          }),
        ];
  const uplink = at.uplink(4);
  return [
    ...(families.has(4)
      ? off('net/ipv4/ip_forward', 'the node passes no packet on, neither for pods nor for Services')
      : []),
    ...(families.has(4) && uplink !== undefined && sysctls['net/ipv4/ip_forward'] === '1'
      ? off(
          `net/ipv4/conf/${uplink.name}/forwarding`,
          `packets that come in by ${uplink.name} are not passed on to pods`,
        )
      : []),
    ...(families.has(6) ? off('net/ipv6/conf/all/forwarding', 'the node passes no IPv6 packet on') : []),
  ];
}

/** Strict checking drops what comes in by another device than the answer would leave by. */
function reversePath(at: NodeView, view: ClusterView): Finding[] {
  const { sysctls } = at.state;
  const strict = (device: string): boolean =>
    Math.max(
      Number(sysctls['net/ipv4/conf/all/rp_filter'] ?? 0),
      Number(sysctls[`net/ipv4/conf/${device}/rp_filter`] ?? 0),
    ) === 1;
  const found = new Map<string, Finding>();
  for (const other of view.nodes) {
    if (other.name === at.name) continue;
    const theirs = view.pods.find(
      ({ node, addresses }) => node === other.name && addresses.some((one) => familyOfAddress(one) === 4),
    );
    const mine = view.pods.find(
      ({ node, addresses }) => node === at.name && addresses.some((one) => familyOfAddress(one) === 4),
    );
    const from = theirs?.addresses.find((one) => familyOfAddress(one) === 4);
    const to = mine?.addresses.find((one) => familyOfAddress(one) === 4);
    if (from === undefined || to === undefined) continue;
    const leaves = other.state.links.find(
      ({ name }) => name === other.routes.find({ destination: to })?.nextHops[0]?.device,
    );
    const answers = at.routes.find({ destination: from })?.nextHops[0]?.device;
    const isTunnel = leaves !== undefined && leaves.name !== other.uplink(4)?.name;
    // By a tunnel it comes out of the device of the same kind; else it comes in by the uplink.
    const arrives = isTunnel
      ? at.state.links.find(
          ({ kind, type, vxlan }) => kind === leaves.kind && type === leaves.type && vxlan?.id === leaves.vxlan?.id,
        )?.name
      : at.uplink(4)?.name;
    if (arrives === undefined || answers === undefined || arrives === answers || !strict(arrives)) continue;
    found.set(
      arrives,
      report(at, {
        about: 'rp_filter',
        object: `interface ${arrives}`,
        what: `packets of ${theirs?.name} come in by ${arrives}, answers leave by ${answers}, and the strict reverse path filter drops the former`,
        proof: [
          `net/ipv4/conf/all/rp_filter = ${sysctls['net/ipv4/conf/all/rp_filter']}`,
          `net/ipv4/conf/${arrives}/rp_filter = ${sysctls[`net/ipv4/conf/${arrives}/rp_filter`]}`,
          `route to ${from}: dev ${answers}`,
        ],
        remedy: `Make the ways the same in both directions, or set net.ipv4.conf.${arrives}.rp_filter (and all) to 2.`,
      }),
    );
  }
  return [...found.values()];
}

function tables(at: NodeView): Finding[] {
  const { sysctls, neighbours } = at.state;
  const count = Number(sysctls['net/netfilter/nf_conntrack_count']);
  const most = Number(sysctls['net/netfilter/nf_conntrack_max']);
  const found: Finding[] = [];
  if (most > 0 && count > most * tableShareMost)
    found.push(
      report(at, {
        about: 'conntrack',
        object: 'connection tracking table',
        what: `holds ${count} of at most ${most} connections; when it is full, new ones are dropped`,
        proof: [`net/netfilter/nf_conntrack_count = ${count}`, `net/netfilter/nf_conntrack_max = ${most}`],
        remedy:
          'Raise net.netfilter.nf_conntrack_max (kube-proxy: conntrack.maxPerCore), and find out who opens so many connections: conntrack -L | sort by source.',
      }),
    );
  for (const family of [4, 6] as const) {
    const limit = Number(sysctls[`net/ipv${family}/neigh/default/gc_thresh3`]);
    const known = neighbours.filter(
      (one) => one.family === family && !one.states.includes('PERMANENT') && !one.states.includes('NOARP'),
    ).length;
    if (limit > 0 && known >= limit * neighbourShareMost)
      found.push(
        report(at, {
          about: `neighbours ${family}`,
          object: `neighbour table of IPv${family}`,
          what: `holds ${known} of at most ${limit} neighbours; when it is full, new ones cannot be reached`,
          proof: [`net/ipv${family}/neigh/default/gc_thresh3 = ${limit}`],
          remedy: `Raise net.ipv${family}.neigh.default.gc_thresh1 to 3.`,
        }),
      );
  }
  return found;
}

/** Answers of a Service between pods on one bridge must pass the rules that translate them back. */
function bridges(at: NodeView): Finding[] {
  const { sysctls, links, iptables } = at.state;
  const bridge = links.find(
    (link) => link.kind === 'bridge' && links.some(({ master, kind }) => master === link.name && kind === 'veth'),
  );
  const hasProxy = iptables.some(({ tables: all }) =>
    all.some(({ chains }) => chains.some(({ name }) => name === 'KUBE-SERVICES')),
  );
  if (bridge === undefined || !hasProxy || sysctls['net/bridge/bridge-nf-call-iptables'] !== '0') return [];
  return [
    report(at, {
      about: 'bridge-nf-call',
      object: 'sysctl net/bridge/bridge-nf-call-iptables',
      what: `is off, so that answers between pods on ${bridge.name} are not translated back`,
      proof: ['net/bridge/bridge-nf-call-iptables = 0', `${bridge.name} is a bridge of pods`],
      remedy: 'sysctl -w net.bridge.bridge-nf-call-iptables=1',
    }),
  ];
}

/** Against the middle of all nodes, as the reader’s own clock may be the wrong one. */
function clocks({ nodes }: ClusterView): Finding[] {
  const read = nodes.flatMap(({ name, state: { clock } }) =>
    clock === undefined ? [] : [{ name, clock, middle: (clock.offsetLeastMs + clock.offsetMostMs) / 2 }],
  );
  const reference =
    read.length < 2
      ? 0
      : (read.map(({ middle }) => middle).toSorted((a, b) => a - b)[Math.floor((read.length - 1) / 2)] ?? 0);
  return read.flatMap(({ name, clock, middle }) => {
    const uncertain = (clock.offsetMostMs - clock.offsetLeastMs) / 2;
    const off = middle - reference;
    if (Math.abs(off) - uncertain <= skewMostMs) return [];
    return [
      finding({
        about: 'clock',
        component: 'node',
        node: name,
        object: 'clock',
        what: `is ${Math.round(Math.abs(off) / 100) / 10} s ${off > 0 ? 'ahead' : 'behind'}`,
        proof: [
          `offset from the reader’s clock between ${clock.offsetLeastMs} and ${clock.offsetMostMs} ms`,
          `the cluster’s middle is ${Math.round(reference)} ms`,
          `kernel says synchronised: ${clock.synchronised}`,
        ],
        remedy:
          'Start the time service (chronyd, systemd-timesyncd) and look which servers it reaches. Certificates, leases and logs depend on it.',
      }),
    ];
  });
}

/** A node without a network configuration, where others have one. */
function cniFiles({ nodes }: ClusterView): Finding[] {
  const has = ({ state }: NodeView): boolean => state.cni.some(({ config }) => config !== undefined);
  if (!nodes.some(has)) return [];
  return nodes
    .filter((node) => !has(node))
    .map(({ name, state }) =>
      finding({
        about: 'cni',
        component: 'network plugin',
        node: name,
        object: '/etc/cni/net.d',
        what: 'has no usable network configuration, while other nodes have one: no new pod gets a network',
        proof: [
          state.cni.length === 0
            ? 'the folder is empty or not there'
            : `not JSON: ${state.cni.map((file) => file.name).join(', ')}`,
        ],
        remedy: `Look at the network plugin’s pod on ${name}: it writes the file when it starts.`,
      }),
    );
}

/** Ratio of lost packets to packets from which on a device counts as faulty. */
const lossMost = 0.01;
const lostLeast = 10;

/** What grew between two readings of one node that must not grow. */
export function growthFindings(before: NodeState, after: NodeState): Finding[] {
  const found: Finding[] = [];
  for (const link of after.links) {
    const earlier = before.links.find(({ name, index }) => name === link.name && index === link.index);
    if (earlier === undefined) continue;
    for (const side of ['received', 'sent'] as const) {
      const packets = link[side].packets - earlier[side].packets;
      const errors = link[side].errors - earlier[side].errors;
      const dropped = link[side].dropped - earlier[side].dropped;
      const isLossy = dropped >= lostLeast && dropped > lossMost * Math.max(packets, 1);
      if (errors <= 0 && !isLossy) continue;
      found.push(
        finding({
          about: `counters ${side}`,
          component: 'kernel',
          node: after.node,
          object: `interface ${link.name}`,
          what: `${errors > 0 ? `${errors} errors` : `${dropped} dropped packets`} ${side} beside ${packets} packets between two readings`,
          proof: [`${side} before: ${JSON.stringify(earlier[side])}`, `${side} after: ${JSON.stringify(link[side])}`],
          remedy:
            'Errors are the hardware’s, the driver’s or a tunnel’s; drops are queues that run over or packets that nobody wants: look at ip -s -d link and tc -s qdisc.',
        }),
      );
    }
  }
  for (const [name, least] of [
    ['drop', 1],
    ['early_drop', 1],
    ['insert_failed', 20],
  ] as const) {
    const grown = (after.conntrack[name] ?? 0) - (before.conntrack[name] ?? 0);
    if (grown < least) continue;
    found.push(
      finding({
        about: `conntrack ${name}`,
        component: 'kernel',
        node: after.node,
        object: 'connection tracking table',
        what: `${name} grew by ${grown} between two readings: new connections are lost`,
        proof: [
          `conntrack -S: ${name} ${before.conntrack[name]} then ${after.conntrack[name]}`,
          `nf_conntrack_count = ${after.sysctls['net/netfilter/nf_conntrack_count']}, nf_conntrack_max = ${after.sysctls['net/netfilter/nf_conntrack_max']}`,
        ],
        remedy:
          name === 'insert_failed'
            ? 'Two packets of one new connection raced, mostly of DNS over UDP; ask with single-request, or by a cache on the node.'
            : 'The table is full: raise net.netfilter.nf_conntrack_max and find out who opens so many connections.',
      }),
    );
  }
  return found;
}
