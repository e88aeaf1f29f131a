// SPDX-License-Identifier: Apache-2.0
/** pcapng: blocks of sections, each section in its own byte order with its own interfaces. Blocks of unknown types are passed over. */
import { readU16, readU32 } from './byte-order.ts';
import { isIPv6 } from 'node:net';
import type { CaptureFormat, Pending } from './capture-parser.ts';
import { longestPacket, type CaptureInterface, type Packet } from './packet.ts';

interface Interface extends CaptureInterface {
  /** Units of its clock in one second. */
  readonly unitsPerSecond: bigint;
  readonly offsetSeconds: bigint;
}

const blockType = { section: 0x0a0d0d0a, interface: 1, oldPacket: 2, simplePacket: 3, names: 4, packet: 6 } as const;
/** Larger blocks exist only in damaged files, or hold data that no reader wants in memory. */
const longestBlock = 16 * 1024 * 1024;

export class PcapngFormat implements CaptureFormat {
  readonly names = new Map<string, string>();
  #littleEndian = true;
  #interfaces: Interface[] = [];

  next(pending: Pending, packet: Packet): true | number | string {
    for (;;) {
      const at = pending.position;
      const available = pending.end - at;
      if (available < 12) return 12;
      const { data } = pending;
      const type = this.#u32(data, at);
      if (type === blockType.section) {
        const order = data.readUInt32BE(at + 8);
        if (order !== 0x1a2b3c4d && order !== 0x4d3c2b1a) return `byte order 0x${order.toString(16)} of a section`;
        this.#littleEndian = order === 0x4d3c2b1a;
        this.#interfaces = [];
      }
      const length = this.#u32(data, at + 4);
      if (length < 12 || length % 4 !== 0 || length > longestBlock) return `a block of ${length} octets`;
      if (available < length) return length;
      const trailer = this.#u32(data, at + length - 4);
      if (trailer !== length) return `a block of ${length} octets ends with the length ${trailer}`;
      const outcome = this.#readBlock({ data, type, body: at + 8, bodyEnd: at + length - 4 }, packet);
      if (typeof outcome === 'string') return outcome;
      pending.position = at + length;
      if (outcome) return true;
    }
  }

