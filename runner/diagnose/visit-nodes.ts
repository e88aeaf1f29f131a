// SPDX-License-Identifier: Apache-2.0
/** Opens a session on each node and reads its state. A node on which that does not work is a finding by itself. */
import type { NodeAccess } from '../../probes/node-session/node-access.ts';
import type { NodeSession } from '../../probes/node-session/node-session.ts';
import type { NodeState } from '../../probes/node-state/node-state.ts';
import { messageOf } from '../problem.ts';
import type { NetworkObjects } from '../target/network-objects.ts';
import type { Diagnosis } from './diagnosis.ts';
import { awaitMost } from './stragglers.ts';

const nodesMost = 40;
const nodeMs = 25_000;

export interface Site {
  readonly session: NodeSession;
  readonly state: NodeState;
}

/**
 * Nodes that are not Ready start no probe: waiting for them would say nothing new. A node on which none comes up while others had theirs long ago is
 * a finding in itself: its kubelet starts no pods.
 */
export async function visitNodes(
  access: NodeAccess,
  { nodes }: NetworkObjects,
  { gaps, late }: { readonly gaps: string[]; readonly late: Diagnosis[] },
): Promise<ReadonlyMap<string, Site>> {
  const ready = readyNodes(nodes);
  if (ready.length > nodesMost) gaps.push(`only ${nodesMost} of ${ready.length} nodes were looked at`);
  const names = ready.slice(0, nodesMost);
  const look = async (node: string): Promise<Site> => {
    const [session, state] = await Promise.all([access.session(node), access.state(node)]);
    return { session, state };
  };
  const { done: sites, failed, tookMs } = await awaitMost(names, look, nodeMs);
  const seconds = Math.round(tookMs / 1000);
  for (const node of names) {
    if (sites.has(node)) continue;
    gaps.push(
      `node ${node}: ${failed.has(node) ? messageOf(failed.get(node)) : `no probe came up within ${seconds} s`}`,
    );
    if (failed.has(node) || sites.size === 0) continue;
    late.push({
      reason: 'component-down',
      component: 'kubelet',
      node,
      objects: [`Node ${node}`],
      summary: `A pod for ${node} did not start in ${seconds} s, while those of ${sites.size} other nodes did.`,
      evidence: [...sites.keys()].map((other) => `${other}: a probe started`),
      next: `Look at the kubelet and the container runtime of ${node}, and their logs.`,
      weight: 78,
    });
  }
  return sites;
}

/** Names of those that are Ready, in the order of the API, so that the same cluster gives the same plan. */
export function readyNodes(nodes: NetworkObjects['nodes']): string[] {
  return nodes
    .filter(({ status }) => (status?.conditions ?? []).some((one) => one.type === 'Ready' && one.status === 'True'))
    .map(({ metadata }) => metadata?.name ?? '');
}
