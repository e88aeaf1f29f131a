// SPDX-License-Identifier: Apache-2.0
// Arithmetic on IP addresses and prefixes, for both families, on bigints so that one code serves 32 and 128 bits.

import { isIP } from 'node:net';

export type IpFamily = 4 | 6;

export interface Prefix {
  readonly family: IpFamily;
  /** The first address of the prefix. */
  readonly first: bigint;
  readonly length: number;
}

export function familyOf(address: string): IpFamily | undefined {
  const family = isIP(address);
  return family === 4 || family === 6 ? family : undefined;
}

/** The address as a number; throws when it is none. */
export function addressToBigint(address: string): bigint {
  const family = familyOf(address);
  if (family === undefined) throw new Error(`"${address}" is not an IP address`);
  return family === 4 ? ipv4ToBigint(address) : ipv6ToBigint(address);
}

/** Parses `address/length`; host bits are cleared. Throws when it is none. */
export function parsePrefix(text: string): Prefix {
  const slash = text.indexOf('/');
  const address = slash < 0 ? text : text.slice(0, slash);
  const family = familyOf(address);
  const bits = family === 4 ? 32 : 128;
  const length = slash < 0 ? bits : Number(text.slice(slash + 1));
  if (family === undefined || !Number.isInteger(length) || length < 0 || length > bits) {
    throw new Error(`"${text}" is not a CIDR block such as 10.244.0.0/16`);
  }
  const hostBits = BigInt(bits - length);
  return { family, first: (addressToBigint(address) >> hostBits) << hostBits, length };
}

export function prefixContains(outer: Prefix, inner: Prefix): boolean {
  if (outer.family !== inner.family || inner.length < outer.length) return false;
  const hostBits = BigInt((outer.family === 4 ? 32 : 128) - outer.length);
  return inner.first >> hostBits === outer.first >> hostBits;
}

export function containsAddress(prefix: Prefix, address: string): boolean {
  const family = familyOf(address);
  if (family === undefined) return false;
  return prefixContains(prefix, { family, first: addressToBigint(address), length: family === 4 ? 32 : 128 });
}

export function formatPrefix({ family, first, length }: Prefix): string {
  return `${formatAddress(first, family)}/${length}`;
}

/** In canonical spelling. */
export function formatAddress(value: bigint, family: IpFamily): string {
  if (family === 4) return [24n, 16n, 8n, 0n].map((shift) => Number((value >> shift) & 255n)).join('.');
  const groups = Array.from({ length: 8 }, (_, index) => ((value >> BigInt(112 - 16 * index)) & 0xffffn).toString(16));
  // The URL parser is the shortest way to the canonical spelling with `::`.
  return new URL(`http://[${groups.join(':')}]/`).hostname.slice(1, -1);
}

/** The one spelling of an address, by which it is found however it was written. */
export function canonicalAddress(address: string): string {
  return formatAddress(addressToBigint(address), familyOf(address) ?? 4);
}

/** As it stands in a URL or before a port: IPv6 in brackets. */
export function hostOf(address: string): string {
  return address.includes(':') ? `[${address}]` : address;
}

/** The same addresses without prefixes that lie inside another one of the list. */
export function withoutContained(prefixes: readonly Prefix[]): Prefix[] {
  const kept: Prefix[] = [];
  for (const prefix of prefixes.toSorted((a, b) => a.length - b.length)) {
    if (!kept.some((outer) => prefixContains(outer, prefix))) kept.push(prefix);
  }
  return kept;
}

function ipv4ToBigint(address: string): bigint {
  return address.split('.').reduce((value, part) => (value << 8n) | BigInt(part), 0n);
}

function ipv6ToBigint(address: string): bigint {
  let text = address.replace(/%.*$/, '');
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  if (dotted?.[1] !== undefined && dotted[2] !== undefined) {
    const low = ipv4ToBigint(dotted[2]);
    text = `${dotted[1]}${(low >> 16n).toString(16)}:${(low & 0xffffn).toString(16)}`;
  }
  const [head = '', tail] = text.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? 0 : 8 - left.length - right.length;
  const groups = [...left, ...Array.from({ length: zeros }, () => '0'), ...right];
  return groups.reduce((value, group) => (value << 16n) | BigInt(parseInt(group, 16)), 0n);
}
