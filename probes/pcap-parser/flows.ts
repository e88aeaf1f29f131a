// SPDX-License-Identifier: Apache-2.0
/**
 * The conversations in a capture, and what went wrong in each: retransmissions, resets, closed windows, segments out of order, sizes that do not
 * fit, DNS questions without answer. Bounded: the flows that began first are given up when there are too many.
 */
import { DnsTransactions } from './dns-transactions.ts';
import type { Frame } from './frame.ts';

const mostFlows = 100_000;

/** One direction of a flow. Times are in seconds. */
export interface FlowSide {
  readonly address: string;
  readonly port: number;
  packets: number;
  /** Octets of frames on the wire. */
  octets: number;
  retransmissions: number;
  outOfOrder: number;
  resets: number;
  zeroWindows: number;
  /** Largest segment this side says it takes; undefined if its SYN was not captured. */
  mss: number | undefined;
  /** Segments larger than the other side takes: an offloading network card, or a path whose MTU is wrong. */
  overMss: number;
}

export interface Flow {
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  /** Who sent first. */
  readonly client: FlowSide;
  readonly server: FlowSide;
  readonly firstSeconds: number;
  lastSeconds: number;
  /** From SYN to SYN+ACK and from there to ACK: to the server and to the client as seen from where it was captured. */
  serverRttSeconds: number | undefined;
  clientRttSeconds: number | undefined;
}

interface Tracking {
  readonly flow: Flow;
  /** Whether the client has the lower address and port. */
  readonly ascending: boolean;
  readonly next: [number | undefined, number | undefined];
  readonly holes: [number, number];
  synAt: number;
  synAckAt: number;
}

const protocolNames = { 6: 'tcp', 17: 'udp', 132: 'sctp' } as const;

export class FlowTable {
  readonly dns = new DnsTransactions();
  /** ICMP messages that a packet was too big for a link. */
  tooBig = 0;
  fragments = 0;
  /** Flows that were given up for want of room. */
  forgotten = 0;
  readonly #flows = new Map<string, Tracking>();

  get flows(): Flow[] {
    return Array.from(this.#flows.values(), ({ flow }) => flow);
  }

  add(frame: Frame, wireLength: number, time: number): void {
    if (frame.version === 0) return;
    if (frame.laterFragment) this.fragments++;
    if (frame.protocol === 1 && frame.u16(frame.transport) === 0x0304) this.tooBig++;
    if (frame.protocol === 58 && frame.u8(frame.transport) === 2) this.tooBig++;
    const { protocol } = frame;
    if ((protocol !== 6 && protocol !== 17 && protocol !== 132) || frame.transport < 0) return;
    if (frame.transport + 8 > frame.end) return;
    const { key, ascending } = keyOf(frame);
    const tracking = this.#flows.get(key) ?? this.#begin(frame, { key, ascending, time });
    const side = tracking.ascending === ascending ? 0 : 1;
    const { flow } = tracking;
    const sender = side === 0 ? flow.client : flow.server;
    flow.lastSeconds = time;
    sender.packets++;
    sender.octets += wireLength;
    if (protocol === 6 && frame.transport + 20 <= frame.end) segment(tracking, { frame, side, time });
    if (protocol === 17 && (frame.sourcePort === 53 || frame.destinationPort === 53)) this.dns.add(frame, key, time);
  }

  #begin(frame: Frame, { key, ascending, time }: FlowKey & { readonly time: number }): Tracking {
    if (this.#flows.size >= mostFlows) {
      const [oldest] = this.#flows.keys();
      if (oldest !== undefined) this.#flows.delete(oldest);
      this.forgotten++;
    }
    const flow: Flow = {
      protocol: protocolNames[frame.protocol as keyof typeof protocolNames],
      client: newSide(frame.sourceAddress, frame.sourcePort),
      server: newSide(frame.destinationAddress, frame.destinationPort),
      firstSeconds: time,
      lastSeconds: time,
      serverRttSeconds: undefined,
      clientRttSeconds: undefined,
    };
    const tracking: Tracking = {
      flow,
      ascending,
      next: [undefined, undefined],
      holes: [0, 0],
      synAt: -1,
      synAckAt: -1,
    };
    this.#flows.set(key, tracking);
    return tracking;
  }
}

