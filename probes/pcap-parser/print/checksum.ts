// SPDX-License-Identifier: Apache-2.0
/** The Internet checksum (RFC 1071) over ranges of a packet. */
import type { Printing } from './printing.ts';

/** Sum of 16-bit words, not folded; an odd octet counts as the upper half of a word. */
function sumOf(data: Buffer, from: number, to: number): number {
  let sum = 0;
  let at = from;
  for (; at + 1 < to; at += 2) sum += ((data[at] as number) << 8) | (data[at + 1] as number);
  return at < to ? sum + ((data[at] as number) << 8) : sum;
}

function folded(sum: number): number {
  let rest = sum;
  while (rest > 0xffff) rest = (rest & 0xffff) + Math.floor(rest / 0x10000);
  return ~rest & 0xffff;
}

/** 0 if right. The range must have been captured. */
export function checksum(p: Printing, at: number, length: number): number {
  return folded(sumOf(p.data, at, at + length));
}

/** The same with the pseudo header of the addresses in `p`. 0 if right. */
export function transportChecksum(
  p: Printing,
  range: { readonly at: number; readonly length: number; readonly protocol: number },
): number {
  const { at, length, protocol } = range;
  const addresses =
    p.family === 4
      ? sumOf(p.data, p.addresses, p.addresses + 8)
      : sumOf(p.data, p.addresses, p.addresses + 16) + sumOf(p.data, p.destination, p.destination + 16);
  return folded(sumOf(p.data, at, at + length) + addresses + protocol + length);
}

/** What the field would have to hold, given what it holds and the sum over everything. */
export function rightChecksum(sum: number, field: number): number {
  let right = field + sum;
  if (right > 0xffff) right = (right & 0xffff) + 1;
  return right;
}
