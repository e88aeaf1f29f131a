// SPDX-License-Identifier: Apache-2.0
// Replies of upstream servers, kept as bytes for as long as their records live. What is served from here carries the
// remaining lifetime, the asker's id and the asker's spelling of the name. Never larger than its configured capacity.

import { rcodes, readName, readRecord, recordTypes } from './wire.ts';
import { isWithinAny } from './names.ts';
import type { CacheConfig, CacheLimits } from './corefile.ts';
import type { Query } from './wire.ts';

type Kind = 'success' | 'denial' | 'servfail';

/** A reply that is kept. */
export interface CacheEntry {
  readonly kind: Kind;
  readonly key: string;
  readonly reply: Buffer;
  readonly ttlOffsets: readonly number[];
  /** Milliseconds of the cache's clock. */
  readonly storedAt: number;
  readonly expiresAt: number;
  /** From when on a popular entry is fetched anew; Infinity without prefetch. */
  readonly prefetchAt: number;
  /** Asked for this often without a long gap. */
  hits: number;
  lastHit: number;
  /** A fetch is under way or done, so that no second one starts. */
  fetching: boolean;
  /** Something newer has its place, or it was evicted. */
  gone: boolean;
}

export interface Lookup {
  readonly entry: CacheEntry;
  /** Expired, but allowed by serve_stale. */
  readonly stale: boolean;
  /** Popular and about to expire: to be fetched anew. */
  readonly prefetch: boolean;
}

export class ReplyCache {
  readonly #config: CacheConfig;
  readonly #now: () => number;
  readonly #onEvict: (kind: Kind) => void;
  readonly #entries = { success: new Map<string, CacheEntry>(), denial: new Map<string, CacheEntry>() };

  /** `now` in milliseconds. */
  constructor(config: CacheConfig, now: () => number, onEvict: (kind: Kind) => void = () => undefined) {
    this.#config = config;
    this.#now = now;
    this.#onEvict = onEvict;
  }

  get sizes(): { readonly success: number; readonly denial: number } {
    return { success: this.#entries.success.size, denial: this.#entries.denial.size };
  }

  /** Expired entries are to be asked for once more before they are given. */
  get verifiesStale(): boolean {
    return this.#config.stale?.verify === true;
  }

  get(key: string): Lookup | undefined {
    const now = this.#now();
    const denial = this.#fresh('denial', key, now);
    const success = this.#fresh('success', key, now);
    // A server's failure does not hide an older answer that may still be given.
    const found = denial?.kind === 'servfail' && success !== undefined ? success : (denial ?? success);
    if (found === undefined) return undefined;
    const { prefetch } = this.#config;
    const stale = now >= found.expiresAt;
    this.#count(found, now);
    const popular = prefetch !== undefined && found.hits > prefetch.amount;
    return { entry: found, stale, prefetch: popular && !stale && !found.fetching && now >= found.prefetchAt };
  }

  /** Returns what is kept now, or undefined when the reply may not be kept. */
  put(query: Query, key: string, reply: Buffer): CacheEntry | undefined {
    const facts = lifetime(reply);
    if (facts === undefined) return undefined;
    const { kind } = facts;
    const { zones, uncached, stale } = this.#config;
    if (zones.length > 0 && !isWithinAny(query.name, zones)) return undefined;
    const table = kind === 'success' ? 'success' : 'denial';
    if (isWithinAny(query.name, uncached[table])) return undefined;
    const lifeMs = kind === 'servfail' ? this.#config.servfailMs : 1000 * between(facts.ttl, this.#config[table]);
    if (lifeMs <= 0) return undefined;
    const now = this.#now();
    const entry: CacheEntry = {
      kind,
      key,
      reply,
      ttlOffsets: facts.ttlOffsets,
      storedAt: now,
      expiresAt: now + lifeMs,
      prefetchAt: this.#prefetchAt(now, lifeMs),
      hits: this.#entries[table].get(key)?.hits ?? 0,
      lastHit: this.#entries[table].get(key)?.lastHit ?? 0,
      fetching: false,
      gone: false,
    };
    const other = table === 'success' ? 'denial' : 'success';
    if (kind !== 'servfail' || stale === undefined) this.#remove(other, key);
    this.#remove(table, key);
    this.#entries[table].set(key, entry);
    if (this.#entries[table].size > this.#config[table].capacity) this.#evict(table);
    return entry;
  }

  /**
   * Counts a use of an entry that the caller remembers. false: the entry is to be looked up again, because something
   * newer may be there or it is to be fetched.
   */
  use(entry: CacheEntry, now: number): boolean {
    if (entry.gone || now >= entry.expiresAt || now >= entry.prefetchAt) return false;
    this.#count(entry, now);
    return true;
  }

  /** The bytes for `query`, with what is left of the records' lives. */
  render(query: Query, entry: CacheEntry): Buffer {
    const reply = Buffer.from(entry.reply);
    this.age(reply, entry);
    return addressedTo(query, reply);
  }

  /** Writes what is left of the records' lives into a copy of the entry's reply. */
  age(reply: Buffer, entry: CacheEntry): void {
    if (this.#config.keepTtl) return;
    const now = this.#now();
    const life = Math.ceil((entry.expiresAt - entry.storedAt) / 1000);
    const age = Math.floor((now - entry.storedAt) / 1000);
    for (const offset of entry.ttlOffsets) {
      const ttl = now >= entry.expiresAt ? 0 : Math.min(entry.reply.readUInt32BE(offset), life) - age;
      reply.writeUInt32BE(Math.max(0, ttl), offset);
    }
  }

  #count(entry: CacheEntry, now: number): void {
    const { prefetch } = this.#config;
    if (prefetch !== undefined && now - entry.lastHit > prefetch.gapMs) entry.hits = 0;
    entry.hits++;
    entry.lastHit = now;
  }

  #fresh(table: 'success' | 'denial', key: string, now: number): CacheEntry | undefined {
    const entry = this.#entries[table].get(key);
    if (entry === undefined) return undefined;
    const grace = entry.kind === 'servfail' ? 0 : (this.#config.stale?.forMs ?? 0);
    if (now >= entry.expiresAt + grace) {
      this.#remove(table, key);
      return undefined;
    }
    // Moved to the young end: the oldest unused entry leaves first.
    this.#entries[table].delete(key);
    this.#entries[table].set(key, entry);
    return entry;
  }

  #remove(table: 'success' | 'denial', key: string): void {
    const entry = this.#entries[table].get(key);
    if (entry === undefined) return;
    entry.gone = true;
    this.#entries[table].delete(key);
  }

  /** Several at a time: to find the oldest one, a Map walks over the places of all that were removed before. */
  #evict(table: 'success' | 'denial'): void {
    let left = Math.ceil(this.#config[table].capacity / 64);
    for (const [key, { kind }] of this.#entries[table]) {
      if (left-- === 0) break;
      this.#onEvict(kind);
      this.#remove(table, key);
    }
  }

  #prefetchAt(now: number, lifeMs: number): number {
    const { prefetch } = this.#config;
    return prefetch === undefined ? Infinity : now + lifeMs - Math.max(1000, (lifeMs * prefetch.percent) / 100);
  }
}

