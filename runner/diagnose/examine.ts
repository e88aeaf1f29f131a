// SPDX-License-Identifier: Apache-2.0
/** Looks at a whole cluster and says what is broken. Reads, sends small probes, changes nothing; what to conclude is decided in pure functions. */
import type { DnsResult } from '../../probes/agent/protocol.ts';
import { namespaceOf } from '../../probes/capture/capture-points.ts';
import type { NodeSession } from '../../probes/node-session/node-session.ts';
import type { NodeState } from '../../probes/node-state/node-state.ts';
import { judge } from '../../probes/trace/judge.ts';
import { NetnsAgent } from '../../probes/trace/netns-agent.ts';
import type { Party } from '../../probes/trace/observations.ts';
import { resolverPlan } from '../../probes/trace/dns-steps.ts';
import { nodeFindings } from '../../suites/network/findings/node-findings.ts';
import type { KubeClients } from '../../suites/kube-clients.ts';
import { messageOf } from '../problem.ts';
import { addressesOfNode, readNetworkObjects, type NetworkObjects } from '../target/network-objects.ts';
import type { NodeAccess } from '../../probes/node-session/node-access.ts';
import type { OwnNodeAccess } from '../target/node-access.ts';
import { controlPlaneDiagnoses } from './control-plane.ts';
import { ranked, type Diagnosis } from './diagnosis.ts';
import { observeFlow } from './flow.ts';
import { missingPrograms, nodeDiagnosis } from './node-diagnoses.ts';
import { linkDiagnoses, parsePing, type PingSeen } from './node-links.ts';
import { podsByName } from './parties.ts';
import { policyOpinions } from './policy-opinions.ts';
import { hasFailed, outcomeDiagnoses, worthTracing, type ProbeOutcome } from './probe-outcome.ts';
import { planProbes, type PlannedProbe } from './probe-plan.ts';
import { measureWrites, readControlPlane, readLeases, readPodEvents } from './read-control-plane.ts';
import { verdictDiagnosis } from './verdict-diagnosis.ts';
import { workloadDiagnoses } from './workloads.ts';

export interface Examination {
  readonly findings: readonly Diagnosis[];
  /** What could not be looked at. */
  readonly gaps: readonly string[];
  readonly probes: number;
  readonly failedProbes: number;
  readonly nodes: number;
}

export interface ExamineOptions {
  readonly kube: KubeClients;
  /** Opened when it is first needed; undefined: no node is looked at. */
  readonly openAccess: (() => Promise<OwnNodeAccess>) | undefined;
  readonly log: (message: string) => void;
}

const nodesMost = 40;
const nodeMs = 45_000;
const attemptMs = 800;
const confirmMs = 2_200;
const traceMs = 1_200;
const concurrency = 24;

interface Site {
  readonly session: NodeSession;
  readonly state: NodeState;
}

