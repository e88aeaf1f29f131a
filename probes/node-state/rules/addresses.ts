// SPDX-License-Identifier: Apache-2.0
/** Addresses and prefixes as numbers, so that text in different spellings compares equal. */
import { isIPv4, isIPv6 } from 'node:net';
import type { Family } from '../node-state.ts';

export interface Range {
  readonly family: Family;
  readonly first: bigint;
  readonly last: bigint;
}

export function familyOf(address: string): Family | undefined {
  if (isIPv4(address)) return 4;
  return isIPv6(address) ? 6 : undefined;
}

/** Undefined where the text is no address. */
export function addressNumber(address: string): bigint | undefined {
  if (isIPv4(address)) return address.split('.').reduce((sum, octet) => sum * 256n + BigInt(octet), 0n);
  if (!isIPv6(address)) return undefined;
  // An embedded IPv4 address stands for the last two groups.
  const plain = address.replace(/%.*$/, '').replace(/(\d+\.\d+\.\d+\.\d+)$/, (four) => {
    const number = Number(addressNumber(four));
    return `${(number >>> 16).toString(16)}:${(number & 0xff_ff).toString(16)}`;
  });
  const [head = '', tail] = plain.split('::');
  const groups = (text: string | undefined): string[] => (text ? text.split(':') : []);
  const before = groups(head);
  const after = groups(tail);
  const zeros = tail === undefined ? [] : Array.from({ length: 8 - before.length - after.length }, () => '0');
  return [...before, ...zeros, ...after].reduce((sum, group) => sum * 65_536n + BigInt(`0x${group}`), 0n);
}

/** One spelling per address, for keys; another text stays as it is. */
export function canonicalAddress(address: string): string {
  return isIPv6(address) ? `v6:${addressNumber(address)?.toString(16)}` : address;
}

/** Of `10.0.0.0/8`, `10.0.0.1`, `10.0.0.1/255.0.0.0` or `10.0.0.1-10.0.0.9`. Undefined where the text is none of these. */
export function parseRange(text: string): Range | undefined {
  const [from = '', to] = text.split('-');
  if (to !== undefined) {
    const family = familyOf(from);
    const first = addressNumber(from);
    const last = addressNumber(to);
    return family === undefined || first === undefined || last === undefined ? undefined : { family, first, last };
  }
  const [address = '', prefix] = text.split('/');
  const family = familyOf(address);
  const number = addressNumber(address);
  if (family === undefined || number === undefined) return undefined;
  const width = family === 4 ? 32 : 128;
  const length = prefix === undefined ? width : prefixLength(prefix, family);
  if (length === undefined || !(length >= 0 && length <= width)) return undefined;
  const size = 1n << BigInt(width - length);
  const first = (number / size) * size;
  return { family, first, last: first + size - 1n };
}

function prefixLength(text: string, family: Family): number | undefined {
  if (/^\d+$/.test(text)) return Number(text);
  const mask = addressNumber(text);
  if (mask === undefined || familyOf(text) !== family) return undefined;
  const bits = mask.toString(2).padStart(family === 4 ? 32 : 128, '0');
  return /^1*0*$/.test(bits) ? bits.replaceAll('0', '').length : undefined;
}

export function inRange(address: string, range: Range): boolean {
  const number = addressNumber(address);
  return number !== undefined && familyOf(address) === range.family && number >= range.first && number <= range.last;
}

/** Number of leading bits that all addresses of the range share. */
export function lengthOf({ family, first, last }: Range): number {
  return (family === 4 ? 32 : 128) - (last - first === 0n ? 0 : (last - first).toString(2).length);
}

export function overlap(one: Range, other: Range): boolean {
  return one.family === other.family && one.first <= other.last && other.first <= one.last;
}
