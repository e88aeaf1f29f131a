// SPDX-License-Identifier: Apache-2.0
/** Sends the planned probes from the networks of pods and nodes, each source by one agent; what failed is sent once more. */
import { setTimeout } from 'node:timers/promises';
import { namespaceOf } from '../../probes/capture/capture-points.ts';
import type { NodeSession } from '../../probes/node-session/node-session.ts';
import type { NodeState } from '../../probes/node-state/node-state.ts';
import { resolverPlan } from '../../probes/trace/dns-steps.ts';
import { NetnsAgent } from '../../probes/trace/netns-agent.ts';
import type { Party } from '../../probes/trace/observations.ts';
import { messageOf } from '../problem.ts';
import type { NetworkObjects } from '../target/network-objects.ts';
import { podsByName } from './parties.ts';
import { hasFailed, worstOf, type ProbeOutcome } from './probe-outcome.ts';
import type { PlannedProbe } from './probe-plan.ts';
import type { Site } from './visit-nodes.ts';

const attemptMs = 800;
/** Long enough for a second SYN, which goes out after a second. */
const confirmMs = 1_800;
const concurrency = 24;
/** How often what answers a name is asked: one answer may be late on a busy machine, and of a slow server some come in time. */
const dnsRounds = 5;
const betweenRoundsMs = 250;

interface Probing {
  readonly objects: NetworkObjects;
  readonly sites: ReadonlyMap<string, Site>;
  readonly gaps: string[];
}

export async function sendProbes(plan: readonly PlannedProbe[], probing: Probing): Promise<ProbeOutcome[]> {
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
      const { dns = [], stream = [] } = Object.groupBy(probes, ({ protocol }) =>
        protocol === 'dns' ? 'dns' : 'stream',
      );
      const results = await Promise.all([
        connectTwice(stream, agent),
        askAll(dns, { agent, session: site.session, pid }),
      ]);
      return results.flat();
    } finally {
      await agent.close();
    }
  } catch (error) {
    gaps.push(`probes from ${from.name}: ${messageOf(error)}`);
    return [];
  }
}

/** A machine that is busy may be late once: what fails twice has failed. */
async function connectTwice(probes: readonly PlannedProbe[], agent: NetnsAgent): Promise<ProbeOutcome[]> {
  const first = await connectAll(probes, agent, attemptMs);
  const doubtful = first.filter((one) => hasFailed(one) && one.probe.kind !== 'forbidden').map(({ probe }) => probe);
  if (doubtful.length === 0) return first;
  const again = await connectAll(doubtful, agent, confirmMs);
  return first.map((one) => again.find(({ probe }) => probe === one.probe) ?? one);
}

function pidOf(from: Party, state: NodeState, objects: NetworkObjects): number | undefined {
  const pod = from.kind === 'pod' ? podsByName(objects).get(from.name) : undefined;
  return pod === undefined ? undefined : namespaceOf(state, pod)?.pid;
}

interface Sending {
  readonly agent: NetnsAgent;
  readonly session: NodeSession;
  readonly pid: number | undefined;
}

async function connectAll(
  probes: readonly PlannedProbe[],
  agent: NetnsAgent,
  timeoutMs: number,
): Promise<ProbeOutcome[]> {
  if (probes.length === 0) return [];
  const { results } = await agent.request('attempt', {
    concurrency,
    attempts: probes.map(({ host, port, protocol, payloadOctets, path }, index) => ({
      nonce: `plumb-diagnose-${index}`,
      protocol: protocol === 'dns' ? ('tcp' as const) : protocol,
      host,
      port,
      timeoutMs,
      ...(payloadOctets === undefined ? {} : { payloadBytes: payloadOctets }),
      ...(path === undefined ? {} : { path }),
    })),
  });
  return probes.flatMap((probe, index): ProbeOutcome[] => {
    const result = results[index];
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
  });
}

interface DnsQuestion {
  readonly probe: PlannedProbe;
  readonly server: string;
  readonly name: string;
}

/** The name that every cluster has, in the pod's own domain, or one of the zone, at the pod's own nameserver or at the one that is named. */
async function askAll(probes: readonly PlannedProbe[], sending: Sending): Promise<ProbeOutcome[]> {
  if (probes.length === 0) return [];
  const { agent, session, pid } = sending;
  const [resolvConf = ''] = await session.read([`/proc/${pid ?? 1}/root/etc/resolv.conf`]);
  const { servers } = resolverPlan('x', { resolvConf, hosts: '' });
  const domain = /\bsvc\.([\w.-]+)/.exec(resolvConf)?.[1] ?? 'cluster.local';
  const usual = `kubernetes.default.svc.${domain.replace(/\.$/, '')}.`;
  const questions = probes.flatMap((probe): DnsQuestion[] => {
    const server = probe.host === '' ? servers[0] : probe.host;
    const name = probe.zone === undefined ? usual : `plumb-diagnose.${probe.zone}.`;
    if (server === undefined) return [];
    const named = probe.host === '' ? { ...probe, to: `its nameserver ${server}`, host: server } : probe;
    return [{ probe: named, server, name }];
  });
  return (await Promise.all(questions.map((question) => askOne(question, agent)))).flat();
}

async function askOne(question: DnsQuestion, agent: NetnsAgent): Promise<ProbeOutcome[]> {
  const first = await askRounds(question, agent);
  // A machine that is busy may lose one: what fails twice has failed.
  if (first.filter(hasFailed).length !== 1) return worstOf(first);
  const again = await askRounds(question, agent);
  return worstOf(again.some(hasFailed) ? again : [...first.filter((one) => !hasFailed(one)), ...again]);
}

/** Servers of the zone's own, who are others, are asked once. */
async function askRounds({ probe, server, name }: DnsQuestion, agent: NetnsAgent): Promise<ProbeOutcome[]> {
  const rounds = Array.from({ length: probe.zone === undefined ? dnsRounds : 1 }, async (_, round) => {
    await setTimeout(round * betweenRoundsMs);
    return agent.request('dns', { questions: [{ server, name, type: 'A', timeoutMs: confirmMs }] });
  });
  return (await Promise.all(rounds)).flatMap(({ results }) =>
    results
      .filter(({ outcome }) => outcome !== 'prober-broken')
      .map(({ outcome, rcode, latencyMs, error }) => ({
        probe,
        outcome: outcome === 'answered' ? (rcode ?? outcome) : outcome,
        latencyMs,
        ...(error === undefined ? {} : { error }),
      })),
  );
}
