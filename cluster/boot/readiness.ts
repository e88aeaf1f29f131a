// SPDX-License-Identifier: Apache-2.0
// When a cluster may be called up: the API server answers /readyz, every node is Ready, and a query to the DNS Service,
// sent from a node, is answered.

import { connect } from 'node:net';

import type { Deployment, Node } from '../machinery/api-types.ts';
import { Client } from '../machinery/client.ts';
import { resources } from '../machinery/resources.ts';
import { run } from '../machines/command.ts';
import { until } from '../machines/until.ts';
import { ipPlan } from './ip-plan.ts';
import { clusterDomain, clusterPaths } from './layout.ts';
import { controlPlane, type ClusterState } from './state.ts';

const startTimeoutMs = 60_000;

export async function apiServerAnswers(state: ClusterState, signal: AbortSignal): Promise<void> {
  const { address } = controlPlane(state);
  await until(() => accepts(address, 6443), {
    what: `${address}:6443 to accept connections`,
    timeoutMs: startTimeoutMs,
    signal,
  });
  await withClient(state, async (client) => {
    const isReady = async (): Promise<boolean> => {
      const reply = await client.raw('GET', '/readyz');
      if (reply.status !== 200) throw new Error(`/readyz says ${reply.status}: ${reply.body.toString().slice(0, 500)}`);
      return true;
    };
    await until(isReady, { what: 'the API server to be ready', timeoutMs: startTimeoutMs, intervalMs: 20, signal });
  });
}

/** Roles are labels that a kubelet may not give itself. */
export async function labelNodes(state: ClusterState, signal: AbortSignal): Promise<void> {
  await withClient(state, async (client) => {
    const { name } = controlPlane(state);
    await watchNodes(client, { what: `node ${name} to register`, signal }, (nodes) =>
      nodes.some((node) => node.metadata.name === name),
    );
    await client.patch(resources.nodes, name, {
      type: 'merge',
      body: { metadata: { labels: { 'node-role.kubernetes.io/control-plane': '' } } },
    });
  });
}

export async function nodesReady(state: ClusterState, signal: AbortSignal): Promise<void> {
  const names = state.nodes.map((node) => node.name);
  await withClient(state, async (client) => {
    await watchNodes(client, { what: `nodes ${names.join(', ')} to be Ready`, signal }, (nodes) =>
      names.every((name) => nodes.some((node) => node.metadata.name === name && isReady(node))),
    );
  });
}

export async function dnsAnswers(state: ClusterState, signal: AbortSignal): Promise<void> {
  const { init } = controlPlane(state);
  if (init === undefined) throw new Error(`node ${controlPlane(state).name} does not run`);
  const [dnsServiceAddress = ''] = ipPlan(state.options.ipFamily).dnsServiceAddresses;
  const name = `kubernetes.default.svc.${clusterDomain}.`;
  const query = [
    'nsenter',
    '-t',
    String(init.pid),
    '-n',
    'busybox',
    'timeout',
    '1',
    'busybox',
    'nslookup',
    dnsServiceAddress.includes(':') ? '-type=aaaa' : '-type=a',
    name,
    dnsServiceAddress,
  ];
  const answers = async (): Promise<boolean> => (await run(query)).includes('Address');
  await until(answers, {
    what: `DNS at ${dnsServiceAddress} to resolve ${name}`,
    timeoutMs: startTimeoutMs,
    intervalMs: 50,
    signal,
  });
}

/** Condition Ready is True. */
export function isReady(node: Node): boolean {
  return (
    node.status?.conditions?.some((condition) => condition.type === 'Ready' && condition.status === 'True') ?? false
  );
}

function accepts(host: string, port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect({ host, port, timeout: 1000 });
  const end = (answer: boolean): void => {
    socket.destroy();
    resolve(answer);
  };
  socket.on('connect', () => end(true));
  socket.on('timeout', () => end(false));
  socket.on('error', () => end(false));
  return promise;
}

/** Its pod is Ready when the routes of all Ingresses that exist are in force. */
export async function ingressServes(state: ClusterState, signal: AbortSignal): Promise<void> {
  await withClient(state, async (client) => {
    const isReady = async (): Promise<boolean> => {
      const { status } = await client.get<Deployment>(resources.deployments, 'ingress', 'ingress');
      return (status?.readyReplicas ?? 0) > 0;
    };
    await until(isReady, {
      what: 'the ingress controller to serve',
      timeoutMs: startTimeoutMs,
      intervalMs: 50,
      signal,
    });
  });
}

async function withClient(state: ClusterState, use: (client: Client) => Promise<void>): Promise<void> {
  const client = Client.fromKubeconfig(clusterPaths(state.name).kubeconfig, { userAgent: 'plumb-cluster' });
  try {
    await use(client);
  } finally {
    client.close();
  }
}

/** Resolves once `enough` holds of the nodes that exist; on time-out the error says how each of them is. */
async function watchNodes(
  client: Client,
  options: { what: string; signal: AbortSignal },
  enough: (nodes: readonly Node[]) => boolean,
): Promise<void> {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), startTimeoutMs);
  const signal = AbortSignal.any([stop.signal, options.signal]);
  const nodes = new Map<string, Node>();
  let done = false;
  const look = (): void => {
    done = enough([...nodes.values()]);
    if (done) stop.abort();
  };
  try {
    while (!done && !signal.aborted) {
      const list = await client.list<Node>(resources.nodes);
      nodes.clear();
      for (const node of list.items) nodes.set(node.metadata.name ?? '', node);
      look();
      if (done) break;
      const onEvent = (event: { type: string; object: Node }): void => {
        if (event.type === 'DELETED') nodes.delete(event.object.metadata.name ?? '');
        else nodes.set(event.object.metadata.name ?? '', event.object);
        look();
      };
      await client.watch<Node>(resources.nodes, { resourceVersion: list.metadata.resourceVersion }, onEvent, signal);
    }
  } finally {
    clearTimeout(timer);
  }
  options.signal.throwIfAborted();
  if (!done)
    throw new Error(
      `timed out after ${startTimeoutMs / 1000} s waiting for ${options.what}; ${describe([...nodes.values()])}`,
    );
}

function describe(nodes: readonly Node[]): string {
  if (nodes.length === 0) return 'no node has registered';
  return nodes
    .map((node) => {
      const ready = node.status?.conditions?.find((condition) => condition.type === 'Ready');
      return `${node.metadata.name ?? ''}: ${ready === undefined ? 'no Ready condition' : `${ready.status} ${ready.reason ?? ''} ${ready.message ?? ''}`.trim()}`;
    })
    .join('; ');
}
