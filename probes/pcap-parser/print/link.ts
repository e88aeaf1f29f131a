// SPDX-License-Identifier: Apache-2.0
/** Link-layer headers: Ethernet with VLAN tags, Linux cooked v1 and v2, raw IP, loopback. */
import type { Packet } from '../read/packet.ts';
import { printArp } from './arp.ts';
import { etherTypeNames } from './ether-types.ts';
import { printIp } from './ip.ts';
import { printIp6 } from './ip6.ts';
import { printOctets, printUnknown } from './octets.ts';
import { truncated, type Printing } from './printing.ts';

export const linkTypes = {
  null: 0,
  ethernet: 1,
  raw: 101,
  loop: 108,
  cooked: 113,
  ip4: 228,
  ip6: 229,
  cooked2: 276,
} as const;

/** Prints a packet after its time, and notes how long its link-layer header is. */
export function printLink(p: Printing, packet: Packet): void {
  const at = packet.start;
  const { wireLength } = packet;
  switch (packet.captureInterface.linkType) {
    case linkTypes.ethernet:
      p.protocol = 'ether';
      printEthernet(p, at, wireLength);
      return;
    case linkTypes.cooked:
      printCooked(p, at, wireLength);
      return;
    case linkTypes.cooked2:
      printCooked2(p, packet);
      return;
    case linkTypes.null:
    case linkTypes.loop:
      printLoopback(p, packet);
      return;
    // The packet's own version counts, whatever the link type promises.
    case linkTypes.raw:
    case linkTypes.ip4:
    case linkTypes.ip6:
    case 12:
    case 14:
      printRaw(p, at, wireLength);
      return;
    default:
      printUnknown(p, at, wireLength);
  }
}

function printEtherType(p: Printing, type: number): void {
  p.text('ethertype ');
  p.text(etherTypeNames[type] ?? 'Unknown');
  p.text(' (0x');
  p.hex(type, 4);
  p.char(0x29);
}

/** Prints the frame at `at`, the packet itself or one within a tunnel. */
export function printEthernet(p: Printing, at: number, wireLength: number): void {
  p.protocol = 'ether';
  const { linkHeader } = p.options;
  if (p.end - at < 14) throw truncated;
  if (linkHeader) {
    p.mac(at + 6);
    p.text(' > ');
    p.mac(at);
    p.text(', ');
  }
  let type = p.u16(at + 12);
  let next = at + 14;
  let lengthPrinted = false;
  const sayLength = (): void => {
    p.text(lengthPrinted ? ', ' : `, length ${wireLength}: `);
    lengthPrinted = true;
  };
  while (type === 0x8100 || type === 0x88a8 || type === 0x9100) {
    if (p.end - next < 4) {
      p.protocol = 'vlan';
      throw truncated;
    }
    if (linkHeader) {
      printEtherType(p, type);
      sayLength();
      const tag = p.u16(next);
      p.text(`vlan ${tag & 0xfff}, p ${tag >> 13}${(tag & 0x1000) === 0 ? '' : ', DEI'}, `);
    }
    type = p.u16(next + 2);
    next += 4;
  }
  if (p.headerLength < 0) p.headerLength = next - at;
  const length = wireLength - (next - at);
  if (type <= 1500) {
    printLlc(p, { at: next, length: Math.min(type, length), frame: at, wireLength, lengthPrinted });
    return;
  }
  if (linkHeader) {
    printEtherType(p, type);
    p.text(lengthPrinted ? ', ' : ', length ');
    if (!lengthPrinted) {
      p.number(wireLength);
      p.text(': ');
    }
    lengthPrinted = true;
  }
  if (!printNetwork(p, { type, at: next, length })) {
    if (!linkHeader) {
      p.mac(at + 6);
      p.text(' > ');
      p.mac(at);
      p.text(', ');
      printEtherType(p, type);
      p.text(`, length ${wireLength}: `);
    }
    printUnknown(p, next, length);
  }
}

interface LlcFrame {
  readonly at: number;
  readonly length: number;
  readonly frame: number;
  readonly wireLength: number;
  readonly lengthPrinted: boolean;
}

/** 802.3 frames carry nothing here that is decoded but SNAP with an Ethernet type. */
function printLlc(p: Printing, { at, length, frame, wireLength, lengthPrinted }: LlcFrame): void {
  if (p.options.linkHeader) p.text(lengthPrinted ? '802.3, ' : `802.3, length ${wireLength}: `);
  else {
    p.mac(frame + 6);
    p.text(' > ');
    p.mac(frame);
    p.text(', ');
  }
  p.protocol = 'llc';
  p.text(`LLC, dsap 0x${p.u8(at).toString(16)} ssap 0x${p.u8(at + 1).toString(16)}, length ${length}`);
}