export async function examine({ kube, openAccess, log }: ExamineOptions): Promise<Examination> {
  const gaps: string[] = [];
  const opening = openAccess?.().catch((error: unknown) => {
    gaps.push(`no node could be looked at: ${messageOf(error)}`);
    return undefined;
  });
  const [objects, controlPlane, access] = await Promise.all([
    readNetworkObjects(kube),
    readControlPlane(kube),
    opening,
  ]);
  if (openAccess === undefined) gaps.push('no node was looked at: node probes were turned off');
  const [events, writeMs] = await Promise.all([
    readPodEvents(kube, objects),
    access === undefined ? [] : measureWrites(kube, access.namespace),
  ]);
  const { now } = controlPlane;
  const fromApi = workloadDiagnoses({ objects, events, now });
  const started = performance.now();
  const late: Diagnosis[] = [];
  const sites = access === undefined ? new Map<string, Site>() : await visit(access, objects, { gaps, late });
  log(`looked at ${sites.size} of ${objects.nodes.length} nodes`);
  const states = [...sites.values()].map(({ state }) => state);
  const { nodes, pods, services, slices } = objects;
  const fromNodes = [
    ...nodeFindings(states, { nodes, pods, services, endpointSlices: slices }).map(nodeDiagnosis),
    ...missingPrograms(states),
  ];
  const opinions = policyOpinions(objects);
  const plan = planProbes({ objects, opinions, nodes: [...sites.keys()] });
  const [results, pings] = await Promise.all([probeAll(plan, { objects, sites, gaps }), pingAll(objects, sites)]);
  const failed = results.filter(hasFailed);
  log(`${failed.length} of ${results.length} probes failed`);
  const fromControlPlane = controlPlaneDiagnoses({
    ...controlPlane,
    writeMs,
    nodes: objects.nodes,
    later: { leases: await readLeases(kube), now: now + performance.now() - started },
  });
  const known = [
    ...fromControlPlane,
    ...fromApi,
    ...late,
    ...fromNodes,
    ...linkDiagnoses(pings),
    ...outcomeDiagnoses(results),
  ];
  const traced = access === undefined ? [] : await traceAll(worthTracing(results, known), { objects, access, gaps });
  return {
    findings: ranked([...known, ...traced]),
    gaps,
    probes: results.length,
    failedProbes: failed.length,
    nodes: sites.size,
  };
}

/**
 * Nodes that are not Ready start no probe: waiting for them would say nothing new. A node on which none comes up while others had theirs long ago is
 * a finding in itself: its kubelet starts no pods.
 */
async function visit(
  access: NodeAccess,
  { nodes }: NetworkObjects,
  { gaps, late }: { readonly gaps: string[]; readonly late: Diagnosis[] },
): Promise<Map<string, Site>> {
  const sites = new Map<string, Site>();
  const ready = nodes
    .filter(({ status }) => (status?.conditions ?? []).some((one) => one.type === 'Ready' && one.status === 'True'))
    .map(({ metadata }) => metadata?.name ?? '');
  if (ready.length > nodesMost) gaps.push(`only ${nodesMost} of ${ready.length} nodes were looked at`);
  const names = ready.slice(0, nodesMost);
  const failed = new Map<string, string>();
  const started = performance.now();
  let release: () => void = () => undefined;
  const enough = new Promise<void>((resolve) => (release = resolve));
  const timer = setTimeout(release, nodeMs);
  const look = async (node: string): Promise<void> => {
    try {
      const [session, state] = await Promise.all([access.session(node), access.state(node)]);
      sites.set(node, { session, state });
    } catch (error) {
      failed.set(node, messageOf(error));
    }
    if (sites.size * 2 >= names.length) setTimeout(release, stragglerMs(performance.now() - started)).unref();
  };
  await Promise.race([Promise.all(names.map(look)), enough]);
  clearTimeout(timer);
  for (const node of names) {
    if (sites.has(node)) continue;
    const why = failed.get(node) ?? `no probe came up within ${Math.round((performance.now() - started) / 1000)} s`;
    gaps.push(`node ${node}: ${why}`);
    if (failed.has(node) || sites.size === 0) continue;
    late.push({
      reason: 'component-down',
      component: 'kubelet',
      node,
      objects: [`Node ${node}`],
      summary: `A pod for ${node} did not start in ${Math.round((performance.now() - started) / 1000)} s, while those of ${sites.size} other nodes did.`,
      evidence: [...sites.keys()].map((other) => `${other}: a probe started`),
      next: `Look at the kubelet and the container runtime of ${node}, and their logs.`,
      weight: 78,
    });
  }
  // In the order of the API, so that the same cluster gives the same plan; later comers are left alone.
  return new Map(
    names.flatMap((name) => {
      const site = sites.get(name);
      return site === undefined ? [] : [[name, site] as const];
    }),
  );
}

/** The slower the others were, the longer the last ones get. */
function stragglerMs(othersTookMs: number): number {
  return 3_000 + othersTookMs * 1.5;
}

