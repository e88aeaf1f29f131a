// SPDX-License-Identifier: Apache-2.0
// All objects of the cluster: written to etcd in transactions, read from memory. One watch over etcd's whole key space
// feeds a cache per resource, so the caches together always stand at one revision, and a read is made consistent by asking
// etcd for its revision and waiting until the caches have got there. A write returns when the caches have it.
import { setTimeout as delay } from 'node:timers/promises';
import type { KubeObject } from '../resources/definition.ts';
import { resourceVersionTooLarge } from '../status.ts';
import type { EtcdClient, Precondition, WatchHandle } from './etcd-client.ts';
import { CompactedError } from './etcd-client.ts';
import type { KeyValue, WatchResponse } from './etcd-protocol.ts';
import { toNumber } from './etcd-protocol.ts';
import { encodeStored, replaceRevision, spliceRevision, withRevision } from './entry.ts';
import type { Entry } from './entry.ts';
import { objectKey, parseKey, prefixEnd, registryPrefix, resourcePrefix } from './keys.ts';
import { ResourceCache } from './resource-cache.ts';

export type WriteResult =
  | { readonly succeeded: true; readonly entry: Entry }
  /** What is there instead; undefined when nothing is. */
  | { readonly succeeded: false; readonly current: Entry | undefined };

interface Waiter {
  readonly revision: number;
  readonly resolve: () => void;
}

const loadPageSize = 1000;
const waitLimitMs = 3_000;
const compactIntervalMs = 5 * 60_000;
const leaseSharingMs = 60_000;

export class Store {
  readonly #etcd: EtcdClient;
  readonly #log: (text: string) => void;
  #caches = new Map<string, ResourceCache>();
  readonly #waiters = new Set<Waiter>();
  /** Values on their way to etcd, so that the watch need not parse what this process has just serialised. */
  readonly #inFlight = new Map<string, { value: Buffer; object: KubeObject }>();
  readonly #leases = new Map<number, { id: Promise<number>; until: number }>();
  readonly #reloadListeners = new Set<() => void>();
  #revision = 0;
  #loadRevision = 0;
  #watch: WatchHandle | undefined;
  #pendingRevision: Promise<number> | undefined;
  #nextRevision: Promise<number> | undefined;
  #closed = false;

  constructor(etcd: EtcdClient, log: (text: string) => void) {
    this.#etcd = etcd;
    this.#log = log;
  }

  /** Loads everything, waiting for etcd as long as it takes, and keeps following it until `close`. */
  async start(): Promise<void> {
    for (let failures = 0; !this.#closed; failures += 1) {
      try {
        await this.#load();
        this.#follow();
        void this.#compactPeriodically();
        return;
      } catch (error) {
        if (failures % 10 === 0) {
          this.#log(`cannot load from etcd, trying on: ${(error as Error).message}`);
        }
        await delay(Math.min(200 * (failures + 1), 2_000));
      }
    }
  }

  close(): void {
    this.#closed = true;
    this.#watch?.cancel();
    this.#etcd.close();
  }

  /** The revision that all caches have reached. */
  get revision(): number {
    return this.#revision;
  }

