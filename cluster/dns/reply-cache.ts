// SPDX-License-Identifier: Apache-2.0
// Replies of upstream servers, kept as bytes for as long as their records live. What is served from here carries the
// remaining lifetime, the asker's id and the asker's spelling of the name.

import { rcodes, readName, readRecord, recordTypes } from './wire.ts';
import { isWithin } from './zone.ts';
import type { CacheConfig } from './corefile.ts';
import type { Query } from './wire.ts';

interface Entry {
  readonly reply: Buffer;
  readonly ttlOffsets: readonly number[];
  readonly storedAt: number;
  readonly ttl: number;
  readonly denial: boolean;
}

export class ReplyCache {
  readonly #config: CacheConfig;
  readonly #now: () => number;
  readonly #entries = new Map<string, Entry>();

  /** `now` in milliseconds. */
  constructor(config: CacheConfig, now: () => number) {
    this.#config = config;
    this.#now = now;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(query: Query): { reply: Buffer; denial: boolean } | undefined {
    const key = keyOf(query);
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    const age = Math.floor((this.#now() - entry.storedAt) / 1000);
    if (age >= entry.ttl) {
      this.#entries.delete(key);
      return undefined;
    }
    // Moved to the young end: the oldest unused entry leaves first.
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    const reply = Buffer.from(entry.reply);
    for (const offset of entry.ttlOffsets) {
      reply.writeUInt32BE(Math.max(0, Math.min(reply.readUInt32BE(offset), entry.ttl) - age), offset);
    }
    return { reply: addressedTo(query, reply), denial: entry.denial };
  }

  put(query: Query, reply: Buffer): void {
    const facts = lifetime(reply);
    if (facts === undefined) return;
    const uncached = this.#config.uncached[facts.denial ? 'denial' : 'success'];
    if (uncached.some((domain) => domain === '' || isWithin(query.name, domain))) return;
    const ttl = Math.min(facts.ttl, facts.denial ? this.#config.maxDenialTtl : this.#config.maxTtl);
    if (ttl <= 0) return;
    const key = keyOf(query);
    this.#entries.delete(key);
    this.#entries.set(key, {
      reply,
      ttl,
      ttlOffsets: facts.ttlOffsets,
      denial: facts.denial,
      storedAt: this.#now(),
    });
    if (this.#entries.size > this.#config.capacity) {
      const [oldest] = this.#entries.keys();
      if (oldest !== undefined) this.#entries.delete(oldest);
    }
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
  const { name, type, edns, checkingDisabled } = query;
  return `${name} ${type} ${query.class} ${edns === undefined ? 0 : edns.dnssecOk ? 2 : 1}${checkingDisabled ? 'c' : ''}`;
}

/** How long a reply may be kept; undefined for what must not be kept (errors, truncated or malformed replies). */
function lifetime(reply: Buffer): { ttl: number; ttlOffsets: number[]; denial: boolean } | undefined {
  if (reply.length < 12) return undefined;
  const flags = reply.readUInt16BE(2);
  const rcode = flags & 0x0f;
  if ((flags & 0x0200) !== 0 || (rcode !== rcodes.NOERROR && rcode !== rcodes.NXDOMAIN)) return undefined;
  const question = readName(reply, 12);
  if (question === undefined || reply.readUInt16BE(4) !== 1) return undefined;
  const answers = reply.readUInt16BE(6);
  const total = answers + reply.readUInt16BE(8) + reply.readUInt16BE(10);
  const ttlOffsets: number[] = [];
  let ttl = Infinity;
  let denialTtl: number | undefined;
  let offset = question.end + 4;
  for (let index = 0; index < total; index++) {
    const record = readRecord(reply, offset);
    if (record === undefined) return undefined;
    offset = record.end;
    // OPT keeps flags where others keep their lifetime.
    if (record.type === recordTypes.OPT) continue;
    ttlOffsets.push(record.ttlAt);
    ttl = Math.min(ttl, record.ttl);
    if (record.type === recordTypes.SOA && record.end - record.dataAt >= 20) {
      denialTtl = Math.min(record.ttl, reply.readUInt32BE(record.end - 4));
    }
  }
  const denial = rcode === rcodes.NXDOMAIN || answers === 0;
  if (!denial) return { ttl, ttlOffsets, denial };
  return denialTtl === undefined ? undefined : { ttl: denialTtl, ttlOffsets, denial };
}
