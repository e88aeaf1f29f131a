// SPDX-License-Identifier: Apache-2.0
/** Prints packets as tcpdump does, line by line, into a buffer that is handed on when it is full. */
import type { Packet } from '../read/packet.ts';
import { printIp } from './ip.ts';
import { printIp6 } from './ip6.ts';
import { printEthernet, printLink, printNetwork } from './link.ts';
import { printOctets } from './octets.ts';
import { Printing, truncated, type CarriedPrinters, type PrintOptions } from './printing.ts';
import { TcpStreams } from './tcp-streams.ts';
import { printTransport } from './transport.ts';

const carried: CarriedPrinters = {
  ethernet: printEthernet,
  network: printNetwork,
  ip: printIp,
  ip6: printIp6,
  transport: printTransport,
};

/** With -X, tcpdump shows the link-layer header too where these protocols were cut. */
const shownWhole = new Set(['ah', 'arp', 'bootp', 'http', 'igmp', 'ssh', 'icmp', 'otv', 'vxlan']);

const flushAt = 1 << 17;
/** tcpdump takes what fits into 32 bits for signed. */
const lastSecond = 0x7fff_ffff;
/** Offsets from UTC change at most at quarters of an hour. */
const zoneStep = 900;

export class PacketPrinter {
  readonly #printing: Printing;
  readonly #write: (text: Buffer) => void;
  #count = 0;
  #zoneFrom = Number.NaN;
  #zoneOffset = 0;
  #day = Number.NaN;
  #dayText = '';

  /** `write` gets text that holds only during the call. */
  constructor(options: PrintOptions, write: (text: Buffer) => void) {
    this.#printing = new Printing(options, new TcpStreams(), carried);
    this.#write = write;
  }

  print(packet: Packet): void {
    const p = this.#printing;
    this.#count++;
    if (p.options.numbers) {
      for (let power = 10_000; power > 1 && this.#count < power; power /= 10) p.char(0x20);
      p.number(this.#count);
      p.text('  ');
    }
    if (packet.end === packet.start || packet.wireLength === 0) {
      this.#invalid(p, packet);
      return;
    }
    this.#time(p, packet);
    p.data = packet.data;
    p.end = packet.end;
    p.family = 0;
    p.fragmented = false;
    p.depth = 0;
    p.closeCut = '';
    p.cutInQuote = false;
    p.isCutWhole = false;
    p.headerLength = -1;
    try {
      printLink(p, packet);
    } catch (error) {
      if (error !== truncated) throw error;
      p.text(' [|');
      p.text(p.protocol);
      p.char(0x5d);
      p.text(p.closeCut);
      if (p.isCutWhole || (shownWhole.has(p.protocol) && !p.cutInQuote)) p.headerLength = 0;
    }
    p.end = packet.end;
    // Where the link-layer header itself was cut, nothing is left to show.
    const header = p.headerLength;
    if (p.options.octets && header >= 0)
      printOctets(p, Math.min(packet.start + header, packet.end), packet.end - packet.start - header);
    p.char(0x0a);
    if (p.length >= flushAt) this.flush();
  }

  /** Packets without octets have no line of their own. */
  #invalid(p: Printing, { start, end, wireLength }: Packet): void {
    p.text('[Invalid header:');
    if (end === start) p.text(' caplen==0');
    if (end === start && wireLength === 0) p.char(0x2c);
    if (wireLength === 0) p.text(' len==0');
    p.text(']\n');
  }

  flush(): void {
    const p = this.#printing;
    if (p.length > 0) this.#write(p.out.subarray(0, p.length));
    p.length = 0;
  }

  #time(p: Printing, { seconds, nanoseconds }: Packet): void {
    if (seconds > lastSecond && seconds <= 0xffff_ffff) {
      p.text('[Error converting time] ');
      return;
    }
    const quarter = Math.floor(seconds / zoneStep);
    if (quarter !== this.#zoneFrom) {
      this.#zoneFrom = quarter;
      this.#zoneOffset = new Date(quarter * zoneStep * 1000).getTimezoneOffset() * -60;
    }
    const local = seconds + this.#zoneOffset;
    const day = Math.floor(local / 86_400);
    if (p.options.date) {
      if (day !== this.#day) {
        this.#day = day;
        this.#dayText = `${new Date(day * 86_400_000).toISOString().slice(0, 10)} `;
      }
      p.text(this.#dayText);
    }
    const second = local - day * 86_400;
    const hour = (second / 3600) | 0;
    const minute = ((second - hour * 3600) / 60) | 0;
    p.digits(hour, 2);
    p.char(0x3a);
    p.digits(minute, 2);
    p.char(0x3a);
    p.digits(second - hour * 3600 - minute * 60, 2);
    p.char(0x2e);
    const microseconds = Math.floor(nanoseconds / 1000);
    if (microseconds < 1e6) p.digits(microseconds, 6);
    else p.number(microseconds);
    p.char(0x20);
  }
}
