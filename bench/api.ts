// SPDX-License-Identifier: Apache-2.0
/**
 * API servers side by side, each on an etcd of its own, asked in turns round by round, so that whatever else the machine does meets both.
 */
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { ApiClient } from './api-client.ts';
import { ours, type Bench, type Benchmark, type Figure } from './benchmark.ts';
import { startControlPlane, startEtcd, temporaryDirectory, type ControlPlane } from './control-plane.ts';
import { startLoad, type Load, type LoadOperations } from './load.ts';
import { loadPod, podName } from './load-objects.ts';
import { writePki } from './pki.ts';
import { processorSeconds, runChild } from './processes.ts';

type Operation = LoadOperations['repeat']['in']['operation'];

interface Subject {
  readonly name: string;
  readonly plane: ControlPlane;
}

const namespace = 'bench';
const pods = 1_000;
const watchers = 100;

const operations: readonly { readonly operation: Operation; readonly title: string }[] = [
  { operation: 'get', title: 'get a pod' },
  { operation: 'list', title: 'list 1,000 pods' },
  { operation: 'patch', title: 'patch a pod' },
  { operation: 'status', title: 'update a status' },
  { operation: 'create', title: 'create a pod' },
];

export const api: Benchmark = {
  name: 'api',
  about: 'API server: get, list, create, patch, status, watch; beside kube-apiserver and etcdctl check perf',
  async run(bench) {
    const { quick, runs } = bench.options;
    const rounds = runs ?? (quick ? 2 : 3);
    const durationMs = quick ? 700 : 2_000;
    const load = startLoad(bench);
    const subjects = await startSubjects(bench, load);
    for (const { operation, title } of operations) {
      bench.log(`${title}, ${rounds} rounds of ${durationMs / 1000} s`);
      // Compilers of both sides get their time first.
      for (const { plane } of subjects) await repeat(load, plane, { operation, durationMs: durationMs / 4 });
      for (let round = 0; round < rounds; round++) {
        for (const { name, plane } of subjects) {
          const processor = processorSeconds(plane.pid);
          const { count, elapsedMs, latencies } = await repeat(load, plane, { operation, durationMs });
          bench.record(rate(title), name, [count / (elapsedMs / 1000)]);
          bench.record(latency(`  latency under that load, ${title}`), name, latencies);
          bench.record(cost(`  server's processor time, ${title}`), name, [
            ((processorSeconds(plane.pid) - processor) / count) * 1e6,
          ]);
        }
      }
    }
    await measureWatches(bench, { load, subjects, rounds, durationMs });
    for (const { name, plane } of subjects) {
      const { apiserver, etcd } = plane.memory();
      bench.record({ name: 'API server RSS at the end', unit: 'MB', better: 'lower' }, name, [apiserver.rss / 1e6]);
      bench.record({ name: 'its etcd, RSS at the end', unit: 'MB', better: 'lower' }, name, [etcd.rss / 1e6]);
      await plane.stop();
    }
    if (!quick) await checkEtcd(bench);
  },
};

/** Where upstream's binary is: named by the environment, or on the PATH. */
export function peerBinary(variable: string, program: string): string | undefined {
  const named = process.env[variable];
  if (named !== undefined && named !== '') {
    if (!existsSync(named)) throw new Error(`${variable}: ${named} does not exist`);
    return named;
  }
  const paths = (process.env['PATH'] ?? '').split(delimiter).map((directory) => join(directory, program));
  return paths.find((path) => existsSync(path));
}

async function startSubjects(bench: Bench, load: Load): Promise<Subject[]> {
  const peer = peerBinary('PLUMB_PEER_KUBE_APISERVER', 'kube-apiserver');
  if (peer === undefined) bench.note('no peer: kube-apiserver is not on the PATH; PLUMB_PEER_KUBE_APISERVER names one');
  const wanted = [
    { name: ours, binary: undefined },
    ...(peer === undefined ? [] : [{ name: 'kube-apiserver', binary: peer }]),
  ];
  const subjects: Subject[] = [];
  for (const { name, binary } of wanted) {
    bench.log(`starting ${name} on an etcd of its own`);
    const plane = await startControlPlane(bench, binary);
    bench.record({ name: 'process start to ready', unit: 'ms', better: 'lower' }, name, [plane.readyMs]);
    const idle = plane.memory().apiserver.rss / 1e6;
    bench.record({ name: 'API server RSS when ready', unit: 'MB', better: 'lower' }, name, [idle]);
    await createNamespace(plane, namespace);
    await createNamespace(plane, `${namespace}-create`);
    subjects.push({ name, plane });
  }
  const objects = Array.from({ length: pods }, (_, index) => loadPod(podName(index)));
  for (const { plane } of subjects) {
    await load.do('create', { endpoint: plane.endpoint, path: `/api/v1/namespaces/${namespace}/pods`, objects });
  }
  return subjects;
}

