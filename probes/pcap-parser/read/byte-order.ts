// SPDX-License-Identifier: Apache-2.0
/** Numbers of capture files, which are in the byte order of the machine that wrote them. */

/** Its callers know that the octets are there; checking each time would cost more than reading. */
export function readU32(data: Buffer, at: number, littleEndian: boolean): number {
  const a = data[at] as number;
  const b = data[at + 1] as number;
  const c = data[at + 2] as number;
  const d = data[at + 3] as number;
  return littleEndian ? (a | (b << 8) | (c << 16) | (d << 24)) >>> 0 : ((a << 24) | (b << 16) | (c << 8) | d) >>> 0;
}

export function readU16(data: Buffer, at: number, littleEndian: boolean): number {
  return littleEndian ? data.readUInt16LE(at) : data.readUInt16BE(at);
}
