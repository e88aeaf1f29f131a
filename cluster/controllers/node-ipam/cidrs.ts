// SPDX-License-Identifier: Apache-2.0
// Blocks of equal size cut from an IPv4 or IPv6 range, for the pod addresses of nodes.
import { formatPrefix, parsePrefix } from '../../network/addresses.ts';
import type { Prefix } from '../../network/addresses.ts';

/** Takes and gives back blocks of `blockLength` in one range; the lowest free one first. */
export class BlockPool {
  readonly #range: Prefix;
  readonly #blockLength: number;
  readonly #bits: number;
  readonly #count: number;
  readonly #used = new Set<number>();

  /** Errors: blocks that are larger than the range, or more than 65,536 of them. */
  constructor(range: Prefix, blockLength: number) {
    this.#bits = range.family === 4 ? 32 : 128;
    if (blockLength < range.length || blockLength > this.#bits || blockLength - range.length > 16) {
      throw new Error(`node blocks of /${blockLength} do not fit a cluster range of /${range.length}`);
    }
    this.#range = range;
    this.#blockLength = blockLength;
    this.#count = 2 ** (blockLength - range.length);
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
    const { first: base, family, length } = parsePrefix(cidr);
    if (family !== this.#range.family) return [];
    const blockBits = BigInt(this.#bits - this.#blockLength);
    const first = (base - this.#range.first) >> blockBits;
    const last = (base + (1n << BigInt(this.#bits - length)) - 1n - this.#range.first) >> blockBits;
    const indices: number[] = [];
    for (let index = first < 0n ? 0n : first; index <= last && index < BigInt(this.#count); index++)
      indices.push(Number(index));
    return indices;
  }

  #format(index: number): string {
    const { first, family } = this.#range;
    const offset = BigInt(index) << BigInt(this.#bits - this.#blockLength);
    return formatPrefix({ family, first: first + offset, length: this.#blockLength });
  }
}
