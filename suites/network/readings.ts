// SPDX-License-Identifier: Apache-2.0
/** Readings of nodes for cases: taken through node probes, beside the API at about the same time, and repeated until only what stays is left. */
import type { NodeState } from '../../probes/node-state/node-state.ts';
import { collectNodeState, type CollectOptions } from '../../probes/node-state/collect.ts';
import type { CaseContext } from '../case.ts';
import type { ApiObjects, Finding } from './findings/finding.ts';
import { describeFindings } from './findings/node-findings.ts';

/** More nodes than that are not read in one case; those that are left out are named in its log. */
const nodesMost = 24;

export interface Reading {
  readonly states: readonly NodeState[];
  readonly api: ApiObjects;
}

export async function readApi(t: CaseContext): Promise<ApiObjects> {
  const [nodes, pods, services, endpointSlices] = await Promise.all([
    t.kube.core.listNode(),
    t.kube.core.listPodForAllNamespaces(),
    t.kube.core.listServiceForAllNamespaces(),
    t.kube.discovery.listEndpointSliceForAllNamespaces(),
  ]);
  return { nodes: nodes.items, pods: pods.items, services: services.items, endpointSlices: endpointSlices.items };
}

/** Reads the Ready nodes. Skips the case where the cluster does not allow it on any of them. */
export async function readNodes(t: CaseContext, options: CollectOptions = {}): Promise<NodeState[]> {
  const ready = t.cluster.nodes.filter(({ status }) =>
    status?.conditions?.some(({ type, status: value }) => type === 'Ready' && value === 'True'),
  );
  const names = ready.map(({ metadata }) => metadata?.name ?? '');
  if (names.length > nodesMost) t.log(`not read: ${names.slice(nodesMost).join(', ')}`);
  const refused: string[] = [];
  const states = await Promise.all(
    names.slice(0, nodesMost).map(async (name): Promise<NodeState[]> => {
      try {
        return [await collectNodeState(await t.probes.node(name), options)];
      } catch (error) {
        t.signal.throwIfAborted();
        refused.push(`${name}: ${reasonOf(error)}`);
        return [];
      }
    }),
  );
  for (const line of refused) t.log(`could not be read: ${line}`);
  const read = states.flat();
  if (read.length === 0) t.skip(`no node can be read: ${refused.join('; ')}`);
  for (const { node, gaps } of read)
    for (const { section, kind, reason } of gaps) if (kind === 'failed') t.log(`${node}: ${section}: ${reason}`);
  return read;
}

export async function readBoth(t: CaseContext): Promise<Reading> {
  const [api, states] = await Promise.all([readApi(t), readNodes(t)]);
  return { api, states };
}

function reasonOf(error: unknown): string {
  const { body, message } = error as { readonly body?: unknown; readonly message?: string };
  const text = typeof body === 'string' ? /"message":"((?:[^"\\]|\\.)*)"/.exec(body)?.[1] : undefined;
  return (text ?? message ?? String(error)).split('\n')[0]?.slice(0, 300) ?? '';
}

const pauseMs = 2_000;
/** How long a proxy or plugin may take to catch up, on a busy machine, with what other cases do meanwhile. */
const patienceMs = 25_000;

/**
 * Looks again while there are findings, and keeps those of which the same was seen every time; what passes was a change under way.
 * Fails with the first of what is left after 25 s; all of it becomes evidence.
 */
export async function expectNoLasting(t: CaseContext, look: () => Promise<readonly Finding[]>): Promise<void> {
  const deadline = performance.now() + patienceMs;
  let left = await look();
  for (let round = 1; left.length > 0 && (round < 3 || performance.now() < deadline); round++) {
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
    t.signal.throwIfAborted();
    const again = new Map((await look()).map((one) => [one.key, one]));
    left = left.flatMap(({ key }) => again.get(key) ?? []);
  }
  const [first] = left;
  if (first === undefined) return;
  const text = describeFindings(left);
  await t.attach({
    name: 'findings.txt',
    content: `${text}\n`,
    summary: `${left.length} finding(s), each seen every time for ${patienceMs / 1000} s`,
  });
  await t.attach({
    name: 'finding.txt',
    content: describeFindings([first]),
    role: 'explanation',
    summary: 'the first finding',
  });
  throw new Error(
    `${left.length} finding(s); first: ${first.node === '' ? '' : `${first.node}: `}${first.object}: ${first.what}`,
  );
}
