// SPDX-License-Identifier: Apache-2.0
// Answers ready to send, by the bytes of the query without its id: the same question again costs a look-up and a copy.
// An answer made of cluster state holds until what it was made of changes, one made of a cached reply as long as the cache's
// entry. The letter case of the question is part of the key, so it is always echoed as asked. Bounded in size.

import { shuffleAddresses } from './load-balance.ts';
import type { Changes } from './changes.ts';
import type { PacketObserver } from './dns-metrics.ts';
import type { AddressPlaces } from './load-balance.ts';
import type { CacheEntry, ReplyCache } from './reply-cache.ts';

interface FromCluster {
  /** At which nothing of `parts` had changed yet. */
  generation: number;
  readonly parts: readonly string[];
}

export interface Ready {
  readonly reply: Buffer;
  /** Addresses that change places from answer to answer; undefined: none do. */
  readonly addresses: AddressPlaces | undefined;
  readonly source: FromCluster | { readonly entry: CacheEntry; readonly cache: ReplyCache };
  /** Told of each use. */
  readonly used: PacketObserver;
  /** Age in seconds for which the lifetimes in `reply` are right; 0 for cluster state, whose lifetimes do not shrink. */
  age: number;
}

/** Longer queries are not what stubs send again and again. */
const longestKey = 320;

export class AnswerCache {
  readonly #capacity: number;
  #young = new Map<string, Ready>();
  #old = new Map<string, Ready>();

  /** Holds up to twice `capacity` answers. */
  constructor(capacity = 4096) {
    this.#capacity = capacity;
  }

  /** The reply to `packet`, with its id; undefined when it has to be worked out. */
  answer(packet: Buffer, changes: Changes, began: number): Buffer | undefined {
    const { length } = packet;
    if (length < 17 || length > longestKey) return undefined;
    const key = packet.toString('latin1', 2, length);
    const ready = this.#find(key);
    if (ready === undefined || !this.#isGood(ready, changes)) return undefined;
    const reply = Buffer.allocUnsafe(ready.reply.length);
    ready.reply.copy(reply);
    reply[0] = packet[0] ?? 0;
    reply[1] = packet[1] ?? 0;
    if (ready.addresses !== undefined) shuffleAddresses(reply, ready.addresses);
    ready.used((performance.now() - began) / 1000, length, reply.length);
    return reply;
  }

  put(packet: Buffer, ready: Ready): void {
    if (packet.length > longestKey) return;
    if (this.#young.size >= this.#capacity) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(packet.toString('latin1', 2), ready);
  }

  #find(key: string): Ready | undefined {
    const ready = this.#young.get(key);
    if (ready !== undefined || this.#old.size === 0) return ready;
    const older = this.#old.get(key);
    if (older === undefined) return undefined;
    // What is used stays when the next generation comes.
    this.#old.delete(key);
    if (this.#young.size < this.#capacity) this.#young.set(key, older);
    return older;
  }

  #isGood(ready: Ready, changes: Changes): boolean {
    const { source } = ready;
    if ('parts' in source) {
      if (!changes.unchangedSince(source.generation, source.parts)) return false;
      source.generation = changes.generation;
      return true;
    }
    const now = Date.now();
    if (!source.cache.use(source.entry, now)) return false;
    const age = Math.floor((now - source.entry.storedAt) / 1000);
    if (age !== ready.age) {
      source.cache.age(ready.reply, source.entry);
      ready.age = age;
    }
    return true;
  }
}
