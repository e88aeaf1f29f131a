// SPDX-License-Identifier: Apache-2.0
/** GRE (RFC 2784, 2890). */
import type { Printing } from './printing.ts';

const flagNames = [
  [0x8000, 'checksum present'],
  [0x4000, 'routing present'],
  [0x2000, 'key present'],
  [0x1000, 'sequence# present'],
  [0x0800, 'source routing present'],
] as const;

const protocolNames: Readonly<Record<number, string>> = {
  0x0800: 'IPv4',
  0x86dd: 'IPv6',
  0x6558: 'TEB',
  0x8847: 'MPLS unicast',
  0x880b: 'PPP',
  0x0806: 'ARP',
};

export function printGre(p: Printing, at: number, length: number): void {
  p.protocol = 'gre';
  const flags = p.u16(at);
  const version = flags & 7;
  p.text(`GREv${version}`);
  if (version !== 0) {
    if (version !== 1) p.text(' ERROR: unknown-version');
    return;
  }
  if (p.options.verbosity > 0) {
    p.text(', Flags [');
    p.bits(flags & 0xf800, flagNames);
    p.char(0x5d);
  }
  const protocol = p.u16(at + 2);
  let next = at + 4;
  if ((flags & 0xc000) !== 0) {
    if ((flags & 0x8000) !== 0 && p.options.verbosity > 0) p.text(`, sum 0x${p.u16(next).toString(16)}`);
    if ((flags & 0x4000) !== 0) p.text(`, off 0x${p.u16(next + 2).toString(16)}`);
    next += 4;
  }
  if ((flags & 0x2000) !== 0) {
    p.text(`, key=0x${p.u32(next).toString(16)}`);
    next += 4;
  }
  if ((flags & 0x1000) !== 0) {
    p.text(`, seq ${p.u32(next)}`);
    next += 4;
  }
  if (p.options.linkHeader)
    p.text(`, proto ${protocolNames[protocol] ?? 'unknown'} (0x${protocol.toString(16).padStart(4, '0')})`);
  p.text(`, length ${length}`);
  p.text(p.options.verbosity > 0 ? '\n\t' : ': ');
  if (!p.carried.network(p, { type: protocol, at: next, length: length - (next - at) }))
    p.text(`gre-proto-0x${protocol.toString(16)}`);
}
