// SPDX-License-Identifier: Apache-2.0
/** Clusters as a user has them: this project's by its command line, any other by its kubeconfig. */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ApiClient, endpointOf, Lines, type Endpoint } from './api-client.ts';
import { ours, type Bench } from './benchmark.ts';
import { clusterProgram, isReady } from './control-plane.ts';
import { runChild } from './processes.ts';

export const ownNodes = 3;
const pollMs = 10;

export interface TargetCluster {
  /** `plumbline` or the peer's name. */
  readonly subject: string;
  readonly kubeconfig: string;
  readonly endpoint: Endpoint;
}

/** A name that no other cluster has. */
export function clusterName(): string {
  return `bench-${randomBytes(3).toString('hex')}`;
}

/** The path at which `plumb cluster up` writes a cluster's kubeconfig. */
export function kubeconfigPath(name: string): string {
  return join(process.env['PLUMB_STATE_DIR'] ?? '/var/lib/plumb', 'clusters', name, 'kubeconfig');
}

/** The cluster of --kubeconfig, or a fresh one; and the peer that PLUMB_PEER_KUBECONFIG names. */
export async function targets(bench: Bench): Promise<TargetCluster[]> {
  const { kubeconfig } = bench.options;
  const peer = process.env['PLUMB_PEER_KUBECONFIG'] ?? '';
  if (peer === '') bench.note('no peer: PLUMB_PEER_KUBECONFIG names the kubeconfig of one');
  else if (!existsSync(peer)) throw new Error(`PLUMB_PEER_KUBECONFIG: ${peer} does not exist`);
  const own = kubeconfig ?? (await freshCluster(bench));
  return [
    { subject: ours, kubeconfig: own, endpoint: endpointOf(own) },
    ...(peer === '' ? [] : [{ subject: 'peer', kubeconfig: peer, endpoint: endpointOf(peer) }]),
  ];
}

/** Brings a cluster of three nodes up, to be taken down at the end; resolves to its kubeconfig. */
async function freshCluster(bench: Bench): Promise<string> {
  const name = clusterName();
  bench.log(`bringing cluster ${name} up`);
  // Not interruptible: a cluster that is half up is taken down by the same hook.
  bench.onCleanup(() => clusterDown(name));
  await runChild(bench, [...clusterProgram, 'up', '--name', name, '--nodes', String(ownNodes)]);
  return kubeconfigPath(name);
}

/** Also after an abort: it has nothing to do with what is measured. */
export async function clusterDown(name: string): Promise<void> {
  await runChild({ signal: new AbortController().signal, onCleanup: () => undefined }, [
    ...clusterProgram,
    'down',
    '--name',
    name,
  ]);
}

export interface Milestones {
  readonly apiReadyMs: number;
  readonly nodesReadyMs: number;
  readonly dnsReadyMs: number;
}

/**
 * Watches a cluster come up from outside: its kubeconfig appears, /readyz says ok, `nodes` nodes are Ready, the Service kube-dns has an
 * endpoint that is ready. Times count from `start`.
 */
export async function watchComingUp(
  kubeconfig: string,
  options: { readonly nodes: number; readonly start: number; readonly signal: AbortSignal },
): Promise<Milestones> {
  const { nodes, start, signal } = options;
  const elapsed = (): number => performance.now() - start;
  const endpoint = await firstReady(kubeconfig, signal);
  const apiReadyMs = elapsed();
  const client = new ApiClient(endpoint);
  try {
    const ready = new Set<string>();
    const nodesReady = untilSeen<NodeObject>(client, '/api/v1/nodes?watch=true', signal, ({ metadata, status }) => {
      const isReady = status?.conditions?.some((one) => one.type === 'Ready' && one.status === 'True') === true;
      if (isReady) ready.add(metadata.name);
      return ready.size >= nodes;
    });
    const slices = '/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices';
    const query = `?watch=true&labelSelector=${encodeURIComponent('kubernetes.io/service-name=kube-dns')}`;
    const dnsReady = untilSeen<EndpointSlice>(client, slices + query, signal, ({ endpoints }) =>
      (endpoints ?? []).some(({ conditions }) => conditions?.ready === true),
    );
    const [nodesReadyMs, dnsReadyMs] = await Promise.all([nodesReady.then(elapsed), dnsReady.then(elapsed)]);
    return { apiReadyMs, nodesReadyMs, dnsReadyMs };
  } finally {
    client.close();
  }
}

interface NodeObject {
  readonly metadata: { readonly name: string };
  readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
}

interface EndpointSlice {
  readonly endpoints?: readonly { readonly conditions?: { readonly ready?: boolean } }[];
}

async function firstReady(kubeconfig: string, signal: AbortSignal): Promise<Endpoint> {
  for (;;) {
    signal.throwIfAborted();
    const endpoint = existsSync(kubeconfig) ? readable(kubeconfig) : undefined;
    if (endpoint !== undefined && (await isReady(endpoint))) return endpoint;
    await delay(pollMs);
  }
}

/** Undefined while the file is being written. */
function readable(kubeconfig: string): Endpoint | undefined {
  try {
    return endpointOf(kubeconfig);
  } catch {
    return undefined;
  }
}

/** Watches from the beginning, again when the watch ends, until an object satisfies. */
async function untilSeen<T>(
  client: ApiClient,
  path: string,
  signal: AbortSignal,
  satisfies: (object: T) => boolean,
): Promise<void> {
  for (;;) {
    signal.throwIfAborted();
    const { promise: seen, resolve } = Promise.withResolvers<void>();
    let done = false;
    const lines = new Lines((line) => {
      if (done) return;
      const { type, object } = JSON.parse(line) as { type: string; object: T };
      done = (type === 'ADDED' || type === 'MODIFIED') && satisfies(object);
      if (done) resolve();
    });
    try {
      const watch = await client.watch(path, lines.push);
      const onAbort = (): void => watch.close();
      signal.addEventListener('abort', onAbort, { once: true });
      await Promise.race([seen, watch.ended]);
      signal.removeEventListener('abort', onAbort);
      watch.close();
    } catch {
      // The server has just begun to listen, or is still being replaced.
      await delay(pollMs);
    }
    if (done) return;
  }
}
