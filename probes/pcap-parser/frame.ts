// SPDX-License-Identifier: Apache-2.0
/**
 * Where the layers of a frame begin. Decoding notes offsets only; fields are read from the octets when they are asked for. One object is
 * used again for every packet. Absent layers have the offset -1.
 */
import type { Packet } from './read/packet.ts';

export class Frame {
  data: Buffer = Buffer.alloc(0);
  start = 0;
  end = 0;
  /** Ethernet header, or -1 on other links. */
  ethernet = -1;
  /** Type of what the link carries, or 0. */
  etherType = 0;
  /** VLAN identifiers, outermost first. */
  readonly vlans: number[] = [];
  ip = -1;
  version: 0 | 4 | 6 = 0;
  /** Transport protocol behind all extension headers. */
  protocol = -1;
  transport = -1;
  /** Where the IP packet ends on the wire; may lie behind `end` if the capture was cut. */
  ipEnd = 0;
  /** A later fragment has no transport header. */
  laterFragment = false;

  decode(packet: Packet): this {
    this.data = packet.data;
    this.start = packet.start;
    this.end = packet.end;
    this.ethernet = -1;
    this.etherType = 0;
    this.vlans.length = 0;
    this.ip = -1;
    this.version = 0;
    this.protocol = -1;
    this.transport = -1;
    this.laterFragment = false;
    const network = this.#link(packet.captureInterface.linkType);
    if (network >= 0) this.#network(network);
    return this;
  }

  u8(at: number): number {
    return at >= 0 && at < this.end ? (this.data[at] as number) : -1;
  }

  u16(at: number): number {
    return at >= 0 && at + 2 <= this.end ? this.data.readUInt16BE(at) : -1;
  }

  u32(at: number): number {
    return at >= 0 && at + 4 <= this.end ? this.data.readUInt32BE(at) : -1;
  }

  /** TCP, UDP and SCTP have ports; -1 otherwise. */
  get sourcePort(): number {
    return this.#hasPorts ? this.u16(this.transport) : -1;
  }

  get destinationPort(): number {
    return this.#hasPorts ? this.u16(this.transport + 2) : -1;
  }

  get sourceAddress(): string {
    return this.#address(this.version === 4 ? this.ip + 12 : this.ip + 8);
  }

  get destinationAddress(): string {
    return this.#address(this.version === 4 ? this.ip + 16 : this.ip + 24);
  }

  /** Octets of the payload behind the TCP header, as sent. */
  get tcpPayloadLength(): number {
    return Math.max(0, this.ipEnd - this.transport - (this.u8(this.transport + 12) >> 4) * 4);
  }

  get #hasPorts(): boolean {
    return this.transport >= 0 && (this.protocol === 6 || this.protocol === 17 || this.protocol === 132);
  }

  #address(at: number): string {
    if (this.version === 0) return '';
    const { data } = this;
    if (this.version === 4) return `${data[at]}.${data[at + 1]}.${data[at + 2]}.${data[at + 3]}`;
    return compressed(data, at);
  }

  #link(linkType: number): number {
    const at = this.start;
    switch (linkType) {
      case 1: {
        if (this.end - at < 14) return -1;
        this.ethernet = at;
        return this.#etherTypes(at + 12);
      }
      case 113:
        return this.#etherTypes(at + 14);
      case 276:
        this.etherType = this.u16(at);
        return this.#tags(at + 20);
      case 0:
      case 108: {
        const family = this.u32(at);
        this.etherType = family === 2 || family === 0x0200_0000 ? 0x0800 : 0x86dd;
        return at + 4;
      }
      case 12:
      case 14:
      case 101:
      case 228:
      case 229:
        this.etherType = this.u8(at) >> 4 === 6 ? 0x86dd : 0x0800;
        return at;
      default:
        return -1;
    }
  }

  #etherTypes(at: number): number {
    this.etherType = this.u16(at);
    return this.#tags(at + 2);
  }

  #tags(start: number): number {
    let at = start;
    while (this.etherType === 0x8100 || this.etherType === 0x88a8 || this.etherType === 0x9100) {
      this.vlans.push(this.u16(at) & 0xfff);
      this.etherType = this.u16(at + 2);
      at += 4;
    }
    return at;
  }

  #network(at: number): void {
    if (this.etherType === 0x0800) {
      const headerLength = (this.u8(at) & 15) * 4;
      if (this.u8(at) >> 4 !== 4 || this.end - at < 20 || headerLength < 20) return;
      this.ip = at;
      this.version = 4;
      this.protocol = this.data[at + 9] as number;
      this.laterFragment = (this.u16(at + 6) & 0x1fff) !== 0;
      this.ipEnd = at + this.u16(at + 2);
      if (!this.laterFragment) this.transport = at + headerLength;
    } else if (this.etherType === 0x86dd) {
      if (this.u8(at) >> 4 !== 6 || this.end - at < 40) return;
      this.ip = at;
      this.version = 6;
      this.ipEnd = at + 40 + this.u16(at + 4);
      this.#extensions(at + 40, this.u8(at + 6));
    }
  }

  #extensions(start: number, first: number): void {
    let at = start;
    let next = first;
    while (next === 0 || next === 43 || next === 44 || next === 60 || next === 51) {
      if (at + 8 > this.end) break;
      if (next === 44) this.laterFragment = (this.u16(at + 2) & 0xfff8) !== 0;
      const size = next === 44 ? 8 : next === 51 ? (this.u8(at + 1) + 2) * 4 : (this.u8(at + 1) + 1) * 8;
      next = this.u8(at);
      at += size;
    }
    this.protocol = next;
    if (!this.laterFragment) this.transport = at;
  }
}

function compressed(data: Buffer, at: number): string {
  const groups = Array.from({ length: 8 }, (_, index) => data.readUInt16BE(at + index * 2).toString(16));
  let best = { from: -1, length: 1 };
  for (let from = 0; from < 8; from++) {
    let to = from;
    while (groups[to] === '0') to++;
    if (to - from > best.length) best = { from, length: to - from };
  }
  if (best.from < 0) return groups.join(':');
  return `${groups.slice(0, best.from).join(':')}::${groups.slice(best.from + best.length).join(':')}`;
}