/** What an Ethernet type names; false if nothing here knows it. */
export function printNetwork(
  p: Printing,
  payload: { readonly type: number; readonly at: number; readonly length: number },
): boolean {
  const { at, length } = payload;
  switch (payload.type) {
    case 0x0800:
      printIp(p, at, length);
      return true;
    case 0x86dd:
      printIp6(p, at, length);
      return true;
    case 0x0806:
    case 0x8035:
      printArp(p, at, length);
      return true;
    case 0x6558:
      printEthernet(p, at, length);
      return true;
    default:
      return false;
  }
}

const cookedTypes = ['In', 'B', 'M', 'P', 'Out'];

function printCooked(p: Printing, at: number, wireLength: number): void {
  p.protocol = 'sll';
  if (p.end - at < 16) throw truncated;
  p.headerLength = 16;
  const type = p.u16(at + 14);
  if (p.options.linkHeader) {
    p.text((cookedTypes[p.u16(at)] ?? '?').padStart(3));
    p.char(0x20);
    const addressLength = Math.min(p.u16(at + 4), 8);
    if (addressLength === 6) p.mac(at + 6);
    else p.linkAddress(at + 6, addressLength);
    if (addressLength > 0) p.char(0x20);
    if (type > 1500) {
      printEtherType(p, type);
      p.text(`, length ${wireLength}: `);
    }
  }
  printCookedPayload(p, { type, at: at + 16, length: wireLength - 16 }, wireLength);
}

function printCooked2(p: Printing, packet: Packet): void {
  const at = packet.start;
  p.protocol = 'sll2';
  if (p.end - at < 20) throw truncated;
  p.headerLength = 20;
  const index = p.u32(at + 4);
  p.text((packet.captureInterface.name ?? `ifindex ${index}`).padEnd(5));
  p.char(0x20);
  p.text((cookedTypes[p.u8(at + 10)] ?? '?').padEnd(3));
  p.char(0x20);
  const type = p.u16(at);
  if (p.options.linkHeader) {
    p.text(`ifindex ${index} `);
    const addressLength = Math.min(p.u8(at + 11), 8);
    p.linkAddress(at + 12, addressLength);
    if (addressLength > 0) p.char(0x20);
    printEtherType(p, type);
    p.text(`, length ${packet.wireLength}: `);
  }
  printCookedPayload(p, { type, at: at + 20, length: packet.wireLength - 20 }, packet.wireLength);
}

function printCookedPayload(
  p: Printing,
  payload: { readonly type: number; readonly at: number; readonly length: number },
  wireLength: number,
): void {
  let { type, at, length } = payload;
  while (type === 0x8100 || type === 0x88a8) {
    if (p.end - at < 4) {
      p.protocol = 'vlan';
      throw truncated;
    }
    if (p.options.linkHeader) {
      const tag = p.u16(at);
      p.text(`vlan ${tag & 0xfff}, p ${tag >> 13}${(tag & 0x1000) === 0 ? '' : ', DEI'}, `);
    }
    type = p.u16(at + 2);
    if (p.options.linkHeader) {
      printEtherType(p, type);
      p.text(', ');
    }
    at += 4;
    length -= 4;
  }
  if (printNetwork(p, { type, at, length })) return;
  if (!p.options.linkHeader) {
    printEtherType(p, type);
    p.text(`, length ${wireLength}: `);
  }
  printUnknown(p, at, length);
}

function printRaw(p: Printing, at: number, wireLength: number): void {
  p.protocol = 'raw';
  p.headerLength = 0;
  if (p.options.linkHeader) p.text('ip: ');
  printVersion(p, at, wireLength);
}

function printVersion(p: Printing, at: number, wireLength: number): void {
  const version = p.u8(at) >> 4;
  if (version === 6) printIp6(p, at, wireLength);
  else if (version === 4) printIp(p, at, wireLength);
  else p.text(`unknown ip ${version}`);
}

/** Address families of IPv6 differ between systems. */
const ip6Families = new Set([10, 24, 28, 30]);

function printLoopback(p: Printing, packet: Packet): void {
  const at = packet.start;
  p.protocol = 'null';
  if (p.end - at < 4) throw truncated;
  p.headerLength = 4;
  let family = p.u32(at);
  // Written in the order of the machine that captured it; on link type 108 in network order.
  if (family > 0xffff) family = p.data.readUInt32LE(at);
  if (p.options.linkHeader) {
    const name = family === 2 ? 'IPv4' : ip6Families.has(family) ? 'IPv6' : 'unknown';
    p.text(`AF ${name} (${family}), length ${packet.wireLength}: `);
  }
  if (family === 2) printIp(p, at + 4, packet.wireLength - 4);
  else if (ip6Families.has(family)) printIp6(p, at + 4, packet.wireLength - 4);
  else {
    if (!p.options.linkHeader) p.text(`AF unknown (${family}), length ${packet.wireLength}: `);
    if (!p.options.octets) printOctets(p, at + 4, p.end - at - 4);
  }
}
