// SPDX-License-Identifier: Apache-2.0
/** The classic format: a header of 24 octets, then packets, each behind a header of 16. */
import { readU16, readU32 } from './byte-order.ts';
import type { CaptureFormat, Pending } from './capture-parser.ts';
import { longestPacket, type CaptureInterface, type Packet } from './packet.ts';

const noNames: ReadonlyMap<string, string> = new Map();

export class PcapFormat implements CaptureFormat {
  readonly names = noNames;
  readonly #littleEndian: boolean;
  readonly #nanoseconds: boolean;
  #interface: CaptureInterface | undefined;

  constructor(options: { readonly littleEndian: boolean; readonly nanoseconds: boolean }) {
    this.#littleEndian = options.littleEndian;
    this.#nanoseconds = options.nanoseconds;
  }

  next(pending: Pending, packet: Packet): true | number | string {
    if (this.#interface === undefined) {
      if (pending.end - pending.position < 24) return 24;
      const problem = this.#readHeader(pending);
      if (problem !== undefined) return problem;
    }
    const at = pending.position;
    if (pending.end - at < 16) return 16;
    const { data } = pending;
    const captured = this.#u32(data, at + 8);
    if (captured > longestPacket) return `a packet of ${captured} octets: its length is damaged`;
    if (pending.end - at < 16 + captured) return 16 + captured;
    const fraction = this.#u32(data, at + 4);
    const nanoseconds = this.#nanoseconds ? fraction : fraction * 1000;
    packet.seconds = this.#u32(data, at);
    packet.nanoseconds = nanoseconds;
    packet.start = at + 16;
    // What a file promises to hold of each packet binds, as for libpcap.
    const { snapLength } = this.#interface as CaptureInterface;
    packet.end = at + 16 + (snapLength > 0 && captured > snapLength ? snapLength : captured);
    packet.wireLength = this.#u32(data, at + 12);
    packet.captureInterface = this.#interface as CaptureInterface;
    packet.comment = undefined;
    pending.position = at + 16 + captured;
    return true;
  }

  #readHeader(pending: Pending): string | undefined {
    const at = pending.position;
    const { data } = pending;
    const major = readU16(data, at + 4, this.#littleEndian);
    if (major !== 2) return `pcap version ${major}; only version 2 is known`;
    // The upper bits tell about frame check sequences, which nothing here needs.
    const linkType = this.#u32(data, at + 20) & 0x03ff_ffff;
    this.#interface = { linkType, name: undefined, snapLength: this.#u32(data, at + 16) };
    pending.position = at + 24;
    return undefined;
  }

  #u32(data: Buffer, at: number): number {
    return readU32(data, at, this.#littleEndian);
  }
}
