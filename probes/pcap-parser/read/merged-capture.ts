// SPDX-License-Identifier: Apache-2.0
/** Several captures as one, in the order of time. Packets that one file has out of order stay where they are. */
import type { PacketSource } from './capture-file.ts';
import type { Packet } from './packet.ts';

interface Head {
  readonly source: PacketSource;
  packet: Packet | undefined;
}

export class MergedCapture {
  readonly #heads: Head[];
  #current: Head | undefined;

  constructor(sources: readonly PacketSource[]) {
    this.#heads = sources.map((source) => ({ source, packet: source.next() }));
  }

  /** Holds until the next call. */
  next(): Packet | undefined {
    if (this.#current !== undefined) this.#current.packet = this.#current.source.next();
    let first: Head | undefined;
    for (const head of this.#heads) {
      if (head.packet === undefined) continue;
      if (first?.packet === undefined || isBefore(head.packet, first.packet)) first = head;
    }
    this.#current = first;
    return first?.packet;
  }
}

function isBefore(a: Packet, b: Packet): boolean {
  return a.seconds < b.seconds || (a.seconds === b.seconds && a.nanoseconds < b.nanoseconds);
}
