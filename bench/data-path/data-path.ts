// SPDX-License-Identifier: Apache-2.0
/**
 * What the way between pods costs: round trip and throughput from a pod to a pod of another node and to a Service before it, on
 * each `--network`, beside the same program in two namespaces that one veth joins, and in pods and nodes of the same shape without any
 * rule: what of the difference is the way, and what is ours. Rounds go from one path to the next, so that each comparison is of
 * neighbours in time.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { ApiClient, endpointOf } from '../api-client.ts';
import { ours, type Bench, type Benchmark } from '../benchmark.ts';
import { clusterDown, clusterName, kubeconfigPath } from '../cluster.ts';
import { clusterProgram } from '../control-plane.ts';
import {
  bareNodes,
  bareVeth,
  clientCommand,
  figuresOf,
  nodeOf,
  port,
  serverCommand,
  type Path,
  type Role,
} from './floor.ts';
import { runChild, startChild } from '../processes.ts';

const networks = ['routed', 'vxlan', 'bgp'] as const;
const veth = 'bare veth';
const nodes = 'bare nodes';
const namespace = '/api/v1/namespaces/default';

const figures = [
  ['round trip', 'µs', 'lower', 'roundTripUs'],
  ['throughput', 'Gbit/s', 'higher', 'gigabitsPerSecond'],
  ['processor time of a round trip', 'µs', 'lower', 'processorPerRoundTripUs'],
  ['processor time of a gigabit', 'ms', 'lower', 'processorPerGigabitMs'],
] as const;

export const dataPath: Benchmark = {
  name: 'data-path',
  about:
    'round trip and throughput pod to pod and pod to Service, on each --network, beside a bare veth and bare nodes',
  async run(bench) {
    const { quick, runs } = bench.options;
    const rounds = runs ?? (quick ? 3 : 10);
    const seconds = quick ? 0.5 : 1;
    for (const network of chosenNetworks()) {
      const name = clusterName();
      bench.log(`bringing cluster ${name} up with --network ${network}`);
      bench.onCleanup(() => clusterDown(name));
      const up = [...clusterProgram, 'up', '--name', name, '--nodes', '2', '--network', network];
      const failure = await runChild(bench, up).then(
        () => undefined,
        (error: unknown) => (error instanceof Error ? error.message : String(error)),
      );
      bench.signal.throwIfAborted();
      if (failure === undefined) await measure(bench, { name, network, rounds, seconds });
      else bench.note(`${network} was left out: ${failure.trim().split('\n').at(-1) ?? ''}`);
      await clusterDown(name);
    }
  },
};

/** All, or those that PLUMB_BENCH_NETWORKS names, separated by commas. */
function chosenNetworks(): readonly string[] {
  const named = (process.env['PLUMB_BENCH_NETWORKS'] ?? '').split(',').filter((name) => name !== '');
  const unknown = named.find((name) => !(networks as readonly string[]).includes(name));
  if (unknown !== undefined) throw new Error(`PLUMB_BENCH_NETWORKS: "${unknown}" is not one of ${networks.join(', ')}`);
  return named.length > 0 ? named : networks;
}

interface Place {
  readonly name: string;
  readonly network: string;
  readonly rounds: number;
  readonly seconds: number;
}

async function measure(bench: Bench, { name, network, rounds, seconds }: Place): Promise<void> {
  const { pod, service } = await openPods(bench, name);
  const floors: readonly (readonly [string, Path])[] = [
    [veth, await bareVeth(bench, name)],
    [nodes, await bareNodes(bench, name)],
  ];
  const targets: readonly (readonly [string, Path])[] = [
    ['pod', pod],
    ['Service', service],
  ];
  for (const [, path] of [...targets, ...floors]) await path(0.2);
  for (let round = 0; round < rounds; round++) {
    bench.signal.throwIfAborted();
    bench.log(`${network}: round ${round + 1} of ${rounds}`);
    for (const [target, path] of targets) {
      const paths = [[ours, path] as const, ...floors];
      // Turned round, since the first of a round finds the processor cooler.
      for (const [subject, way] of round % 2 === 0 ? paths : paths.toReversed()) {
        const measured = await way(seconds);
        for (const [figure, unit, better, key] of figures) {
          bench.record({ name: `${figure} to a ${target}, ${network}`, unit, better }, subject, [measured[key]]);
        }
      }
    }
  }
}

/** A pod on each of the two nodes, a server in one of them and a Service before it. */
async function openPods(bench: Bench, name: string): Promise<{ pod: Path; service: Path }> {
  const client = new ApiClient(endpointOf(kubeconfigPath(name)));
  bench.onCleanup(() => client.close());
  const markers = { client: '86397', server: '86398' };
  for (const role of ['client', 'server'] as const) {
    await client.json('POST', `${namespace}/pods`, {
      metadata: { name: role, labels: { role } },
      spec: {
        nodeName: nodeOf(name, role),
        tolerations: [{ operator: 'Exists' }],
        terminationGracePeriodSeconds: 0,
        containers: [{ name: 'idle', image: await probeImage(client), command: ['busybox', 'sleep', markers[role]] }],
      },
    });
  }
  const service = { metadata: { name: 'server' }, spec: { selector: { role: 'server' }, ports: [{ port }] } };
  const { spec } = await client.json<{ spec: { clusterIP: string } }>('POST', `${namespace}/services`, service);
  const address = await readyAddress(bench, client, 'server');
  await readyAddress(bench, client, 'client');
  const inPod = (role: Role, command: readonly string[]): string[] => {
    // The pod's namespace is that of its process, which the node sees by its command line.
    const enter = `exec nsenter -t "$(pgrep -xf 'busybox sleep ${markers[role]}')" -n "$@"`;
    return [...clusterProgram, 'exec', '--name', name, nodeOf(name, role), '--', 'sh', '-c', enter, 'sh', ...command];
  };
  await startChild(bench, inPod('server', serverCommand));
  const to =
    (host: string): Path =>
    async (seconds) =>
      figuresOf(await runChild(bench, inPod('client', clientCommand(host, seconds))));
  const paths = { pod: to(address), service: to(spec.clusterIP) };
  await untilServed(bench, paths.service);
  return paths;
}

/** The image that every node of the project's clusters has, by what the API says of a node. */
async function probeImage(client: ApiClient): Promise<string> {
  const { items } = await client.json<{ items: { status: { images?: { names: string[] }[] } }[] }>(
    'GET',
    '/api/v1/nodes',
  );
  const names = items.flatMap(({ status }) => status.images ?? []).flatMap((image) => image.names);
  const found = names.find((one) => one.startsWith('plumbline.local/probe:'));
  if (found === undefined) throw new Error('no node has the image plumbline.local/probe');
  return found;
}

async function readyAddress(bench: Bench, client: ApiClient, name: string): Promise<string> {
  const deadline = Date.now() + 120_000;
  while (Date.now() < deadline) {
    bench.signal.throwIfAborted();
    const { status } = await client.json<{ status: { podIP?: string; phase?: string } }>(
      'GET',
      `${namespace}/pods/${name}`,
    );
    if (status.phase === 'Running' && status.podIP !== undefined) return status.podIP;
    await delay(200);
  }
  throw new Error(`pod ${name} does not run after two minutes`);
}

async function untilServed(bench: Bench, path: Path): Promise<void> {
  const deadline = Date.now() + 60_000;
  for (;;) {
    bench.signal.throwIfAborted();
    try {
      await path(0.1);
      return;
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await delay(500);
    }
  }
}
