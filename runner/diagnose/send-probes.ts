// SPDX-License-Identifier: Apache-2.0
/** Sends the planned probes from the networks of pods and nodes, each source by one agent; what failed is sent once more. */
import { setTimeout } from 'node:timers/promises';
import type { DnsResult } from '../../probes/agent/protocol.ts';
import { namespaceOf } from '../../probes/capture/capture-points.ts';
import type { NodeSession } from '../../probes/node-session/node-session.ts';
import type { NodeState } from '../../probes/node-state/node-state.ts';
import { resolverPlan } from '../../probes/trace/dns-steps.ts';
import { NetnsAgent } from '../../probes/trace/netns-agent.ts';
import type { Party } from '../../probes/trace/observations.ts';
import { messageOf } from '../problem.ts';
import type { NetworkObjects } from '../target/network-objects.ts';
import { podsByName } from './parties.ts';
import { hasFailed, type ProbeOutcome } from './probe-outcome.ts';
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
      attempts: streams.map(({ host, port, protocol, payloadOctets, path }, index) => ({
        nonce: `plumb-diagnose-${index}`,
        protocol: protocol === 'dns' ? ('tcp' as const) : protocol,
        host,
        port,
        timeoutMs,
        ...(payloadOctets === undefined ? {} : { payloadBytes: payloadOctets }),
        ...(path === undefined ? {} : { path }),
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

/** The name that every cluster has, in the pod's own domain, or one of the zone, at the pod's own nameserver or at the one that is named. */
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
  const ask = async (questions: typeof asked, waitMs: number): Promise<readonly DnsResult[]> =>
    (
      await agent.request('dns', {
        questions: questions.map(({ server, probe: { zone } }) => ({
          server,
          name: zone === undefined ? name : `plumb-diagnose.${zone}.`,
          type: 'A',
          timeoutMs: waitMs,
        })),
      })
    ).results;
  const first = await ask(asked, timeoutMs);
  const seen = new Map(asked.map((one, index) => [one, first.slice(index, index + 1)]));
  const asking = asked.filter(({ probe }, index) => probe.zone === undefined && first[index]?.outcome === 'answered');
  for (let round = 1; round < dnsRounds && asking.length > 0; round++) {
    await setTimeout(betweenRoundsMs);
    const again = await ask(asking, confirmMs);
    for (const [index, one] of asking.entries()) seen.get(one)?.push(...again.slice(index, index + 1));
    // What is lost now and then, as where one of several servers is not reached, matters more than what is slow.
    if (again.some(({ outcome }) => outcome !== 'answered')) break;
  }
  return asked.flatMap((one): ProbeOutcome[] => {
    const own = seen.get(one) ?? [];
    const result = own.find(({ outcome }) => outcome !== 'answered') ?? own[0];
    if (result === undefined || result.outcome === 'prober-broken') return [];
    const outcome = result.outcome === 'answered' ? (result.rcode ?? 'answered') : result.outcome;
    const latencyMs = secondSlowest(own.flatMap((answer) => (answer.outcome === 'answered' ? [answer.latencyMs] : [])));
    return [{ probe: one.probe, outcome, latencyMs, ...(result.error === undefined ? {} : { error: result.error }) }];
  });
}

function secondSlowest(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => b - a);
  return sorted[1] ?? sorted[0] ?? 0;
}
