// SPDX-License-Identifier: Apache-2.0
// Addresses in random order, so that clients that take the first one spread. Works on the bytes of a reply: addresses
// of one type have one size, so they change places without anything else moving.

import { recordTypes } from './wire.ts';

export interface AddressPlaces {
  readonly offsets: readonly number[];
  /** Bytes of an address. */
  readonly length: number;
}

/** Where the answer's addresses are; undefined when there are fewer than two to change places. */
export function addressPlaces(reply: Buffer, type: number): AddressPlaces | undefined {
  const length = type === recordTypes.A ? 4 : type === recordTypes.AAAA ? 16 : undefined;
  const answers = reply.readUInt16BE(6);
  if (length === undefined || answers < 2) return undefined;
  const offsets: number[] = [];
  let offset = skipName(reply, 12) + 4;
  for (let index = 0; index < answers; index++) {
    offset = skipName(reply, offset);
    if (offset + 10 > reply.length) return undefined;
    const size = reply.readUInt16BE(offset + 8);
    if (reply.readUInt16BE(offset) === type && size === length) offsets.push(offset + 10);
    offset += 10 + size;
    if (offset > reply.length) return undefined;
  }
  return offsets.length < 2 ? undefined : { offsets, length };
}

export function shuffleAddresses(reply: Buffer, { offsets, length }: AddressPlaces): void {
  for (let last = offsets.length - 1; last > 0; last--) {
    const one = offsets[last] ?? 0;
    const other = offsets[Math.floor(Math.random() * (last + 1))] ?? 0;
    if (one === other) continue;
    for (let index = 0; index < length; index++) {
      const held = reply[one + index] ?? 0;
      reply[one + index] = reply[other + index] ?? 0;
      reply[other + index] = held;
    }
  }
}

/** The offset behind the name at `offset`, which is past the end where the name is. */
function skipName(reply: Buffer, offset: number): number {
  let position = offset;
  for (;;) {
    const size = reply[position];
    if (size === undefined) return reply.length;
    if (size === 0) return position + 1;
    if (size >= 0xc0) return position + 2;
    position += 1 + size;
  }
}
