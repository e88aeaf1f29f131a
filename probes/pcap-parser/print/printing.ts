// SPDX-License-Identifier: Apache-2.0
/**
 * The state of printing one packet: octets that may be read, and the text written so far. Text goes straight into a buffer; numbers and
 * addresses are written digit by digit, because strings per packet would cost more than everything else together.
 */
import type { TcpStreams } from './tcp-streams.ts';

/** Thrown when a printer wants octets that were not captured. One object: it carries nothing, and stacks are expensive. */
export const truncated: Error = new Error('the packet was cut');

export interface PrintOptions {
  /** -e: the link-layer header too. */
  readonly linkHeader: boolean;
  /** -v, -vv, -vvv. */
  readonly verbosity: number;
  /** -tttt: with the date. */
  readonly date: boolean;
  /** -#: packet numbers. */
  readonly numbers: boolean;
  /** -X: octets and characters of the packet without its link-layer header. */
  readonly octets: boolean;
}

/** What an IP packet carries. */
export interface TransportPayload {
  readonly protocol: number;
  readonly at: number;
  readonly length: number;
  readonly fragmented: boolean;
}

/** What a link or a tunnel carries; `type` is an Ethernet type. */
export interface NetworkPayload {
  readonly type: number;
  readonly at: number;
  readonly length: number;
}

/** Printers that others call for what they carry. Held as values because encapsulation goes round in circles, and imports must not. */
export interface CarriedPrinters {
  readonly ethernet: (p: Printing, at: number, length: number) => void;
  /** false: nothing here knows the type. */
  readonly network: (p: Printing, payload: NetworkPayload) => boolean;
  readonly ip: (p: Printing, at: number, length: number) => void;
  readonly ip6: (p: Printing, at: number, length: number) => void;
  readonly transport: (p: Printing, payload: TransportPayload) => void;
}

const digits = '0123456789abcdef';
const zero = 0x30;

/** The digits of all numbers of four digits: cheaper than divisions. */
const quads = new Uint8Array(40_000);
for (let value = 0; value < 10_000; value++) {
  quads[value * 4] = zero + Math.floor(value / 1000);
  quads[value * 4 + 1] = zero + (Math.floor(value / 100) % 10);
  quads[value * 4 + 2] = zero + (Math.floor(value / 10) % 10);
  quads[value * 4 + 3] = zero + (value % 10);
}

export class Printing {
  readonly options: PrintOptions;
  readonly streams: TcpStreams;
  readonly carried: CarriedPrinters;
  /** Octets of the packet; those from `end` on may not be read. */
  data: Buffer = Buffer.alloc(0);
  end = 0;
  /** Which protocol a cut packet is reported for. */
  protocol = '';
  /** How long the link-layer header of the packet is; -1 while it has not been read. */
  headerLength = -1;
  /** Cut while it quoted another packet: -X then leaves the link-layer header out. */
  cutInQuote = false;
  /** Cut where nothing is known to be readable: -X then shows the link-layer header too. */
  isCutWhole = false;
  /** Written behind the mark of a cut packet. */
  closeCut = '';
  /** Set in fragments: checksums over the whole datagram cannot be judged. */
  fragmented = false;
  /** Address family and offset of the addresses that ports belong to; 0 if there are none. */
  family: 0 | 4 | 6 = 0;
  addresses = 0;
  /** Where the destination stands that checksums over IPv6 are made with: the last one of a routing header. */
  destination = 0;
  /** The addresses have been written already, in front of extension headers. */
  addressesShown = false;
  /** Encapsulations around what is being printed; nested ones beyond a limit are not followed. */
  depth = 0;
  out: Buffer = Buffer.allocUnsafe(1 << 18);
  length = 0;

  constructor(options: PrintOptions, streams: TcpStreams, carried: CarriedPrinters) {
    this.options = options;
    this.carried = carried;
    this.streams = streams;
  }

  /** The packet was cut here, and -X shows it with its link-layer header. */
  cutWhole(): never {
    this.isCutWhole = true;
    throw truncated;
  }

  need(at: number, octets: number): void {
    if (octets < 0 || at + octets > this.end) throw truncated;
  }

  u8(at: number): number {
    if (at >= this.end) throw truncated;
    return this.data[at] as number;
  }

  u16(at: number): number {
    if (at + 2 > this.end) throw truncated;
    return ((this.data[at] as number) << 8) | (this.data[at + 1] as number);
  }

  u24(at: number): number {
    return (this.u16(at) << 8) | this.u8(at + 2);
  }

  u32(at: number): number {
    if (at + 4 > this.end) throw truncated;
    const { data } = this;
    return (
      (((data[at] as number) << 24) |
        ((data[at + 1] as number) << 16) |
        ((data[at + 2] as number) << 8) |
        (data[at + 3] as number)) >>>
      0
    );
  }

  /** Writes text of ASCII characters. */
  text(text: string): void {
    const length = text.length;
    this.#room(length);
    const { out } = this;
    let at = this.length;
    for (let index = 0; index < length; index++) out[at++] = text.charCodeAt(index);
    this.length = at;
  }

  /** Writes one character. */
  char(code: number): void {
    this.#room(1);
    this.out[this.length++] = code;
  }

  /** Writes an octet of a text; those that are no ASCII characters in caret notation. */
  visible(octet: number): void {
    let code = octet;
    if (code >= 0x80) {
      this.text('M-');
      code &= 0x7f;
    }
    if (code < 0x20 || code === 0x7f) {
      this.char(0x5e);
      code ^= 0x40;
    }
    this.char(code);
  }

