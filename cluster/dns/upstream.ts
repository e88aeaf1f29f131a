// SPDX-License-Identifier: Apache-2.0
// Asks upstream servers. Queries and replies are relayed as bytes, so record types and options unknown here pass
// unharmed. A server that does not answer is asked last until it answers again. Each query leaves from its own port
// with its own id, and only a reply with that id and that question is believed.

import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { connect, isIP } from 'node:net';

import { ReplyCache, addressedTo, keyOf } from './reply-cache.ts';
import { readName } from './wire.ts';
import type { CacheConfig, ForwardConfig } from './corefile.ts';
import type { Query } from './wire.ts';

/** Waiting for one server before the next is asked. */
const attemptMs = 2000;
/** The same for a server that did not answer lately. */
const downAttemptMs = 500;
/** Clients give up after 5 s; an answer after that is wasted. */
const totalMs = 4800;
/** A server that failed this many times in a row goes to the end of the order. */
const failuresUntilDown = 2;

interface Server {
  readonly address: string;
  readonly port: number;
  failures: number;
}

export interface UpstreamObserver {
  cacheHit(denial: boolean): void;
  cacheMiss(): void;
  cacheEntries(count: number): void;
  asked(server: string, seconds: number, rcode: number | undefined): void;
}

export class Upstream {
  readonly #servers: readonly Server[];
  readonly #config: ForwardConfig;
  readonly #cache: ReplyCache | undefined;
  readonly #observer: UpstreamObserver;
  readonly #inFlight = new Map<string, Promise<Buffer | undefined>>();
  #next = 0;

  constructor(config: ForwardConfig, cache: CacheConfig | undefined, observer: UpstreamObserver) {
    this.#config = config;
    this.#servers = resolveServers(config.to).map(({ address, port }) => ({ address, port, failures: 0 }));
    this.#cache = cache === undefined ? undefined : new ReplyCache(cache, Date.now);
    this.#observer = observer;
  }

  get servers(): readonly string[] {
    return this.#servers.map(({ address, port }) => `${address}:${port}`);
  }

