// SPDX-License-Identifier: Apache-2.0
/**
 * The truth table of network policies, nine pods in three namespaces, every pair: asked through the agents, as `plumb run` does, and by
 * one exec per cell, as tools without an agent do. Then the 230 cases of the taxonomy, as users run them.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { NetworkingV1Api } from '@kubernetes/client-node';
import { probeMatrix, type Cell, type CellResult } from '../probes/connectivity/matrix.ts';
import { createProbeFleet } from '../probes/agent/probe-fleet.ts';
import type { ProbePod } from '../probes/agent/prober.ts';
import { decodeEvents } from '../runner/results/decode.ts';
import { loadTarget } from '../runner/target/kubeconfig.ts';
import { ApiClient } from './api-client.ts';
import { ours, type Bench, type Benchmark, type Figure } from './benchmark.ts';
import { targets } from './cluster.ts';

const keys = ['x', 'y', 'z'] as const;
const names = ['a', 'b', 'c'] as const;
const ports = [
  { protocol: 'tcp', port: 8080 },
  { protocol: 'tcp', port: 8081 },
  { protocol: 'udp', port: 8080 },
  { protocol: 'udp', port: 8081 },
] as const;
const label = 'plumbline.io/bench';
/** As the suites have it. */
const concurrency = 36;
/** Workers of the exec way; more of them make it slower on few cores. */
const execs = 15;
/** For cells that a policy closes: as the suites have it, where the open cells of the same window say how long an answer takes. */
const silenceMs = 200;
/** The least that can be said to a program that is started for one cell. */
const execSilenceMs = 1_000;
const answerMs = 3_000;

export const policyMatrix: Benchmark = {
  name: 'policy-matrix',
  about: 'cells of a 9-pod policy table per second: through agents, beside one exec per cell; time of 230 cases',
  async run(bench) {
    const [target] = await targets({ ...bench, note: () => undefined });
    if (target === undefined) throw new Error('there is no cluster to measure');
    const client = new ApiClient(target.endpoint);
    const { config } = loadTarget([target.kubeconfig], { origin: '--kubeconfig' });
    const started = performance.now();
    const { pods, closeNamespace } = await startPods(bench, { client, config });
    bench.record(figure('nine probe pods ready, namespaces included', 'ms'), ours, [performance.now() - started]);
    await measure(bench, { title: 'all open', pods, blocked: () => false });
    await closeNamespace();
    await measure(bench, { title: 'a third closed', pods, blocked: isClosed });
    await runTaxonomy(bench, target.kubeconfig);
  },
};

/** A cell between two pods of the table. */
interface PairCell extends Cell {
  readonly source: ProbePod;
  readonly destination: ProbePod;
}

interface World {
  readonly pods: readonly ProbePod[];
  /** Closes namespace x for everybody else. */
  closeNamespace(): Promise<void>;
}

async function startPods(
  bench: Bench,
  cluster: { client: ApiClient; config: ReturnType<typeof loadTarget>['config'] },
): Promise<World> {
  const { client, config } = cluster;
  const id = randomBytes(3).toString('hex');
  const fleet = createProbeFleet({
    kubeConfig: config,
    image: process.env['PLUMB_BENCH_IMAGE'] ?? `plumbline.local/probe:${version()}`,
    labels: { [label]: id },
    namespace: (purpose) => createNamespace(bench, client, { name: `bench-${purpose}-${id}`, id }),
    workers: [],
    nodeProbes: false,
    log: (message) => bench.log(message),
    signal: bench.signal,
  });
  bench.onCleanup(() => fleet.close());
  const probes = fleet.forCase({
    caseId: 'bench',
    namespace: async () => '',
    attach: async () => undefined,
    onFailure: () => undefined,
    onTeardown: (hook) => bench.onCleanup(hook),
    signal: bench.signal,
  });
  const workers = await workerNames(client);
  const pods = await probes.shared({
    key: 'table',
    pods: keys.flatMap((key, row) =>
      names.map((name, column) => {
        const node = workers[(row + column) % Math.max(1, workers.length)];
        const place = node === undefined ? {} : { node };
        return { purpose: key, name, ...place, labels: { pod: name, ns: key }, listen: ports };
      }),
    ),
  });
  return {
    pods,
    async closeNamespace() {
      const namespace = pods.find(({ labels }) => labels['ns'] === 'x')?.namespace ?? '';
      const spec = { podSelector: {}, policyTypes: ['Ingress'] };
      const body = { metadata: { name: 'closed' }, spec };
      await config.makeApiClient(NetworkingV1Api).createNamespacedNetworkPolicy({ namespace, body });
    },
  };
}

