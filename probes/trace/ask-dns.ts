// SPDX-License-Identifier: Apache-2.0
/** Resolves a name as the source's own resolver would, one question at a time, so that each step is seen. */
import { isIP } from 'node:net';
import type { NodeSession } from '../node-session/node-session.ts';
import { resolverPlan } from './dns-steps.ts';
import type { NetnsAgent } from './netns-agent.ts';
import type { DnsStep } from './observations.ts';

const questionMs = 2_000;

export interface Asking {
  readonly agent: NetnsAgent;
  readonly session: NodeSession;
  /** A process of the pod; absent: the node itself. */
  readonly pid: number | undefined;
}

/** A name without an address has undefined. Stops at the first answer, as resolvers do. */
export async function askAlong(
  host: string,
  { agent, session, pid }: Asking,
): Promise<{ readonly address: string | undefined; readonly dns: readonly DnsStep[] }> {
  if (isIP(host) !== 0) return { address: host, dns: [] };
  // On the node itself the files of its first process are those of the node, not of the probe.
  const root = `/proc/${pid ?? 1}/root/etc`;
  const [resolvConf = '', hosts = ''] = await session.read([`${root}/resolv.conf`, `${root}/hosts`]);
  const plan = resolverPlan(host, { resolvConf, hosts });
  const dns: DnsStep[] = [];
  if (plan.fromHosts !== undefined) {
    const step = {
      name: host,
      type: 'A',
      server: '/etc/hosts',
      outcome: 'NOERROR',
      answers: [plan.fromHosts],
      latencyMs: 0,
    };
    return { address: plan.fromHosts, dns: [step] };
  }
  for (const name of plan.candidates) {
    for (const type of ['A', 'AAAA'] as const) {
      const answers = await askServers(name, type, { servers: plan.servers, agent, dns });
      if (answers === undefined) return { address: undefined, dns };
      if (answers[0] !== undefined) return { address: answers[0], dns };
    }
  }
  return { address: undefined, dns };
}

/** Servers in their order until one answers; undefined where none does: a resolver then gives up. */
async function askServers(
  name: string,
  type: 'A' | 'AAAA',
  { servers, agent, dns }: { servers: readonly string[]; agent: NetnsAgent; dns: DnsStep[] },
): Promise<readonly string[] | undefined> {
  for (const server of servers) {
    const { results } = await agent.request('dns', { questions: [{ server, name, type, timeoutMs: questionMs }] });
    const [result] = results;
    if (result === undefined) return undefined;
    const answers = (result.answers ?? []).filter((one) => one.type === type).map(({ data }) => data);
    const outcome = result.outcome === 'answered' ? (result.rcode ?? 'answered') : result.outcome;
    dns.push({ name, type, server, outcome, answers, latencyMs: result.latencyMs });
    if (result.outcome === 'answered' && (result.rcode === 'NOERROR' || result.rcode === 'NXDOMAIN')) return answers;
  }
  return undefined;
}
