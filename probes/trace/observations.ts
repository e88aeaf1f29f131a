// SPDX-License-Identifier: Apache-2.0
/**
 * What was seen of a traced flow, as plain data that survives JSON. Collectors fill it, `judge` decides from it alone, and tests replay it.
 * Everything is what packets, kernels, rules and the Kubernetes API say; nothing is known of any implementation.
 */

export type TraceProtocol = 'tcp' | 'udp' | 'http';

/** Where the flow begins or may end. */
export interface Party {
  /** `outside`: this machine, or whatever is no part of the cluster. */
  readonly kind: 'pod' | 'node' | 'outside';
  /** `namespace/name` of a pod, name of a node, or an address. */
  readonly name: string;
  readonly node: string | undefined;
  readonly addresses: readonly string[];
  /** Of a pod: it shares its node's network. */
  readonly hostNetwork?: boolean;
  /** Of a pod. */
  readonly ready?: boolean;
  readonly phase?: string;
}

export interface ServiceFacts {
  /** `namespace/name`. */
  readonly name: string;
  readonly type: string;
  /** The port that was asked for is one of the Service. */
  readonly hasPort: boolean;
  readonly ports: readonly string[];
  readonly selector: string;
  readonly endpoints: readonly Endpoint[];
  /** Pods that the selector selects, ready or not. */
  readonly selected: readonly { readonly name: string; readonly ready: boolean; readonly phase: string }[];
  readonly localOnly: boolean;
}

export interface Endpoint {
  readonly address: string;
  readonly port: number;
  readonly ready: boolean;
  readonly pod: string | undefined;
  readonly node: string | undefined;
}

export interface Question {
  readonly from: Party;
  /** As it was asked for: `svc/shop/web:80`, `10.244.0.5:8080`. */
  readonly to: string;
  readonly protocol: TraceProtocol;
  /** Address that was sent to; undefined where the name did not resolve. */
  readonly address: string | undefined;
  readonly port: number;
  /** Source port of the probes, by which their packets are known. */
  readonly clientPort: number;
  /** Where it may end. */
  readonly servers: readonly (Party & { readonly port: number })[];
  readonly service?: ServiceFacts;
}

export interface Place {
  readonly node: string;
  readonly kind: 'pod' | 'host-side' | 'tunnel' | 'uplink';
  readonly interface: string;
  /** `namespace/name` of the pod that it belongs to. */
  readonly pod?: string;
}

/** One packet at one place. */
export interface Sighting {
  /** The same number for the same packet at every place. */
  readonly packet: number;
  readonly place: Place;
  readonly seconds: number;
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
  /** IP protocol number. */
  readonly protocol: number;
  /** Letters as tcpdump has them: `S`, `S.`, `R.`, `P.`. */
  readonly flags?: string;
  readonly identification: number;
  readonly length: number;
  /** Of an ICMP error: what it says, and the flow that it is about. */
  readonly error?: { readonly what: IcmpError; readonly mtu?: number; readonly about: FlowTuple };
  readonly tunnel?: string;
}

export type IcmpError =
  | 'port-unreachable'
  | 'prohibited'
  | 'host-unreachable'
  | 'net-unreachable'
  | 'too-big'
  | 'time-exceeded'
  | 'other';

export interface FlowTuple {
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
}

/** An unanswered or answered ARP or neighbour question. */
export interface NeighbourQuestion {
  readonly place: Place;
  readonly seconds: number;
  readonly wanted: string;
  readonly answered: boolean;
}

/** A rule that a packet met, as the kernel traced it. */
export interface RuleStep {
  readonly node: string;
  /** Steps of one packet in one pass have one identifier. */
  readonly trace: string;
  /** `inet plumb_policy`, `ip filter`. */
  readonly table: string;
  readonly chain: string;
  /** The rule's text; undefined for a chain's policy. */
  readonly rule: string | undefined;
  /** `accept`, `drop`, `jump x`, `continue`. */
  readonly verdict: string;
  readonly packet: (FlowTuple & { readonly identification: number | undefined }) | undefined;
}

/** The kernel threw a packet away and said why; which packet it was is known by the moment only. */
export interface KernelDrop {
  readonly node: string;
  readonly seconds: number;
  /** `NETFILTER_DROP`, `IP_RPFILTER`, `NEIGH_FAILED`. */
  readonly reason: string;
  /** Function of the kernel. */
  readonly at: string;
}

