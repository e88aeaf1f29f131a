// SPDX-License-Identifier: Apache-2.0
// The objects of one resource in memory, in key order, with a log of recent changes. Watchers read the log at their own
// pace through a cursor: a slow watcher holds no copies, and falls out of the window instead of filling memory.
import type { Entry } from './entry.ts';

export interface CacheEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly revision: number;
  /** The new state; for DELETED the last one with the revision of the deletion. */
  readonly entry: Entry;
  readonly previous: Entry | undefined;
  readonly time: number;
  /** Encoded watch frames by representation, filled by watchers and shared between them. */
  readonly frames: Map<string, Buffer>;
}

interface Slot {
  readonly key: string;
  entry: Entry | undefined;
}

interface Index {
  readonly slots: Map<string, Slot>;
  /** All slots in key order once `sorted`; may hold emptied ones until the next read. */
  order: Slot[];
  sorted: boolean;
}

const minLogLength = 100;
const maxLogLength = 10_000;
/** Bounds what a burst of changes of large objects can hold in memory. */
const maxLogBytes = 16 * 1024 * 1024;
/** Watchers that keep up share frames; those further behind make their own again. */
const sharedFrames = 256;
const logWindowMs = 75_000;

export class ResourceCache {
  readonly #all: Index = emptyIndex();
  readonly #byNamespace = new Map<string, Index>();
  readonly #listeners = new Set<() => void>();
  #log: CacheEvent[] = [];
  /** Sequence number of `#log[0]`. */
  #logStart = 0;
  #logRevision: number;
  #logBytes = 0;
  #changed: number;

  /** `revision` is the one from which on the log will be complete. */
  constructor(revision: number) {
    this.#logRevision = revision;
    this.#changed = revision;
  }

  /** Revision of the latest change. */
  get lastChange(): number {
    return this.#changed;
  }

  get size(): number {
    return this.#all.slots.size;
  }

  get(namespace: string, name: string): Entry | undefined {
    return this.#byNamespace.get(namespace)?.slots.get(name)?.entry;
  }

  /** Entries in key order, of one namespace when given. */
  list(namespace?: string): Entry[] {
    const index = namespace === undefined || namespace === '' ? this.#all : this.#byNamespace.get(namespace);
    return index === undefined ? [] : ordered(index);
  }

  /** Takes a new state from etcd. */
  put(entry: Entry): void {
    const previous = this.#set(entry);
    this.#append(previous === undefined ? 'ADDED' : 'MODIFIED', entry, previous);
  }

  /** Takes the initial state: no event. */
  load(entry: Entry): void {
    this.#set(entry);
    this.#changed = Math.max(this.#changed, entry.revision);
  }

  remove(namespace: string, name: string, last: (previous: Entry) => Entry): void {
    const index = this.#byNamespace.get(namespace);
    const slot = index?.slots.get(name);
    const previous = slot?.entry;
    if (index === undefined || slot === undefined || previous === undefined) {
      return;
    }
    slot.entry = undefined;
    index.slots.delete(name);
    index.sorted = false;
    this.#all.slots.delete(slot.key);
    this.#all.sorted = false;
    if (index.slots.size === 0) {
      this.#byNamespace.delete(namespace);
    }
    this.#append('DELETED', last(previous), previous);
  }

  /** A cursor behind `revision`; undefined when the log no longer reaches back that far. */
  cursor(revision: number): Cursor | undefined {
    if (revision < this.#logRevision) {
      return undefined;
    }
    let low = 0;
    let high = this.#log.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#log[middle] as CacheEvent).revision <= revision) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return { next: this.#logStart + low };
  }

  /** The oldest revision that a cursor can start from. */
  get oldestRevision(): number {
    return this.#logRevision;
  }

  /** The event under the cursor, which moves on; `lost` when the log has been cut past it. */
  read(cursor: Cursor): CacheEvent | 'end' | 'lost' {
    if (cursor.next < this.#logStart) {
      return 'lost';
    }
    const event = this.#log[cursor.next - this.#logStart];
    if (event === undefined) {
      return 'end';
    }
    cursor.next += 1;
    return event;
  }

  /** Calls `listener` after every batch of changes; returns the function that ends it. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  notify(): void {
    for (const listener of this.#listeners) {
      listener();
    }
  }

  #set(entry: Entry): Entry | undefined {
    let index = this.#byNamespace.get(entry.namespace);
    if (index === undefined) {
      index = emptyIndex();
      this.#byNamespace.set(entry.namespace, index);
    }
    const slot = index.slots.get(entry.name);
    if (slot !== undefined) {
      const previous = slot.entry;
      slot.entry = entry;
      return previous;
    }
    const added = { key: entry.key, entry };
    index.slots.set(entry.name, added);
    index.order.push(added);
    index.sorted = false;
    this.#all.slots.set(entry.key, added);
    this.#all.order.push(added);
    this.#all.sorted = false;
    return undefined;
  }

  #append(type: CacheEvent['type'], entry: Entry, previous: Entry | undefined): void {
    const now = Date.now();
    this.#log.push({ type, revision: entry.revision, entry, previous, time: now, frames: new Map() });
    this.#logBytes += entry.bytes.length;
    this.#changed = entry.revision;
    this.#log[this.#log.length - sharedFrames]?.frames.clear();
    if (this.#log.length > 2 * minLogLength) {
      this.#trim(now);
    }
  }

  #trim(now: number): void {
    // Cuts in blocks: one copy for many events.
    const most = this.#log.length - minLogLength;
    let cut = 0;
    let bytes = this.#logBytes;
    for (; cut < most; cut += 1) {
      const event = this.#log[cut] as CacheEvent;
      const full = this.#log.length - cut > maxLogLength || bytes > maxLogBytes;
      if (!full && event.time >= now - logWindowMs) {
        break;
      }
      bytes -= event.entry.bytes.length;
    }
    if (cut >= minLogLength || cut === most) {
      this.#logRevision = (this.#log[cut - 1] as CacheEvent).revision;
      this.#log = this.#log.slice(cut);
      this.#logStart += cut;
      this.#logBytes = bytes;
    }
  }
}

export interface Cursor {
  next: number;
}

function emptyIndex(): Index {
  return { slots: new Map(), order: [], sorted: true };
}

function ordered(index: Index): Entry[] {
  if (!index.sorted) {
    index.order = index.order.filter((slot) => slot.entry !== undefined);
    index.order.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
    index.sorted = true;
  }
  return index.order.map((slot) => slot.entry as Entry);
}