  cache(resource: string): ResourceCache {
    let cache = this.#caches.get(resource);
    if (cache === undefined) {
      cache = new ResourceCache(this.#loadRevision);
      this.#caches.set(resource, cache);
    }
    return cache;
  }

  /** Calls `listener` when the caches have been thrown away and loaded anew; watchers must end then. */
  onReload(listener: () => void): () => void {
    this.#reloadListeners.add(listener);
    return () => this.#reloadListeners.delete(listener);
  }

  /** Resolves when the caches show at least what etcd had when it was called. Callers in flight share one question. */
  async consistent(): Promise<void> {
    await this.waitFor(await this.#etcdRevision());
  }

  /** Asks etcd, for health checks. */
  async ping(): Promise<void> {
    await this.#etcd.currentRevision();
  }

  /** Throws 504 when the caches do not get to `revision` in time. */
  async waitFor(revision: number): Promise<void> {
    if (this.#revision >= revision) {
      return;
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    const waiter = { revision, resolve };
    this.#waiters.add(waiter);
    const timer = setTimeout(resolve, waitLimitMs);
    await promise;
    clearTimeout(timer);
    this.#waiters.delete(waiter);
    if (this.#revision < revision) {
      throw resourceVersionTooLarge(revision, this.#revision);
    }
  }

  /** Takes `object` over: it must not be changed afterwards. `ttlSeconds` makes etcd remove it after that time. */
  async create(resource: string, object: KubeObject, ttlSeconds?: number): Promise<WriteResult> {
    return this.#put(resource, object, { precondition: 'absent', ttlSeconds });
  }

  /** Writes if the object is still at `revision`. Takes `object` over. */
  async update(resource: string, object: KubeObject, revision: number, ttlSeconds?: number): Promise<WriteResult> {
    return this.#put(resource, object, { precondition: { modRevision: revision }, ttlSeconds });
  }

  /** Removes if the object is still at `revision`. */
  async delete(resource: string, entry: Entry): Promise<WriteResult> {
    const result = await this.#etcd.delete(entry.key, entry.revision);
    await this.#waitForWrite(result.revision);
    if (result.succeeded) {
      return { succeeded: true, entry: lastState(entry, result.revision) };
    }
    return {
      succeeded: false,
      current: this.#decode(result.current) ?? this.cache(resource).get(entry.namespace, entry.name),
    };
  }

  /** Objects as they were at `revision`, in key order, from the key `start` on. Throws CompactedError. */
  async listAt(
    resource: string,
    options: { namespace: string; revision: number; start: string; limit: number },
  ): Promise<{ entries: Entry[]; more: boolean; remaining: number }> {
    const prefix = resourcePrefix(resource) + (options.namespace === '' ? '' : `${options.namespace}/`);
    const response = await this.#etcd.range({
      key: Buffer.from(options.start === '' ? prefix : options.start),
      rangeEnd: prefixEnd(prefix),
      revision: options.revision,
      limit: options.limit,
    });
    const entries = response.kvs.map((kv) => this.#decode(kv)).filter((entry) => entry !== undefined);
    return { entries, more: response.more, remaining: toNumber(response.count) - response.kvs.length };
  }

  async #put(
    resource: string,
    object: KubeObject,
    options: { precondition: Precondition; ttlSeconds?: number | undefined },
  ): Promise<WriteResult> {
    const namespace = object.metadata.namespace ?? '';
    const name = object.metadata.name ?? '';
    const key = objectKey(resource, namespace, name);
    const value = encodeStored(object);
    const lease = options.ttlSeconds === undefined ? undefined : await this.#lease(options.ttlSeconds);
    this.#inFlight.set(key, { value, object });
    try {
      const result = await this.#etcd.put(key, value, { precondition: options.precondition, lease });
      await this.#waitForWrite(result.revision);
      if (!result.succeeded) {
        return { succeeded: false, current: this.#decode(result.current) };
      }
      const cached = this.cache(resource).get(namespace, name);
      if (cached?.revision === result.revision) {
        return { succeeded: true, entry: cached };
      }
      // Already overwritten or removed by someone else.
      return {
        succeeded: true,
        entry: makeEntry({ key, namespace, name }, { value, object, revision: result.revision }),
      };
    } finally {
      if (this.#inFlight.get(key)?.value === value) {
        this.#inFlight.delete(key);
      }
    }
  }

  /** The write has happened, so a cache that lags behind must not make it fail. */
  async #waitForWrite(revision: number): Promise<void> {
    await this.waitFor(revision).catch(() => {});
  }

  #etcdRevision(): Promise<number> {
    // A question that is already on its way may have been answered before this call: wait for the one after it.
    if (this.#pendingRevision === undefined) {
      this.#pendingRevision = this.#etcd.currentRevision().finally(() => {
        this.#pendingRevision = undefined;
      });
      return this.#pendingRevision;
    }
    this.#nextRevision ??= this.#pendingRevision
      .catch(() => 0)
      .then(() => {
        this.#nextRevision = undefined;
        return this.#etcdRevision();
      });
    return this.#nextRevision;
  }

  async #lease(ttlSeconds: number): Promise<number> {
    const known = this.#leases.get(ttlSeconds);
    if (known !== undefined && known.until > Date.now()) {
      return known.id;
    }
    const id = this.#etcd.grantLease(ttlSeconds + leaseSharingMs / 1000);
    id.catch(() => this.#leases.delete(ttlSeconds));
    this.#leases.set(ttlSeconds, { id, until: Date.now() + leaseSharingMs });
    return id;
  }

  async #load(): Promise<void> {
    const caches = new Map<string, ResourceCache>();
    const rangeEnd = prefixEnd(registryPrefix);
    let key = Buffer.from(registryPrefix);
    let revision = 0;
    for (let more = true; more;) {
      const page = await this.#etcd.range({
        key,
        rangeEnd,
        limit: loadPageSize,
        ...(revision > 0 ? { revision } : {}),
      });
      revision ||= toNumber(page.header.revision);
      for (const kv of page.kvs) {
        const entry = this.#decode(kv);
        const resource = entry && parseKey(entry.key)?.resource;
        if (entry !== undefined && resource !== undefined) {
          const cache = caches.get(resource) ?? new ResourceCache(revision);
          caches.set(resource, cache);
          cache.load(entry);
        }
      }
      more = page.more;
      const last = page.kvs.at(-1);
      key = last === undefined ? key : Buffer.concat([last.key, Buffer.from([0])]);
    }
    this.#caches = caches;
    this.#loadRevision = revision;
    this.#advance(revision);
  }

  #follow(): void {
    let failures = 0;
    const open = () => {
      this.#watch = this.#etcd.watchAll(
        this.#revision + 1,
        (response) => {
          failures = 0;
          this.#apply(response);
        },
        (error) => {
          if (this.#closed) {
            return;
          }
          if (failures % 10 === 0) {
            this.#log(`the watch on etcd ended, opening it again: ${error.message}`);
          }
          failures += 1;
          const again = error instanceof CompactedError ? () => this.#reload(open) : open;
          setTimeout(again, Math.min(100 * failures, 1_000));
        },
      );
    };
    open();
  }

  /** The caches missed events that etcd has compacted away: start over, and end all watches. */
  #reload(then: () => void): void {
    this.#load().then(
      () => {
        for (const listener of this.#reloadListeners) {
          listener();
        }
        then();
      },
      () => setTimeout(() => this.#reload(then), 1_000),
    );
  }

  #apply(response: WatchResponse): void {
    const touched = new Set<ResourceCache>();
    let revision = this.#revision;
    for (const { type, kv } of response.events) {
      revision = toNumber(kv.modRevision);
      const key = Buffer.from(kv.key.buffer, kv.key.byteOffset, kv.key.byteLength).toString();
      const parsed = parseKey(key);
      if (parsed === undefined) {
        continue;
      }
      const cache = this.cache(parsed.resource);
      if (type === 0) {
        const entry = this.#decode(kv, key);
        if (entry !== undefined) {
          cache.put(entry);
        }
      } else {
        cache.remove(parsed.namespace, parsed.name, (previous) => lastState(previous, revision));
      }
      touched.add(cache);
    }
    this.#advance(revision);
    for (const cache of touched) {
      cache.notify();
    }
  }

  #advance(revision: number): void {
    this.#revision = revision;
    for (const waiter of this.#waiters) {
      if (waiter.revision <= revision) {
        this.#waiters.delete(waiter);
        waiter.resolve();
      }
    }
  }

  #decode(kv: KeyValue | undefined, keyText?: string): Entry | undefined {
    if (kv === undefined) {
      return undefined;
    }
    const key = keyText ?? Buffer.from(kv.key).toString();
    const parsed = parseKey(key);
    if (parsed === undefined) {
      return undefined;
    }
    const own = this.#inFlight.get(key);
    try {
      const object = own?.value.equals(kv.value)
        ? own.object
        : (JSON.parse(Buffer.from(kv.value.buffer, kv.value.byteOffset, kv.value.byteLength).toString()) as KubeObject);
      const position = { key, namespace: parsed.namespace, name: parsed.name };
      return makeEntry(position, { value: kv.value, object, revision: toNumber(kv.modRevision) });
    } catch (error) {
      this.#log(
        `etcd holds something unreadable under ${key}; remove it with etcdctl del: ${(error as Error).message}`,
      );
      return undefined;
    }
  }

  async #compactPeriodically(): Promise<void> {
    let previous = this.#revision;
    while (!this.#closed) {
      await delay(compactIntervalMs, undefined, { ref: false });
      const upTo = previous;
      previous = this.#revision;
      // Another API server may have compacted further: etcd refuses then, which is just as well.
      await this.#etcd.compact(upTo).catch(() => {});
    }
  }
}

function makeEntry(
  position: { key: string; namespace: string; name: string },
  state: { value: Uint8Array; object: KubeObject; revision: number },
): Entry {
  state.object.metadata.resourceVersion = String(state.revision);
  return {
    ...position,
    revision: state.revision,
    object: state.object,
    bytes: spliceRevision(state.value, state.revision),
  };
}

/** What a DELETED event shows: the last state under the revision of the deletion. */
function lastState(previous: Entry, revision: number): Entry {
  return {
    ...previous,
    revision,
    object: withRevision(previous.object, revision),
    bytes: replaceRevision(previous.bytes, revision),
  };
}
