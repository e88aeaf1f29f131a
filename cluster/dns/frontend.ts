// SPDX-License-Identifier: Apache-2.0
// Takes the packets of one port to the server block whose zone fits best, answers what was asked before from ready
// answers, and bounds what packets that cannot be read are answered with. Silent on what is not a query.

import { AnswerCache } from './answer-cache.ts';
import { Changes } from './changes.ts';
import { dnsMetrics, packetObserver } from './dns-metrics.ts';
import { addressPlaces, shuffleAddresses } from './load-balance.ts';
import { logLine } from './query-log.ts';
import { resolve } from './resolver.ts';
import { encodeReply, parseQuery, rcodes, recordTypes } from './wire.ts';
import type { Ready } from './answer-cache.ts';
import type { ReadState } from './changes.ts';
import type { PacketKind, PacketObserver } from './dns-metrics.ts';
import type { Outcome, ResolverDependencies, Transport } from './resolver.ts';
import type { ReplyCache } from './reply-cache.ts';
import type { Query } from './wire.ts';

/** A server block at work. */
export interface Server {
  readonly resolver: ResolverDependencies;
  /** What the resolver has looked at. */
  readonly reads: Pick<ReadState, 'take'>;
  readonly changes: () => Changes;
  /** A query that leads back here; undefined once nobody waits for it. */
  readonly loopProbe: { readonly name: string; readonly returned: () => void } | undefined;
}

export interface FrontendOptions {
  /** `dns://:53`, for metrics. */
  readonly label: string;
  readonly log: {
    info(line: string): void;
    error(message: string, error: unknown, fields: Readonly<Record<string, unknown>>): void;
  };
}

interface Source {
  readonly address: string;
  readonly port: number;
  readonly transport: Transport;
}

/** Refusals of packets that are not proper queries, per second: enough to debug a client, too few to disturb anybody. */
const refusalsPerSecond = 200;

export class Frontend {
  readonly #options: FrontendOptions;
  #routes: ReadonlyMap<string, Server> = new Map();
  #changes: () => Changes = () => new Changes();
  #ready = readyAnswers();
  #refusals = { second: 0, count: 0 };

  constructor(options: FrontendOptions) {
    this.#options = options;
  }

  /** Replaces the server blocks, by zone. */
  use(routes: ReadonlyMap<string, Server>): void {
    const servers = [...new Set(routes.values())];
    this.#routes = routes;
    const [first] = servers;
    if (first !== undefined) this.#changes = first.changes;
    this.#ready = readyAnswers();
  }

  /** The bytes to send back; undefined: nothing is sent. */
  handle(packet: Buffer, source: Source): Buffer | undefined | Promise<Buffer | undefined> {
    const began = performance.now();
    try {
      const ready = readyFor(this.#ready, source).answer(packet, this.#changes(), began);
      return ready ?? this.#workOut(packet, source, began);
    } catch (error) {
      dnsMetrics.panics.add();
      this.#options.log.error('a query could not be handled', error, { packet: packet.toString('base64') });
      return undefined;
    }
  }

  #workOut(packet: Buffer, source: Source, began: number): Buffer | undefined | Promise<Buffer | undefined> {
    const parsed = parseQuery(packet);
    if (!parsed.ok) return this.#refuse(packet, parsed.reply, { source, began });
    const { query } = parsed;
    const route = this.#routeOf(query.name);
    if (route === undefined) {
      const refused = { authoritative: false, recursionAvailable: false, answers: [], authority: [], additional: [] };
      const reply = encodeReply(query, { rcode: 'REFUSED', ...refused }, 512);
      this.#observe({ zone: 'dropped', source, type: query.type, rcode: rcodes.REFUSED, plugin: '' })(
        (performance.now() - began) / 1000,
        packet.length,
        reply.length,
      );
      return reply;
    }
    const { server } = route;
    if (server.loopProbe?.name === query.name && query.type === recordTypes.HINFO) server.loopProbe.returned();
    const asked: Asked = {
      packet,
      source,
      began,
      zone: route.zone,
      generation: this.#changes().generation,
      ready: this.#ready,
    };
    server.reads.take();
    const outcome = resolve(query, source, server.resolver);
    // Only what is made of the cluster's state alone is made at once, and only that depends on what was looked at.
    return outcome instanceof Promise
      ? outcome.then((later) => this.#finish(query, later, server, asked))
      : this.#finish(query, outcome, server, { ...asked, parts: server.reads.take() });
  }

