// SPDX-License-Identifier: Apache-2.0
/**
 * Sends marked probes and records what becomes of them: captures at every interface on the way, traced rules, drop reasons, translated
 * connections, routes, and what changed on nodes and pods. Decides nothing: `judge` does.
 */
import { randomBytes } from 'node:crypto';
import { runAttempt } from '../agent/attempts.ts';
import type { Attempt, AttemptResult } from '../agent/protocol.ts';
import { correctionOf, startCapture, type SeenPacket } from '../capture/capture.ts';
import {
  namespaceOf,
  pointsOfNode,
  pointsOfPod,
  type CapturePoint,
  type PodOnNode,
} from '../capture/capture-points.ts';
import type { NodeAccess } from '../node-session/node-access.ts';
import type { NodeSession } from '../node-session/node-session.ts';
import type { NodeState } from '../node-state/node-state.ts';
import { askAlong } from './ask-dns.ts';
import { dropsAfter } from './kernel-drops.ts';
import { NetnsAgent } from './netns-agent.ts';
import { rulesThatDrop } from './evaluated-rules.ts';
import { factsOfNode, factsOfPod } from './network-facts.ts';
import type {
  AttemptSeen,
  ConntrackEntry,
  DnsStep,
  EndpointAnswer,
  NetworkFacts,
  Observations,
  Party,
  PolicyOpinion,
  Question,
  RouteLookup,
  ServiceFacts,
  Sighting,
  TraceProtocol,
} from './observations.ts';
import { NeighbourTalk, sightingOf } from './packet-sighting.ts';
import { waysOf } from './path.ts';
import { parseConntrack, parseRouteGet } from './route-text.ts';
import { watchConnections, watchDrops, watchRules } from './watchers.ts';

/** What the API says about an address and port: who serves it. */
export interface Described {
  readonly servers: Question['servers'];
  readonly service?: ServiceFacts;
}

export interface TraceInput {
  readonly from: Party;
  /** As the user wrote it. */
  readonly to: string;
  /** Address, or a name that the source resolves. */
  readonly host: string;
  readonly port: number;
  readonly protocol: TraceProtocol;
  /** What is asked about the target once its address is known. */
  readonly describe: (address: string | undefined) => Described;
  readonly opinions: (servers: Question['servers'], throughService: boolean) => readonly PolicyOpinion[];
  /** Pods by `namespace/name`, to find their network namespaces. */
  readonly pods: ReadonlyMap<string, PodOnNode>;
  readonly nodeAddresses: Readonly<Record<string, readonly string[]>>;
  readonly troubledNodes: Readonly<Record<string, string>>;
  readonly access: NodeAccess | undefined;
  /** Where no node can be looked at: what can be found out about the servers otherwise. */
  readonly reachServers?: (servers: Question['servers']) => Promise<Observations['reach']>;
  readonly timeoutMs: number;
  /** A second probe of this size follows where the first was answered; 0: none. */
  readonly payloadOctets: number;
  /** Gets every captured packet, in the order of time. */
  readonly onPacket?: (seen: SeenPacket) => void;
}

/** More servers than these are not looked at; a Service picks one of its endpoints at random. */
const serversMost = 12;
const nodesMost = 8;
const endpointsMost = 64;
const snapLength = 192;
const packetsMost = 20_000;
const sightingsMost = 20_000;
/** Packets count as all there when none has come for this long; a busy node may take its time for the first. */
const quietMs = 150;
const settleMs = 2_500;

interface Site {
  readonly session: NodeSession;
  readonly before: NodeState;
}

