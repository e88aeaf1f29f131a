// SPDX-License-Identifier: Apache-2.0
// Names of other servers: the cache, and behind it the `forward`s of a server block. Equal questions at one time are
// asked once.

import { addressedTo, keyOf } from './reply-cache.ts';
import { isWithin, isWithinAny } from './names.ts';
import { rcodes } from './wire.ts';
import type { CacheEntry, ReplyCache } from './reply-cache.ts';
import type { Query } from './wire.ts';
import type { Upstream, UpstreamReply } from './upstream.ts';

/** How long stale answers are held back for a fresh one with `serve_stale ... verify`. */
const verifyMs = 1500;

export interface CacheObserver {
  hit(denial: boolean): void;
  miss(): void;
  stale(): void;
  prefetch(): void;
  entries(sizes: { readonly success: number; readonly denial: number }): void;
}

/** The bytes addressed to the asker, and the cache's entry behind them, if any. */
export interface Forwarded {
  readonly reply: Buffer;
  readonly entry?: CacheEntry;
  readonly cached: boolean;
}

export class Forwarding {
  readonly upstreams: readonly Upstream[];
  readonly cache: ReplyCache | undefined;
  readonly #observer: CacheObserver;
  readonly #inFlight = new Map<string, Promise<UpstreamReply>>();

  constructor(upstreams: readonly Upstream[], cache: ReplyCache | undefined, observer: CacheObserver) {
    this.upstreams = upstreams;
    this.cache = cache;
    this.#observer = observer;
  }

  /** Whether a `forward` takes this name. */
  serves(name: string): boolean {
    return this.upstreams.some((upstream) => fits(upstream, name));
  }

  /** From the cache at once, if it has the answer. */
  fromCache(query: Query): Forwarded | undefined {
    const { cache } = this;
    if (cache === undefined) return undefined;
    const key = keyOf(query);
    const found = cache.get(key);
    if (found === undefined || (found.stale && cache.verifiesStale)) return undefined;
    const { entry, stale, prefetch } = found;
    this.#observer.hit(entry.kind !== 'success');
    if (stale) this.#observer.stale();
    else if (prefetch) this.#observer.prefetch();
    if (stale || prefetch) this.#refresh(query, key, entry);
    return { reply: cache.render(query, entry), cached: true, ...(!stale && { entry }) };
  }

  /** Asks the servers; a string when there is no reply to give. */
  async fetch(query: Query, transport: 'udp' | 'tcp'): Promise<Forwarded | Exclude<UpstreamReply, Buffer>> {
    if (this.cache !== undefined) this.#observer.miss();
    const key = keyOf(query);
    const stale = this.cache?.verifiesStale === true ? this.cache.get(key) : undefined;
    const asked = this.#asked(query, key, transport);
    const reply = stale === undefined ? await asked : await Promise.race([asked, unanswered(verifyMs)]);
    if (stale !== undefined && this.cache !== undefined && (typeof reply === 'string' || isServfail(reply))) {
      this.#observer.stale();
      return { reply: this.cache.render(query, stale.entry), cached: true };
    }
    return typeof reply === 'string' ? reply : { reply: addressedTo(query, Buffer.from(reply)), cached: false };
  }

  close(): void {
    for (const upstream of this.upstreams) upstream.close();
  }

  #refresh(query: Query, key: string, entry: CacheEntry): void {
    if (entry.fetching) return;
    entry.fetching = true;
    void this.#asked(query, key, 'udp').finally(() => {
      entry.fetching = false;
    });
  }

  #asked(query: Query, key: string, transport: 'udp' | 'tcp'): Promise<UpstreamReply> {
    let asked = this.#inFlight.get(key);
    if (asked === undefined) {
      asked = this.#ask(query, key, transport).finally(() => this.#inFlight.delete(key));
      this.#inFlight.set(key, asked);
    }
    return asked;
  }

  async #ask(query: Query, key: string, transport: 'udp' | 'tcp'): Promise<UpstreamReply> {
    let reply: UpstreamReply = 'unanswered';
    for (const upstream of this.upstreams) {
      if (!fits(upstream, query.name)) continue;
      reply = await upstream.ask(query, transport);
      if (typeof reply === 'string' || !upstream.config.next.includes(reply.readUInt16BE(2) & 0x0f)) break;
    }
    if (typeof reply === 'string' || this.cache === undefined) return reply;
    this.cache.put(query, key, reply);
    this.#observer.entries(this.cache.sizes);
    return reply;
  }
}

function fits({ config }: Upstream, name: string): boolean {
  return isWithin(name, config.from) && !isWithinAny(name, config.except);
}

function isServfail(reply: Buffer): boolean {
  return (reply.readUInt16BE(2) & 0x0f) === rcodes.SERVFAIL;
}

function unanswered(afterMs: number): Promise<'unanswered'> {
  return new Promise((resolve) => setTimeout(resolve, afterMs, 'unanswered').unref());
}
