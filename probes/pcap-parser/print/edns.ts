// SPDX-License-Identifier: Apache-2.0
/** Options of DNS messages (RFC 6891), in one pair of brackets. */
import type { Printing } from './printing.ts';

const optionNames: Readonly<Record<number, string>> = {
  1: 'LLQ',
  2: 'UL',
  3: 'NSID',
  5: 'DAU',
  6: 'DHU',
  7: 'N3U',
  8: 'ECS',
  9: 'EXPIRE',
  10: 'COOKIE',
  11: 'KEEPALIVE',
  12: 'PADDING',
  13: 'CHAIN',
  14: 'KEY-TAG',
  16: 'CLIENT-TAG',
  17: 'SERVER-TAG',
};

/** As IANA registers them, spelt as tcpdump spells them. */
const signatures: Readonly<Record<number, string>> = {
  1: 'RSAMD5',
  2: 'DH',
  3: 'DSA',
  5: 'RSASHA1',
  6: 'DSA-NSEC3-SHA1',
  7: 'RSASHA1-NSEC3-SHA1',
  8: 'RSASHA256',
  10: 'RSASHA512',
  12: 'ECC-GOST',
  13: 'ECDSAP256SHA256',
  14: 'ECDSAP384SHA384',
  15: 'ED25519',
  16: 'ED448',
  252: 'INDIRECT',
  253: 'PRIVATEDNS',
  254: 'PRIVATEOID',
};
const digests: Readonly<Record<number, string>> = { 1: 'SHA-1', 2: 'SHA-256', 3: 'GOST_R_34.11-94', 4: 'SHA-384' };
const hashes: Readonly<Record<number, string>> = { 1: 'SHA-1' };

export function printEdnsOptions(p: Printing, from: number, length: number): void {
  const end = from + length;
  p.text(' [');
  for (let at = from; at < end;) {
    if (at > from) p.char(0x2c);
    const code = p.u16(at);
    const size = p.u16(at + 2);
    p.text(optionNames[code] ?? `Opt${code}`);
    p.need(at + 4, size);
    printValue(p, { code, at: at + 4, size });
    at += 4 + size;
  }
  p.char(0x5d);
}

interface EdnsOption {
  readonly code: number;
  readonly at: number;
  readonly size: number;
}

function printValue(p: Printing, { code, at, size }: EdnsOption): void {
  switch (code) {
    case 5:
    case 6:
    case 7: {
      const names = code === 5 ? signatures : code === 6 ? digests : hashes;
      for (let index = 0; index < size; index++)
        p.text(` ${names[p.u8(at + index)] ?? `Unknown(${p.u8(at + index)})`}`);
      return;
    }
    case 8:
      printSubnet(p, at, size);
      return;
    case 9:
      if (size === 4) p.text(` ${p.u32(at)} sec`);
      return;
    case 10:
      p.char(0x20);
      p.hexOctets(at, Math.min(8, size));
      if (size > 8) {
        p.char(0x20);
        p.hexOctets(at + 8, size - 8);
      }
      return;
    case 11:
      if (size === 2) p.text(` ${Math.floor(p.u16(at) / 10)}.${p.u16(at) % 10} sec`);
      return;
    case 12:
      p.text(` (${size})`);
      return;
    case 13:
      p.char(0x20);
      for (let label = at; label < at + size && p.u8(label) !== 0;) {
        const octets = p.u8(label);
        for (let index = 1; index <= octets; index++) p.visible(p.u8(label + index));
        p.char(0x2e);
        label += 1 + octets;
      }
      return;
    case 14:
      for (let index = 0; index + 2 <= size; index += 2) p.text(` ${p.u16(at + index)}`);
      return;
    default:
      if (size > 0) p.char(0x20);
      p.hexOctets(at, size);
  }
}

/** Whose subnet the question is for (RFC 7871); octets behind the prefix are left out. */
function printSubnet(p: Printing, at: number, size: number): void {
  const family = p.u16(at);
  const octets = Buffer.alloc(16);
  for (let index = 4; index < Math.min(size, 20); index++) octets[index - 4] = p.u8(at + index);
  p.char(0x20);
  if (family === 2) p.ip6Octets(octets);
  else p.text(octets.subarray(0, 4).join('.'));
  p.text(`/${p.u8(at + 2)}/${p.u8(at + 3)}`);
}