export async function observe(input: TraceInput): Promise<Observations> {
  const gaps: string[] = [];
  const sites = new Map<string, Site>();
  const visit = async (names: readonly (string | undefined)[]): Promise<void> => {
    const { access } = input;
    if (access === undefined) return;
    const wanted = [...new Set(names)].filter(
      (name) => name !== undefined && name !== '' && !sites.has(name),
    ) as string[];
    await Promise.all(
      wanted.slice(0, nodesMost).map(async (name) => {
        try {
          const [session, before] = await Promise.all([access.session(name), access.state(name)]);
          sites.set(name, { session, before });
        } catch (error) {
          gaps.push(`node ${name} could not be looked at: ${messageOf(error)}`);
        }
      }),
    );
    if (wanted.length > nodesMost) gaps.push(`only ${nodesMost} of ${wanted.length} nodes were looked at`);
  };
  if (input.access === undefined) gaps.push('no node could be looked at: the trace was made without node probes');
  const { from } = input;
  // Where the target is an address, all nodes are known at once.
  const early = /[a-z]/i.test(input.host) && !input.host.includes(':') ? undefined : input.describe(input.host);
  await visit([from.node, ...nodesOf(early), ownerOf(input, input.host)]);
  const site = from.node === undefined ? undefined : sites.get(from.node);
  const pid = site === undefined ? undefined : pidOf(site.before, input.pods.get(from.name), from);
  if (from.kind === 'pod' && from.hostNetwork !== true && site !== undefined && pid === undefined) {
    gaps.push(`no process of pod ${from.name} was found on ${from.node}`);
  }
  const canSend =
    from.kind === 'outside' ||
    (site !== undefined && (pid !== undefined || from.kind === 'node' || from.hostNetwork === true));
  const agent = canSend && site !== undefined ? await NetnsAgent.start(site.session, pid) : undefined;
  try {
    const { address, dns } = await resolve(input, { agent, site, pid });
    const described = early ?? input.describe(address);
    await visit([...nodesOf(described), ownerOf(input, address)]);
    const question: Question = {
      from,
      to: input.to,
      protocol: input.protocol,
      address,
      port: input.port,
      clientPort: 22_000 + (randomBytes(2).readUInt16BE() % 6_000),
      servers: described.servers.slice(0, serversMost),
      ...(described.service === undefined ? {} : { service: described.service }),
    };
    const send = (attempt: Attempt): Promise<AttemptResult> =>
      agent === undefined
        ? runAttempt(attempt)
        : agent.request('attempt', { attempts: [attempt], concurrency: 1 }).then(({ results }) => {
            const [result] = results;
            if (result === undefined) throw new TypeError('the agent gave no result');
            return result;
          });
    const seen = await watchAttempts(input, { question, sites, send: canSend ? send : undefined, gaps });
    const delivered = seen.attempts.length > 0 && seen.attempts.every(({ outcome }) => outcome === 'allowed');
    const endpoints = delivered && canSend ? await askEndpoints(input, question, { send, gaps }) : [];
    return {
      question,
      takenAt: new Date().toISOString(),
      dns,
      reach: seen.attempts.length > 0 ? [] : ((await input.reachServers?.(question.servers)) ?? []),
      endpoints,
      policies: input.opinions(question.servers, question.service !== undefined),
      nodeAddresses: input.nodeAddresses,
      troubledNodes: input.troubledNodes,
      ...seen,
      gaps,
    };
  } finally {
    await agent?.close();
  }
}

async function resolve(
  { host }: TraceInput,
  { agent, site, pid }: { agent: NetnsAgent | undefined; site: Site | undefined; pid: number | undefined },
): Promise<{ readonly address: string | undefined; readonly dns: readonly DnsStep[] }> {
  if (agent === undefined || site === undefined) return { address: host, dns: [] };
  return askAlong(host, { agent, session: site.session, pid });
}

interface Watching {
  readonly question: Question;
  readonly sites: ReadonlyMap<string, Site>;
  /** Absent: nothing can be sent from the source. */
  readonly send: ((attempt: Attempt) => Promise<AttemptResult>) | undefined;
  readonly gaps: string[];
}

type Watched = Pick<
  Observations,
  'attempts' | 'sightings' | 'neighbours' | 'rules' | 'drops' | 'lookups' | 'facts' | 'conntrack' | 'conntrackEvents'
>;

