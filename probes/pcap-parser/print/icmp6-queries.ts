// SPDX-License-Identifier: Apache-2.0
/** ICMPv6 that only routers and administrators send: router renumbering (RFC 2894) and node information (RFC 4620). */
import { truncated, type Printing } from './printing.ts';

const renumberingFlags = [
  [0x80, 'T'],
  [0x40, 'R'],
  [0x20, 'A'],
  [0x10, 'S'],
  [0x08, 'P'],
] as const;

const operations: Readonly<Record<number, string>> = { 1: 'add', 2: 'change', 3: 'setglobal' };

/** Prefixes to match, each with the prefixes to use instead. */
export function printRenumbering(p: Printing, at: number, length: number): void {
  p.text('router renumbering');
  p.need(at, 16);
  const details = p.options.verbosity > 0;
  const code = p.u8(at + 1);
  p.text(
    code === 0 ? ', command' : code === 1 ? ', result' : code === 255 ? ', sequence number reset' : `, code-#${code}`,
  );
  p.text(`, seq=${p.u32(at + 4)}`);
  if (details) {
    const flags = p.u8(at + 9);
    p.char(0x5b);
    if ((flags & 0xf8) !== 0) {
      p.bits(flags, renumberingFlags, '');
      p.char(0x2c);
    }
    p.text(`seg=${p.u8(at + 8)},maxdelay=${p.u16(at + 10)}`);
    if (p.u32(at + 12) !== 0) p.text(`rsvd=0x${p.u32(at + 12).toString(16)}`);
    p.char(0x5d);
  }
  if (code !== 0) return;
  const before = p.options.verbosity > 1 ? '\n\t' : ' ';
  const end = at + length;
  for (let match = at + 16; match + 24 <= end;) {
    p.need(match, 24);
    const size = p.u8(match + 1) * 8;
    p.text(`${before}match(${operations[p.u8(match)] ?? `#${p.u8(match)}`},`);
    if (details) p.text(`ord=${p.u8(match + 2)},min=${p.u8(match + 4)},max=${p.u8(match + 5)},`);
    p.ip6(match + 8);
    p.text(`/${p.u8(match + 3)})`);
    for (let use = match + 24; use + 32 <= match + size && use + 32 <= end; use += 32) printUse(p, use, before);
    if (size === 0) throw truncated;
    if (size < 24) return;
    match += size;
  }
}

function printUse(p: Printing, at: number, before: string): void {
  p.need(at, 32);
  p.text(`${before}use(`);
  const flags = p.u32(at + 12);
  if (p.options.verbosity > 0) {
    const mask = p.u8(at + 2);
    p.text(`mask=0x${mask.toString(16)},raflags=0x${p.u8(at + 3).toString(16)},`);
    p.text(`vltime=${lifetime(p.u32(at + 4))},pltime=${lifetime(p.u32(at + 8))},`);
    if ((flags & 0x8000_0000) !== 0) p.text('V');
    if ((flags & 0x4000_0000) !== 0) p.text('P');
    if (flags >>> 30 !== 0) p.char(0x2c);
  }
  p.ip6(at + 16);
  p.text(`/${p.u8(at)}/${p.u8(at + 1)})`);
}

function lifetime(seconds: number): string {
  return seconds === 0xffff_ffff ? 'infinity' : String(seconds);
}

const addressFlags = [
  [0x20, 'G'],
  [0x10, 'S'],
  [0x08, 'L'],
  [0x04, 'C'],
  [0x02, 'A'],
] as const;

const queries: Readonly<Record<number, string>> = {
  0: 'noop',
  1: 'supported qtypes',
  2: 'DNS name',
  3: 'node addresses',
};
const outcomes = ['success', 'refused', 'unknown'];

export function printNodeInformation(p: Printing, at: number, length: number): void {
  const isReply = p.u8(at) === 140;
  // Before the standard, messages of 12 octets asked who somebody is.
  p.text(`who-are-you ${isReply ? 'reply' : 'request'}`);
  p.text(` node information ${isReply ? 'reply' : 'query'}`);
  p.need(at, 16);
  const code = p.u8(at + 1);
  const query = p.u16(at + 4);
  const flags = p.u16(at + 6);
  p.text(' (');
  if (isReply && p.options.verbosity > 0) p.text(`${outcomes[code] ?? `code-#${code}`}, `);
  p.text(queries[query] ?? 'unknown');
  if (isReply && query === 3)
    for (let address = at + 16; address + 20 <= at + length; address += 20) {
      p.char(0x20);
      p.ip6(address + 4);
      p.text(`(${p.u32(address)})`);
    }
  if (query === 3 && (flags & 0x3e) !== 0) {
    p.text(' [');
    p.bits(flags & 0x3e, addressFlags, '');
    p.char(0x5d);
  }
  if (!isReply && query !== 0 && length > 16) {
    p.text(', subject=');
    if (code === 0) p.ip6(at + 16);
    else if (code === 2) p.ip4(at + 16);
  }
  p.char(0x29);
}
