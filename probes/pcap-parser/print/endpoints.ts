// SPDX-License-Identifier: Apache-2.0
/** `10.0.0.1.80 > 10.0.0.2.1024: `: addresses of the IP packet around, with ports. */
import type { Printing } from './printing.ts';

export function printEndpoints(p: Printing, from: number, to: number): void {
  if (p.addressesShown) {
    p.number(from);
    p.text(' > ');
    p.number(to);
    p.text(': ');
    return;
  }
  if (p.family === 4) {
    p.ip4(p.addresses);
    p.char(0x2e);
    p.number(from);
    p.text(' > ');
    p.ip4(p.addresses + 4);
  } else {
    p.ip6(p.addresses);
    p.char(0x2e);
    p.number(from);
    p.text(' > ');
    p.ip6(p.addresses + 16);
  }
  p.char(0x2e);
  p.number(to);
  p.text(': ');
}

/** The addresses alone, for packets cut before their ports. */
export function printAddresses(p: Printing, after: string): void {
  if (p.addressesShown) return;
  if (p.family === 4) p.ip4(p.addresses);
  else p.ip6(p.addresses);
  p.text(' > ');
  if (p.family === 4) p.ip4(p.addresses + 4);
  else p.ip6(p.addresses + 16);
  p.text(after);
}
