// SPDX-License-Identifier: Apache-2.0
/** ESP (RFC 4303) and AH (RFC 4302): which association and how far it has come; the rest of ESP is encrypted. */
import { truncated, type Printing, type TransportPayload } from './printing.ts';

export function printEsp(p: Printing, at: number, length: number): void {
  p.protocol = 'esp';
  p.need(at, 8);
  p.text(`ESP(spi=0x${hex8(p.u32(at))},seq=0x${p.u32(at + 4).toString(16)}), length ${length}`);
}

/** What the header stands before is printed behind it. */
export function printAh(p: Printing, { at, length, fragmented }: TransportPayload): void {
  p.protocol = 'ah';
  const next = p.u8(at);
  const words = p.u8(at + 1);
  const size = (words + 2) * 4;
  p.text('AH(');
  if (p.options.verbosity > 0) p.text(`length=${words}(${size}-bytes),`);
  const reserved = p.u16(at + 2);
  if (reserved !== 0) p.text(`reserved=0x${reserved.toString(16)}[MustBeZero],`);
  p.text(`spi=0x${hex8(p.u32(at + 4))},`);
  p.text(`seq=0x${p.u32(at + 8).toString(16)},icv=0x`);
  for (let index = at + 12; index < at + size; index++) {
    if (index >= p.end) throw truncated;
    p.hex(p.u8(index), 2);
  }
  p.text('): ');
  p.carried.transport(p, { protocol: next, at: at + size, length: length - size, fragmented });
}

function hex8(value: number): string {
  return value.toString(16).padStart(8, '0');
}