async function createNamespace(
  bench: Bench,
  client: ApiClient,
  { name, id }: { name: string; id: string },
): Promise<string> {
  const metadata = { name, labels: { [label]: id, 'pod-security.kubernetes.io/enforce': 'restricted' } };
  await client.json('POST', '/api/v1/namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata });
  bench.onCleanup(async () => void (await client.request('DELETE', `/api/v1/namespaces/${name}`)));
  const seen = Promise.withResolvers<void>();
  const path = `/api/v1/namespaces/${name}/serviceaccounts?watch=true&fieldSelector=metadata.name%3Ddefault`;
  const watch = await client.watch(path, () => seen.resolve());
  await seen.promise;
  watch.close();
  return name;
}

/** Nodes that take ordinary pods. */
async function workerNames(client: ApiClient): Promise<string[]> {
  interface NodeList {
    items: { metadata: { name: string }; spec: { taints?: { effect: string }[]; unschedulable?: boolean } }[];
  }
  const { items } = await client.json<NodeList>('GET', '/api/v1/nodes');
  const free = items.filter(({ spec }) => spec.unschedulable !== true && (spec.taints ?? []).length === 0);
  return free.map(({ metadata }) => metadata.name);
}

function isClosed(source: ProbePod, destination: ProbePod): boolean {
  // A pod always reaches itself, whatever its policies say.
  return destination.labels['ns'] === 'x' && source !== destination;
}

/** The 230 cases of the taxonomy as users run them, from the start of the command to its last report. */
async function runTaxonomy(bench: Bench, kubeconfig: string): Promise<void> {
  if (bench.options.quick) {
    bench.note('the 230 cases of the taxonomy are left out with --quick');
    return;
  }
  const output = mkdtempSync(join(tmpdir(), 'plumb-bench-policy-'));
  bench.onCleanup(() => rmSync(output, { recursive: true, force: true }));
  bench.log('the 230 cases of the taxonomy');
  const program = fileURLToPath(new URL('../runner/cli/plumb.js', import.meta.url));
  const flags = ['--kubeconfig', kubeconfig, '--focus', '#taxonomy$', '--no-snapshot', '--output', output];
  const image = process.env['PLUMB_BENCH_IMAGE'];
  const start = performance.now();
  const child = spawn(
    process.execPath,
    [program, 'run', ...flags, ...(image === undefined ? [] : ['--image', image])],
    {
      stdio: 'ignore',
      signal: bench.signal,
    },
  );
  await once(child, 'exit');
  const seconds = (performance.now() - start) / 1000;
  const [run = ''] = readdirSync(output);
  const { events } = decodeEvents(readFileSync(join(output, run, 'events.jsonl'), 'utf8'));
  const finished = events.filter((event) => event.type === 'case-finished');
  const cells = events
    .filter((event) => event.type === 'figure-measured' && event.name === 'cells')
    .reduce((sum, event) => sum + ('value' in event ? event.value : 0), 0);
  bench.record(figure('all cases of the taxonomy, the whole command', 's'), ours, [seconds]);
  bench.record(figure('cells judged in it', '1/s'), ours, [cells / seconds]);
  const passed = finished.filter(({ status }) => status === 'passed').length;
  bench.note(`taxonomy: ${passed} of ${finished.length} cases passed, ${cells} cells judged`);
}

interface Table {
  readonly title: string;
  readonly pods: readonly ProbePod[];
  readonly blocked: (source: ProbePod, destination: ProbePod) => boolean;
}

async function measure(bench: Bench, table: Table): Promise<void> {
  const { quick, runs } = bench.options;
  const { title, pods, blocked } = table;
  const cells = pods.flatMap((source) =>
    pods.flatMap((destination) =>
      ports.map((port): PairCell => {
        const timeoutMs = blocked(source, destination) ? silenceMs : answerMs;
        return { source, destination, receiver: destination, host: destination.ip, ...port, timeoutMs };
      }),
    ),
  );
  await settle(bench, table, cells);
  bench.log(`${title}: through agents`);
  for (let round = 0; round < (runs ?? (quick ? 2 : 5)); round++) {
    const start = performance.now();
    const results = await probeMatrix(cells, { concurrency });
    const seconds = (performance.now() - start) / 1000;
    requireRight(table, results);
    bench.record(figure(`cells of the table, ${title}`, '1/s'), ours, [cells.length / seconds]);
  }
  bench.log(`${title}: one exec per cell`);
  const tcp = cells.filter(({ protocol, port }) => protocol === 'tcp' && port === 8080);
  for (let round = 0; round < (quick ? 1 : 2); round++) {
    const queue = tcp.values();
    const start = performance.now();
    const worker = async (): Promise<void> => {
      for (const cell of queue) await execCell(table, cell);
    };
    await Promise.all(Array.from({ length: execs }, worker));
    const seconds = (performance.now() - start) / 1000;
    bench.record(figure(`cells of the table, ${title}`, '1/s'), 'exec per cell', [tcp.length / seconds]);
  }
}

/** A policy needs a moment to reach the nodes, which is not what is measured here. */
async function settle(bench: Bench, table: Table, cells: readonly PairCell[]): Promise<void> {
  const deadline = performance.now() + 15_000;
  for (;;) {
    bench.signal.throwIfAborted();
    const results = await probeMatrix(cells, { concurrency });
    if (wrong(table, results).length === 0) return;
    if (performance.now() > deadline) requireRight(table, results);
  }
}

function requireRight(table: Table, results: readonly CellResult<PairCell>[]): void {
  const [first] = wrong(table, results);
  if (first === undefined) return;
  const { source, destination, protocol, port } = first.cell;
  throw new Error(
    `${table.title}: ${source.description} to ${destination.description} ${protocol}/${port} is ${first.result.outcome}: ` +
      `the cluster does not do what the policy says, so its speed means nothing`,
  );
}

function wrong({ blocked }: Table, results: readonly CellResult<PairCell>[]): CellResult<PairCell>[] {
  return results.filter(({ cell, result }) => {
    const open = !blocked(cell.source, cell.destination);
    return open !== (result.outcome === 'allowed');
  });
}

async function execCell({ title, blocked }: Table, { source, destination, port }: PairCell): Promise<void> {
  const open = !blocked(source, destination);
  const seconds = String(Math.ceil((open ? answerMs : execSilenceMs) / 1000));
  // Standard input is at its end at once, so that a connection that was made ends at once too.
  const connect = `/bin/busybox nc -w ${seconds} ${destination.ip} ${port} </dev/null >/dev/null 2>&1`;
  const { exitCode } = await source.exec(['/bin/busybox', 'sh', '-c', connect]);
  if ((exitCode === 0) === open) return;
  throw new Error(`${title}: by exec, ${source.description} to ${destination.description} ended with ${exitCode}`);
}

function figure(name: string, unit: string): Figure {
  return { name, unit, better: unit === '1/s' ? 'higher' : 'lower' };
}

function version(): string {
  const file = new URL('../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}