export interface RouteLookup {
  readonly node: string;
  /** In a pod's network namespace: `namespace/name`. */
  readonly pod?: string;
  readonly destination: string;
  readonly source?: string;
  readonly fromInterface?: string;
  /** The way, or the kernel's words. */
  readonly device?: string;
  readonly gateway?: string;
  readonly type?: string;
  readonly mtu?: number;
  readonly error?: string;
}

/** What a node or a pod's network shows after the attempt, as far as it may matter. */
export interface NetworkFacts {
  readonly node: string;
  /** Absent: the node's own network. */
  readonly pod?: string;
  /** Counters that grew during the attempt, such as `TcpExt.IPReversePathFilter`. */
  readonly grown: Readonly<Record<string, number>>;
  readonly forwarding: boolean | undefined;
  readonly conntrackFull: boolean | undefined;
  /** Neighbours without an answer, `address dev interface`. */
  readonly failedNeighbours: readonly string[];
  readonly downInterfaces: readonly string[];
  /** `tcp 0.0.0.0:8080`. */
  readonly listeners: readonly { readonly protocol: string; readonly address: string; readonly port: number }[];
  readonly mtus: Readonly<Record<string, number>>;
}

export interface ConntrackEntry {
  readonly node: string;
  readonly original: FlowTuple;
  readonly reply: FlowTuple;
  readonly state: string;
  readonly unreplied: boolean;
}

/** What a node's connection tracking said of the flow while the probes were under way. */
export interface ConntrackEvent extends ConntrackEntry {
  readonly event: 'NEW' | 'UPDATE' | 'DESTROY';
  /** Since 1970, by this machine's clock. */
  readonly seconds: number;
}

export interface DnsStep {
  readonly name: string;
  readonly type: string;
  readonly server: string;
  /** `NOERROR`, `NXDOMAIN`, ... or how the question failed: `dropped`, `refused`. */
  readonly outcome: string;
  readonly answers: readonly string[];
  readonly latencyMs: number;
}

/** What the policies say by themselves about the flow, for one end. */
export interface PolicyOpinion {
  readonly direction: 'egress' | 'ingress';
  /** `namespace/name` of the pod whose policies were asked. */
  readonly subject: string;
  readonly allowed: boolean;
  readonly why: string;
  readonly policies: readonly string[];
  /** No policy that selects it has any rule for the direction. */
  readonly noRulesAtAll: boolean;
}

export interface AttemptSeen {
  /** As the agent has it: `allowed`, `dropped`, `refused`, `rejected`, `reset`, `name-error`, `prober-broken`. */
  readonly outcome: string;
  readonly error?: string;
  readonly latencyMs: number;
  /** An HTTP status, where HTTP was spoken. */
  readonly status?: number;
  readonly payloadOctets: number;
}

/** One endpoint of a Service, asked by its own address from the same source. */
export interface EndpointAnswer extends AttemptSeen {
  readonly address: string;
  readonly port: number;
  readonly pod: string | undefined;
}

export interface Observations {
  readonly question: Question;
  readonly takenAt: string;
  readonly dns: readonly DnsStep[];
  readonly attempts: readonly AttemptSeen[];
  readonly sightings: readonly Sighting[];
  readonly neighbours: readonly NeighbourQuestion[];
  readonly rules: readonly RuleStep[];
  readonly drops: readonly KernelDrop[];
  readonly lookups: readonly RouteLookup[];
  readonly facts: readonly NetworkFacts[];
  readonly conntrack: readonly ConntrackEntry[];
  /** In order of time, for each node. */
  readonly conntrackEvents: readonly ConntrackEvent[];
  readonly policies: readonly PolicyOpinion[];
  /** All that the probe might have met instead, asked once it was answered through a Service; empty where it was not. */
  readonly endpoints: readonly EndpointAnswer[];
  /** How the API server reaches the servers, asked only where nothing could be sent from the source. */
  readonly reach: readonly { readonly server: string; readonly reached: boolean; readonly words: string }[];
  /** Addresses of every node. */
  readonly nodeAddresses: Readonly<Record<string, readonly string[]>>;
  /** Nodes that are not Ready, with what they say. */
  readonly troubledNodes: Readonly<Record<string, string>>;
  /** What could not be looked at, and why. */
  readonly gaps: readonly string[];
}