async function watchAttempts(input: TraceInput, watching: Watching): Promise<Watched> {
  const { question, sites, send, gaps } = watching;
  const nothing: Watched = {
    attempts: [],
    sightings: [],
    neighbours: [],
    rules: [],
    drops: [],
    lookups: [],
    facts: [],
    conntrack: [],
    conntrackEvents: [],
  };
  if (question.address === undefined) return nothing;
  if (send === undefined) {
    gaps.push(`nothing could be sent from ${question.from.name}`);
    return nothing;
  }
  const sessions = new Map([...sites].map(([name, { session }]) => [name, session]));
  const points = pointsOf(input, question, sites);
  const sightings: Sighting[] = [];
  const talk = new NeighbourTalk();
  const take = (seen: SeenPacket): void => {
    input.onPacket?.(seen);
    talk.see(seen);
    const sighting = sightingOf(seen);
    if (sighting !== undefined && sightings.length < sightingsMost) sightings.push(sighting);
  };
  const transport = question.protocol === 'udp' ? 'udp' : 'tcp';
  const servers = question.servers.flatMap(({ addresses, port }) => addresses.map((address) => ({ address, port })));
  const flow = { protocol: transport, clientPort: question.clientPort } as const;
  const [capture, watchers] = await Promise.all([
    startCapture({
      points,
      sessions,
      snapLength,
      packetsMost,
      partial: true,
      take,
      addresses: [],
      wanted: filterOf(question, transport),
    }),
    Promise.all(
      [...sessions].map(async ([name, session]) => {
        const [rules, drops, connections] = await Promise.all([
          watchRules(session, { ...flow, servers }),
          watchDrops(session),
          watchConnections(session, flow),
        ]);
        return { name, rules, drops, connections };
      }),
    ),
  ]);
  const attempts: AttemptSeen[] = [];
  for (const payloadOctets of input.payloadOctets > 0 ? [0, input.payloadOctets] : [0]) {
    // The second attempt must not meet the first one's connection that is just being closed.
    const localPort = question.clientPort + (payloadOctets > 0 ? 1 : 0);
    attempts.push(await attempt(input, question, { send, payloadOctets, localPort }));
    if (attempts.at(-1)?.outcome !== 'allowed') break;
  }
  await settled(capture.received);
  const conntrack = await trackedConnections(question, sessions);
  const [stopped, summary] = await Promise.all([
    Promise.all(
      watchers.map(({ name, rules, drops, connections }) => {
        const correctionMs = correctionOf(capture.clocks.get(name) ?? { aheadMs: 0, uncertaintyMs: 0 });
        return Promise.all([rules.stop(correctionMs), drops.stop(correctionMs), connections.stop(correctionMs)]);
      }),
    ),
    capture.stop(),
  ]);
  gaps.push(...summary.troubles, ...stopped.flat().flatMap(({ gap }) => (gap === undefined ? [] : [gap])));
  const observed = {
    ...nothing,
    attempts,
    sightings: ofFlow(question, sightings),
    neighbours: talk.questions,
    conntrack,
    conntrackEvents: stopped.flatMap(([, , { found }]) => found),
  };
  const rules = stopped.flatMap(([{ found }]) => found);
  if (attempts.every(({ outcome }) => outcome === 'allowed')) return { ...observed, rules };
  const drops = dropsAfter(
    stopped.flatMap(([, { found }]) => found),
    lastSightings(question, observed.sightings),
  );
  const [lookups, facts] = await Promise.all([
    lookUp(question, points, { input, sites }),
    factsAfter(input, question, sites),
  ]);
  const last = furthestSighting(question, observed.sightings);
  const state = last === undefined ? undefined : sites.get(last.place.node)?.before;
  const traced = rules.some(({ verdict, rule }) => verdict === 'drop' || /\breject\b/.test(rule ?? ''));
  const evaluated = traced || last === undefined || state === undefined ? [] : rulesThatDrop(state, last);
  return { ...observed, rules: [...rules, ...evaluated], drops, lookups, facts };
}

/**
 * The probes' own ports, and those of the servers, since translation may change the former. Of connections with other ports only beginnings and ends
 * are taken: more would be other people's traffic, and at the API server the capture itself.
 */
function filterOf({ clientPort, port, servers }: Question, transport: 'tcp' | 'udp'): string {
  const anyOf = (ports: Iterable<number>): string => [...ports].map((one) => `port ${one}`).join(' or ');
  const theirs = anyOf(new Set([port, ...servers.map((server) => server.port)]));
  const opening = transport === 'tcp' ? `(${theirs}) and (ip6 or tcp[13] & 7 != 0)` : theirs;
  return `(${transport} and (${anyOf([clientPort, clientPort + 1])} or (${opening}))) or icmp or icmp6 or arp`;
}

async function settled(received: () => number): Promise<void> {
  const deadline = performance.now() + settleMs;
  for (let before = 0; performance.now() < deadline;) {
    await new Promise((done) => setTimeout(done, quietMs));
    const now = received();
    if (now > 0 && now === before) return;
    before = now;
  }
}

