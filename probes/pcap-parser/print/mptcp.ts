// SPDX-License-Identifier: Apache-2.0
/** The TCP option of Multipath TCP (RFC 8684, and version 0 of RFC 6824). */
import type { Printing } from './printing.ts';

interface Option {
  readonly at: number;
  readonly size: number;
}

type Subtype = (p: Printing, option: Option) => boolean;

const subtypes: readonly Subtype[] = [
  capable,
  join,
  dataSequence,
  addAddress,
  removeAddress,
  priority,
  fail,
  fastClose,
];

/** Prints the option behind its name; false: its length does not fit what it is. */
export function printMptcp(p: Printing, option: Option): boolean {
  const { at, size } = option;
  if (size < 3) return false;
  p.text(` ${size} `);
  const print = subtypes[p.u8(at + 2) >> 4];
  if (print === undefined) {
    p.text('unknown');
    return true;
  }
  return print(p, option);
}

function capable(p: Printing, { at, size }: Option): boolean {
  const version = p.u8(at + 2) & 15;
  const sizes = version === 1 ? [4, 12, 20, 22, 24] : [12, 20];
  p.text('capable');
  if (!sizes.includes(size)) return false;
  p.text(` v${version}`);
  if ((p.u8(at + 3) & 0x80) !== 0) p.text(' csum');
  if (size >= 12) {
    p.text(' {');
    hex64(p, at + 4);
    if (size >= 20) {
      p.char(0x2c);
      hex64(p, at + 12);
    }
    p.char(0x7d);
  }
  return true;
}

function join(p: Printing, { at, size }: Option): boolean {
  p.text('join');
  if (size !== 12 && size !== 16 && size !== 24) return false;
  if (size === 24) {
    p.text(' hmac 0x');
    p.hexOctets(at + 4, 20);
    return true;
  }
  if ((p.u8(at + 2) & 1) !== 0) p.text(' backup');
  p.text(` id ${p.u8(at + 3)}`);
  if (size === 12) p.text(` token 0x${p.u32(at + 4).toString(16)} nonce 0x${p.u32(at + 8).toString(16)}`);
  else {
    p.text(' hmac ');
    hex64(p, at + 4);
    p.text(` nonce 0x${p.u32(at + 12).toString(16)}`);
  }
  return true;
}

function dataSequence(p: Printing, { at, size }: Option): boolean {
  p.text('dss');
  if (size < 4) return false;
  const flags = p.u8(at + 3);
  if ((flags & 0x10) !== 0) p.text(' fin');
  let next = at + 4;
  const end = at + size;
  if ((flags & 1) !== 0) {
    const octets = (flags & 2) === 0 ? 4 : 8;
    if (next + octets > end) return false;
    p.text(' ack ');
    number(p, next, octets);
    next += octets;
  }
  if ((flags & 4) !== 0) {
    const octets = (flags & 8) === 0 ? 4 : 8;
    if (next + octets + 6 > end) return false;
    p.text(' seq ');
    number(p, next, octets);
    next += octets;
    p.text(` subseq ${p.u32(next)} len ${p.u16(next + 4)}`);
    next += 6;
    if (end - next >= 2) {
      p.text(` csum 0x${p.u16(next).toString(16)}`);
      next += 2;
    }
  }
  return next === end;
}

function addAddress(p: Printing, { at, size }: Option): boolean {
  p.text('add-addr');
  const kind = p.u8(at + 2) & 15;
  // Version 0 says the family, version 1 whether it is an echo; its family shows in its length.
  const version0 = kind === 4 || kind === 6;
  const long = version0 ? kind === 6 : [20, 22, 28, 30].includes(size);
  const rest = size - 4 - (long ? 16 : 4);
  if (![0, 2, 8, 10].includes(rest)) return false;
  p.text(version0 ? ` v0-ip${kind}` : kind === 1 ? ' v1-echo' : ' v1');
  p.text(` id ${p.u8(at + 3)} `);
  let next = at + 4;
  if (long) p.ip6(next);
  else p.ip4(next);
  next += long ? 16 : 4;
  if (rest === 2 || rest === 10) {
    p.text(`:${p.u16(next)}`);
    next += 2;
  }
  if (rest >= 8) {
    p.text(' hmac ');
    hex64(p, next);
  }
  return true;
}

function removeAddress(p: Printing, { at, size }: Option): boolean {
  p.text('rem-addr');
  if (size < 4) return false;
  p.text(' id');
  for (let next = at + 3; next < at + size; next++) p.text(` ${p.u8(next)}`);
  return true;
}

function priority(p: Printing, { at, size }: Option): boolean {
  p.text('prio');
  if (size !== 3 && size !== 4) return false;
  if ((p.u8(at + 2) & 1) !== 0) p.text(' backup');
  if (size === 4) p.text(` id ${p.u8(at + 3)}`);
  return true;
}

function fail(p: Printing, { at, size }: Option): boolean {
  p.text('fail');
  if (size !== 12) return false;
  p.text(' seq ');
  number(p, at + 4, 8);
  return true;
}

function fastClose(p: Printing, { at, size }: Option): boolean {
  p.text('fast-close');
  if (size !== 12) return false;
  p.text(' key ');
  hex64(p, at + 4);
  return true;
}

function number(p: Printing, at: number, octets: number): void {
  if (octets === 4) p.number(p.u32(at));
  else p.text(((BigInt(p.u32(at)) << 32n) | BigInt(p.u32(at + 4))).toString());
}

/** Without leading zeros. */
function hex64(p: Printing, at: number): void {
  p.text(`0x${((BigInt(p.u32(at)) << 32n) | BigInt(p.u32(at + 4))).toString(16)}`);
}
