// SPDX-License-Identifier: Apache-2.0
/** What became of the canaries: a node on which no new pod gets a network, or policies hold late or never, while on others all is well. Pure. */
import type { V1Pod } from '@kubernetes/client-node';
import type { NetworkObjects } from '../target/network-objects.ts';
import type { Diagnosis } from './diagnosis.ts';
import { partyOfNode, partyOfPod } from './parties.ts';
import type { PlannedProbe } from './probe-plan.ts';
import { whyNotStarted, type EventWords } from './workloads.ts';

export interface CanarySeen {
  readonly node: string;
  /** Until it ran; undefined: it did not. */
  readonly startedMs: number | undefined;
  /** Warnings about it. */
  readonly said: readonly EventWords[];
  /** After which time a policy that forbids everything kept others out; undefined: it did not, or was not tried. */
  readonly closedMs?: number;
  /** From this node it was not reached, before any policy. */
  readonly unreached?: { readonly pod: V1Pod; readonly from: string; readonly port: number };
  /** Until then somebody else got in in spite of it. */
  readonly openMs?: number;
}

const probesMost = 2;

export function canaryDiagnoses(canaries: readonly CanarySeen[]): Diagnosis[] {
  const running = canaries.filter(({ startedMs }) => startedMs !== undefined);
  const closed = canaries.filter(({ closedMs }) => closedMs !== undefined);
  // Where no policy holds anywhere, the cluster has nobody who enforces them, which is no fault by itself.
  return canaries.flatMap((canary) => [
    ...(canary.startedMs === undefined && running.length > 0 ? [notStarted(canary, running)] : []),
    ...(canary.closedMs === undefined && canary.openMs !== undefined && closed.length > 0
      ? [open(canary, closed)]
      : []),
  ]);
}

/** Canaries that are not reached, while others are, and how to look at it. What is wrong with the network as a whole shows elsewhere. */
export function canaryProbes(
  canaries: readonly CanarySeen[],
  { nodes }: Pick<NetworkObjects, 'nodes'>,
): { readonly probes: readonly PlannedProbe[]; readonly pods: readonly V1Pod[] } {
  const reached = canaries.filter(({ closedMs, openMs }) => closedMs !== undefined || openMs !== undefined);
  const unreached =
    reached.length === 0 ? [] : canaries.flatMap(({ unreached: one }) => one ?? []).slice(0, probesMost);
  return {
    pods: unreached.map(({ pod }) => pod),
    probes: unreached.flatMap(({ pod, from, port }): PlannedProbe[] => {
      const source = nodes.find(({ metadata }) => metadata?.name === from);
      const { name, addresses, node } = partyOfPod(pod);
      const [host] = addresses;
      if (source === undefined || host === undefined || node === undefined) return [];
      const ends = { from: partyOfNode(source), to: `${name}:${port}`, host, port, toNode: node };
      return [{ ...ends, protocol: 'tcp', kind: 'endpoint' }];
    }),
  };
}

function notStarted({ node, said }: CanarySeen, running: readonly CanarySeen[]): Diagnosis {
  const last = said.at(-1);
  const words = last === undefined ? 'nothing says why' : `${last.reason}: ${last.message}`;
  // A kubelet that works says at least what keeps it.
  const { reason, component } =
    last === undefined ? { reason: 'component-down', component: 'kubelet' } : whyNotStarted(last.reason, last.message);
  return {
    reason,
    component,
    node,
    objects: [`Node ${node}`],
    summary: `A new pod on ${node} does not start, while those on ${running.map((one) => one.node).join(', ')} do: ${words}`,
    evidence: said.map((one) => `${one.reason}: ${one.message}`),
    next: `Look at the kubelet, the container runtime and the network plugin of ${node}, and their logs.`,
    weight: 79,
  };
}

function open({ node, openMs = 0 }: CanarySeen, closed: readonly CanarySeen[]): Diagnosis {
  return {
    reason: 'policy-late',
    component: 'network-policy',
    node,
    objects: [`Node ${node}`],
    summary: `A new network policy does not hold on ${node} after ${(openMs / 1000).toFixed(1)} s, while it does on ${closed.map((one) => one.node).join(', ')}.`,
    evidence: closed.map((one) => `${one.node}: after ${((one.closedMs ?? 0) / 1000).toFixed(1)} s`),
    next: `Look at the part of the network plugin that enforces policies on ${node}: whether it runs, is overloaded, or has lost the API server.`,
    weight: 80,
  };
}
