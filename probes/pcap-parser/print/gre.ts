// SPDX-License-Identifier: Apache-2.0
/** GRE (RFC 2784, 2890). */
import { etherTypeNames } from './ether-types.ts';
import type { Printing } from './printing.ts';

const flagNames = [
  [0x8000, 'checksum present'],
  [0x4000, 'routing present'],
  [0x2000, 'key present'],
  [0x1000, 'sequence# present'],
  [0x0800, 'source routing present'],
  [0x0080, 'ack present'],
] as const;

export function printGre(p: Printing, at: number, length: number): void {
  p.protocol = 'gre';
  const flags = p.u16(at);
  const version = flags & 7;
  p.text(`GREv${version}`);
  if (version > 1) {
    p.text(' ERROR: unknown-version');
    return;
  }
  if (p.options.verbosity > 0) {
    p.text(', Flags [');
    p.bits(flags & 0xf880, flagNames);
    p.char(0x5d);
  }
  const protocol = p.u16(at + 2);
  const next = version === 0 ? printFields(p, at + 4, flags) : printEnhancedFields(p, at + 4, flags);
  const hasPayload = version === 0 || (flags & 0x1000) !== 0;
  if (!hasPayload) p.text(', no-payload');
  if (p.options.linkHeader)
    p.text(`, proto ${etherTypeNames[protocol] ?? 'unknown'} (0x${protocol.toString(16).padStart(4, '0')})`);
  p.text(`, length ${length}`);
  if (!hasPayload) return;
  p.text(p.options.verbosity > 0 ? '\n\t' : ': ');
  const payload = { type: protocol, at: next, length: length - (next - at) };
  if (version !== 0 || !carriedTypes.has(protocol) || !p.carried.network(p, payload))
    p.text(`gre-proto-0x${protocol.toString(16)}`);
}

/** Others are named by their number only. */
const carriedTypes = new Set([0x0800, 0x86dd, 0x6558]);

/** Returns where the payload begins. */
function printFields(p: Printing, at: number, flags: number): number {
  let next = at;
  if ((flags & 0xc000) !== 0) {
    if (p.options.verbosity > 0) p.text(`, sum 0x${p.u16(next).toString(16)}`);
    p.text(`, off 0x${p.u16(next + 2).toString(16)}`);
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
  if ((flags & 0x4000) === 0) return next;
  for (;;) {
    const family = p.u16(next);
    const size = p.u8(next + 3);
    next += 4;
    if (size === 0) return next;
    p.text(`, (rtaf=0x${family.toString(16)})`);
    p.need(next, size);
    next += size;
  }
}

/** Of PPTP (RFC 2637): the call instead of a key, and acknowledgements. */
function printEnhancedFields(p: Printing, at: number, flags: number): number {
  let next = at;
  if ((flags & 0x2000) !== 0) {
    p.text(`, call ${p.u32(next) & 0xffff}`);
    next += 4;
  }
  if ((flags & 0x1000) !== 0) {
    p.text(`, seq ${p.u32(next)}`);
    next += 4;
  }
  if ((flags & 0x0080) !== 0) {
    p.text(`, ack ${p.u32(next)}`);
    next += 4;
  }
  return next;
}
