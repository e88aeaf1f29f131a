// SPDX-License-Identifier: Apache-2.0
/**
 * What a node shows of its network at one moment, as plain data that survives JSON. Everything is as the kernel and the files of the
 * node say it; nothing here comes from the Kubernetes API, and nothing is judged. What could not be read stands in `gaps`, and the
 * fields that it would have filled are then empty.
 */
import type { IptablesRuleset } from './parse/iptables-save.ts';
import type { NftRuleset } from './parse/nft-json.ts';

export type Family = 4 | 6;

export interface NodeState {
  /** Name of the Node object. */
  readonly node: string;
  /** Reader's clock, milliseconds since 1970, when the answer was complete. */
  readonly takenAt: number;
  /** `6.1.0-18-amd64`, or empty. */
  readonly kernel: string;
  readonly clock: Clock | undefined;
  /** Interfaces of the node's own network namespace. */
  readonly links: readonly Link[];
  readonly routes: readonly Route[];
  readonly rules: readonly RoutingRule[];
  readonly neighbours: readonly Neighbour[];
  readonly fdb: readonly FdbEntry[];
  readonly nft: NftRuleset | undefined;
  /** What iptables-save of each back-end prints; empty where the node has no iptables. */
  readonly iptables: readonly IptablesRuleset[];
  readonly ipsets: readonly Ipset[];
  /** By path below /proc/sys, such as `net/ipv4/ip_forward`. */
  readonly sysctls: Readonly<Record<string, string>>;
  /** Sums over all CPUs of `conntrack -S`, such as `insert_failed`. */
  readonly conntrack: Readonly<Record<string, number>>;
  /** Of /proc/net/snmp, snmp6 and netstat, such as `Ip.InDiscards`, `TcpExt.ListenDrops`, `Ip6InDiscards`. */
  readonly counters: Readonly<Record<string, number>>;
  /** Of /proc/net/sockstat, such as `TCP.inuse`. */
  readonly sockets: Readonly<Record<string, number>>;
  readonly listeners: readonly Listener[];
  readonly cni: readonly CniFile[];
  /** Names of the node's programs, sorted: the program's file, and its script where an interpreter runs one. */
  readonly programs: readonly string[];
  /** Other network namespaces of the node in which a process lives: those of pods, mostly. */
  readonly namespaces: readonly NetworkNamespace[];
  readonly gaps: readonly Gap[];
}

/** The node's clock minus the reader's lies between the two, milliseconds. Their distance is what the exec took to start and to end. */
export interface Clock {
  readonly offsetLeastMs: number;
  readonly offsetMostMs: number;
  /** What the kernel was told about its clock; undefined where it was not readable. */
  readonly synchronised: boolean | undefined;
}

export interface Link {
  readonly index: number;
  readonly name: string;
  readonly mtu: number;
  /** `UP`, `LOWER_UP`, `NO-CARRIER`, `NOARP`, ... */
  readonly flags: readonly string[];
  /** `UP`, `DOWN`, `UNKNOWN`, `LOWERLAYERDOWN`. */
  readonly state: string;
  /** `ether`, `loopback`, `ipip`, `none`, ... */
  readonly type: string;
  readonly mac: string | undefined;
  /** Name of the bridge, bond, VRF or OVS device that it belongs to. */
  readonly master: string | undefined;
  /** Index of the other end of a veth, or of the device below a VLAN or macvlan. */
  readonly peerIndex: number | undefined;
  /** Number that this namespace gives to the namespace of `peerIndex`; undefined: the same namespace. */
  readonly peerNamespaceId: number | undefined;
  /** `veth`, `vxlan`, `bridge`, `geneve`, `ipip`, `openvswitch`, `wireguard`, `dummy`; undefined for hardware. */
  readonly kind: string | undefined;
  readonly vxlan: Vxlan | undefined;
  readonly addresses: readonly Address[];
  readonly received: LinkCounters;
  readonly sent: LinkCounters;
}

export interface Vxlan {
  readonly id: number;
  readonly port: number;
  readonly local: string | undefined;
  /** Device that carries the tunnel, by name. */
  readonly device: string | undefined;
  readonly learning: boolean;
}

