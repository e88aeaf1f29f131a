// SPDX-License-Identifier: Apache-2.0
// A local copy of one resource, kept current by list and watch. Reads cost no request. It guarantees that handlers see
// every object's final state (not every state between), that `deleted` carries the last state seen, and that a gap in
// the watch (410, server restart) is closed by a new list whose differences are delivered as ordinary changes.
// Objects are shared by all readers and must not be mutated.
import type { ObjectMeta } from './api-types.ts';
import { ApiError } from './client.ts';
import type { Client, ListOptions } from './client.ts';
import { logger } from './log.ts';
import { apiVersionOf } from './resources.ts';
import type { Resource } from './resources.ts';

export interface Change<T> {
  readonly type: 'added' | 'updated' | 'deleted';
  readonly object: T;
  /** The state before an update. */
  readonly old?: T;
}

export interface InformerOptions<T> extends ListOptions {
  /** For each index, the values under which an object is found by `byIndex`. */
  indexers?: Record<string, (object: T) => string[]>;
  /** Applied to each object before it is kept; `metadata.managedFields` is always dropped before. */
  transform?: (object: T) => T;
}

const log = logger('informer');
const minBackoff = 100;
/** A server that restarts must be noticed soon; one that refuses is left in peace. */
const maxBackoff = { lost: 1000, refused: 10_000 };

export class Informer<T extends { metadata: ObjectMeta }> {
  readonly resource: Resource;
  readonly #client: Pick<Client, 'list' | 'watch'>;
  readonly #listOptions: ListOptions;
  readonly #transform: ((object: T) => T) | undefined;
  readonly #indexers: Record<string, (object: T) => string[]>;
  readonly #objects = new Map<string, T>();
  readonly #indices = new Map<string, Map<string, Map<string, T>>>();
  readonly #handlers: ((change: Change<T>) => void)[] = [];
  #resourceVersion = '';
  #synced = false;
  #started: Promise<void> | undefined;

  constructor(client: Pick<Client, 'list' | 'watch'>, resource: Resource, options: InformerOptions<T> = {}) {
    const { indexers, transform, ...listOptions } = options;
    this.#client = client;
    this.resource = resource;
    this.#listOptions = listOptions;
    this.#transform = transform;
    this.#indexers = {
      ...(resource.namespaced && { namespace: (object: T) => [object.metadata.namespace ?? ''] }),
      ...indexers,
    };
    for (const name of Object.keys(this.#indexers)) this.#indices.set(name, new Map());
  }

  /** True from the end of the first list on; handlers have then been told of every object in it. */
  get synced(): boolean {
    return this.#synced;
  }

  get(name: string, namespace?: string): T | undefined {
    return this.#objects.get(namespace ? `${namespace}/${name}` : name);
  }

  list(namespace?: string): T[] {
    return namespace === undefined ? [...this.#objects.values()] : this.byIndex('namespace', namespace);
  }

  /** Errors: an index that the informer was not made with. */
  byIndex(index: string, value: string): T[] {
    const values = this.#indices.get(index);
    if (!values) throw new Error(`the informer of ${this.resource.plural} has no index "${index}"`);
    return [...(values.get(value)?.values() ?? [])];
  }

  /** The handler is called at once for what is already there, then for each change, in the order of resource versions. */
  onChange(handler: (change: Change<T>) => void): void {
    this.#handlers.push(handler);
    for (const object of this.#objects.values()) handler({ type: 'added', object });
  }

  /** Adds an index after construction, for a reader that shares the informer. */
  addIndex(name: string, indexer: (object: T) => string[]): void {
    if (this.#indexers[name]) return;
    this.#indexers[name] = indexer;
    this.#indices.set(name, new Map());
    for (const [key, object] of this.#objects) this.#index(name, key, { added: object });
  }

  /** Resolves when synced, or when `signal` aborts before that. A second call joins the first. */
  start(signal: AbortSignal): Promise<void> {
    this.#started ??= new Promise((resolve) => {
      signal.addEventListener('abort', () => resolve(), { once: true });
      void this.#run(signal, resolve);
    });
    return this.#started;
  }

  async #run(signal: AbortSignal, synced: () => void): Promise<void> {
    let backoff = minBackoff;
    let limit = maxBackoff.lost;
    let mustList = true;
    while (!signal.aborted) {
      const startedAt = Date.now();
      try {
        if (mustList) {
          await this.#listAll();
          mustList = false;
          this.#synced = true;
          synced();
        }
        await this.#watch(signal);
        limit = maxBackoff.lost;
        if (Date.now() - startedAt > 1000) backoff = minBackoff;
      } catch (error) {
        if (signal.aborted) return;
        limit = error instanceof ApiError ? maxBackoff.refused : maxBackoff.lost;
        const expired = error instanceof ApiError && (error.code === 410 || error.reason === 'Expired');
        if (expired) {
          mustList = true;
          this.#resourceVersion = '';
        } else {
          if (error instanceof ApiError) mustList = true;
          log.debug('list or watch failed', { resource: this.resource.plural, error });
        }
        if (Date.now() - startedAt > 5000) backoff = minBackoff;
      }
      if (signal.aborted) return;
      backoff = Math.min(backoff, limit);
      await pause(backoff * (0.5 + Math.random()), signal);
      backoff *= 2;
    }
  }

  async #listAll(): Promise<void> {
    // Version 0 lets the server answer from its cache; later lists must not go back behind what has been seen.
    const resourceVersion = this.#synced ? this.#resourceVersion : '0';
    const list = await this.#client.list<T>(this.resource, { ...this.#listOptions, resourceVersion });
    const before = new Set(this.#objects.keys());
    for (const item of list.items) {
      before.delete(keyOf(item));
      this.#put(item);
    }
    for (const key of before) this.#remove(key);
    this.#resourceVersion = list.metadata.resourceVersion ?? '';
  }

  async #watch(signal: AbortSignal): Promise<void> {
    const options = {
      ...this.#listOptions,
      resourceVersion: this.#resourceVersion,
      allowWatchBookmarks: true,
      timeoutSeconds: 300 + Math.floor(Math.random() * 300),
    };
    await this.#client.watch<T>(
      this.resource,
      options,
      ({ type, object }) => {
        this.#resourceVersion = object.metadata.resourceVersion ?? this.#resourceVersion;
        if (type === 'ADDED' || type === 'MODIFIED') this.#put(object);
        else if (type === 'DELETED') this.#remove(keyOf(object), object);
      },
      signal,
    );
  }

