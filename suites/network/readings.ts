// SPDX-License-Identifier: Apache-2.0
/** Readings of nodes for cases: taken through node probes, beside the API at about the same time, and repeated until only what stays is left. */
import type { NodeState } from '../../probes/node-state/node-state.ts';
import { collectNodeState, type CollectOptions } from '../../probes/node-state/collect.ts';
import { InconclusiveError, type CaseContext } from '../case.ts';
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

/** Reads nodes for one look, and remembers those that it could not read. */
export interface NodeReader {
  /** The Ready Linux nodes. Skips the case where none of them can be read. */
  readonly nodes: (options?: CollectOptions) => Promise<NodeState[]>;
  readonly nodesAndApi: () => Promise<Reading>;
  /** Nodes that could not be read, be it once, and why. */
  readonly unread: ReadonlyMap<string, string>;
}

/** Names of the nodes to read; those that are too many are told in the log. */
function nodesToRead(t: CaseContext): readonly string[] {
  const ready = t.cluster.nodes.filter(
    ({ metadata, status }) =>
      (metadata?.labels?.['kubernetes.io/os'] ?? 'linux') === 'linux' &&
      status?.conditions?.some(({ type, status: value }) => type === 'Ready' && value === 'True'),
  );
  const names = ready.map(({ metadata }) => metadata?.name ?? '');
  if (names.length > nodesMost) t.log(`not read: ${names.slice(nodesMost).join(', ')}`);
  return names.slice(0, nodesMost);
}

function nodeReader(t: CaseContext, names: readonly string[]): NodeReader {
  const unread = new Map<string, string>();

  const nodes = async (options: CollectOptions = {}): Promise<NodeState[]> => {
    const states = await Promise.all(
      names.map(async (name): Promise<NodeState[]> => {
        try {
          return [await collectNodeState(await t.probes.node(name), options)];
        } catch (error) {
          t.signal.throwIfAborted();
          unread.set(name, reasonOf(error));
          return [];
        }
      }),
    );
    const read = states.flat();
    if (read.length === 0) t.skip(`no node can be read: ${describeUnread(unread)}`);
    for (const { node, gaps } of read)
      for (const { section, kind, reason } of gaps) if (kind === 'failed') t.log(`${node}: ${section}: ${reason}`);
    return read;
  };

  const nodesAndApi = async (): Promise<Reading> => {
    const [api, states] = await Promise.all([readApi(t), nodes()]);
    return { api, states };
  };
  return { nodes, nodesAndApi, unread };
}

function describeUnread(unread: ReadonlyMap<string, string>): string {
  return [...unread].map(([node, reason]) => `${node}: ${reason}`).join('; ');
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
 * Fails with the first of what is left after 25 s; all of it becomes evidence. Where nothing is left but a node could not be read,
 * the case is inconclusive: nothing is known of that node.
 */
export async function expectNoLasting(
  t: CaseContext,
  look: (read: NodeReader) => Promise<readonly Finding[]>,
): Promise<void> {
  const names = nodesToRead(t);
  let read = nodeReader(t, names);
  const deadline = performance.now() + patienceMs;
  let left = await look(read);
  for (let round = 1; left.length > 0 && (round < 3 || performance.now() < deadline); round++) {
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
    t.signal.throwIfAborted();
    read = nodeReader(t, names);
    const again = new Map((await look(read)).map((one) => [one.key, one]));
    left = left.flatMap(({ key }) => again.get(key) ?? []);
  }
  const [first] = left;
  if (first === undefined) {
    if (read.unread.size > 0)
      throw new InconclusiveError(`nothing is wrong on the nodes that were read, but ${describeUnread(read.unread)}`);
    return;
  }
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