interface Probing {
  readonly objects: NetworkObjects;
  readonly sites: ReadonlyMap<string, Site>;
  readonly gaps: string[];
}

async function probeAll(plan: readonly PlannedProbe[], probing: Probing): Promise<ProbeOutcome[]> {
  const bySource = Map.groupBy(plan, ({ from }) => `${from.kind} ${from.name}`);
  const results = await Promise.all([...bySource.values()].map((probes) => probeFrom(probes, probing)));
  return results.flat();
}

async function probeFrom(probes: readonly PlannedProbe[], { objects, sites, gaps }: Probing): Promise<ProbeOutcome[]> {
  const from = probes[0]?.from;
  const site = sites.get(from?.node ?? '');
  if (from === undefined || site === undefined) return [];
  const pid = pidOf(from, site.state, objects);
  if (from.kind === 'pod' && pid === undefined) return [];
  try {
    const agent = await NetnsAgent.start(site.session, pid);
    try {
      const first = await sendAll(probes, { agent, session: site.session, pid, timeoutMs: attemptMs });
      const doubtful = first
        .filter((one) => hasFailed(one) && one.probe.kind !== 'forbidden')
        .map(({ probe }) => probe);
      if (doubtful.length === 0) return first;
      // A machine that is busy may be late once: what fails twice has failed.
      const again = await sendAll(doubtful, { agent, session: site.session, pid, timeoutMs: confirmMs });
      return first.map((one) => again.find(({ probe }) => probe === one.probe) ?? one);
    } finally {
      await agent.close();
    }
  } catch (error) {
    gaps.push(`probes from ${from.name}: ${messageOf(error)}`);
    return [];
  }
}

function pidOf(from: Party, state: NodeState, objects: NetworkObjects): number | undefined {
  const pod = from.kind === 'pod' ? podsByName(objects).get(from.name) : undefined;
  return pod === undefined ? undefined : namespaceOf(state, pod)?.pid;
}

interface Sending {
  readonly agent: NetnsAgent;
  readonly session: NodeSession;
  readonly pid: number | undefined;
  readonly timeoutMs: number;
}

async function sendAll(
  probes: readonly PlannedProbe[],
  { agent, session, pid, timeoutMs }: Sending,
): Promise<ProbeOutcome[]> {
  const streams = probes.filter((probe) => probe.protocol !== 'dns');
  const names = probes.filter((probe) => probe.protocol === 'dns');
  const [attempts, answers] = await Promise.all([
    agent.request('attempt', {
      concurrency,
      attempts: streams.map(({ host, port, protocol, payloadOctets }, index) => ({
        nonce: `plumb-diagnose-${index}`,
        protocol: protocol === 'dns' ? ('tcp' as const) : protocol,
        host,
        port,
        timeoutMs,
        ...(payloadOctets === undefined ? {} : { payloadBytes: payloadOctets }),
      })),
    }),
    askAll(names, { agent, session, pid, timeoutMs }),
  ]);
  return [
    ...streams.flatMap((probe, index): ProbeOutcome[] => {
      const result = attempts.results[index];
      if (result === undefined || result.outcome === 'prober-broken') return [];
      const { outcome, latencyMs, error, http } = result;
      return [
        {
          probe,
          outcome,
          latencyMs,
          ...(error === undefined ? {} : { error }),
          ...(http === undefined ? {} : { status: http.status }),
        },
      ];
    }),
    ...answers,
  ];
}

