// SPDX-License-Identifier: Apache-2.0
/**
 * Puts packets that come from several places into the order of time. A packet is held back until what was captured earlier elsewhere has had
 * time to arrive; memory is bounded, and beyond the bound the oldest go on early. Packets that come too late are handed on at once and counted.
 */
export interface Timed {
  /** Seconds since 1970, by the host's clock. */
  readonly seconds: number;
  /** Octets that it takes in memory. */
  readonly size: number;
}

export interface MergeOptions<T extends Timed> {
  readonly holdSeconds: number;
  readonly mostOctets: number;
  readonly take: (one: T) => void;
}

export class TimeMerge<T extends Timed> {
  /** Packets that were older than one already handed on. */
  late = 0;
  readonly #options: MergeOptions<T>;
  /** Binary heap, earliest first. */
  readonly #heap: { readonly one: T; readonly order: number }[] = [];
  #octets = 0;
  #order = 0;
  #newest = Number.NEGATIVE_INFINITY;

  constructor(options: MergeOptions<T>) {
    this.#options = options;
  }

  add(one: T): void {
    if (one.seconds < this.#newest) {
      this.late++;
      this.#options.take(one);
      return;
    }
    this.#octets += one.size;
    this.#heap.push({ one, order: this.#order++ });
    this.#up(this.#heap.length - 1);
    while (this.#octets > this.#options.mostOctets) this.#handOn();
  }

  /** Hands on what is old enough at this moment. */
  advance(nowSeconds: number): void {
    const until = nowSeconds - this.#options.holdSeconds;
    for (let first = this.#heap[0]; first !== undefined && first.one.seconds <= until; first = this.#heap[0])
      this.#handOn();
  }

  /** Nothing more comes. */
  finish(): void {
    while (this.#heap.length > 0) this.#handOn();
  }

  #handOn(): void {
    const first = this.#heap[0];
    const last = this.#heap.pop();
    if (first === undefined || last === undefined) return;
    if (this.#heap.length > 0) {
      this.#heap[0] = last;
      this.#down(0);
    }
    this.#octets -= first.one.size;
    this.#newest = first.one.seconds;
    this.#options.take(first.one);
  }

  #before(a: number, b: number): boolean {
    const one = this.#heap[a];
    const other = this.#heap[b];
    if (one === undefined || other === undefined) return one !== undefined;
    return one.one.seconds < other.one.seconds || (one.one.seconds === other.one.seconds && one.order < other.order);
  }

  #swap(a: number, b: number): void {
    const one = this.#heap[a];
    const other = this.#heap[b];
    if (one === undefined || other === undefined) return;
    this.#heap[a] = other;
    this.#heap[b] = one;
  }

  #up(start: number): void {
    for (let at = start; at > 0;) {
      const parent = (at - 1) >> 1;
      if (!this.#before(at, parent)) return;
      this.#swap(at, parent);
      at = parent;
    }
  }

  #down(start: number): void {
    for (let at = start; ;) {
      const left = at * 2 + 1;
      const right = left + 1;
      let least = at;
      if (left < this.#heap.length && this.#before(left, least)) least = left;
      if (right < this.#heap.length && this.#before(right, least)) least = right;
      if (least === at) return;
      this.#swap(at, least);
      at = least;
    }
  }
}
