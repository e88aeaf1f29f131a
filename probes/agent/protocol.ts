// SPDX-License-Identifier: Apache-2.0
/**
 * What host and agent say to each other: JSON lines, one request per line, one reply per line, in any order, matched by `id`.
 * Both ends come from one build, so the version is checked once, in `hello`, and must be equal.
 */

export const protocolVersion = 1;

/** The agent's control port, on the pod's own loopback, so that no policy and no network plugin can stand in the way. */
export const controlPort = 10099;

/** Ends a TCP request of a client that wants its connection kept for the next one. */
export const keepMark = ' keep';

export type Protocol = 'tcp' | 'udp' | 'http';

/**
 * How an attempt ended, as far as the client can tell.
 * `refused`: a RST or an ICMP port unreachable came back: nobody listens, or a firewall rejects.
 * `rejected`: another ICMP error or a local rule said no. `dropped`: silence until the time-out.
 * `reset`: the connection was made and then cut before the answer. `name-error`: the name did not resolve.
 * `prober-broken`: the attempt could not even be made (no sockets, no memory): says nothing about the network.
 */
export type AttemptOutcome = 'allowed' | 'dropped' | 'refused' | 'rejected' | 'reset' | 'name-error' | 'prober-broken';

export interface Attempt {
  /** Unique; travels in the payload, so that the server's receipt can be found. At most 64 characters of `[a-z0-9-]`. */
  readonly nonce: string;
  readonly protocol: Protocol;
  /** An address, or a name that the pod resolves by its own resolv.conf. */
  readonly host: string;
  readonly port: number;
  readonly timeoutMs: number;
  /** For a name: ask DNS itself for addresses of this family, within the time-out; absent: resolve it as programs do. */
  readonly family?: 4 | 6;
  /** Source port; absent: any. */
  readonly localPort?: number;
  /** For http: path (default `/`) and Host header. */
  readonly path?: string;
  readonly hostHeader?: string;
  /** Bytes of padding in the request, for MTU questions. Default 0. */
  readonly payloadBytes?: number;
}

export interface AttemptResult {
  readonly nonce: string;
  readonly outcome: AttemptOutcome;
  /** From the start (name resolution included) to the answer or the failure. */
  readonly latencyMs: number;
  /** System error code and message. */
  readonly error?: string;
  /** Address that the name resolved to. */
  readonly address?: string;
  readonly localPort?: number;
  /** What the answering agent said of itself. Absent for foreign servers. */
  readonly server?: ServerIdentity;
  readonly http?: { readonly status: number; readonly body: string };
}

export interface ServerIdentity {
  readonly hostname: string;
  /** Source address and port as the server saw them. */
  readonly clientAddress: string;
  readonly clientPort: number;
}

/** A request that arrived at a listener, whether or not its answer came back. */
export interface Receipt {
  readonly nonce: string;
  readonly protocol: Protocol;
  readonly port: number;
  readonly clientAddress: string;
  /** Milliseconds since the epoch, by the pod's clock. */
  readonly at: number;
}

export interface Listen {
  readonly protocol: 'tcp' | 'udp';
  readonly port: number;
  /**
   * Default: every address. Where a host has several, a UDP answer from a socket of every address may leave with another one than was
   * asked, and be taken for a stranger's.
   */
  readonly address?: string;
}

/** Numbered probes, one after the other at an even pace, until they are stopped. */
export interface StreamTarget {
  readonly protocol: 'tcp' | 'udp';
  readonly host: string;
  readonly port: number;
  readonly intervalMs: number;
  /** One connection, or one UDP socket, for all probes; otherwise each has its own, so that no firewall knows the flow already. */
  readonly kept: boolean;
}

/** What became of the probes of one target, in the order in which they were sent. */
export interface StreamOutcome {
  /** Milliseconds since the epoch, by the pod's clock. */
  readonly sentAt: readonly number[];
  /** Milliseconds until the answer; -1: none came. */
  readonly latencyMs: readonly number[];
}

export interface DnsQuestion {
  /** Server address; absent: the first nameserver of the pod's resolv.conf. */
  readonly server?: string;
  /** Asked as it is: no search list. */
  readonly name: string;
  readonly type: 'A' | 'AAAA' | 'SRV' | 'PTR' | 'CNAME' | 'TXT' | 'SOA' | 'NS' | 'MX';
  readonly transport?: 'udp' | 'tcp';
  readonly timeoutMs: number;
  /** EDNS buffer size; absent: no OPT record. */
  readonly udpPayloadSize?: number;
}

export interface DnsResult {
  /** `answered`: any well-formed answer, NXDOMAIN too; the others are transport failures. */
  readonly outcome: 'answered' | 'dropped' | 'refused' | 'malformed' | 'prober-broken';
  readonly latencyMs: number;
  readonly error?: string;
  /** `NOERROR`, `NXDOMAIN`, `SERVFAIL`... */
  readonly rcode?: string;
  readonly authoritative?: boolean;
  readonly truncated?: boolean;
  /** The name of the question as the answer repeats it. */
  readonly question?: string;
  readonly answers?: readonly DnsRecord[];
  readonly authorities?: readonly DnsRecord[];
  readonly additionals?: readonly DnsRecord[];
}

export interface DnsRecord {
  readonly name: string;
  readonly type: string;
  readonly ttl: number;
  /** Address, target name, or for SRV `priority weight port target`. */
  readonly data: string;
}

/** Every operation with its arguments and its result. */
export interface Operations {
  hello: { in: Record<string, never>; out: { version: number; hostname: string; pid: number } };
  listen: { in: { listen: readonly Listen[] }; out: { listening: readonly Listen[] } };
  unlisten: { in: { listen: readonly Listen[] }; out: { listening: readonly Listen[] } };
  attempt: { in: { attempts: readonly Attempt[]; concurrency: number }; out: { results: readonly AttemptResult[] } };
  receipts: { in: { nonces: readonly string[] }; out: { receipts: readonly Receipt[] } };
  /** Starts a stream; its probes carry the nonces `<stream>-<index of the target>-<number of the probe>`. */
  'stream-start': { in: { stream: string; targets: readonly StreamTarget[] }; out: Record<string, never> };
  'stream-stop': { in: { stream: string }; out: { outcomes: readonly StreamOutcome[] } };
  /** Everything of that stream that arrived here. */
  'stream-receipts': { in: { stream: string }; out: { receipts: readonly Receipt[] } };
  /** Milliseconds since the epoch, by the pod's clock. */
  clock: { in: Record<string, never>; out: { now: number } };
  dns: { in: { questions: readonly DnsQuestion[] }; out: { results: readonly DnsResult[] } };
  /** Resolves as programs do: getaddrinfo, with search list and ndots. */
  resolve: { in: { name: string; family: 0 | 4 | 6 }; out: { addresses: readonly string[]; error?: string } };
}

export type OperationName = keyof Operations;

export interface AgentRequest<Name extends OperationName = OperationName> {
  readonly id: number;
  readonly operation: Name;
  readonly input: Operations[Name]['in'];
}

export type AgentReply =
  | { readonly id: number; readonly output: unknown }
  | { readonly id: number; readonly error: string };
