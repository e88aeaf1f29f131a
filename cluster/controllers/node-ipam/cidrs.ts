// SPDX-License-Identifier: Apache-2.0
// Blocks of equal size cut from an IPv4 or IPv6 range, for the pod addresses of nodes.
import { isIPv6 } from 'node:net';

export interface Range {
  readonly base: bigint;
  readonly prefix: number;
  readonly bits: 32 | 128;
}

/** Errors: text that is no CIDR. */
export function parseCidr(text: string): Range {
  const match = /^([0-9a-fA-F.:]+)\/(\d+)$/.exec(text);
  const address = match?.[1] === undefined ? undefined : parseAddress(match[1]);
  const prefix = Number(match?.[2]);
  if (!address || prefix > address.bits) throw new Error(`"${text}" is not a CIDR such as 10.244.0.0/16`);
  const hostBits = BigInt(address.bits - prefix);
  return { base: (address.value >> hostBits) << hostBits, prefix, bits: address.bits };
}

/** Takes and gives back blocks of `blockPrefix` in one range; the lowest free one first, going round. */
export class BlockPool {
  readonly #range: Range;
  readonly #blockPrefix: number;
  readonly #count: number;
  readonly #used = new Set<number>();

  constructor(range: Range, blockPrefix: number) {
    if (blockPrefix < range.prefix || blockPrefix > range.bits || blockPrefix - range.prefix > 16) {
      throw new Error(`node blocks of /${blockPrefix} do not fit a cluster range of /${range.prefix}`);
    }
    this.#range = range;
    this.#blockPrefix = blockPrefix;
    this.#count = 2 ** (blockPrefix - range.prefix);
  }

  /** Undefined when all are taken. */
  take(): string | undefined {
    for (let index = 0; index < this.#count; index++) {
      if (this.#used.has(index)) continue;
      this.#used.add(index);
      return this.#format(index);
    }
    return undefined;
  }

  /** Marks every block that overlaps `cidr`; what lies outside the range is ignored. */
  occupy(cidr: string): void {
    for (const index of this.#indices(cidr)) this.#used.add(index);
  }

  release(cidr: string): void {
    for (const index of this.#indices(cidr)) this.#used.delete(index);
  }

  #indices(cidr: string): number[] {
    const { base, bits, prefix } = parseCidr(cidr);
    if (bits !== this.#range.bits) return [];
    const blockBits = BigInt(bits - this.#blockPrefix);
    const first = (base - this.#range.base) >> blockBits;
    const last = (base + (1n << BigInt(bits - prefix)) - 1n - this.#range.base) >> blockBits;
    const indices: number[] = [];
    for (let index = first < 0n ? 0n : first; index <= last && index < BigInt(this.#count); index++)
      indices.push(Number(index));
    return indices;
  }

  #format(index: number): string {
    const { base, bits } = this.#range;
    return `${formatAddress(base + (BigInt(index) << BigInt(bits - this.#blockPrefix)), bits)}/${this.#blockPrefix}`;
  }
}

function parseAddress(text: string): { value: bigint; bits: 32 | 128 } | undefined {
  if (!isIPv6(text)) {
    const parts = text.split('.').map(Number);
    if (parts.length !== 4 || parts.some((part) => !Number.isInteger(part) || part > 255)) return undefined;
    return { value: parts.reduce((sum, part) => sum * 256n + BigInt(part), 0n), bits: 32 };
  }
  const [head = '', tail] = text.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const groups = [...left, ...Array.from({ length: 8 - left.length - right.length }, () => '0'), ...right];
  return { value: groups.reduce((sum, group) => sum * 65536n + BigInt(`0x${group}`), 0n), bits: 128 };
}

function formatAddress(value: bigint, bits: 32 | 128): string {
  if (bits === 32) return [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 255n).join('.');
  const groups = Array.from({ length: 8 }, (_, index) =>
    ((value >> BigInt(112 - index * 16)) & 65535n).toString(16),
  ).join(':');
  // The URL parser writes IPv6 in its shortest form.
  return new URL(`http://[${groups}]`).hostname.slice(1, -1);
}