  #finish(query: Query, outcome: Outcome, { resolver }: Server, asked: Asked): Buffer | undefined {
    const { packet, source, began } = asked;
    const { config } = resolver;
    const { reply, rcode, plugin, holds } = outcome;
    if (reply === undefined) return undefined;
    const used = this.#observe({ zone: `${asked.zone}.`, source, type: query.type, rcode, plugin });
    const seconds = (performance.now() - began) / 1000;
    used(seconds, packet.length, reply.length);
    if (plugin === 'autopath') dnsMetrics.autopath.add(1, { server: this.#options.label });
    const addresses = config.shuffle ? addressPlaces(reply, query.type) : undefined;
    if (config.log !== undefined) {
      const { address, port, transport } = source;
      const client = { address, port, transport };
      const line = logLine(config.log, { query, reply, rcode, client, queryLength: packet.length, seconds });
      if (line !== undefined) this.#options.log.info(line);
    } else if (holds !== undefined && config.hosts?.file === undefined) {
      const made = madeOf(holds, asked, resolver.forwarding.cache);
      // After a reload `asked.ready` is the old one, which nobody reads any more.
      if (made !== undefined) {
        readyFor(asked.ready, source).put(packet, { reply: Buffer.from(reply), addresses, used, ...made });
      }
    }
    if (addresses !== undefined) shuffleAddresses(reply, addresses);
    return reply;
  }

  /** The block with the longest zone that the name is in. */
  #routeOf(name: string): { readonly zone: string; readonly server: Server } | undefined {
    let zone = name;
    for (;;) {
      const server = this.#routes.get(zone);
      if (server !== undefined) return { zone, server };
      if (zone === '') return undefined;
      const dot = zone.indexOf('.');
      zone = dot < 0 ? '' : zone.slice(dot + 1);
    }
  }

  #refuse(
    packet: Buffer,
    reply: Buffer | undefined,
    { source, began }: { readonly source: Source; readonly began: number },
  ): Buffer | undefined {
    const second = Math.floor(began / 1000);
    if (this.#refusals.second !== second) this.#refusals = { second, count: 0 };
    const sent = reply !== undefined && this.#refusals.count < refusalsPerSecond ? reply : undefined;
    if (sent !== undefined) this.#refusals.count++;
    const rcode = reply === undefined ? rcodes.NOERROR : reply.readUInt16BE(2) & 0x0f;
    const observe = this.#observe({ zone: 'dropped', source, type: undefined, rcode, plugin: '' });
    observe((performance.now() - began) / 1000, packet.length, sent?.length ?? 0);
    return sent;
  }

  #observe({
    source,
    ...kind
  }: Omit<PacketKind, 'server' | 'transport' | 'ipv6'> & { readonly source: Source }): PacketObserver {
    const { address, transport } = source;
    return packetObserver({ ...kind, server: this.#options.label, transport, ipv6: !address.includes('.') });
  }
}

/** By transport, because it limits the size, and by family, because each use is counted under its own. */
interface ReadyAnswers {
  readonly udp: AnswerCache;
  readonly tcp: AnswerCache;
  readonly udp6: AnswerCache;
  readonly tcp6: AnswerCache;
}

function readyAnswers(): ReadyAnswers {
  return { udp: new AnswerCache(), tcp: new AnswerCache(), udp6: new AnswerCache(), tcp6: new AnswerCache() };
}

function readyFor(ready: ReadyAnswers, { transport, address }: Source): AnswerCache {
  if (address.includes(':')) return transport === 'udp' ? ready.udp6 : ready.tcp6;
  return ready[transport];
}

function madeOf(
  holds: NonNullable<Outcome['holds']>,
  { generation, parts }: Asked,
  cache: ReplyCache | undefined,
): Pick<Ready, 'source' | 'age'> | undefined {
  if (holds === 'cluster') return parts === undefined ? undefined : { source: { generation, parts }, age: 0 };
  if (cache === undefined) return undefined;
  return { source: { entry: holds, cache }, age: Math.floor((Date.now() - holds.storedAt) / 1000) };
}

interface Asked {
  readonly packet: Buffer;
  readonly source: Source;
  readonly began: number;
  readonly zone: string;
  /** From before the answer was made: a change meanwhile makes it old. */
  readonly generation: number;
  /** Of the cluster, that the answer was made of. */
  readonly parts?: readonly string[];
  readonly ready: ReadyAnswers;
}
