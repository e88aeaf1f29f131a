// SPDX-License-Identifier: Apache-2.0
/**
 * Takes octets of a capture in pieces of any size and gives its packets: pcap in both byte orders with micro- and nanoseconds, and pcapng.
 * Memory is bounded by the largest packet, not by the file. Damage ends the capture with a finding; what came before it has been given.
 */
import { PcapFormat } from './pcap-format.ts';
import { PcapngFormat } from './pcapng-format.ts';
import type { Finding, Packet } from './packet.ts';

/** What the parser hands to a format: the octets that have not been used yet. */
export interface Pending {
  data: Buffer;
  position: number;
  end: number;
}

export interface CaptureFormat {
  /**
   * Reads on from pending.position. true: `packet` is filled. A number: that many octets are needed from pending.position on.
   * A text: what is wrong here.
   */
  next(pending: Pending, packet: Packet): true | number | string;
  /** Names by address that the file itself brings along. */
  readonly names: ReadonlyMap<string, string>;
}

const noNames: ReadonlyMap<string, string> = new Map();
const firstCapacity = 1 << 20;

export class CaptureParser {
  finding: Finding | undefined;
  readonly packet: Packet = {
    data: Buffer.alloc(0),
    start: 0,
    end: 0,
    wireLength: 0,
    seconds: 0,
    nanoseconds: 0,
    captureInterface: { linkType: 1, name: undefined, snapLength: 0 },
    comment: undefined,
  };
  #format: CaptureFormat | undefined;
  #pending: Pending = { data: Buffer.allocUnsafe(firstCapacity), position: 0, end: 0 };
  #dropped = 0;
  #needed = 4;

  get names(): ReadonlyMap<string, string> {
    return this.#format?.names ?? noNames;
  }

  /** Octets of the file that have been used. */
  get offset(): number {
    return this.#dropped + this.#pending.position;
  }

  /** The next packet, or undefined if more octets are needed or the capture has ended in damage. */
  next(): Packet | undefined {
    const pending = this.#pending;
    if (this.finding !== undefined || pending.end - pending.position < this.#needed) return undefined;
    if (this.#format === undefined) {
      const magic = pending.data.readUInt32BE(pending.position);
      this.#format = formatOf(magic);
      if (this.#format === undefined) {
        this.#damage(`0x${magic.toString(16).padStart(8, '0')} is neither the magic number of pcap nor of pcapng`);
        return undefined;
      }
    }
    this.packet.data = pending.data;
    const outcome = this.#format.next(pending, this.packet);
    if (outcome === true) {
      this.#needed = 0;
      return this.packet;
    }
    if (typeof outcome === 'string') this.#damage(outcome);
    else this.#needed = outcome;
    return undefined;
  }

  /** Room for more octets: fill some of it, then say with `filled` how many. Invalidates the last packet. */
  room(): Buffer {
    const pending = this.#pending;
    const left = pending.end - pending.position;
    if (pending.position > 0) {
      pending.data.copyWithin(0, pending.position, pending.end);
      this.#dropped += pending.position;
      pending.position = 0;
      pending.end = left;
    }
    const capacity = pending.data.length;
    if (this.#needed > capacity || left === capacity) {
      const larger = Buffer.allocUnsafe(Math.max(this.#needed, left + firstCapacity));
      pending.data.copy(larger, 0, 0, left);
      pending.data = larger;
    }
    return pending.data.subarray(pending.end);
  }

  filled(octets: number): void {
    this.#pending.end += octets;
  }

  push(chunk: Uint8Array): void {
    for (let taken = 0; taken < chunk.length;) {
      const room = this.room();
      const part = Math.min(room.length, chunk.length - taken);
      room.set(chunk.subarray(taken, taken + part));
      this.filled(part);
      taken += part;
    }
  }

  /** Nothing more comes. What is left over is a packet that was cut. */
  finish(): void {
    const left = this.#pending.end - this.#pending.position;
    if (this.finding !== undefined) return;
    if (this.#format === undefined && left < 4) this.#damage(`the file ends after ${left} octets, within its header`);
    else if (left > 0 || this.#headerMissing())
      this.#damage(`the file ends ${left} octets into a record of ${this.#needed}`);
  }

  #headerMissing(): boolean {
    return this.offset === 0;
  }

  #damage(what: string): void {
    this.finding = { offset: this.offset, what };
  }
}

function formatOf(magic: number): CaptureFormat | undefined {
  if (magic === 0x0a0d0d0a) return new PcapngFormat();
  if (magic === 0xa1b2c3d4) return new PcapFormat({ littleEndian: false, nanoseconds: false });
  if (magic === 0xd4c3b2a1) return new PcapFormat({ littleEndian: true, nanoseconds: false });
  if (magic === 0xa1b23c4d) return new PcapFormat({ littleEndian: false, nanoseconds: true });
  if (magic === 0x4d3cb2a1) return new PcapFormat({ littleEndian: true, nanoseconds: true });
  return undefined;
}
