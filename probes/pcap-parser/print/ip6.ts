// SPDX-License-Identifier: Apache-2.0
/** IPv6 (RFC 8200) and its extension headers. */
import type { Printing } from './printing.ts';
import { protocols } from './protocols.ts';

const headerNames: Readonly<Record<number, string>> = {
  0: 'Options',
  4: 'IPIP',
  6: 'TCP',
  17: 'UDP',
  41: 'IPv6',
  43: 'unknown',
  44: 'Fragment',
  46: 'RSVP',
  47: 'GRE',
  50: 'ESP',
  51: 'AH',
  58: 'ICMPv6',
  60: 'unknown',
  88: 'EIGRP',
  89: 'OSPF',
  103: 'PIM',
  108: 'Compressed IP',
  112: 'VRRP',
  132: 'SCTP',
};

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
  const field = p.u16(at + 4);
  const payloadLength = field === 0 ? jumboLength(p, at) : field;
  if (length < payloadLength + 40) p.text(`truncated-ip6 - ${payloadLength + 40 - length} bytes missing!`);
  const next = p.u8(at + 6);
  if (p.options.verbosity > 0) {
    const flow = p.u32(at);
    p.char(0x28);
    const trafficClass = (flow >>> 20) & 0xff;
    if (trafficClass !== 0) p.text(`class 0x${trafficClass.toString(16).padStart(2, '0')}, `);
    if ((flow & 0xfffff) !== 0) p.text(`flowlabel 0x${(flow & 0xfffff).toString(16).padStart(5, '0')}, `);
    p.text(
      `hlim ${p.u8(at + 7)}, next-header ${headerNames[next] ?? 'unknown'} (${next}) payload length: ${payloadLength}) `,
    );
  }
  p.end = Math.min(p.end, at + 40 + payloadLength);
  p.family = 6;
  p.addressesShown = false;
  p.addresses = at + 8;
  printHeaders(p, { at: at + 40, next, left: payloadLength });
}

/** The length that a hop-by-hop option says (RFC 2675), where the header has no room for it; otherwise 0. */
function jumboLength(p: Printing, at: number): number {
  if (p.u8(at + 6) !== 0 || at + 48 > p.end) return 0;
  const end = at + 40 + (p.u8(at + 41) + 1) * 8;
  for (let option = at + 42; option + 2 <= end;) {
    const type = p.u8(option);
    if (type === 0xc2 && p.u8(option + 1) === 4) return p.u32(option + 2);
    option += type === 0 ? 1 : 2 + p.u8(option + 1);
  }
  return 0;
}

/** Walks the extension headers to the transport. */
function printHeaders(p: Printing, start: { readonly at: number; readonly next: number; readonly left: number }): void {
  let { at, next, left } = start;
  let fragmented = false;
  let addressesShown = false;
  const showAddresses = (): void => {
    if (addressesShown) return;
    addressesShown = true;
    p.addressesShown = true;
    p.ip6(p.addresses);
    p.text(' > ');
    p.ip6(p.addresses + 16);
    p.text(': ');
  };
  for (;;) {
    if (next === 0 || next === 60 || next === 43) {
      showAddresses();
      const name = next === 0 ? 'HBH' : 'DSTOPT';
      p.protocol = next === 0 ? 'hbh' : next === 60 ? 'dstopt' : 'rt6';
      const size = (p.u8(at + 1) + 1) * 8;
      if (next === 43) printRouting(p, at, size);
      else {
        p.text(`${name} `);
        if (p.options.verbosity > 0) printOptions(p, at + 2, size - 2);
      }
      next = p.u8(at);
      at += size;
      left -= size;
      continue;
    }
    if (next === 44) {
      showAddresses();
      p.protocol = 'frag6';
      p.need(at, 8);
      const field = p.u16(at + 2);
      const offset = field & 0xfff8;
      p.text(
        p.options.verbosity > 0
          ? `frag (0x${hex8(p.u32(at + 4))}:${offset}|${left - 8}) `
          : `frag (${offset}|${left - 8}) `,
      );
      next = p.u8(at);
      at += 8;
      left -= 8;
      if (offset !== 0) return;
      fragmented = true;
      continue;
    }
    if (next === 59) {
      showAddresses();
      p.text('no next header');
      return;
    }
    if (next !== protocols.tcp && next !== protocols.udp && next !== protocols.sctp) showAddresses();
    p.carried.transport(p, { protocol: next, at, length: left, fragmented });
    return;
  }
}

/** Types 0 and 2 hold addresses only, 4 is segment routing. */
function printRouting(p: Printing, at: number, size: number): void {
  const type = p.u8(at + 2);
  p.text(`RT6 (len=${p.u8(at + 1)}, type=${type}${type === 0 ? ' [Deprecated]' : ''}, segleft=${p.u8(at + 3)}`);
  if (type === 4) p.text(`, last-entry=${p.u8(at + 4)}, tag=${p.u16(at + 6).toString(16)}`);
  if (type === 0 || type === 2 || type === 4)
    for (let address = at + 8, index = 0; address + 16 <= at + size; address += 16, index++) {
      p.text(`, [${index}]`);
      p.ip6(address);
    }
  p.text(') ');
}

function printOptions(p: Printing, from: number, length: number): void {
  const end = from + length;
  for (let at = from; at < end;) {
    const type = p.u8(at);
    if (type === 0) {
      p.text('(pad1)');
      at++;
      continue;
    }
    const size = p.u8(at + 1);
    if (type === 1) p.text('(padn)');
    else if (type === 5)
      p.text(
        `(rtalert: 0x${p
          .u16(at + 2)
          .toString(16)
          .padStart(4, '0')}) `,
      );
    else p.text(`(opt_type 0x${type.toString(16).padStart(2, '0')}: len=${size})`);
    at += 2 + size;
  }
  p.char(0x20);
}

function hex8(value: number): string {
  return value.toString(16).padStart(8, '0');
}
