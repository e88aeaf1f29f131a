// SPDX-License-Identifier: Apache-2.0
// Decides for one packet what is sent back: zone data, hosts entries, an upstream's reply, or a refusal. Stays silent
// on what is not a query. Nothing that a packet contains makes it throw.

import { containsAddress, familyOf } from '../network/addresses.ts';
import { encodeQuery, encodeReply, parseQuery, readName, readRecord, recordTypes, rcodes, udpLimit } from './wire.ts';
import { answerInZone, isWithin, reverseAddress, reverseNames, soaRecord } from './zone.ts';
import type { DnsConfig, KubernetesConfig } from './corefile.ts';
import type { Upstream } from './upstream.ts';
import type { Query, Rcode, Reply, ResourceRecord } from './wire.ts';
import type { ClusterState, ZoneAnswer, ZoneOptions } from './zone.ts';

export interface ResolverDependencies {
  readonly config: DnsConfig;
  readonly state: ClusterState;
  /** The state is complete; before that the zone answers SERVFAIL, never a wrong NXDOMAIN. */
  readonly synced: () => boolean;
  readonly upstream: Upstream | undefined;
  readonly serial: () => number;
  readonly nameServers: () => readonly string[];
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

/** What happened to a packet, for logs and metrics. */
export interface Outcome {
  readonly query: Query | undefined;
  readonly reply: Buffer | undefined;
  readonly rcode: number;
  readonly zone: string;
  readonly plugin: string;
}

export type Transport = 'udp' | 'tcp';

/** Synchronous where no upstream is needed. */
export function resolve(packet: Buffer, transport: Transport, with_: ResolverDependencies): Outcome | Promise<Outcome> {
  const parsed = parseQuery(packet);
  if (!parsed.ok) {
    const rcode = parsed.reply === undefined ? 0 : parsed.reply.readUInt16BE(2) & 0x0f;
    return { query: undefined, reply: parsed.reply, rcode, zone: 'dropped', plugin: '' };
  }
  const { query } = parsed;
  const limit = transport === 'udp' ? udpLimit(query) : 65_535;
  const send = (zone: string, plugin: string, reply: Reply): Outcome => ({
    query,
    reply: encodeReply(query, reply, limit),
    rcode: rcodes[reply.rcode],
    zone,
    plugin,
  });
  if (query.edns !== undefined && query.edns.version !== 0) return send('.', '', refusal('BADVERS'));
  if (query.class !== 1) return send('.', '', refusal('REFUSED'));

  const { config } = with_;
  const host = config.hosts.get(query.name);
  if (host !== undefined) return send('.', 'hosts', hostReply(query, host));
  const { kubernetes } = config;
  if (kubernetes !== undefined && isWithin(query.name, kubernetes.domain)) {
    if (!with_.synced()) return send(zoneName(kubernetes), 'kubernetes', refusal('SERVFAIL'));
    const options = zoneOptions(kubernetes, with_);
    const answer = answerInZone(query.name, query.type, with_.state, options);
    if (answer.chase === undefined || with_.upstream === undefined) {
      return send(zoneName(kubernetes), 'kubernetes', zoneReply(answer, options, with_));
    }
    return chaseOutside(query, answer, { options, with: with_ }).then((reply) =>
      send(zoneName(kubernetes), 'kubernetes', reply),
    );
  }
  const pointer = kubernetes === undefined ? undefined : reverseReply(query, kubernetes, with_);
  if (pointer !== undefined) return send('in-addr.arpa.', 'kubernetes', pointer);
  if (with_.upstream === undefined) return send('.', '', refusal('REFUSED'));
  return forward(query, { packet, transport, limit, with: with_ });
}

interface ForwardOptions {
  readonly packet: Buffer;
  readonly transport: Transport;
  readonly limit: number;
  readonly with: ResolverDependencies;
}

async function forward(query: Query, { packet, transport, limit, with: with_ }: ForwardOptions): Promise<Outcome> {
  const reply = await with_.upstream?.resolve(query, packet, transport);
  if (reply === undefined) {
    return {
      query,
      reply: encodeReply(query, refusal('SERVFAIL'), limit),
      rcode: rcodes.SERVFAIL,
      zone: '.',
      plugin: 'forward',
    };
  }
  const rcode = reply.readUInt16BE(2) & 0x0f;
  return {
    query,
    reply: reply.length <= limit ? reply : truncated(reply, query),
    rcode,
    zone: '.',
    plugin: 'forward',
  };
}

/** Header and question alone, marked as truncated. */
function truncated(reply: Buffer, query: Query): Buffer {
  const short = Buffer.from(reply.subarray(0, 12 + query.question.length));
  short.writeUInt16BE(short.readUInt16BE(2) | 0x0200, 2);
  short.fill(0, 6, 12);
  return short;
}

function refusal(rcode: Rcode): Reply {
  return {
    rcode,
    authoritative: false,
    recursionAvailable: true,
    answers: [],
    authority: [],
    additional: [],
  };
}

function zoneReply(answer: ZoneAnswer, options: ZoneOptions, with_: ResolverDependencies): Reply {
  return {
    rcode: answer.rcode,
    authoritative: true,
    recursionAvailable: with_.upstream !== undefined,
    answers: with_.config.shuffle ? shuffled(answer.answers, with_.random) : answer.answers,
    authority: answer.answers.length === 0 && answer.rcode !== 'REFUSED' ? [soaRecord(options)] : [],
    additional: answer.additional,
  };
}

function hostReply(query: Query, addresses: readonly string[]): Reply {
  const type = query.type === recordTypes.AAAA ? 'AAAA' : 'A';
  const family = query.type === recordTypes.A ? 4 : query.type === recordTypes.AAAA ? 6 : undefined;
  const answers = addresses
    .filter((address) => familyOf(address) === family)
    .map((address): ResourceRecord => ({ type, name: query.name, ttl: 3600, address }));
  return { ...refusal('NOERROR'), authoritative: true, answers };
}

/** PTR answers; undefined when the question is to be passed on. */
function reverseReply(query: Query, kubernetes: KubernetesConfig, with_: ResolverDependencies): Reply | undefined {
  const address = reverseAddress(query.name);
  if (address === undefined) return undefined;
  const ours = kubernetes.reverse.some((prefix) => containsAddress(prefix, address));
  if (!ours && !kubernetes.anyReverse) return undefined;
  if (!with_.synced()) return refusal('SERVFAIL');
  const options = zoneOptions(kubernetes, with_);
  const names = reverseNames(address, with_.state, kubernetes.domain);
  if (names.length === 0 && !ours) return undefined;
  const answers = query.type === recordTypes.PTR ? names : [];
  return zoneReply(
    {
      rcode: names.length === 0 ? 'NXDOMAIN' : 'NOERROR',
      answers: answers.map((target) => ({ type: 'PTR', name: query.name, ttl: options.ttl, target })),
      additional: [],
    },
    options,
    with_,
  );
}

interface ChaseOptions {
  readonly options: ZoneOptions;
  readonly with: ResolverDependencies;
}

/** Adds what upstream knows about the target of an ExternalName Service. */
async function chaseOutside(query: Query, answer: ZoneAnswer, { options, with: with_ }: ChaseOptions): Promise<Reply> {
  const packet = encodeQuery(0, answer.chase ?? '', query.type);
  const parsed = parseQuery(packet);
  const reply = parsed.ok ? await with_.upstream?.resolve(parsed.query, packet, 'udp') : undefined;
  const base = zoneReply(answer, options, with_);
  if (reply === undefined) return { ...base, rcode: 'SERVFAIL' };
  const found = aliasesAndAddresses(reply, options.ttl);
  // The alias itself exists, so a target that does not is NXDOMAIN with the alias shown, as RFC 6604 says.
  const rcode: Rcode = (reply.readUInt16BE(2) & 0x0f) === rcodes.NXDOMAIN ? 'NXDOMAIN' : 'NOERROR';
  return { ...base, rcode, answers: [...answer.answers, ...found] };
}

/** A, AAAA and CNAME records of a reply's answer section. */
function aliasesAndAddresses(reply: Buffer, maxTtl: number): ResourceRecord[] {
  const records: ResourceRecord[] = [];
  const question = readName(reply, 12);
  let offset = (question?.end ?? reply.length) + 4;
  for (let index = 0; index < reply.readUInt16BE(6); index++) {
    const record = readRecord(reply, offset);
    if (record === undefined) break;
    offset = record.end;
    const common = { name: record.name.toLowerCase(), ttl: Math.min(record.ttl, maxTtl) };
    const data = reply.subarray(record.dataAt, record.end);
    if (record.type === recordTypes.A && data.length === 4) {
      records.push({ ...common, type: 'A', address: data.join('.') });
    } else if (record.type === recordTypes.AAAA && data.length === 16) {
      records.push({ ...common, type: 'AAAA', address: data.toString('hex').match(/.{4}/g)?.join(':') ?? '::' });
    } else if (record.type === recordTypes.CNAME) {
      const target = readName(reply, record.dataAt);
      if (target !== undefined) records.push({ ...common, type: 'CNAME', target: target.text.toLowerCase() });
    }
  }
  return records;
}

function zoneOptions(kubernetes: KubernetesConfig, with_: ResolverDependencies): ZoneOptions {
  return {
    domain: kubernetes.domain,
    ttl: kubernetes.ttl,
    pods: kubernetes.pods,
    serial: with_.serial(),
    nameServers: with_.nameServers(),
  };
}

function zoneName(kubernetes: KubernetesConfig): string {
  return `${kubernetes.domain}.`;
}

/** Addresses in random order, so that clients that take the first spread; aliases stay in front. */
function shuffled(records: readonly ResourceRecord[], random: () => number): readonly ResourceRecord[] {
  if (records.length < 2) return records;
  const aliases = records.filter(({ type }) => type === 'CNAME');
  const others = records.filter(({ type }) => type !== 'CNAME');
  for (let last = others.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    const held = others[last];
    const swap = others[other];
    if (held !== undefined && swap !== undefined) [others[last], others[other]] = [swap, held];
  }
  return [...aliases, ...others];
}
