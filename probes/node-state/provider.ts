// SPDX-License-Identifier: Apache-2.0
/** Which network plugin a node runs, and in which manner, told from what the node shows: devices, routes, rules, files and programs. */
import type { NodeState } from './node-state.ts';
import { objectOf, objectsOf, textOf } from './parse/json-fields.ts';

export interface Provider {
  readonly name:
    | 'Antrea'
    | 'Calico'
    | 'Cilium'
    | 'Flannel'
    | 'kindnet'
    | 'kube-router'
    | 'OVN-Kubernetes'
    | 'Plumbline'
    | 'Weave Net';
  /** How pods of different nodes reach each other; undefined where the node does not show it. */
  readonly manner: 'direct' | 'bgp' | 'vxlan' | 'geneve' | 'ipip' | 'wireguard' | 'tunnel' | undefined;
  /** `certain`: clues of several kinds that belong to nobody else. `likely`: one such clue. `possible`: only what others may have as well. */
  readonly confidence: 'certain' | 'likely' | 'possible';
  /** What was seen, as the node shows it. */
  readonly clues: readonly string[];
  /** Services or routes that the kernel holds where rules and route tables do not show them. */
  readonly hidden: 'eBPF' | 'Open vSwitch' | undefined;
}

interface Signature {
  readonly name: Provider['name'];
  readonly links?: RegExp;
  readonly chains?: RegExp;
  readonly tables?: RegExp;
  readonly ipsets?: RegExp;
  /** Types of plugins in the CNI configuration. */
  readonly plugins?: RegExp;
  /** Name of the network in the CNI configuration, or of its file. */
  readonly network?: RegExp;
  readonly programs?: RegExp;
  readonly routes?: (route: NodeState['routes'][number]) => boolean;
  readonly manner: (state: NodeState) => Provider['manner'];
  readonly hidden?: (state: NodeState) => Provider['hidden'];
}

const hasLink = (state: NodeState, pattern: RegExp): boolean => state.links.some(({ name }) => pattern.test(name));
const usesDevice = (state: NodeState, pattern: RegExp): boolean =>
  state.routes.some(
    ({ type, nextHops }) =>
      type === 'unicast' && nextHops.some(({ device, gateway }) => gateway !== undefined && pattern.test(device ?? '')),
  );
const tunnelOf = (state: NodeState): Provider['manner'] => {
  const kinds = ['vxlan', 'geneve', 'ipip', 'wireguard'] as const;
  return kinds.find((kind) =>
    state.links.some((link) => link.kind === kind && usesDevice(state, new RegExp(`^${escaped(link.name)}$`))),
  );
};

const signatures: readonly Signature[] = [
  {
    name: 'Calico',
    links: /^(cali[0-9a-f]{11}|vxlan\.calico|bpf(in|out)\.cali|wireguard\.cali)$/,
    chains: /^cali-/,
    ipsets: /^cali[46]0/,
    plugins: /^calico(-ipam)?$/,
    programs: /^(calico-node|calico-felix|calico-bgp-daemon|confd|calico-typha)$/,
    routes: ({ protocol, destination }) => protocol === 'bird' && destination.endsWith('/26'),
    manner: (state) => {
      if (usesDevice(state, /^wireguard\.cali$/)) return 'wireguard';
      if (usesDevice(state, /^vxlan\.calico$/)) return 'vxlan';
      if (usesDevice(state, /^tunl0$/)) return 'ipip';
      return state.routes.some(({ protocol }) => protocol === 'bird') ? 'bgp' : 'direct';
    },
    hidden: (state) => (hasLink(state, /^bpf(in|out)\.cali$/) ? 'eBPF' : undefined),
  },
  {
    name: 'Flannel',
    links: /^flannel(\.\d+|-v6\.\d+|-wg|\d*)$/,
    chains: /^FLANNEL-(POSTRTG|FWD)$/,
    tables: /^flannel-ipv[46]$/,
    plugins: /^flannel$/,
    programs: /^flanneld?$/,
    manner: (state) => {
      if (hasLink(state, /^flannel-wg/)) return 'wireguard';
      if (hasLink(state, /^flannel\.\d+$/)) return 'vxlan';
      return hasLink(state, /^flannel\d*$/) ? 'tunnel' : 'direct';
    },
  },
  {
    name: 'Antrea',
    links: /^(antrea-gw0|antrea-tun0|antrea-egress0|antrea-wg0)$/,
    chains: /^ANTREA-/,
    ipsets: /^ANTREA-/,
    plugins: /^antrea$/,
    programs: /^antrea-(agent|ovs)$/,
    manner: (state) => {
      if (hasLink(state, /^antrea-wg0$/)) return 'wireguard';
      if (hasLink(state, /^genev_sys_\d+$/)) return 'geneve';
      if (hasLink(state, /^vxlan_sys_\d+$/)) return 'vxlan';
      return usesDevice(state, /^antrea-gw0$/) ? 'tunnel' : 'direct';
    },
    hidden: () => 'Open vSwitch',
  },
  {
    name: 'Cilium',
    links: /^(cilium_host|cilium_net|cilium_vxlan|cilium_geneve|cilium_wg0|lxc_health|lxc[0-9a-f]{12})$/,
    chains: /^(OLD_)?CILIUM_/,
    plugins: /^cilium-cni$/,
    programs: /^cilium-(agent|envoy|operator.*)$/,
    manner: (state) => {
      if (hasLink(state, /^cilium_vxlan$/)) return 'vxlan';
      if (hasLink(state, /^cilium_geneve$/)) return 'geneve';
      return hasLink(state, /^cilium_wg0$/) ? 'wireguard' : 'direct';
    },
    hidden: () => 'eBPF',
  },
  {
    name: 'kube-router',
    links: /^(kube-bridge|kube-dummy-if|kube-tunnel-if|tun-[0-9a-f]{8,12})$/,
    chains: /^KUBE-(ROUTER|POD-FW|NWPLCY)-/,
    ipsets: /^(inet6:)?(kube-router-|KUBE-(SRC|DST)-)/,
    network: /kuberouter|kube-router/,
    programs: /^kube-router$/,
    manner: (state) => (hasLink(state, /^tun-[0-9a-f]{8,12}$/) ? 'ipip' : 'bgp'),
  },
  {
    name: 'kindnet',
    tables: /^kindnet/,
    chains: /^KIND-MASQ-AGENT$/,
    ipsets: /^kindnet/,
    network: /kindnet/,
    programs: /^kindnetd$/,
    manner: () => 'direct',
  },
  {
    name: 'Weave Net',
    links: /^(weave|vethwe-(bridge|datapath|pcap)|vxlan-6784|vethwepl[0-9a-f]+|datapath)$/,
    chains: /^WEAVE(-|$)/,
    ipsets: /^weave-/,
    plugins: /^weave-(net|ipam)$/,
    programs: /^(weaver|weave-npc|weave-kube)$/,
    manner: () => 'vxlan',
    hidden: (state) => (hasLink(state, /^datapath$/) ? 'Open vSwitch' : undefined),
  },
  {
    name: 'OVN-Kubernetes',
    links: /^(ovn-k8s-mp\d+|ovn-k8s-gw\d+|br-ex|breth0)$/,
    chains: /^OVN-KUBE-/,
    tables: /^ovn-kubernetes$/,
    plugins: /^ovn-k8s-cni-overlay$/,
    programs: /^(ovnkube|ovn-controller|ovn-northd|ovnkube-node)$/,
    manner: () => 'geneve',
    hidden: () => 'Open vSwitch',
  },
  {
    name: 'Plumbline',
    tables: /^plumb_(policy|network)$/,
    network: /^(\d+-)?plumb(\.conflist)?$/,
    programs: /^network-agent\.mjs$/,
    routes: ({ protocol }) => protocol === '144',
    manner: (state) => tunnelOf(state) ?? (state.routes.some(({ protocol }) => protocol === 'bird') ? 'bgp' : 'direct'),
  },
];