  /** Writes a whole number below 2^32 without sign. */
  number(value: number): void {
    if (value < 10) {
      this.char(zero + value);
      return;
    }
    this.#room(10);
    let rest = value;
    let at = this.length;
    if (rest >= 1e8) {
      const upper = (rest / 1e8) | 0;
      at = this.#leading(upper, at);
      rest -= upper * 1e8;
      at = this.#quad((rest / 1e4) | 0, at);
      at = this.#quad(rest % 1e4, at);
    } else if (rest >= 1e4) {
      const upper = (rest / 1e4) | 0;
      at = this.#leading(upper, at);
      at = this.#quad(rest - upper * 1e4, at);
    } else at = this.#leading(rest, at);
    this.length = at;
  }

  /** Up to four digits without leading zeros; returns where the next character goes. */
  #leading(value: number, at: number): number {
    const { out } = this;
    const from = value * 4;
    let next = at;
    if (value >= 1000) out[next++] = quads[from] as number;
    if (value >= 100) out[next++] = quads[from + 1] as number;
    if (value >= 10) out[next++] = quads[from + 2] as number;
    out[next] = quads[from + 3] as number;
    return next + 1;
  }

  #quad(value: number, at: number): number {
    const { out } = this;
    const from = value * 4;
    out[at] = quads[from] as number;
    out[at + 1] = quads[from + 1] as number;
    out[at + 2] = quads[from + 2] as number;
    out[at + 3] = quads[from + 3] as number;
    return at + 4;
  }

  /** Digits with leading zeros. */
  digits(value: number, width: number): void {
    this.#room(width);
    const { out } = this;
    let rest = value;
    for (let at = this.length + width - 1; at >= this.length; at--) {
      const next = Math.floor(rest / 10);
      out[at] = zero + rest - next * 10;
      rest = next;
    }
    this.length += width;
  }

  /** Hexadecimal with at least `width` digits. */
  hex(value: number, width = 1): void {
    let shift = 28;
    while (shift / 4 >= width && (value >>> shift) % 16 === 0 && shift > 0) shift -= 4;
    for (; shift >= 0; shift -= 4) this.char(digits.charCodeAt((value >>> shift) & 15));
  }

  hexOctets(at: number, octets: number): void {
    for (let index = 0; index < octets; index++) this.hex(this.u8(at + index), 2);
  }

  ip4(at: number): void {
    this.need(at, 4);
    this.#room(15);
    const { data, out } = this;
    let to = this.length;
    for (let index = 0; index < 4; index++) {
      const octet = data[at + index] as number;
      if (index > 0) out[to++] = 0x2e;
      if (octet >= 100) {
        const hundreds = octet >= 200 ? 2 : 1;
        const rest = octet - hundreds * 100;
        const tens = (rest / 10) | 0;
        out[to++] = zero + hundreds;
        out[to++] = zero + tens;
        out[to++] = zero + rest - tens * 10;
      } else if (octet >= 10) {
        const tens = (octet / 10) | 0;
        out[to++] = zero + tens;
        out[to++] = zero + octet - tens * 10;
      } else out[to++] = zero + octet;
    }
    this.length = to;
  }

  ip6(at: number): void {
    this.need(at, 16);
    let best = -1;
    let bestLength = 1;
    for (let from = 0; from < 8;) {
      let to = from;
      while (to < 8 && this.u16(at + to * 2) === 0) to++;
      if (to - from > bestLength) {
        best = from;
        bestLength = to - from;
      }
      from = to + 1;
    }
    // Mapped and compatible addresses show their last 32 bits as IPv4.
    const compatible = best === 0 && (bestLength === 6 || (bestLength === 5 && this.u16(at + 10) === 0xffff));
    for (let group = 0; group < 8; group++) {
      if (group === best) {
        this.text(group === 0 ? '::' : ':');
        group += bestLength - 1;
        if (group === 7) break;
        continue;
      }
      if (group === 6 && compatible) {
        this.ip4(at + 12);
        return;
      }
      this.hex(this.u16(at + group * 2));
      if (group < 7) this.char(0x3a);
    }
  }

  /** An address that does not stand in the packet as a whole. */
  ip6Octets(octets: Buffer): void {
    const { data, end } = this;
    this.data = octets;
    this.end = octets.length;
    this.ip6(0);
    this.data = data;
    this.end = end;
  }

  mac(at: number): void {
    this.linkAddress(at, 6);
  }

  linkAddress(at: number, octets: number): void {
    for (let index = 0; index < octets; index++) {
      if (index > 0) this.char(0x3a);
      this.hex(this.u8(at + index), 2);
    }
  }

  /** Flags as tcpdump joins them; `none` if no known bit is set. */
  bits(value: number, names: readonly (readonly [bit: number, name: string])[], between = ', '): void {
    let first = true;
    for (const [bit, name] of names) {
      if ((value & bit) === 0) continue;
      if (!first) this.text(between);
      this.text(name);
      first = false;
    }
    if (first) this.text('none');
  }

  #room(octets: number): void {
    if (this.length + octets <= this.out.length) return;
    const larger = Buffer.allocUnsafe(this.out.length * 2 + octets);
    this.out.copy(larger, 0, 0, this.length);
    this.out = larger;
  }
}