/** The name that every cluster has, in the pod's own domain, at its own nameserver or at the one that is named. */
async function askAll(
  probes: readonly PlannedProbe[],
  { agent, session, pid, timeoutMs }: Sending,
): Promise<ProbeOutcome[]> {
  if (probes.length === 0) return [];
  const [resolvConf = ''] = await session.read([`/proc/${pid ?? 1}/root/etc/resolv.conf`]);
  const { servers } = resolverPlan('x', { resolvConf, hosts: '' });
  const domain = /\bsvc\.([\w.-]+)/.exec(resolvConf)?.[1] ?? 'cluster.local';
  const name = `kubernetes.default.svc.${domain.replace(/\.$/, '')}.`;
  const asked = probes.flatMap((probe) => {
    const server = probe.host === '' ? servers[0] : probe.host;
    return server === undefined
      ? []
      : [{ probe: probe.host === '' ? { ...probe, to: `its nameserver ${server}`, host: server } : probe, server }];
  });
  const { results } = await agent.request('dns', {
    questions: asked.map(({ server }) => ({ server, name, type: 'A', timeoutMs })),
  });
  return asked.flatMap(({ probe }, index): ProbeOutcome[] => {
    const result: DnsResult | undefined = results[index];
    if (result === undefined || result.outcome === 'prober-broken') return [];
    const outcome = result.outcome === 'answered' ? (result.rcode ?? 'answered') : result.outcome;
    return [
      { probe, outcome, latencyMs: result.latencyMs, ...(result.error === undefined ? {} : { error: result.error }) },
    ];
  });
}

const pingNodesMost = 6;

/** Each node asks the next ones in a ring, with small packets and with such as fill a packet of the uplink. */
async function pingAll({ nodes }: NetworkObjects, sites: ReadonlyMap<string, Site>): Promise<PingSeen[]> {
  const names = [...sites.keys()];
  const pairs = names
    .flatMap((from, index) =>
      names.slice(0, pingNodesMost).map((_, step) => [from, names[(index + step) % names.length] ?? ''] as const),
    )
    .filter(([from, to]) => from !== to);
  const found = await Promise.all(
    pairs.flatMap(([from, to]) => {
      const site = sites.get(from);
      const object = nodes.find(({ metadata }) => metadata?.name === to);
      const address = object === undefined ? undefined : addressesOfNode(object).find((one) => !one.includes(':'));
      if (site === undefined || address === undefined) return [];
      const uplink = site.state.links.find(({ addresses }) =>
        addresses.some(
          (own) =>
            object !== undefined && own.family === 4 && own.scope === 'global' && !own.address.startsWith('127.'),
        ),
      );
      const full = (uplink?.mtu ?? 1500) - 28;
      return [
        ping(site.session, { from, to, address, octets: 56, count: 40 }),
        ping(site.session, { from, to, address, octets: full, count: 3 }),
      ];
    }),
  );
  return found.filter((one) => one !== undefined);
}

async function ping(
  session: NodeSession,
  { from, to, address, octets, count }: { from: string; to: string; address: string; octets: number; count: number },
): Promise<PingSeen | undefined> {
  const argv = [
    '/bin/busybox',
    'ping',
    '-q',
    '-A',
    '-c',
    String(count),
    '-W',
    '1',
    '-w',
    '4',
    '-s',
    String(octets),
    address,
  ];
  try {
    const { stdout } = await session.run(argv, { timeoutMs: 8_000 });
    const seen = parsePing(stdout);
    return seen === undefined ? undefined : { from, to, octets, ...seen };
  } catch {
    return undefined;
  }
}

async function traceAll(
  probes: readonly PlannedProbe[],
  { objects, access, gaps }: { objects: NetworkObjects; access: NodeAccess; gaps: string[] },
): Promise<Diagnosis[]> {
  const found = await Promise.all(
    probes.map(async (probe): Promise<Diagnosis | undefined> => {
      try {
        const { from, to, host, port, protocol, payloadOctets = 0 } = probe;
        const observations = await observeFlow({
          objects,
          access,
          from,
          to,
          host,
          port,
          protocol: protocol === 'dns' ? 'udp' : protocol,
          timeoutMs: traceMs,
          payloadOctets,
        });
        return verdictDiagnosis({ schema: 1, verdict: judge(observations), observations }, probe);
      } catch (error) {
        gaps.push(`${probe.from.name} to ${probe.to} could not be traced: ${messageOf(error)}`);
        return undefined;
      }
    }),
  );
  return found.filter((one) => one !== undefined);
}
