// SPDX-License-Identifier: Apache-2.0
// Arithmetic on domain names. Names are lower case, without final dot; the root is empty.

import { familyOf } from '../network/addresses.ts';
import type { Prefix } from '../network/addresses.ts';

/** Whether `name` is the domain or below it. */
export function isWithin(name: string, domain: string): boolean {
  if (domain === '') return true;
  return name === domain || (name.endsWith(domain) && name.charCodeAt(name.length - domain.length - 1) === 46);
}

/** Whether `name` is within one of the domains. */
export function isWithinAny(name: string, domains: readonly string[]): boolean {
  for (const domain of domains) if (isWithin(name, domain)) return true;
  return false;
}

/** A name as configuration files have it, in this module's form. */
export function plainName(text: string): string {
  return text.toLowerCase().replace(/\.$/, '');
}

/** The address of a name in in-addr.arpa or ip6.arpa, when it is complete. */
export function reverseAddress(name: string): string | undefined {
  const labels = name.split('.');
  if (name.endsWith('.in-addr.arpa') && labels.length === 6) {
    const address = labels.slice(0, 4).toReversed().join('.');
    return familyOf(address) === 4 ? address : undefined;
  }
  if (name.endsWith('.ip6.arpa') && labels.length === 34) {
    const digits = labels.slice(0, 32);
    if (!digits.every((digit) => /^[0-9a-f]$/.test(digit))) return undefined;
    const groups = digits.toReversed().join('').match(/.{4}/g) ?? [];
    return new URL(`http://[${groups.join(':')}]/`).hostname.slice(1, -1);
  }
  return undefined;
}

/** The reverse zones that together have the names of all addresses of a prefix: one, or several where it ends within a label. */
export function reverseZones({ family, first, length }: Prefix): string[] {
  const [bits, perLabel, tail] = family === 4 ? [32, 8, 'in-addr.arpa'] : [128, 4, 'ip6.arpa'];
  const whole = Math.floor(length / perLabel);
  const rest = length % perLabel;
  const labelAt = (value: bigint, index: number): string => {
    const label = Number((value >> BigInt(bits - (index + 1) * perLabel)) & ((1n << BigInt(perLabel)) - 1n));
    return label.toString(family === 4 ? 10 : 16);
  };
  const count = rest === 0 ? whole : whole + 1;
  const zones: string[] = [];
  for (let step = 0; step < (rest === 0 ? 1 : 1 << (perLabel - rest)); step++) {
    const value = first + (BigInt(step) << BigInt(bits - count * perLabel));
    const labels = Array.from({ length: count }, (_, index) => labelAt(value, index)).toReversed();
    zones.push([...labels, tail].join('.'));
  }
  return zones;
}
