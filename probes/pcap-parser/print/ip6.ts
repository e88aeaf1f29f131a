// SPDX-License-Identifier: Apache-2.0
/** IPv6 (RFC 8200) and its extension headers. */
import { truncated, type Printing } from './printing.ts';
import { protocolNames, protocols } from './protocols.ts';

export function printIp6(p: Printing, at: number, length: number): void {
  p.protocol = 'ip6';
  p.need(at, 40);
  if (length < 40) {
    if (!p.options.linkHeader) p.text('IP6 ');
    p.text(`truncated-ip6 ${length}`);
    return;
  }
  if (!p.options.linkHeader) p.text('IP6 ');
  const version = p.u8(at) >> 4;
  if (version !== 6) {
    p.text(`version error: ${version} != 6`);
    return;
  }
  const payloadLength = p.u16(at + 4);
  if (length < payloadLength + 40) p.text(`truncated-ip6 - ${payloadLength + 40 - length} bytes missing!`);
  const next = p.u8(at + 6);
  if (p.options.verbosity > 0) {
    const flow = p.u32(at);
    p.char(0x28);
    const trafficClass = (flow >>> 20) & 0xff;
    if (trafficClass !== 0) p.text(`class 0x${trafficClass.toString(16).padStart(2, '0')}, `);
    if ((flow & 0xfffff) !== 0) p.text(`flowlabel 0x${(flow & 0xfffff).toString(16).padStart(5, '0')}, `);
    p.text(
      `hlim ${p.u8(at + 7)}, next-header ${protocolNames[next] ?? 'unknown'} (${next}) payload length: ${payloadLength}) `,
    );
  }
  // Without a length, a hop-by-hop option says it.
  if (payloadLength > 0 || next !== 0) p.end = Math.min(p.end, at + 40 + payloadLength);
  p.family = 6;
  p.addressesShown = false;
  p.addresses = at + 8;
  p.destination = at + 24;
  printHeaders(p, { at: at + 40, next, left: payloadLength, available: length - 40 });
}

interface Headers {
  readonly at: number;
  readonly next: number;
  readonly left: number;
  /** Octets behind the IPv6 header on the wire. */
  readonly available: number;
}

/** Walks the extension headers to the transport. */
function printHeaders(p: Printing, start: Headers): void {
  let { at, next, left } = start;
  const jumbo = left === 0 && next === 0;
  let fragmented = false;
  p.addressesShown = false;
  const showAddresses = (): void => {
    if (p.addressesShown) return;
    p.addressesShown = true;
    p.ip6(p.addresses);
    p.text(' > ');
    p.ip6(p.addresses + 16);
    p.text(': ');
  };
  for (;;) {
    if (next === 0 || next === 60) {
      showAddresses();
      p.protocol = next === 0 ? 'hbhopt' : 'dstopt';
      p.text(next === 0 ? 'HBH ' : 'DSTOPT ');
      const size = (p.u8(at + 1) + 1) * 8;
      p.need(at, size);
      const said = printOptions(p, at + 2, size - 2);
      if (jumbo && at === start.at) {
        if (said === undefined) {
          p.text('[No valid Jumbo Payload Hop-by-Hop option found] (invalid)');
          return;
        }
        left = said;
        if (start.available < left) p.text(`truncated-ip6 - ${left - start.available} bytes missing!`);
        p.end = Math.min(p.end, at + left);
      }
      next = p.u8(at);
      at += size;
      left -= size;
    } else if (next === 43) {
      showAddresses();
      p.protocol = 'rt6';
      const size = printRouting(p, at);
      if (size < 0) return;
      next = p.u8(at);
      at += size;
      left -= size;
    } else if (next === 44) {
      showAddresses();
      p.protocol = 'frag6';
      const field = p.u16(at + 2);
      const offset = field & 0xfff8;
      const octets = BigInt.asUintN(64, BigInt(left - 8));
      p.text(
        p.options.verbosity > 0
          ? `frag (0x${hex8(p.u32(at + 4))}:${offset}|${octets}) `
          : `frag (${offset}|${octets}) `,
      );
      if (offset !== 0 || at + 8 > p.end || left < 8) return;
      next = p.u8(at);
      at += 8;
      left -= 8;
      fragmented = true;
    } else if (next === 59) {
      showAddresses();
      p.text('no next header');
      return;
    } else {
      if (next !== protocols.tcp && next !== protocols.udp && next !== protocols.sctp) showAddresses();
      p.carried.transport(p, { protocol: next, at, length: left, fragmented });
      return;
    }
  }
}

/**
 * Returns the size of the header; -1 if it is not believed. Types 0 and 2 hold addresses only, 4 is segment routing. The last address to visit
 * is the one that checksums are made with.
 */
function printRouting(p: Printing, at: number): number {
  p.text('RT6');
  p.need(at, 4);
  const words = p.u8(at + 1);
  const type = p.u8(at + 2);
  const left = p.u8(at + 3);
  const details = p.options.verbosity > 0;
  p.text(` (len=${words}, type=${type}${type === 0 ? ' [Deprecated]' : ''}, segleft=${left}`);
  const size = (words + 1) * 8;
  if (type === 4) {
    p.text(`, last-entry=${p.u8(at + 4)}`);
    if (details) p.text(`, flags=0x${p.u8(at + 5).toString(16)}`);
    p.text(`, tag=${p.u16(at + 6).toString(16)}`);
  } else if (type === 0 || type === 2) {
    p.need(at, size);
    const reserved = p.u32(at + 4);
    if (details || reserved !== 0) p.text(`, rsv=0x${reserved.toString(16)}`);
  } else {
    p.text(' (unknown type) ');
    return -1;
  }
  // Every address takes two words; what else may stand in a segment routing header is not looked at.
  if (words % 2 === 1) {
    p.text(` (invalid length ${words}) (invalid)`);
    return -1;
  }
  p.need(at, size);
  for (let address = at + 8, index = 0; address + 16 <= at + size; address += 16, index++) {
    p.text(`, [${index}]`);
    p.ip6(address);
  }
  p.text(') ');
  if (left > 0 && words >= 2) p.destination = type === 4 ? at + 8 : at + 8 + (words / 2 - 1) * 16;
  return size;
}

/** Prints them with -v. Returns the length that a jumbo option says (RFC 2675). */
function printOptions(p: Printing, from: number, length: number): number | undefined {
  const end = from + length;
  const details = p.options.verbosity > 0;
  let jumbo: number | undefined;
  for (let at = from; at < end;) {
    const type = p.u8(at);
    if (type === 0) {
      if (details) p.text('(pad1)');
      at++;
      continue;
    }
    if (at + 1 >= end) {
      if (details) p.text('(padn: invalid len 0)');
      break;
    }
    const size = p.u8(at + 1);
    if (at + 2 + size > end) throw truncated;
    if (type === 0xc2 && size === 4) {
      const said = p.u32(at + 2);
      if (details) p.text(jumbo === undefined ? `(jumbo: ${said}) ` : `(jumbo: ${said} - already seen) `);
      jumbo ??= said;
    } else if (details) {
      if (type === 1) p.text('(padn)');
      else if (type === 5) p.text(`(rtalert: 0x${hex4(p.u16(at + 2))}) `);
      else p.text(`(opt_type 0x${type.toString(16).padStart(2, '0')}: len=${size})`);
    }
    at += 2 + size;
  }
  if (details) p.char(0x20);
  return jumbo;
}

function hex4(value: number): string {
  return value.toString(16).padStart(4, '0');
}

function hex8(value: number): string {
  return value.toString(16).padStart(8, '0');
}