/** The reply with the id and the question of `query`; both questions have the same length. */
export function addressedTo(query: Query, reply: Buffer): Buffer {
  reply.writeUInt16BE(query.id, 0);
  query.question.copy(reply, 12);
  return reply;
}

/** Clients that differ in what the reply contains must not share it. */
export function keyOf(query: Query): string {
  const { name, type, edns, checkingDisabled, recursionDesired } = query;
  const ends = edns === undefined ? 0 : edns.dnssecOk ? 2 : 1;
  return `${name} ${type} ${query.class} ${ends}${checkingDisabled ? 'c' : ''}${recursionDesired ? '' : 'n'}`;
}

function between(ttl: number, { minTtl, maxTtl }: CacheLimits): number {
  return Math.max(Math.min(ttl, maxTtl), minTtl);
}

/** How long a reply may be kept; undefined for what must not be kept (refusals, truncated or malformed replies). */
function lifetime(reply: Buffer): { ttl: number; ttlOffsets: number[]; kind: Kind } | undefined {
  if (reply.length < 12) return undefined;
  const flags = reply.readUInt16BE(2);
  const rcode = flags & 0x0f;
  if ((flags & 0x0200) !== 0) return undefined;
  if (rcode === rcodes.SERVFAIL) return { ttl: 0, ttlOffsets: [], kind: 'servfail' };
  if (rcode !== rcodes.NOERROR && rcode !== rcodes.NXDOMAIN) return undefined;
  const question = readName(reply, 12);
  if (question === undefined || reply.readUInt16BE(4) !== 1) return undefined;
  const answers = reply.readUInt16BE(6);
  const total = answers + reply.readUInt16BE(8) + reply.readUInt16BE(10);
  const type = reply.readUInt16BE(question.end);
  const ttlOffsets: number[] = [];
  let ttl = Infinity;
  let denialTtl: number | undefined;
  let answered = false;
  let offset = question.end + 4;
  for (let index = 0; index < total; index++) {
    const record = readRecord(reply, offset);
    if (record === undefined) return undefined;
    offset = record.end;
    // OPT keeps flags where others keep their lifetime.
    if (record.type === recordTypes.OPT) continue;
    ttlOffsets.push(record.ttlAt);
    ttl = Math.min(ttl, record.ttl);
    if (index < answers) answered ||= record.type === type || type === recordTypes.ANY;
    if (record.type === recordTypes.SOA && index >= answers && record.end - record.dataAt >= 20) {
      denialTtl = Math.min(record.ttl, reply.readUInt32BE(record.end - 4));
    }
  }
  if (rcode === rcodes.NOERROR && answered) return { ttl, ttlOffsets, kind: 'success' };
  // An alias to nothing, or a referral without SOA, says nothing about how long it stays so (RFC 2308, section 5).
  if (denialTtl === undefined) return undefined;
  return { ttl: Math.min(denialTtl, answers > 0 ? ttl : denialTtl), ttlOffsets, kind: 'denial' };
}
