// SPDX-License-Identifier: Apache-2.0
// Which addresses Services may have and which are taken: the ranges of the command line, and those of every ServiceCIDR
// that is Ready and not being deleted. Ranges may overlap; an address is taken in all of them at once.
import type { ServiceCIDR } from '../../../machinery/api-types.ts';
import {
  addressToBigint,
  canonicalAddress,
  containsAddress,
  formatAddress,
  parsePrefix,
} from '../../../network/addresses.ts';
import type { Prefix } from '../../../network/addresses.ts';
import { familyNameOf } from '../core/service-fields.ts';
import type { IpFamilyName } from '../core/service-fields.ts';
import { typed } from '../define.ts';
import type { Registry } from '../definition.ts';
import { isHeld } from './address-objects.ts';
import { RangeAllocator } from './range-allocator.ts';

export class ServiceAddresses {
  readonly #given: readonly string[];
  /** By CIDR, also of ServiceCIDRs that have gone: their Services may be there still. */
  readonly #ranges = new Map<string, AddressRange>();
  readonly #taken = new Set<string>();

  /** Errors: text that is no CIDR. */
  constructor(cidrs: readonly string[]) {
    this.#given = cidrs;
    for (const cidr of cidrs) this.#range(cidr);
  }

  /** Families of the given ranges, in their order. */
  get families(): readonly IpFamilyName[] {
    return [...new Set(this.#given.map(familyNameOf))];
  }

  /** The CIDRs that an address of this family may be of, those of the command line first. */
  cidrs(family: IpFamilyName, registry: Registry): string[] {
    const objects = typed<ServiceCIDR>(registry.list('servicecidrs.networking.k8s.io'));
    const all = [...this.#given, ...objects.filter(isReady).flatMap(({ spec }) => spec?.cidrs ?? [])];
    return [...new Set(all)].filter((cidr) => familyNameOf(cidr) === family);
  }

  isValid(address: string, registry: Registry): boolean {
    return this.cidrs(familyNameOf(address), registry).some((cidr) => this.#range(cidr).contains(address));
  }

  /** False when it is taken already, by a Service or by an IPAddress of something else. */
  take(address: string, registry: Registry): boolean {
    if (this.#taken.has(canonicalAddress(address)) || isHeld(registry, address)) return false;
    this.mark(address);
    return true;
  }

  /** Undefined when all ranges of the family are used up. */
  takeAny(family: IpFamilyName, registry: Registry): string | undefined {
    for (const cidr of this.cidrs(family, registry)) {
      const range = this.#range(cidr);
      const refused: string[] = [];
      let found: string | undefined;
      while ((found = range.takeAny()) !== undefined) {
        if (this.take(found, registry)) break;
        refused.push(found);
      }
      for (const address of refused) range.release(address);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** Taken, whatever range it is of. */
  mark(address: string): void {
    this.#taken.add(canonicalAddress(address));
    for (const range of this.#ranges.values()) if (range.contains(address)) range.take(address);
  }

  release(address: string): void {
    this.#taken.delete(canonicalAddress(address));
    for (const range of this.#ranges.values()) if (range.contains(address)) range.release(address);
  }

  #range(cidr: string): AddressRange {
    let range = this.#ranges.get(cidr);
    if (range === undefined) {
      this.#ranges.set(cidr, (range = new AddressRange(cidr)));
      for (const address of this.#taken) if (range.contains(address)) range.take(address);
    }
    return range;
  }
}

function isReady({ metadata, status }: ServiceCIDR): boolean {
  const ready = status?.conditions?.some((condition) => condition.type === 'Ready' && condition.status === 'True');
  return metadata.deletionTimestamp === undefined && ready === true;
}

/**
 * The addresses of a CIDR but for its first one, which names the network, and IPv4's last one, the broadcast address. The
 * lowest sixteenth (16 to 256) is for chosen addresses.
 */
class AddressRange {
  readonly #prefix: Prefix;
  readonly #offsets: RangeAllocator;

  constructor(cidr: string) {
    this.#prefix = parsePrefix(cidr);
    const { family, length } = this.#prefix;
    const size = 2 ** ((family === 4 ? 32 : 128) - length);
    this.#offsets = new RangeAllocator(1, family === 4 ? size - 2 : size - 1, Math.min(Math.max(16, size / 16), 256));
  }

  contains(address: string): boolean {
    return containsAddress(this.#prefix, address) && this.#offsets.contains(this.#offset(address));
  }

  take(address: string): boolean {
    return this.#offsets.take(this.#offset(address));
  }

  takeAny(): string | undefined {
    const offset = this.#offsets.takeAny();
    return offset === undefined ? undefined : formatAddress(this.#prefix.first + BigInt(offset), this.#prefix.family);
  }

  release(address: string): void {
    this.#offsets.release(this.#offset(address));
  }

  #offset(address: string): number {
    return Number(addressToBigint(address) - this.#prefix.first);
  }
}