function newSide(address: string, port: number): FlowSide {
  return {
    address,
    port,
    packets: 0,
    octets: 0,
    retransmissions: 0,
    outOfOrder: 0,
    resets: 0,
    zeroWindows: 0,
    mss: undefined,
    overMss: 0,
  };
}

interface FlowKey {
  /** The same for both directions. */
  readonly key: string;
  /** The sender has the lower address and port. */
  readonly ascending: boolean;
}

function keyOf({ data, version, ip, transport, protocol }: Frame): FlowKey {
  if (version === 6) return key6(data, { addresses: ip + 8, ports: transport, protocol });
  // Every packet comes by here: numbers, and one short string.
  const at = ip + 12;
  const a = pair(data, at);
  const b = pair(data, at + 2);
  const c = pair(data, at + 4);
  const d = pair(data, at + 6);
  const from = pair(data, transport);
  const to = pair(data, transport + 2);
  const order = a - c || b - d || from - to;
  const ascending = order <= 0;
  const key = ascending
    ? String.fromCharCode(protocol, a, b, from, c, d, to)
    : String.fromCharCode(protocol, c, d, to, a, b, from);
  return { key, ascending };
}

function pair(data: Buffer, at: number): number {
  return ((data[at] as number) << 8) | (data[at + 1] as number);
}

function key6(
  data: Buffer,
  { addresses, ports, protocol }: { readonly addresses: number; readonly ports: number; readonly protocol: number },
): FlowKey {
  const from = data.toString('latin1', addresses, addresses + 16) + data.toString('latin1', ports, ports + 2);
  const to = data.toString('latin1', addresses + 16, addresses + 32) + data.toString('latin1', ports + 2, ports + 4);
  const ascending = from <= to;
  return { key: String.fromCharCode(protocol) + (ascending ? from + to : to + from), ascending };
}

interface Seen {
  readonly frame: Frame;
  readonly side: 0 | 1;
  readonly time: number;
}

function segment(tracking: Tracking, { frame, side, time }: Seen): void {
  const { flow, next } = tracking;
  const sender = side === 0 ? flow.client : flow.server;
  const receiver = side === 0 ? flow.server : flow.client;
  const at = frame.transport;
  const flags = frame.u8(at + 13);
  const sequence = frame.u32(at + 4);
  const payload = frame.tcpPayloadLength;
  if ((flags & 4) !== 0) sender.resets++;
  else if (frame.u16(at + 14) === 0 && (flags & 2) === 0) sender.zeroWindows++;
  if ((flags & 2) !== 0) {
    sender.mss = mssOf(frame);
    if ((flags & 16) === 0) {
      if (tracking.synAt >= 0) sender.retransmissions++;
      else tracking.synAt = time;
    } else if (tracking.synAckAt < 0) {
      tracking.synAckAt = time;
      if (tracking.synAt >= 0) flow.serverRttSeconds = time - tracking.synAt;
    } else sender.retransmissions++;
    next[side] = (sequence + 1 + payload) >>> 0;
    return;
  }
  if (side === 0 && tracking.synAckAt >= 0 && (flags & 16) !== 0) flow.clientRttSeconds ??= time - tracking.synAckAt;
  if (payload > 0 && receiver.mss !== undefined && payload > receiver.mss) sender.overMss++;
  const length = payload + (flags & 1);
  if (length === 0) return;
  const expected = next[side];
  const end = (sequence + length) >>> 0;
  if (expected === undefined) {
    next[side] = end;
    return;
  }
  const ahead = (sequence - expected) | 0;
  if (ahead >= 0) {
    if (ahead > 0) tracking.holes[side] += ahead;
    next[side] = end;
  } else if (payload === 1 && ahead === -1) {
    // A keep-alive repeats one octet on purpose.
  } else if (tracking.holes[side] >= payload && payload > 0) {
    tracking.holes[side] -= payload;
    sender.outOfOrder++;
  } else {
    sender.retransmissions++;
    if (((end - expected) | 0) > 0) next[side] = end;
  }
}

function mssOf(frame: Frame): number | undefined {
  const end = frame.transport + (frame.u8(frame.transport + 12) >> 4) * 4;
  for (let at = frame.transport + 20; at < end;) {
    const kind = frame.u8(at);
    if (kind <= 0) return undefined;
    if (kind === 2) return frame.u16(at + 2);
    const size = kind === 1 ? 1 : frame.u8(at + 1);
    if (size < 1) return undefined;
    at += size;
  }
  return undefined;
}
