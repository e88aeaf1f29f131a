// SPDX-License-Identifier: Apache-2.0
// Which parts of the cluster an answer is made of, and when each of them changed last: an answer holds until one of its own
// parts changes, whatever else does.

import type { ClusterState } from './zone.ts';

/** Names of parts. What is asked for and is not there is a part as well: it may come. */
export const partOf = {
  service: (namespace: string, name: string): string => `s ${namespace}/${name}`,
  slices: (namespace: string, name: string): string => `e ${namespace}/${name}`,
  namespace: (name: string): string => `n ${name}`,
  address: (address: string): string => `a ${address}`,
  podAddress: (namespace: string, address: string): string => `p ${namespace}/${address}`,
} as const;

export class Changes {
  readonly #partsMost: number;
  readonly #last = new Map<string, number>();
  #generation = 1;
  /** Changes up to this one are known together only. */
  #forgotten = 1;

  /** Remembers the changes of so many parts one by one. */
  constructor(partsMost = 65_536) {
    this.#partsMost = partsMost;
  }

  /** Another one after each change. */
  get generation(): number {
    return this.#generation;
  }

  note(parts: Iterable<string>): void {
    this.#generation++;
    for (const part of parts) this.#last.set(part, this.#generation);
    if (this.#last.size <= this.#partsMost) return;
    this.#last.clear();
    this.#forgotten = this.#generation;
  }

  /** Whether all parts are as they were at that generation. */
  unchangedSince(generation: number, parts: readonly string[]): boolean {
    if (generation === this.#generation) return true;
    if (generation < this.#forgotten) return false;
    return parts.every((part) => (this.#last.get(part) ?? 0) <= generation);
  }
}

/** The state for one question after the other, with what each has looked at. */
export class ReadState implements ClusterState {
  readonly #state: ClusterState;
  #parts = new Set<string>();

  constructor(state: ClusterState) {
    this.#state = state;
  }

  /** What was looked at since the last call. */
  take(): readonly string[] {
    const parts = [...this.#parts];
    this.#parts = new Set();
    return parts;
  }

  service(namespace: string, name: string): ReturnType<ClusterState['service']> {
    this.#parts.add(partOf.service(namespace, name));
    return this.#state.service(namespace, name);
  }

  slices(namespace: string, name: string): ReturnType<ClusterState['slices']> {
    this.#parts.add(partOf.slices(namespace, name));
    return this.#state.slices(namespace, name);
  }

  hasNamespace(name: string): boolean {
    this.#parts.add(partOf.namespace(name));
    return this.#state.hasNamespace(name);
  }

  servicesWithAddress(address: string): ReturnType<ClusterState['servicesWithAddress']> {
    this.#parts.add(partOf.address(address));
    return this.#state.servicesWithAddress(address);
  }

  slicesWithAddress(address: string): ReturnType<ClusterState['slicesWithAddress']> {
    this.#parts.add(partOf.address(address));
    return this.#state.slicesWithAddress(address);
  }

  hasPod(namespace: string, address: string): boolean {
    this.#parts.add(partOf.podAddress(namespace, address));
    return this.#state.hasPod(namespace, address);
  }
}
