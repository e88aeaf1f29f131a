// SPDX-License-Identifier: Apache-2.0
/** Tests of hosts and nets: IPv4, IPv6, ARP, and hardware addresses with `ether`. */
import { isIPv4, isIPv6 } from 'node:net';
import type { Frame } from '../frame.ts';
import type { FilterError } from './tokens.ts';

export type Direction = 'src' | 'dst' | 'either' | 'both';

interface AddressOptions {
  readonly direction: Direction;
  readonly protocol: string | undefined;
  readonly tags: number;
  readonly error: (text: string) => FilterError;
}

type Test = (frame: Frame) => boolean;

export function hostTest(value: string, options: AddressOptions): Test {
  const { protocol, error } = options;
  if (/^[0-9a-f]{1,2}([:-][0-9a-f]{1,2}){5}$/i.test(value)) {
    if (protocol !== 'ether') throw error(`${value} is a hardware address: write "ether host ${value}"`);
    const octets = Buffer.from(value.split(/[:-]/).map((part) => Number.parseInt(part, 16)));
    return ({ data, ethernet }) =>
      ethernet >= 0 &&
      both(
        options.direction,
        octets.equals(data.subarray(ethernet + 6, ethernet + 12)),
        octets.equals(data.subarray(ethernet, ethernet + 6)),
      );
  }
  const range = rangeOf(value, undefined);
  if (range === undefined || (isIPv4(value) === false && isIPv6(value) === false))
    throw error(`"${value}" is no address; names of hosts are not looked up`);
  return rangeTest(range, options);
}

export function netTest(value: string, options: AddressOptions & { readonly mask: string | undefined }): Test {
  const range = rangeOf(value, options.mask);
  if (range === undefined) throw options.error(`"${value}" is no net; write it as 10.0.0.0/8 or 2001:db8::/32`);
  if (range.address.some((octet, index) => (octet & ~(range.mask[index] as number)) !== 0))
    throw options.error(`"${value}" has bits set behind its mask`);
  return rangeTest(range, options);
}

interface Range {
  readonly address: readonly number[];
  readonly mask: readonly number[];
}

function rangeOf(value: string, mask: string | undefined): Range | undefined {
  const [text = '', prefix] = value.split('/');
  const parts = text.split('.');
  const whole = isIPv4(text);
  const short = !whole && parts.length < 4 && parts.every((part) => /^\d{1,3}$/.test(part) && Number(part) < 256);
  if (whole || short) {
    const address = [...parts.map(Number), 0, 0, 0].slice(0, 4);
    if (mask !== undefined) return isIPv4(mask) ? { address, mask: mask.split('.').map(Number) } : undefined;
    const bits = prefix === undefined ? parts.length * 8 : Number(prefix);
    return bits >= 0 && bits <= 32 ? { address, mask: maskOf(bits, 4) } : undefined;
  }
  if (!isIPv6(text)) return undefined;
  const bits = prefix === undefined ? 128 : Number(prefix);
  return bits >= 0 && bits <= 128 ? { address: octets6(text), mask: maskOf(bits, 16) } : undefined;
}

function maskOf(bits: number, octets: number): number[] {
  return Array.from({ length: octets }, (_, index) => (0xff00 >> Math.min(8, Math.max(0, bits - index * 8))) & 0xff);
}

function octets6(text: string): number[] {
  const withoutIp4 = text.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, a: string, b: string, c: string, d: string) =>
    [Number(a) * 256 + Number(b), Number(c) * 256 + Number(d)].map((group) => group.toString(16)).join(':'),
  );
  const [before = '', after] = withoutIp4.split('::');
  const groups = (part: string): number[] =>
    part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16));
  const head = groups(before);
  const tail = groups(after ?? '');
  const all = [...head, ...Array.from({ length: 8 - head.length - tail.length }, () => 0), ...tail];
  return all.flatMap((group) => [group >> 8, group & 255]);
}

function rangeTest({ address, mask }: Range, { direction, protocol, tags }: AddressOptions): Test {
  const fits = (frame: Frame, at: number): boolean => {
    if (at + address.length > frame.end) return false;
    for (let index = 0; index < address.length; index++)
      if (((frame.data[at + index] as number) & (mask[index] as number)) !== address[index]) return false;
    return true;
  };
  const arp = address.length === 4 && (protocol === undefined || protocol === 'arp' || protocol === 'rarp');
  const version = address.length === 4 ? 4 : 6;
  const ip = protocol !== 'arp' && protocol !== 'rarp';
  const size = address.length;
  const first = size === 4 ? 12 : 8;
  return (frame) => {
    if (frame.vlans.length !== tags) return false;
    if (frame.version === version && ip)
      return both(direction, fits(frame, frame.ip + first), fits(frame, frame.ip + first + size));
    if (!arp || (frame.etherType !== 0x0806 && frame.etherType !== 0x8035) || frame.ethernet < 0) return false;
    const at = frame.ethernet + 14 + tags * 4;
    return both(direction, fits(frame, at + 14), fits(frame, at + 24));
  };
}

function both(direction: Direction, from: boolean, to: boolean): boolean {
  if (direction === 'src') return from;
  if (direction === 'dst') return to;
  return direction === 'both' ? from && to : from || to;
}
