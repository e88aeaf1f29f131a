// SPDX-License-Identifier: Apache-2.0
/**
 * First sequence numbers of TCP connections, so that later segments can be shown relative to them. Bounded: beyond a number of connections the
 * oldest is forgotten, and its next segment starts over with absolute numbers.
 */
import type { Printing } from './printing.ts';

interface Stream {
  /** First numbers of the side with the lower address and port, and of the other. */
  low: number;
  high: number;
}

const mostStreams = 200_000;

export class TcpStreams {
  readonly #streams = new Map<string, Stream>();
  readonly #streams4 = new Map<number, Map<number, Stream>>();
  #count4 = 0;
  /** Set by `numbers`: what to subtract from the sequence and from the acknowledgement number. */
  sequenceBase = 0;
  acknowledgementBase = 0;

  /** Finds the bases for the segment at `at`. The first segment of a connection that acknowledges anything is its beginning. */
  numbers(p: Printing, at: number, segment: { flags: number; sequence: number; acknowledgement: number }): void {
    const { data, addresses, family } = p;
    this.sequenceBase = 0;
    this.acknowledgementBase = 0;
    if (family === 0 || (segment.flags & 0x10) === 0) return;
    const size = family === 4 ? 4 : 16;
    let order = 0;
    for (let index = 0; index < 2 && order === 0; index++)
      order = (data[at + index] as number) - (data[at + 2 + index] as number);
    for (let index = 0; index < size && order === 0; index++)
      order = (data[addresses + index] as number) - (data[addresses + size + index] as number);
    const forward = order < 0;
    const stream = family === 4 ? this.#find4(data, addresses, at, forward) : this.#find6(data, addresses, at, forward);
    const startsOver = (segment.flags & 0x12) === 0x12;
    if (this.#isNew || startsOver) {
      const own = segment.sequence;
      const other = (segment.acknowledgement - 1) >>> 0;
      stream.low = forward ? own : other;
      stream.high = forward ? other : own;
      return;
    }
    this.sequenceBase = forward ? stream.low : stream.high;
    this.acknowledgementBase = forward ? stream.high : stream.low;
  }

  #isNew = false;

  #find4(data: Buffer, addresses: number, ports: number, forward: boolean): Stream {
    const a = data.readUInt32BE(addresses);
    const b = data.readUInt32BE(addresses + 4);
    const from = (((data[ports] as number) << 8) | (data[ports + 1] as number)) & 0xffff;
    const to = (((data[ports + 2] as number) << 8) | (data[ports + 3] as number)) & 0xffff;
    // Two numbers below 2^53 name a connection: 32 + 16 bits each.
    const lower = forward ? a * 65536 + from : b * 65536 + to;
    const upper = forward ? b * 65536 + to : a * 65536 + from;
    let peers = this.#streams4.get(lower);
    let stream = peers?.get(upper);
    this.#isNew = stream === undefined;
    if (stream !== undefined) return stream;
    if (this.#count4 >= mostStreams) {
      const [oldest] = this.#streams4;
      if (oldest !== undefined) {
        this.#count4 -= oldest[1].size;
        this.#streams4.delete(oldest[0]);
        peers = this.#streams4.get(lower);
      }
    }
    if (peers === undefined) {
      peers = new Map();
      this.#streams4.set(lower, peers);
    }
    stream = { low: 0, high: 0 };
    peers.set(upper, stream);
    this.#count4++;
    return stream;
  }

  #find6(data: Buffer, addresses: number, ports: number, forward: boolean): Stream {
    const a = data.toString('latin1', addresses, addresses + 16) + data.toString('latin1', ports, ports + 2);
    const b = data.toString('latin1', addresses + 16, addresses + 32) + data.toString('latin1', ports + 2, ports + 4);
    const key = forward ? a + b : b + a;
    let stream = this.#streams.get(key);
    this.#isNew = stream === undefined;
    if (stream !== undefined) return stream;
    if (this.#streams.size >= mostStreams) {
      const [oldest] = this.#streams.keys();
      if (oldest !== undefined) this.#streams.delete(oldest);
    }
    stream = { low: 0, high: 0 };
    this.#streams.set(key, stream);
    return stream;
  }
}