  #put(received: T): void {
    const key = keyOf(received);
    const old = this.#objects.get(key);
    if (old && old.metadata.resourceVersion === received.metadata.resourceVersion) return;
    const object = this.#prepare(received);
    this.#objects.set(key, object);
    for (const name of this.#indices.keys()) this.#index(name, key, { added: object, removed: old });
    if (old && old.metadata.uid !== object.metadata.uid) {
      // Deleted and created anew while nobody watched: two objects, and handlers must hear of both.
      this.#notify({ type: 'deleted', object: old });
      this.#notify({ type: 'added', object });
    } else {
      this.#notify(old ? { type: 'updated', object, old } : { type: 'added', object });
    }
  }

  #remove(key: string, last?: T): void {
    const old = this.#objects.get(key);
    if (!old) return;
    this.#objects.delete(key);
    for (const name of this.#indices.keys()) this.#index(name, key, { removed: old });
    this.#notify({ type: 'deleted', object: last ? this.#prepare(last) : old });
  }

  #prepare(object: T): T {
    const typed = object as T & { kind?: string; apiVersion?: string };
    typed.kind ??= this.resource.kind;
    typed.apiVersion ??= apiVersionOf(this.resource);
    delete object.metadata.managedFields;
    return this.#transform ? this.#transform(object) : object;
  }

  #index(name: string, key: string, change: { added?: T; removed?: T | undefined }): void {
    const indexer = this.#indexers[name];
    const index = this.#indices.get(name);
    if (!indexer || !index) return;
    for (const value of change.removed ? indexer(change.removed) : []) {
      const entries = index.get(value);
      entries?.delete(key);
      if (entries?.size === 0) index.delete(value);
    }
    for (const value of change.added ? indexer(change.added) : []) {
      const entries = index.get(value) ?? new Map<string, T>();
      index.set(value, entries.set(key, change.added as T));
    }
  }

  #notify(change: Change<T>): void {
    for (const handler of this.#handlers) {
      try {
        handler(change);
      } catch (error) {
        log.error('a handler failed', error, { resource: this.resource.plural, object: keyOf(change.object) });
      }
    }
  }
}

/** `namespace/name`, or `name` for what has no namespace. */
export function keyOf(object: { metadata: ObjectMeta }): string {
  const { namespace, name } = object.metadata;
  return namespace ? `${namespace}/${name}` : (name ?? '');
}

/** The parts of a key made by `keyOf`. */
export function splitKey(key: string): { namespace?: string; name: string } {
  const slash = key.indexOf('/');
  return slash < 0 ? { name: key } : { namespace: key.slice(0, slash), name: key.slice(slash + 1) };
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    signal.addEventListener('abort', done, { once: true });
  });
}