  /** The reply for `query`, whose bytes are `packet`; undefined when no server answered in time. */
  async resolve(query: Query, packet: Buffer, transport: 'udp' | 'tcp'): Promise<Buffer | undefined> {
    const cached = this.#cache?.get(query);
    if (cached !== undefined) {
      this.#observer.cacheHit(cached.denial);
      return cached.reply;
    }
    if (this.#cache !== undefined) this.#observer.cacheMiss();
    const key = `${transport} ${query.edns?.udpSize ?? 0} ${keyOf(query)}`;
    let asked = this.#inFlight.get(key);
    if (asked === undefined) {
      if (this.#inFlight.size >= this.#config.maxConcurrent) return undefined;
      asked = this.#ask(query, packet, transport).finally(() => this.#inFlight.delete(key));
      this.#inFlight.set(key, asked);
    }
    const reply = await asked;
    return reply === undefined ? undefined : addressedTo(query, Buffer.from(reply));
  }

  async #ask(query: Query, packet: Buffer, transport: 'udp' | 'tcp'): Promise<Buffer | undefined> {
    const deadline = Date.now() + totalMs;
    for (const server of this.#order()) {
      const left = deadline - Date.now();
      if (left <= 0) break;
      const overTcp = this.#config.forceTcp || (transport === 'tcp' && !this.#config.preferUdp);
      const startedAt = performance.now();
      const patienceMs = server.failures >= failuresUntilDown ? downAttemptMs : attemptMs;
      const reply = await exchange(server, { query, packet, overTcp, timeoutMs: Math.min(patienceMs, left) });
      const rcode = reply === undefined ? undefined : reply.readUInt16BE(2) & 0x0f;
      this.#observer.asked(`${server.address}:${server.port}`, (performance.now() - startedAt) / 1000, rcode);
      if (reply === undefined) {
        server.failures++;
        continue;
      }
      server.failures = 0;
      this.#cache?.put(query, reply);
      this.#observer.cacheEntries(this.#cache?.size ?? 0);
      return reply;
    }
    return undefined;
  }

  #order(): Server[] {
    const servers = [...this.#servers];
    if (this.#config.policy === 'round_robin' && servers.length > 0) {
      const start = this.#next++ % servers.length;
      servers.push(...servers.splice(0, start));
    } else if (this.#config.policy === 'random') {
      for (let last = servers.length - 1; last > 0; last--) {
        const other = randomInt(last + 1);
        const held = servers[last];
        const swap = servers[other];
        if (held !== undefined && swap !== undefined) [servers[last], servers[other]] = [swap, held];
      }
    }
    return servers.toSorted(
      (a, b) => Number(a.failures >= failuresUntilDown) - Number(b.failures >= failuresUntilDown),
    );
  }
}

/** Servers from `address#port` entries and from files in resolv.conf's format. */
export function resolveServers(to: readonly string[]): { address: string; port: number }[] {
  const servers = new Map<string, { address: string; port: number }>();
  for (const entry of to) {
    const found = entry.startsWith('/') ? nameServers(readFileSync(entry, 'utf8')) : [entry];
    for (const server of found) {
      const [address = '', port = '53'] = server.split('#');
      servers.set(server, { address, port: Number(port) });
    }
  }
  return [...servers.values()];
}

/** Loopback addresses are left out: in a pod they lead back to the asker. */
function nameServers(resolvConf: string): string[] {
  return [...resolvConf.matchAll(/^\s*nameserver\s+(\S+)/gm)]
    .map((match) => match[1] ?? '')
    .filter((address) => isIP(address) !== 0 && !/^127\.|^::1$/.test(address))
    .map((address) => `${address}#53`);
}

interface Exchange {
  readonly query: Query;
  readonly packet: Buffer;
  readonly overTcp: boolean;
  readonly timeoutMs: number;
}

/** One question to one server; undefined on time-out, refusal of the connection, or an unbelievable reply by TCP. */
function exchange(server: Server, { query, packet, overTcp, timeoutMs }: Exchange): Promise<Buffer | undefined> {
  const id = randomInt(0x10000);
  const request = Buffer.from(packet);
  request.writeUInt16BE(id, 0);
  const believable = (reply: Buffer): boolean =>
    reply.length >= 12 + query.question.length &&
    reply.readUInt16BE(0) === id &&
    (reply.readUInt16BE(2) & 0x8000) !== 0 &&
    reply.readUInt16BE(4) === 1 &&
    readName(reply, 12)?.text.toLowerCase() === query.name &&
    reply.readUInt32BE(12 + query.question.length - 4) === query.question.readUInt32BE(query.question.length - 4);
  return overTcp
    ? exchangeTcp(server, { request, timeoutMs, believable })
    : exchangeUdp(server, { request, timeoutMs, believable });
}

interface Attempt {
  readonly request: Buffer;
  readonly timeoutMs: number;
  readonly believable: (reply: Buffer) => boolean;
}

function exchangeUdp(server: Server, { request, timeoutMs, believable }: Attempt): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const socket = createSocket(isIP(server.address) === 6 ? 'udp6' : 'udp4');
    const finish = (reply: Buffer | undefined): void => {
      clearTimeout(timer);
      socket.close();
      socket.removeAllListeners();
      resolve(reply);
    };
    const timer = setTimeout(finish, timeoutMs, undefined);
    socket.on('error', () => finish(undefined));
    socket.on('message', (reply) => {
      if (believable(reply)) finish(reply);
    });
    // Connected, so that only this server's packets arrive and its "port unreachable" is seen.
    socket.connect(server.port, server.address, () => socket.send(request));
  });
}

function exchangeTcp(server: Server, { request, timeoutMs, believable }: Attempt): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host: server.address, port: server.port });
    let received = Buffer.alloc(0);
    const finish = (reply: Buffer | undefined): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(reply);
    };
    const timer = setTimeout(finish, timeoutMs, undefined);
    socket.on('error', () => finish(undefined));
    socket.on('end', () => finish(undefined));
    socket.on('connect', () => {
      const length = Buffer.alloc(2);
      length.writeUInt16BE(request.length);
      socket.write(Buffer.concat([length, request]));
    });
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk]);
      if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) return;
      const reply = received.subarray(2, 2 + received.readUInt16BE(0));
      finish(believable(reply) ? reply : undefined);
    });
  });
}
