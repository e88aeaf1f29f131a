// SPDX-License-Identifier: Apache-2.0
// Decides for one query what is sent back: zone data, hosts entries, an upstream's reply, or a refusal. The plugins'
// order is CoreDNS': rewrite, autopath, hosts, kubernetes, forward. Nothing that a query contains makes it throw.

import { containsAddress } from '../network/addresses.ts';
import { answerHost } from './hosts.ts';
import { isWithin, isWithinAny, reverseAddress, reverseZones } from './names.ts';
import { rewriteName, turnedBack } from './rewrite.ts';
import { podSearchList, searchCandidates } from './search-path.ts';
import { encodeReply, recordTypes, rcodes, udpLimit, withName } from './wire.ts';
import { decodeReply } from './wire-reply.ts';
import { answerInZone, answerReverse, soaRecord } from './zone.ts';
import type { KubernetesConfig, ServerConfig } from './corefile.ts';
import type { CacheEntry } from './reply-cache.ts';
import type { Forwarded, Forwarding } from './forwarding.ts';
import type { HostTable } from './hosts.ts';
import type { Query, Rcode, Reply, ResourceRecord } from './wire.ts';
import type { ClusterState, ZoneAnswer, ZoneOptions } from './zone.ts';

export interface ResolverDependencies {
  readonly config: ServerConfig;
  readonly state: ClusterState;
  /** The state is complete; before that the zone answers SERVFAIL, never a wrong NXDOMAIN. */
  readonly synced: () => boolean;
  readonly forwarding: Forwarding;
  readonly hosts: HostTable | undefined;
  readonly serial: () => number;
  readonly nameServers: () => readonly string[];
  /** The namespace of the pod with this address; undefined when there is none, or it is in the host's network. */
  readonly namespaceOf: (address: string) => string | undefined;
  /** The search list of the node, which pods have after the cluster's. */
  readonly hostSearch: readonly string[];
}

/** What happened to a query, for logs and metrics, and for how long the reply holds. */
export interface Outcome {
  readonly query: Query | undefined;
  readonly reply: Buffer | undefined;
  readonly rcode: number;
  readonly plugin: string;
  /**
   * Whether the same packet gets the same reply: as long as what was looked at in the cluster does not change, or as long as the cache's
   * entry is good. Absent: never.
   */
  readonly holds?: 'cluster' | CacheEntry;
}

export type Transport = 'udp' | 'tcp';

export interface Client {
  readonly address: string;
  readonly transport: Transport;
}

/** A reply before it is fitted to the client: records, or the bytes of an upstream. */
interface Found {
  readonly plugin: string;
  readonly content: Reply | Forwarded;
  readonly holds?: 'cluster' | CacheEntry | undefined;
}

type Eventually<T> = T | Promise<T>;

/** Synchronous where no upstream is needed. */
export function resolve(query: Query, client: Client, with_: ResolverDependencies): Eventually<Outcome> {
  if (query.edns !== undefined && query.edns.version !== 0) {
    return outcomeOf({ plugin: '', content: refusal('BADVERS') }, { query, client, with: with_ });
  }
  if (query.class !== 1) return outcomeOf({ plugin: '', content: refusal('REFUSED') }, { query, client, with: with_ });
  const found = rewritten(query, client, with_);
  return found instanceof Promise
    ? found.then((later) => outcomeOf(later, { query, client, with: with_ }))
    : outcomeOf(found, { query, client, with: with_ });
}

interface Asked {
  readonly query: Query;
  readonly client: Client;
  readonly with: ResolverDependencies;
}

