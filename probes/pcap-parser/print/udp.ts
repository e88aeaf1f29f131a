// SPDX-License-Identifier: Apache-2.0
/** UDP (RFC 768), and what runs over well-known ports of it. */
import { rightChecksum, transportChecksum } from './checksum.ts';
import { printDhcp } from './dhcp.ts';
import { printDhcp6 } from './dhcp6.ts';
import { printDns } from './dns.ts';
import { printAddresses, printEndpoints } from './endpoints.ts';
import type { Printing } from './printing.ts';
import { protocols } from './protocols.ts';
import { printGeneve, printOtv, printVxlan } from './tunnels.ts';

export function printUdp(p: Printing, at: number, length: number): void {
  p.protocol = 'udp';
  if (at + 4 > p.end) {
    printAddresses(p, ': ');
    p.need(at, 4);
  }
  const from = p.u16(at);
  const to = p.u16(at + 2);
  printEndpoints(p, from, to);
  if (length < 8) {
    p.text(`truncated-udp ${length}`);
    return;
  }
  const datagram = p.u16(at + 4);
  if (datagram < 8 && datagram !== 0) {
    p.text(`truncated-udplength ${datagram}`);
    return;
  }
  p.need(at, 8);
  const total = datagram === 0 ? length : Math.min(datagram, length);
  const payload = total - 8;
  if (p.options.verbosity > 0 && !p.fragmented) printChecksum(p, at, total);
  const ports = from < to ? [from, to] : [to, from];
  for (const port of ports) if (printService(p, { port, to, at: at + 8, length: payload })) return;
  // Of a fragmented datagram only the beginning is here.
  if (!p.fragmented && datagram > length) p.text(`UDP, bad length ${datagram - 8} > ${length - 8}`);
  else p.text(`UDP, length ${datagram === 0 ? payload : datagram - 8}`);
}

function printChecksum(p: Printing, at: number, length: number): void {
  // Over IPv4 checksums are shown with -vv only, for a sender need not make one.
  if (p.family === 4 && p.options.verbosity < 2) return;
  const field = p.u16(at + 6);
  if (p.family === 4 && field === 0) {
    p.text('[no cksum] ');
    return;
  }
  if (at + length > p.end) return;
  const sum = transportChecksum(p, { at, length, protocol: protocols.udp });
  if (sum === 0) p.text('[udp sum ok] ');
  else {
    p.text('[bad udp cksum 0x');
    p.hex(field, 4);
    p.text(' -> 0x');
    p.hex(rightChecksum(sum, field), 4);
    p.text('!] ');
  }
}

interface ServicePayload {
  readonly port: number;
  readonly to: number;
  readonly at: number;
  readonly length: number;
}

function printService(p: Printing, { port, to, at, length }: ServicePayload): boolean {
  switch (port) {
    case 53:
    case 5353:
      printDns(p, { at, length, tcp: false, multicast: port === 5353 });
      return true;
    case 67:
    case 68:
      printDhcp(p, at, length);
      return true;
    case 546:
    case 547:
      printDhcp6(p, at);
      return true;
    case 4789:
      if (to !== 4789) return false;
      printVxlan(p, at, length);
      return true;
    case 6081:
      if (to !== 6081) return false;
      printGeneve(p, at, length);
      return true;
    case 8472:
      if (to !== 8472) return false;
      printOtv(p, at, length);
      return true;
    default:
      return false;
  }
}
