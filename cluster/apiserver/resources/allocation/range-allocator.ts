// SPDX-License-Identifier: Apache-2.0
// Hands out numbers of a range: given ones as long as they are free, others at random from its upper part, so that the
// lower part stays free for those who choose by hand.
export class RangeAllocator {
  readonly first: number;
  readonly last: number;
  readonly #dynamicFrom: number;
  readonly #taken = new Set<number>();

  /** Both ends are inclusive; `reservedForStatic` numbers at the bottom are handed out at random only when the rest is used up. */
  constructor(first: number, last: number, reservedForStatic: number) {
    this.first = first;
    this.last = last;
    this.#dynamicFrom = Math.min(first + reservedForStatic, last);
  }

  contains(number: number): boolean {
    return number >= this.first && number <= this.last;
  }

  /** False when it is taken already. */
  take(number: number): boolean {
    if (this.#taken.has(number)) {
      return false;
    }
    this.#taken.add(number);
    return true;
  }

  /** Undefined when the range is used up. */
  takeAny(): number | undefined {
    return this.#between(this.#dynamicFrom, this.last) ?? this.#between(this.first, this.#dynamicFrom - 1);
  }

  release(number: number): void {
    this.#taken.delete(number);
  }

  #between(from: number, to: number): number | undefined {
    const size = to - from + 1;
    if (size <= 0) {
      return undefined;
    }
    const start = Math.floor(Math.random() * size);
    for (let step = 0; step < size; step++) {
      const number = from + ((start + step) % size);
      if (this.take(number)) {
        return number;
      }
    }
    return undefined;
  }
}