/** With the ServiceAccount that pods need and that no controller is there to make. */
export async function createNamespace({ endpoint }: ControlPlane, name: string): Promise<void> {
  const client = new ApiClient(endpoint);
  try {
    await client.json('POST', '/api/v1/namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
    const account = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'default' } };
    await client.json('POST', `/api/v1/namespaces/${name}/serviceaccounts`, account);
  } finally {
    client.close();
  }
}

function repeat(load: Load, plane: ControlPlane, what: { operation: Operation; durationMs: number }) {
  // What is created stays out of the way of what is listed.
  const target = what.operation === 'create' ? `${namespace}-create` : namespace;
  return load.do('repeat', { ...what, endpoint: plane.endpoint, namespace: target, pods });
}

async function measureWatches(
  bench: Bench,
  options: { load: Load; subjects: readonly Subject[]; rounds: number; durationMs: number },
): Promise<void> {
  const { load, subjects, rounds, durationMs } = options;
  bench.log(`watch by ${watchers} clients, ${rounds} rounds of ${durationMs / 1000} s`);
  for (let round = 0; round < rounds; round++) {
    for (const { name, plane } of subjects) {
      const { endpoint, pid: serverPid } = plane;
      const result = await load.do('fanOut', { endpoint, namespace, watchers, durationMs, pods, serverPid });
      const processorUs = (result.processorSeconds / result.events) * 1e6;
      bench.record(rate(`watch events to ${watchers} clients`), name, [result.events / (result.elapsedMs / 1000)]);
      bench.record(cost("  server's processor time, watch event"), name, [processorUs]);
      if (result.lost > 0) bench.note(`${name}: ${result.lost} watch events did not arrive within 15 s`);
    }
  }
  for (const { name, plane } of subjects) {
    const { latencies } = await load.do('watchLatency', { endpoint: plane.endpoint, namespace, samples: 100 });
    bench.record(latency('patch sent to its event seen, alone'), name, latencies);
  }
}

/** What the store underneath can do here: the bound of all writes, by etcd's own tool. */
async function checkEtcd(bench: Bench): Promise<void> {
  if (peerBinary('PLUMB_PEER_ETCDCTL', 'etcdctl') === undefined) {
    bench.note('etcdctl is not on the PATH: no raw check of etcd');
    return;
  }
  bench.log('etcdctl check perf, which takes a minute');
  const directory = temporaryDirectory(bench);
  const pki = await writePki(directory, 'https://127.0.0.1');
  const etcd = await startEtcd(bench, directory, pki);
  const program = peerBinary('PLUMB_PEER_ETCDCTL', 'etcdctl') ?? 'etcdctl';
  const flags = [`--endpoints=${etcd.url}`, `--cacert=${pki.ca}`, `--cert=${pki.certificate}`, `--key=${pki.key}`];
  const command = [program, 'check', 'perf', ...flags];
  const output = await runChild(bench, command, { env: { ETCDCTL_API: '3' } }).catch((error: unknown) => String(error));
  await etcd.stop();
  for (const line of output.split(/[\r\n]+/)) {
    const verdict = /(PASS|FAIL): (.*)$/.exec(line);
    if (verdict !== null) bench.note(`etcdctl check perf: ${verdict[0]}`);
    const slowest = /Slowest request took ([\d.]+)s/.exec(line)?.[1];
    if (slowest !== undefined) bench.record(latency('etcd alone: slowest write'), 'etcdctl', [Number(slowest) * 1000]);
    const throughput = /Throughput is (\d+) writes\/s/.exec(line)?.[1];
    if (throughput !== undefined) bench.record(rate('etcd alone: writes'), 'etcdctl', [Number(throughput)]);
  }
}

function rate(name: string): Figure {
  return { name, unit: '1/s', better: 'higher' };
}

/** Of processor time, per request: hardly changed by what else the machine does. */
function cost(name: string): Figure {
  return { name, unit: 'µs', better: 'lower' };
}

function latency(name: string): Figure {
  return { name, unit: 'ms', better: 'lower' };
}