export interface Address {
  readonly family: Family;
  readonly address: string;
  readonly prefix: number;
  readonly scope: string;
  /** IPv6: `tentative`, `dadfailed`, `deprecated`, ... */
  readonly flags: readonly string[];
}

export interface LinkCounters {
  readonly bytes: number;
  readonly packets: number;
  readonly errors: number;
  readonly dropped: number;
}

export interface Route {
  readonly family: Family;
  /** `unicast`, `local`, `blackhole`, `unreachable`, `prohibit`, `throw`, `broadcast`, ... */
  readonly type: string;
  /** Always with a prefix: `0.0.0.0/0` for the default route, `10.244.1.7/32` for a host. */
  readonly destination: string;
  readonly table: string;
  /** `kernel`, `bird`, `boot`, `static` or a number. */
  readonly protocol: string;
  readonly scope: string | undefined;
  readonly metric: number;
  readonly source: string | undefined;
  readonly mtu: number | undefined;
  /** One for an ordinary route, several for multipath, none for a blackhole. */
  readonly nextHops: readonly NextHop[];
}

export interface NextHop {
  readonly gateway: string | undefined;
  readonly device: string | undefined;
  /** `onlink`, `linkdown`, `dead`, ... */
  readonly flags: readonly string[];
}

export interface RoutingRule {
  readonly family: Family;
  readonly priority: number;
  /** With prefix; undefined: all. */
  readonly from: string | undefined;
  readonly to: string | undefined;
  readonly inDevice: string | undefined;
  readonly outDevice: string | undefined;
  readonly mark: { readonly value: number; readonly mask: number } | undefined;
  readonly not: boolean;
  /** Table to look in; undefined where the rule does something else. */
  readonly table: string | undefined;
  readonly action: string | undefined;
}

export interface Neighbour {
  readonly family: Family;
  readonly address: string;
  readonly device: string;
  readonly mac: string | undefined;
  /** `REACHABLE`, `STALE`, `FAILED`, `INCOMPLETE`, `PERMANENT`, `NOARP`, ... */
  readonly states: readonly string[];
  readonly proxy: boolean;
}

export interface FdbEntry {
  readonly mac: string;
  readonly device: string;
  /** Where a VXLAN device sends it. */
  readonly remote: string | undefined;
  readonly states: readonly string[];
}

export interface Ipset {
  readonly name: string;
  /** `hash:ip`, `hash:net`, ... */
  readonly type: string;
  readonly entries: readonly string[];
}

export interface Listener {
  readonly protocol: 'tcp' | 'udp';
  /** `0.0.0.0`, `::`, `*` (both), or an address. */
  readonly address: string;
  readonly port: number;
  readonly device: string | undefined;
  /** Connections that wait to be accepted, or bytes that wait to be read. */
  readonly waiting: number;
  /** Length of the queue of connections, for TCP. */
  readonly limit: number;
  readonly program: string | undefined;
}

export interface CniFile {
  /** File name in /etc/cni/net.d. */
  readonly name: string;
  /** The file as JSON, without what may be secret; undefined where it is none. */
  readonly config: unknown;
}

export interface NetworkNamespace {
  /** As of `/proc/PID/ns/net`. */
  readonly inode: string;
  /** A process in it; the lowest number, which in a pod is its pause program. */
  readonly pid: number;
  /** From the cgroup of that process; undefined where it belongs to no pod. */
  readonly podUid: string | undefined;
  readonly links: readonly Link[];
  readonly routes: readonly Route[];
  readonly neighbours: readonly Neighbour[];
  readonly listeners: readonly Listener[];
  readonly counters: Readonly<Record<string, number>>;
}

/** Something that could not be read. */
export interface Gap {
  /** Such as `iptables-legacy`, `nft`, `cni`. */
  readonly section: string;
  /** `absent`: the node has no such program or file, and thus nothing to show. `failed`: it should have worked. */
  readonly kind: 'absent' | 'failed';
  readonly reason: string;
}