  /** true: the block was a packet. */
  #readBlock(block: Block, packet: Packet): boolean | string {
    if (block.type === blockType.packet || block.type === blockType.oldPacket) return this.#readPacket(block, packet);
    if (block.type === blockType.simplePacket) return this.#readSimplePacket(block, packet);
    if (block.type === blockType.interface) return this.#readInterface(block);
    if (block.type === blockType.names) this.#readNames(block);
    return false;
  }

  #readInterface({ data, body, bodyEnd }: Block): false | string {
    if (bodyEnd - body < 8) return 'an interface description without content';
    let name: string | undefined;
    let unitsPerSecond = 1_000_000n;
    let offsetSeconds = 0n;
    this.#eachOption(data, { from: body + 8, to: bodyEnd }, (code, at, length) => {
      if (code === 2) name = text(data, at, length);
      else if (code === 9 && length >= 1) {
        const resolution = data[at] as number;
        const exponent = BigInt(resolution & 0x7f);
        unitsPerSecond = (resolution & 0x80) === 0 ? 10n ** exponent : 2n ** exponent;
      } else if (code === 14 && length >= 8) {
        offsetSeconds = this.#littleEndian ? data.readBigInt64LE(at) : data.readBigInt64BE(at);
      }
    });
    const linkType = this.#u16(data, body);
    const snapLength = this.#u32(data, body + 4);
    this.#interfaces.push({ linkType, name, snapLength, unitsPerSecond, offsetSeconds });
    return false;
  }

  #readPacket({ data, type, body, bodyEnd }: Block, packet: Packet): boolean | string {
    if (bodyEnd - body < 20) return 'a packet block without header';
    const number = type === blockType.packet ? this.#u32(data, body) : this.#u16(data, body);
    const one = this.#interfaces[number];
    if (one === undefined) return `a packet of interface ${number}, which is not described before it`;
    const captured = this.#u32(data, body + 12);
    if (captured > longestPacket || captured > bodyEnd - body - 20)
      return `a packet of ${captured} octets in its block`;
    packet.start = body + 20;
    packet.end = packet.start + captured;
    packet.wireLength = this.#u32(data, body + 16);
    packet.captureInterface = one;
    packet.comment = undefined;
    this.#setTime(packet, one, { high: this.#u32(data, body + 4), low: this.#u32(data, body + 8) });
    const options = packet.start + ((captured + 3) & ~3);
    if (options < bodyEnd)
      this.#eachOption(data, { from: options, to: bodyEnd }, (code, at, length) => {
        if (code === 1) packet.comment ??= text(data, at, length);
      });
    return true;
  }

  #readSimplePacket({ data, body, bodyEnd }: Block, packet: Packet): boolean | string {
    const one = this.#interfaces[0];
    if (one === undefined) return 'a packet before any interface is described';
    if (bodyEnd - body < 4) return 'a simple packet block without header';
    const wireLength = this.#u32(data, body);
    const limit = one.snapLength === 0 ? wireLength : Math.min(wireLength, one.snapLength);
    const captured = Math.min(limit, bodyEnd - body - 4);
    if (captured > longestPacket) return `a packet of ${captured} octets in its block`;
    packet.start = body + 4;
    packet.end = packet.start + captured;
    packet.wireLength = wireLength;
    packet.captureInterface = one;
    packet.comment = undefined;
    packet.seconds = 0;
    packet.nanoseconds = 0;
    return true;
  }

  #readNames({ data, body, bodyEnd }: Block): void {
    this.#eachOption(data, { from: body, to: bodyEnd }, (type, at, length) => {
      const size = type === 1 ? 4 : type === 2 ? 16 : 0;
      if (size === 0 || length <= size) return;
      const address = size === 4 ? [...data.subarray(at, at + 4)].join('.') : groups(data, at);
      const zero = data.indexOf(0, at + size);
      const end = zero < 0 || zero > at + length ? at + length : zero;
      if (size === 4 || isIPv6(address)) this.names.set(address, data.toString('utf8', at + size, end));
    });
  }

  /** Options and records of names have the same form: code, length, value padded to 4 octets; code 0 ends them. */
  #eachOption(
    data: Buffer,
    range: { readonly from: number; readonly to: number },
    take: (code: number, at: number, length: number) => void,
  ): void {
    let at = range.from;
    while (at + 4 <= range.to) {
      const code = this.#u16(data, at);
      const length = this.#u16(data, at + 2);
      if (code === 0 || at + 4 + length > range.to) return;
      take(code, at + 4, length);
      at += 4 + ((length + 3) & ~3);
    }
  }

  #setTime(packet: Packet, one: Interface, units: { readonly high: number; readonly low: number }): void {
    if (one.unitsPerSecond === 1_000_000n || one.unitsPerSecond === 1_000_000_000n) {
      // The usual clocks without big integers: high * 2^32 is split so that no product passes 2^53.
      const perSecond = one.unitsPerSecond === 1_000_000n ? 1e6 : 1e9;
      const wholes = Math.floor(0x1_0000_0000 / perSecond);
      const rest = 0x1_0000_0000 % perSecond;
      if (units.high < 0x20_0000) {
        const remainder = units.high * rest + units.low;
        const carried = Math.floor(remainder / perSecond);
        packet.seconds = units.high * wholes + carried + Number(one.offsetSeconds);
        packet.nanoseconds = (remainder - carried * perSecond) * (1e9 / perSecond);
        return;
      }
    }
    const ticks = (BigInt(units.high) << 32n) | BigInt(units.low);
    packet.seconds = Number(ticks / one.unitsPerSecond + one.offsetSeconds);
    packet.nanoseconds = Number(((ticks % one.unitsPerSecond) * 1_000_000_000n) / one.unitsPerSecond);
  }

  #u16(data: Buffer, at: number): number {
    return readU16(data, at, this.#littleEndian);
  }

  #u32(data: Buffer, at: number): number {
    return readU32(data, at, this.#littleEndian);
  }
}

interface Block {
  readonly data: Buffer;
  readonly type: number;
  readonly body: number;
  readonly bodyEnd: number;
}

function text(data: Buffer, at: number, length: number): string {
  return data.toString('utf8', at, at + length);
}

function groups(data: Buffer, at: number): string {
  const parts: string[] = [];
  for (let index = 0; index < 16; index += 2) parts.push(data.readUInt16BE(at + index).toString(16));
  return parts.join(':');
}
