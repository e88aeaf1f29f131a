// SPDX-License-Identifier: Apache-2.0
// The servers of one `forward`: which is asked in what order, which is down, and what is done when one does not answer.
// A server that fails is asked `. NS` until it answers; after max_fails such questions without answer it is down, and
// clients' queries go elsewhere. When all are down, health checks are taken to be wrong, and one is tried all the same.

import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';

import { encodeForwarded, encodeQuery, recordTypes } from './wire.ts';
import { Exchange } from './upstream-exchange.ts';
import type { ForwardConfig } from './corefile.ts';
import type { Query } from './wire.ts';

/** Waiting for one server before the next is asked. */
const attemptMs = 2000;
/** Clients give up after 5 s; an answer after that is wasted. */
const totalMs = 4800;
/** Waiting for the answer to a health check. */
const checkMs = 1000;

export interface UpstreamObserver {
  asked(server: string, seconds: number, rcode: number | undefined): void;
  checkFailed(server: string): void;
  allDown(): void;
  rejected(): void;
  connection(server: string, reused: boolean, transport: 'udp' | 'tcp'): void;
  /** A query got no answer from anyone. */
  failed(query: Query, reason: string): void;
}

interface Server {
  readonly label: string;
  readonly exchange: Exchange;
  /** Health checks in a row without answer. */
  fails: number;
  checking: boolean;
}

/** The bytes of a reply, or why there are none. */
export type UpstreamReply = Buffer | 'overloaded' | 'unanswered';

export class Upstream {
  readonly config: ForwardConfig;
  readonly #servers: readonly Server[];
  readonly #observer: UpstreamObserver;
  readonly #random: () => number;
  #next = 0;
  #concurrent = 0;
  #closed = false;

  constructor(config: ForwardConfig, observer: UpstreamObserver, random: () => number = Math.random) {
    this.config = config;
    this.#observer = observer;
    this.#random = random;
    this.#servers = resolveServers(config.to).map(({ address, port }) => {
      const label = address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
      const connection = (reused: boolean, transport: 'udp' | 'tcp'): void =>
        observer.connection(label, reused, transport);
      return {
        label,
        exchange: new Exchange({ address, port }, config.expireMs, { connection }),
        fails: 0,
        checking: false,
      };
    });
  }

  get servers(): readonly string[] {
    return this.#servers.map(({ label }) => label);
  }

  /** Servers that are down now. */
  get down(): readonly string[] {
    return this.#servers.filter((server) => this.#isDown(server)).map(({ label }) => label);
  }

  async ask(query: Query, transport: 'udp' | 'tcp'): Promise<UpstreamReply> {
    if (this.#concurrent >= this.config.maxConcurrent) {
      this.#observer.rejected();
      return 'overloaded';
    }
    this.#concurrent++;
    try {
      return await this.#ask(query, transport);
    } finally {
      this.#concurrent--;
    }
  }

  close(): void {
    this.#closed = true;
    for (const { exchange } of this.#servers) exchange.close();
  }

  async #ask(query: Query, transport: 'udp' | 'tcp'): Promise<UpstreamReply> {
    const { forceTcp, preferUdp, failover, maxConnectAttempts } = this.config;
    const packet = encodeForwarded(query);
    const deadline = Date.now() + totalMs;
    const way = forceTcp || (transport === 'tcp' && !preferUdp) ? 'tcp' : 'udp';
    let last: Buffer | undefined;
    let attempts = 0;
    for (const server of this.#order()) {
      const left = deadline - Date.now();
      if (left <= 0 || (maxConnectAttempts > 0 && attempts >= maxConnectAttempts)) break;
      attempts++;
      const timeoutMs = Math.min(attemptMs, left);
      let reply = await this.#try(server, packet, way, timeoutMs);
      // Cut short: the rest comes over TCP, and is kept for all who ask the same.
      if (way === 'udp' && reply !== undefined && (reply.readUInt16BE(2) & 0x0200) !== 0) {
        reply = (await this.#try(server, packet, 'tcp', timeoutMs)) ?? reply;
      }
      if (reply === undefined) {
        this.#check(server);
        continue;
      }
      last = reply;
      if (!failover.includes(reply.readUInt16BE(2) & 0x0f)) return reply;
    }
    if (last !== undefined) return last;
    this.#observer.failed(query, attempts === 0 ? 'every server is down' : `${attempts} server(s) did not answer`);
    return 'unanswered';
  }

  async #try(server: Server, packet: Buffer, way: 'udp' | 'tcp', timeoutMs: number): Promise<Buffer | undefined> {
    const startedAt = performance.now();
    const reply = await server.exchange.ask(packet, way, timeoutMs);
    const rcode = reply === undefined ? undefined : reply.readUInt16BE(2) & 0x0f;
    this.#observer.asked(server.label, (performance.now() - startedAt) / 1000, rcode);
    return reply;
  }

  #isDown({ fails }: Server): boolean {
    return this.config.maxFails > 0 && fails >= this.config.maxFails;
  }

  /** Asks `. NS` at intervals until there is an answer; any will do. */
  #check(server: Server): void {
    if (server.checking || this.config.maxFails === 0 || this.#closed) return;
    server.checking = true;
    const { everyMs, recursive, name } = this.config.healthCheck;
    const packet = encodeQuery(0, name, recordTypes.NS, recursive);
    const way = this.config.forceTcp ? 'tcp' : 'udp';
    const once = async (): Promise<void> => {
      const began = Date.now();
      const reply = await server.exchange.ask(packet, way, checkMs);
      if (reply !== undefined || this.#closed) {
        server.fails = 0;
        server.checking = false;
        return;
      }
      server.fails++;
      this.#observer.checkFailed(server.label);
      setTimeout(() => void once(), Math.max(0, everyMs - (Date.now() - began))).unref();
    };
    void once();
  }

  #order(): Server[] {
    const servers = this.#servers.filter((server) => !this.#isDown(server));
    if (servers.length === 0 && this.#servers.length > 0) {
      this.#observer.allDown();
      if (this.config.failFast) return [];
      const chosen = this.#servers[Math.floor(this.#random() * this.#servers.length)];
      return chosen === undefined ? [] : [chosen];
    }
    if (this.config.policy === 'round_robin') {
      const start = this.#next++ % Math.max(1, servers.length);
      servers.push(...servers.splice(0, start));
    } else if (this.config.policy === 'random') {
      for (let last = servers.length - 1; last > 0; last--) {
        const other = Math.floor(this.#random() * (last + 1));
        const held = servers[last];
        const swap = servers[other];
        if (held !== undefined && swap !== undefined) [servers[last], servers[other]] = [swap, held];
      }
    }
    return servers;
  }
}

/** Servers from `address#port` entries and from files in resolv.conf's format. */
function resolveServers(to: readonly string[]): { address: string; port: number }[] {
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