async function attempt(
  { host, timeoutMs }: TraceInput,
  { protocol, port, address }: Pick<Question, 'protocol' | 'port' | 'address'>,
  {
    send,
    payloadOctets,
    localPort,
  }: { send: NonNullable<Watching['send']>; payloadOctets: number; localPort?: number },
): Promise<AttemptSeen> {
  const nonce = `plumb-${randomBytes(6).toString('hex')}`;
  const result = await send({
    nonce,
    protocol,
    host: address ?? host,
    port,
    timeoutMs,
    ...(localPort === undefined ? {} : { localPort }),
    hostHeader: host,
    ...(payloadOctets > 0 ? { payloadBytes: payloadOctets } : {}),
  });
  return {
    outcome: result.outcome,
    latencyMs: result.latencyMs,
    payloadOctets,
    ...(result.error === undefined ? {} : { error: result.error }),
    ...(result.http === undefined ? {} : { status: result.http.status }),
  };
}

/**
 * Each endpoint that a Service may choose, by its own address: the probe met one of them by chance. Not from outside, where pods'
 * addresses need not be reachable, nor through a node's address, where they see another source.
 */
async function askEndpoints(
  input: TraceInput,
  question: Question,
  { send, gaps }: { send: NonNullable<Watching['send']>; gaps: string[] },
): Promise<EndpointAnswer[]> {
  const { from, service, protocol } = question;
  if (service === undefined || from.kind === 'outside' || ownerOf(input, question.address) !== undefined) return [];
  const eligible = service.endpoints.filter(({ ready, node }) => ready && (!service.localOnly || node === from.node));
  if (eligible.length < 2) return [];
  if (eligible.length > endpointsMost)
    gaps.push(`only ${endpointsMost} of ${eligible.length} endpoints of ${service.name} were asked`);
  return Promise.all(
    eligible.slice(0, endpointsMost).map(async ({ address, port, pod }): Promise<EndpointAnswer> => {
      const seen = await attempt(input, { protocol, address, port }, { send, payloadOctets: 0 });
      return { address, port, pod, ...seen };
    }),
  );
}

function nodesOf(described: Described | undefined): (string | undefined)[] {
  return (described?.servers ?? []).slice(0, serversMost).map(({ node }) => node);
}

/** The node whose address was asked for. */
function ownerOf({ nodeAddresses }: TraceInput, address: string | undefined): string | undefined {
  return Object.entries(nodeAddresses).find(
    ([, addresses]) => address !== undefined && addresses.includes(address),
  )?.[0];
}

function pidOf(state: NodeState, pod: PodOnNode | undefined, from: Party): number | undefined {
  return pod === undefined || from.kind !== 'pod' || from.hostNetwork === true
    ? undefined
    : namespaceOf(state, pod)?.pid;
}

function pointsOf(input: TraceInput, { from, servers }: Question, sites: Watching['sites']): CapturePoint[] {
  const points = [...sites].flatMap(([node, { before }]) => {
    const names = [from, ...servers]
      .filter((party) => party.kind === 'pod' && party.node === node)
      .map(({ name }) => name);
    const pods = [...new Set(names)].map((name) => input.pods.get(name)).filter((pod) => pod !== undefined);
    return [
      ...pods.flatMap((pod) => pointsOfPod(before, pod)),
      ...pointsOfNode(before, input.nodeAddresses[node] ?? []),
    ];
  });
  return [...new Map(points.map((point) => [point.name, point])).values()];
}

/** Others use the same ports of servers: only packets that carry the probes' own port somewhere, and errors, are kept. */
function ofFlow(question: Question, sightings: readonly Sighting[]): Sighting[] {
  const own = new Set([question.clientPort, question.clientPort + 1]);
  const numbers = new Set(
    sightings
      .filter(
        ({ sourcePort, destinationPort, error }) =>
          own.has(sourcePort) || own.has(destinationPort) || error !== undefined,
      )
      .map(({ packet }) => packet),
  );
  return sightings.filter(({ packet }) => numbers.has(packet));
}

function furthestSighting(question: Question, sightings: readonly Sighting[]): Sighting | undefined {
  const { there, back } = waysOf({ question, sightings });
  return back.at(-1) ?? there.at(-1);
}

/** Where each transmission of the request, or of its answer, was seen last. */
function lastSightings(question: Question, sightings: readonly Sighting[]): Sighting[] {
  const last = furthestSighting(question, sightings);
  if (last === undefined) return [];
  return sightings.filter(
    ({ place, destinationPort, destination }) =>
      place.node === last.place.node &&
      place.interface === last.place.interface &&
      destination === last.destination &&
      destinationPort === last.destinationPort,
  );
}

