// SPDX-License-Identifier: Apache-2.0
/** Opens a session on each node and reads its state. A node on which that does not work is a finding by itself. */
import type { NodeAccess } from '../../probes/node-session/node-access.ts';
import type { NodeSession } from '../../probes/node-session/node-session.ts';
import type { NodeState } from '../../probes/node-state/node-state.ts';
import { messageOf } from '../problem.ts';
import type { NetworkObjects } from '../target/network-objects.ts';
import type { Diagnosis } from './diagnosis.ts';

const nodesMost = 40;
const nodeMs = 45_000;

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