function outcomeOf({ plugin, content, holds }: Found, { query, client, with: with_ }: Asked): Outcome {
  const limit = client.transport === 'udp' ? udpLimit(query, with_.config.udpSize) : 65_535;
  if (!('reply' in content)) {
    const reply = encodeReply(query, content, limit);
    return { query, reply, rcode: rcodes[content.rcode], plugin, ...(holds && { holds }) };
  }
  const { reply } = content;
  const rcode = reply.readUInt16BE(2) & 0x0f;
  if (reply.length <= limit) return { query, reply, rcode, plugin, ...(holds && { holds }) };
  const short: Reply = { ...refusal(nameOf(rcode)), truncated: true };
  return { query, reply: encodeReply(query, short, limit), rcode, plugin };
}

function rewritten(query: Query, client: Client, with_: ResolverDependencies): Eventually<Found> {
  const { rewrites } = with_.config;
  const other = rewrites.length === 0 ? undefined : rewriteName(query.name, rewrites);
  if (other === undefined) return searched(query, client, with_);
  if (!isName(other.name)) return { plugin: 'rewrite', content: refusal('SERVFAIL') };
  const back = (found: Found): Found => {
    const reply = recordsOf(found.content);
    return reply === undefined
      ? { plugin: found.plugin, content: refusal('SERVFAIL') }
      : { plugin: found.plugin, content: { ...reply, answers: turnedBack(reply.answers, other.back) } };
  };
  const found = searched(withName(query, other.name), client, with_);
  return found instanceof Promise ? found.then(back) : back(found);
}

/** autopath: the first name of the client's search list that exists, with an alias to it. */
function searched(query: Query, client: Client, with_: ResolverDependencies): Eventually<Found> {
  const candidates = candidatesFor(query, client, with_);
  if (candidates !== undefined) return walk(query, candidates, { query, client, with: with_ });
  const found = answered(query, client, with_);
  // The same packet from another pod may be the first of that pod's search list.
  return with_.config.autopath === undefined || found instanceof Promise ? found : { ...found, holds: undefined };
}

function candidatesFor(query: Query, client: Client, with_: ResolverDependencies): string[] | undefined {
  const { autopath, kubernetes } = with_.config;
  if (autopath === undefined || (query.type !== recordTypes.A && query.type !== recordTypes.AAAA)) return undefined;
  if (autopath.zones.length > 0 && !isWithinAny(query.name, autopath.zones)) return undefined;
  if (autopath.search !== 'kubernetes') return searchCandidates(query.name, autopath.search);
  const domain = kubernetes?.domains[0];
  const namespace = with_.namespaceOf(client.address);
  if (namespace === undefined || domain === undefined) return undefined;
  return searchCandidates(query.name, podSearchList(namespace, domain, with_.hostSearch));
}

async function walk(query: Query, candidates: readonly string[], asked: Asked): Promise<Found> {
  let first: Found | undefined;
  for (const name of candidates) {
    const found = await answered(withName(query, name), asked.client, asked.with);
    first ??= found;
    if (rcodeOf(found.content) === rcodes.NXDOMAIN) continue;
    const reply = recordsOf(found.content);
    if (reply === undefined || rcodeOf(found.content) !== rcodes.NOERROR) break;
    // What is given for one client's search list is not for others.
    if (name === query.name) return { plugin: found.plugin, content: reply };
    if (reply.answers.length === 0) return { plugin: 'autopath', content: reply };
    const ttl = Math.min(...reply.answers.map((record) => record.ttl));
    const alias: ResourceRecord = { type: 'CNAME', name: query.name, ttl, target: name };
    return { plugin: 'autopath', content: { ...reply, answers: [alias, ...reply.answers] } };
  }
  const content = first === undefined ? undefined : recordsOf(first.content);
  return { plugin: first?.plugin ?? '', content: content ?? refusal('SERVFAIL') };
}

