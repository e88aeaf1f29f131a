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
    const { key, reverse } = keysOf(frame);
    let side: 0 | 1 = 0;
    let tracking = this.#flows.get(key);
    if (tracking === undefined) {
      tracking = this.#flows.get(reverse);
      if (tracking === undefined) tracking = this.#begin(frame, key, time);
      else side = 1;
    }
    const { flow } = tracking;
    const sender = side === 0 ? flow.client : flow.server;
    flow.lastSeconds = time;
    sender.packets++;
    sender.octets += wireLength;
    if (protocol === 6 && frame.transport + 20 <= frame.end) segment(tracking, { frame, side, time });
    if (protocol === 17 && (frame.sourcePort === 53 || frame.destinationPort === 53))
      this.dns.add(frame, side === 0 ? key : reverse, time);
  }

  #begin(frame: Frame, key: string, time: number): Tracking {
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
    const tracking: Tracking = { flow, next: [undefined, undefined], holes: [0, 0], synAt: -1, synAckAt: -1 };
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

function keysOf({ data, version, ip, transport, protocol }: Frame): { readonly key: string; readonly reverse: string } {
  const size = version === 4 ? 4 : 16;
  const addresses = ip + (version === 4 ? 12 : 8);
  const from = data.toString('latin1', addresses, addresses + size) + data.toString('latin1', transport, transport + 2);
  const to =
    data.toString('latin1', addresses + size, addresses + size * 2) +
    data.toString('latin1', transport + 2, transport + 4);
  const kind = String.fromCharCode(protocol);
  return { key: kind + from + to, reverse: kind + to + from };
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