async function trackedConnections(
  { protocol, clientPort }: Question,
  sessions: ReadonlyMap<string, NodeSession>,
): Promise<ConntrackEntry[]> {
  const transport = protocol === 'udp' ? 'udp' : 'tcp';
  const found = await Promise.all(
    [...sessions].map(async ([node, session]) => {
      const { stdout } = await session
        .run(['conntrack', '-L', '-p', transport, '--orig-port-src', String(clientPort)])
        .catch(() => ({ stdout: '' }));
      return parseConntrack(stdout, node);
    }),
  );
  return found.flat();
}

/** How each node and the source's pod would send the packets on, there and back. */
async function lookUp(
  { from, servers, address = '' }: Question,
  points: readonly CapturePoint[],
  { input, sites }: { input: TraceInput; sites: Watching['sites'] },
): Promise<RouteLookup[]> {
  const source = from.addresses[0];
  const targets = [
    ...new Set([
      ...servers.flatMap(({ addresses }) => addresses.slice(0, 1)),
      ...(servers.length === 0 ? [address] : []),
    ]),
  ].slice(0, 4);
  const asked: (Pick<RouteLookup, 'node' | 'pod' | 'destination' | 'source' | 'fromInterface'> & { pid?: number })[] =
    [];
  for (const [node, { before }] of sites) {
    const inside = (name: string): string | undefined =>
      points.find(
        (point) =>
          point.node === node &&
          point.kind === 'host-side' &&
          point.pod !== undefined &&
          `${point.pod.namespace}/${point.pod.name}` === name,
      )?.interface;
    const uplink =
      points.find((point) => point.node === node && point.kind === 'tunnel')?.interface ??
      points.find((point) => point.node === node && point.kind === 'uplink')?.interface;
    const fromHere = from.node === node;
    const pod = input.pods.get(from.name);
    const pid = pod === undefined || !fromHere ? undefined : pidOf(before, pod, from);
    if (fromHere && pid !== undefined) asked.push({ node, pod: from.name, destination: address, pid });
    for (const destination of targets) {
      const server = servers.find(({ addresses }) => addresses.includes(destination));
      const entered = fromHere ? inside(from.name) : uplink;
      const there = { node, destination };
      if (fromHere && from.kind !== 'pod') asked.push(there);
      else if (source !== undefined && entered !== undefined) asked.push({ ...there, source, fromInterface: entered });
      const left = server?.node === node ? inside(server.name) : uplink;
      if (source !== undefined && left !== undefined && (server?.node === node || fromHere))
        asked.push({ node, destination: source, source: destination, fromInterface: left });
    }
  }
  return Promise.all(
    asked.map(async ({ pid, ...question }): Promise<RouteLookup> => {
      const { destination, source: by, fromInterface } = question;
      const how = [
        ...(by === undefined ? [] : ['from', by]),
        ...(fromInterface === undefined ? [] : ['iif', fromInterface]),
      ];
      const session = sites.get(question.node)?.session;
      if (session === undefined) return { ...question, error: 'no session' };
      const result = await session
        .run(['ip', '-j', 'route', 'get', destination, ...how], pid === undefined ? {} : { pid })
        .catch((error: unknown) => ({ exitCode: 1, stdout: '', stderr: messageOf(error) }));
      return parseRouteGet(result, question);
    }),
  );
}

async function factsAfter(
  input: TraceInput,
  { from, servers }: Question,
  sites: Watching['sites'],
): Promise<NetworkFacts[]> {
  const { access } = input;
  if (access === undefined) return [];
  const found = await Promise.all(
    [...sites].map(async ([node, { before }]): Promise<NetworkFacts[]> => {
      const after = await access.state(node).catch(() => undefined);
      if (after === undefined) return [];
      const names = new Set(
        [from, ...servers].filter((party) => party.kind === 'pod' && party.node === node).map(({ name }) => name),
      );
      const pods = [...names].flatMap((name) => {
        const pod = input.pods.get(name);
        const now = pod === undefined ? undefined : namespaceOf(after, pod);
        if (pod === undefined || now === undefined) return [];
        return [factsOfPod(name, { node, before: namespaceOf(before, pod), after: now })];
      });
      return [factsOfNode(before, after), ...pods];
    }),
  );
  return found.flat();
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