/** hosts, kubernetes, forward. */
function answered(query: Query, client: Client, with_: ResolverDependencies): Eventually<Found> {
  const host = with_.hosts === undefined ? undefined : answerHost(query, with_.hosts);
  if (host !== undefined) return { plugin: 'hosts', content: host };
  const { kubernetes } = with_.config;
  const domain = kubernetes?.domains.find((one) => isWithin(query.name, one));
  if (kubernetes !== undefined && domain !== undefined) {
    const found = inZone(query, { kubernetes, domain }, { query, client, with: with_ });
    if (found !== undefined) return found;
  } else if (kubernetes !== undefined && query.name.endsWith('.arpa')) {
    const found = inReverseZone(query, kubernetes, with_);
    if (found !== undefined) return found;
  }
  if (!with_.forwarding.serves(query.name)) return { plugin: '', content: refusal('REFUSED') };
  return forwarded(query, client, with_);
}

function forwarded(query: Query, client: Client, with_: ResolverDependencies): Eventually<Found> {
  const known = with_.forwarding.fromCache(query);
  if (known !== undefined) {
    return { plugin: 'cache', content: known, ...(known.entry && { holds: known.entry }) };
  }
  return with_.forwarding.fetch(query, client.transport).then((content): Found => {
    if (content === 'overloaded') return { plugin: 'forward', content: refusal('REFUSED') };
    if (content === 'unanswered') return { plugin: 'forward', content: refusal('SERVFAIL') };
    return { plugin: content.cached ? 'cache' : 'forward', content };
  });
}

interface OwnZone {
  readonly kubernetes: KubernetesConfig;
  readonly domain: string;
}

/** undefined: to be passed on. */
function inZone(query: Query, { kubernetes, domain }: OwnZone, asked: Asked): Eventually<Found> | undefined {
  const { with: with_ } = asked;
  if (!with_.synced()) return { plugin: 'kubernetes', content: refusal('SERVFAIL') };
  const options = zoneOptions(kubernetes, domain, with_);
  const answer = answerInZone(query.name, query.type, with_.state, options);
  if (answer.rcode === 'NXDOMAIN' && answer.answers.length === 0 && isWithinAny(query.name, kubernetes.fallthrough)) {
    return undefined;
  }
  const reply = zoneReply(query, answer, { zone: domain, options, with: with_ });
  const { chase } = answer;
  if (chase === undefined || !with_.forwarding.serves(chase))
    return { plugin: 'kubernetes', content: reply, holds: lifeOf(query) };
  return chaseOutside(withName(query, chase), reply, { ...asked, maxTtl: options.ttl });
}

/** Who asks for the SOA record wants to know of any change. */
function lifeOf({ type }: Query): 'cluster' | undefined {
  return type === recordTypes.SOA ? undefined : 'cluster';
}

/** PTR answers; undefined when the question is to be passed on. */
function inReverseZone(query: Query, kubernetes: KubernetesConfig, with_: ResolverDependencies): Found | undefined {
  const zone = reverseZoneOf(query.name, kubernetes);
  if (zone === undefined) return undefined;
  if (!with_.synced()) return { plugin: 'kubernetes', content: refusal('SERVFAIL') };
  const options = zoneOptions(kubernetes, kubernetes.domains[0] ?? '', with_);
  const answer = answerReverse({ name: query.name, type: query.type, zone }, { state: with_.state, options });
  if (answer.rcode === 'NXDOMAIN' && isWithinAny(query.name, passedOn(query.name, kubernetes))) return undefined;
  return {
    plugin: 'kubernetes',
    content: zoneReply(query, answer, { zone, options, with: with_ }),
    holds: lifeOf(query),
  };
}

/**
 * Where reverse names fall through. A range that the configuration names is the cluster's alone, even where
 * `fallthrough in-addr.arpa` covers it: nobody else knows addresses of Services and pods.
 */
function passedOn(name: string, { reverse, fallthrough }: KubernetesConfig): readonly string[] {
  const address = reverseAddress(name);
  const owned = reverse.some(
    (prefix) => prefix.length > 0 && address !== undefined && containsAddress(prefix, address),
  );
  return owned ? fallthrough.filter((zone) => zone !== 'in-addr.arpa' && zone !== 'ip6.arpa') : fallthrough;
}

