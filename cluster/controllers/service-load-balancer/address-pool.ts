// SPDX-License-Identifier: Apache-2.0
// The addresses that Services of type LoadBalancer may have, and who has which. Pure but for what it holds.

import { addressToBigint, familyOf, formatPrefix } from '../../network/addresses.ts';
import type { IpFamily } from '../../network/addresses.ts';

export interface AddressRange {
  readonly family: IpFamily;
  readonly first: bigint;
  readonly last: bigint;
}

/** Parses `FIRST-LAST`, both ends included. Throws when it is none. */
export function parseRange(text: string): AddressRange {
  const [first = '', last = '', ...more] = text.trim().split('-');
  const family = familyOf(first);
  if (family === undefined || familyOf(last) !== family || more.length > 0) {
    throw new Error(`"${text}" is not a range of addresses; give FIRST-LAST such as 172.28.7.200-172.28.7.239`);
  }
  const range = { family, first: addressToBigint(first), last: addressToBigint(last) };
  if (range.first > range.last) throw new Error(`"${text}" ends before it begins; give the lower address first`);
  return range;
}

/** Why an address cannot be had, in words for an Event. */
export class NoAddressError extends Error {}

export class AddressPool {
  readonly #ranges: readonly AddressRange[];
  readonly #owners = new Map<string, string>();
  readonly #held = new Map<string, string[]>();

  constructor(ranges: readonly AddressRange[]) {
    this.#ranges = ranges;
  }

  contains(address: string): boolean {
    const family = familyOf(address);
    if (family === undefined) return false;
    const value = addressToBigint(address);
    return this.#ranges.some((range) => range.family === family && value >= range.first && value <= range.last);
  }

  /** What `owner` has now. */
  held(owner: string): readonly string[] {
    return this.#held.get(owner) ?? [];
  }

  /** Takes an address that a status already shows; false when another owner has it or it is none of the pool. */
  claim(owner: string, address: string): boolean {
    const current = this.#owners.get(address);
    if (current === owner) return true;
    if (current !== undefined || !this.contains(address)) return false;
    this.#owners.set(address, owner);
    this.#held.set(owner, [...this.held(owner), address]);
    return true;
  }

  /**
   * Brings `owner` to one address of each family, `wanted` where it is given, keeping what it has. Nothing changes when
   * it throws NoAddressError: the wanted address is outside the pool or taken, or a family has none left.
   */
  assign(owner: string, { families, wanted }: { families: readonly IpFamily[]; wanted?: string }): readonly string[] {
    const chosen = families.map((family) => {
      const asked = wanted !== undefined && familyOf(wanted) === family ? wanted : undefined;
      return asked === undefined ? this.#any(owner, family) : this.#exactly(owner, asked);
    });
    this.release(owner);
    for (const address of chosen) this.#owners.set(address, owner);
    if (chosen.length > 0) this.#held.set(owner, chosen);
    return chosen;
  }

  release(owner: string): void {
    for (const address of this.held(owner)) this.#owners.delete(address);
    this.#held.delete(owner);
  }

  #exactly(owner: string, address: string): string {
    if (!this.contains(address)) throw new NoAddressError(`address ${address} is not in the load balancer range`);
    const current = this.#owners.get(address);
    if (current !== undefined && current !== owner) {
      throw new NoAddressError(`address ${address} is used by Service ${current}; addresses are not shared`);
    }
    return address;
  }

  #any(owner: string, family: IpFamily): string {
    const kept = this.held(owner).find((address) => familyOf(address) === family);
    if (kept !== undefined) return kept;
    for (const range of this.#ranges) {
      if (range.family !== family) continue;
      for (let value = range.first; value <= range.last; value++) {
        const address = formatAddress(family, value);
        if (!this.#owners.has(address)) return address;
      }
    }
    throw new NoAddressError(`no free IPv${family} address is left in the load balancer range`);
  }
}

function formatAddress(family: IpFamily, value: bigint): string {
  const text = formatPrefix({ family, first: value, length: family === 4 ? 32 : 128 });
  return text.slice(0, text.indexOf('/'));
}