/** Most clues first; empty where nothing is recognised. Two together are not unusual: Flannel's routes with Calico's policies. */
export function recogniseProviders(state: NodeState): Provider[] {
  return signatures
    .flatMap((signature) => {
      const kinds = cluesOf(signature, state);
      const clues = kinds.flat();
      if (clues.length === 0) return [];
      return [
        {
          name: signature.name,
          manner: signature.manner(state),
          confidence: confidenceOf(kinds),
          clues,
          hidden: signature.hidden?.(state),
        } satisfies Provider,
      ];
    })
    .toSorted((a, b) => b.clues.length - a.clues.length);
}

/** Three examples of each kind of clue. */
function cluesOf(signature: Signature, state: NodeState): string[][] {
  const some = (found: readonly string[]): string[] => [...new Set(found)].slice(0, 3);
  const matching = (pattern: RegExp | undefined, names: readonly string[], what: string): string[] =>
    pattern === undefined ? [] : some(names.filter((name) => pattern.test(name)).map((name) => `${what} ${name}`));
  const { plugins, networks } = cniNames(state);
  const route = signature.routes;
  return [
    matching(
      signature.links,
      state.links.map(({ name }) => name),
      'interface',
    ),
    matching(
      signature.chains,
      [...state.iptables, ...(state.nft === undefined ? [] : [state.nft])].flatMap(({ tables }) =>
        tables.flatMap(({ chains }) => chains.map(({ name }) => name)),
      ),
      'chain',
    ),
    matching(signature.tables, state.nft?.tables.map(({ name }) => name) ?? [], 'nft table'),
    matching(
      signature.ipsets,
      state.ipsets.map(({ name }) => name),
      'ipset',
    ),
    matching(signature.plugins, plugins, 'CNI plugin'),
    matching(signature.network, networks, 'CNI configuration'),
    matching(signature.programs, state.programs, 'program'),
    route === undefined
      ? []
      : some(
          state.routes
            .filter(route)
            .map(
              ({ type, destination, protocol }) =>
                `route ${type === 'unicast' ? '' : `${type} `}${destination} proto ${protocol}`,
            ),
        ),
  ].filter((clues) => clues.length > 0);
}

function confidenceOf(kinds: readonly (readonly string[])[]): Provider['confidence'] {
  if (kinds.length > 1) return 'certain';
  const only = kinds[0]?.[0] ?? '';
  // A bridge to the outside is no proof of OVN, and BIRD serves others as well.
  if (only.startsWith('route ') || only === 'interface br-ex' || only === 'program confd') return 'possible';
  return 'likely';
}

function cniNames(state: NodeState): { readonly plugins: string[]; readonly networks: string[] } {
  const configs = state.cni.map(({ config }) => objectOf(config));
  return {
    plugins: configs.flatMap((config) =>
      [config, ...objectsOf(config['plugins'])].flatMap((plugin) =>
        [textOf(plugin['type']) ?? [], textOf(objectOf(plugin['ipam'])['type']) ?? []].flat(),
      ),
    ),
    networks: [...state.cni.map(({ name }) => name), ...configs.flatMap((config) => textOf(config['name']) ?? [])],
  };
}

function escaped(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
}