function reverseZoneOf(name: string, { reverse }: KubernetesConfig): string | undefined {
  let longest: string | undefined;
  for (const prefix of reverse) {
    for (const zone of zonesOfPrefix(prefix)) {
      if (isWithin(name, zone) && zone.length > (longest?.length ?? -1)) longest = zone;
    }
  }
  return longest;
}

const zonesByPrefix = new WeakMap<object, readonly string[]>();

function zonesOfPrefix(prefix: KubernetesConfig['reverse'][number]): readonly string[] {
  let zones = zonesByPrefix.get(prefix);
  if (zones === undefined) zonesByPrefix.set(prefix, (zones = reverseZones(prefix)));
  return zones;
}

/** Adds what others know about the target of an ExternalName Service. */
async function chaseOutside(target: Query, base: Reply, asked: Asked & { maxTtl: number }): Promise<Found> {
  const found = await forwarded(target, asked.client, asked.with);
  const reply = recordsOf(found.content);
  if (reply === undefined || (reply.rcode !== 'NOERROR' && reply.rcode !== 'NXDOMAIN')) {
    return { plugin: 'kubernetes', content: { ...base, rcode: 'SERVFAIL' } };
  }
  const short = (record: ResourceRecord): ResourceRecord => ({
    ...record,
    name: record.name.toLowerCase(),
    ttl: Math.min(record.ttl, asked.maxTtl),
  });
  // The alias itself exists, so a target that does not is NXDOMAIN with the alias shown, as RFC 6604 says.
  return {
    plugin: 'kubernetes',
    content: {
      ...base,
      rcode: reply.rcode,
      answers: [...base.answers, ...reply.answers.map(short)],
      // How long nothing is to be remembered is the lesser of the two (RFC 2308, section 5).
      authority: reply.authority.flatMap((record) =>
        record.type === 'SOA' ? [short({ ...record, ttl: Math.min(record.ttl, record.minimum) })] : [],
      ),
    },
  };
}

function zoneReply(
  query: Query,
  answer: ZoneAnswer,
  from: { zone: string; options: ZoneOptions; with: ResolverDependencies },
): Reply {
  const { zone, options, with: with_ } = from;
  const aliasOnly = answer.answers.every(({ type }) => type === 'CNAME') && query.type !== recordTypes.CNAME;
  const negative = answer.chase === undefined && (answer.rcode === 'NXDOMAIN' || aliasOnly);
  return {
    rcode: answer.rcode,
    authoritative: answer.rcode !== 'REFUSED',
    recursionAvailable: with_.forwarding.upstreams.length > 0,
    answers: answer.answers,
    authority: negative && answer.rcode !== 'REFUSED' ? [soaRecord(zone, options)] : [],
    additional: answer.additional,
  };
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

function recordsOf(content: Reply | Forwarded): Reply | undefined {
  return 'reply' in content ? decodeReply(content.reply) : content;
}

function rcodeOf(content: Reply | Forwarded): number {
  return 'reply' in content ? content.reply.readUInt16BE(2) & 0x0f : rcodes[content.rcode];
}

function nameOf(rcode: number): Rcode {
  for (const [name, code] of Object.entries(rcodes)) if (code === rcode) return name as Rcode;
  return 'SERVFAIL';
}

function isName(name: string): boolean {
  return name.length <= 253 && name.split('.').every((label) => label.length <= 63 && (label !== '' || name === ''));
}

function zoneOptions(kubernetes: KubernetesConfig, domain: string, with_: ResolverDependencies): ZoneOptions {
  return {
    domain,
    ttl: kubernetes.ttl,
    pods: kubernetes.pods,
    serial: with_.serial(),
    nameServers: with_.nameServers(),
    endpointPodNames: kubernetes.endpointPodNames,
    noEndpoints: kubernetes.noEndpoints,
    ignoreEmptyService: kubernetes.ignoreEmptyService,
    namespaces: kubernetes.namespaces,
  };
}
