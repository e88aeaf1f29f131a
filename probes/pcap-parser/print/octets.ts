// SPDX-License-Identifier: Apache-2.0
/** Octets in hexadecimal and as characters, 16 on a line: -X, and what is shown of payloads that no printer knows. */
import type { Printing } from './printing.ts';

export function printOctets(p: Printing, at: number, octets: number): void {
  for (let line = 0; line < octets; line += 16) {
    p.text('\n\t0x');
    p.hex(line, 4);
    p.text(': ');
    const width = Math.min(16, octets - line);
    let columns = 0;
    for (let index = 0; index < width; index++) {
      if (index % 2 === 0) {
        p.char(0x20);
        columns++;
      }
      p.hex(p.data[at + line + index] as number, 2);
      columns += 2;
    }
    // The characters begin in the same column in every line, the last one too.
    for (; columns < 42; columns++) p.char(0x20);
    for (let index = 0; index < width; index++) {
      const octet = p.data[at + line + index] as number;
      p.char(octet > 0x20 && octet < 0x7f ? octet : 0x2e);
    }
  }
}

/** Octets without their characters, for messages that only their header tells. */
export function printHexadecimal(p: Printing, at: number, length: number, indent = ''): void {
  const octets = Math.max(0, Math.min(length, p.end - at));
  for (let line = 0; line < octets; line += 16) {
    p.text(`\n\t${indent}0x`);
    p.hex(line, 4);
    p.text(': ');
    for (let index = line; index < Math.min(line + 16, octets); index++) {
      if (index % 2 === 0) p.char(0x20);
      p.hex(p.data[at + index] as number, 2);
    }
  }
}

/** What tcpdump shows of data that it cannot decode: all of it that was captured, unless -X shows it anyway. */
export function printUnknown(p: Printing, at: number, length: number): void {
  if (!p.options.octets) printOctets(p, at, Math.max(0, Math.min(length, p.end - at)));
}
