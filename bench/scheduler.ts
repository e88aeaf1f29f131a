// SPDX-License-Identifier: Apache-2.0
/**
 * Schedulers side by side: pods wait, nodes are objects without machines, then the scheduler starts, and every binding is timed by a
 * watch. Ours and the peer work on the same API server, one after the other.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ApiClient } from './api-client.ts';
import { createNamespace, peerBinary } from './api.ts';
import { ours, type Bench, type Benchmark } from './benchmark.ts';
import {
  componentProgram,
  freePort,
  startControlPlane,
  startProgram,
  temporaryDirectory,
  type ControlPlane,
} from './control-plane.ts';
import { startLoad, type Load } from './load.ts';
import { hollowNode, loadPod, podName } from './load-objects.ts';
import { memoryOf, processorSeconds, type Child } from './processes.ts';

interface Subject {
  readonly name: string;
  start(): Promise<Child>;
}

interface Field {
  readonly plane: ControlPlane;
  readonly load: Load;
  readonly pods: number;
}

const namespace = 'bench';
const podsPath = `/api/v1/namespaces/${namespace}/pods`;
const bindLimitMs = 60_000;

export const scheduler: Benchmark = {
  name: 'scheduler',
  about: 'pods bound per second at 100, 1,000 and 5,000 hollow nodes; beside kube-scheduler',
  async run(bench) {
    const { quick, runs } = bench.options;
    const sizes = quick ? [100, 1_000] : [100, 1_000, 5_000];
    bench.log('starting an API server on an etcd of its own');
    const plane = await startControlPlane(bench);
    await createNamespace(plane, namespace);
    const field: Field = { plane, load: startLoad(bench), pods: quick ? 300 : 1_000 };
    const subjects = await findSubjects(bench, plane);
    let present = 0;
    for (const nodes of sizes) {
      const objects = Array.from({ length: nodes - present }, (_, index) => hollowNode(present + index));
      await field.load.do('create', { endpoint: plane.endpoint, path: '/api/v1/nodes', objects });
      present = nodes;
      for (let round = 0; round < (runs ?? 2); round++) {
        for (const subject of subjects) await measure(bench, field, { subject, nodes });
      }
    }
  },
};

async function findSubjects(bench: Bench, plane: ControlPlane): Promise<Subject[]> {
  const kubeconfig = await plane.kubeconfig('system:kube-scheduler');
  const program = await componentProgram(bench, 'kube-scheduler');
  const own: Subject = {
    name: ours,
    start: async () => {
      const health = `--health-bind-address=127.0.0.1:${await freePort()}`;
      return startProgram(bench, program, [`--kubeconfig=${kubeconfig}`, '--leader-elect=false', health]);
    },
  };
  const binary = peerBinary('PLUMB_PEER_KUBE_SCHEDULER', 'kube-scheduler');
  if (binary === undefined) {
    bench.note('no peer: kube-scheduler is not on the PATH; PLUMB_PEER_KUBE_SCHEDULER names one');
    return [own];
  }
  // Upstream's own limit of 50 requests a second would be all that is measured.
  const config = join(temporaryDirectory(bench), 'scheduler.yaml');
  writeFileSync(
    config,
    JSON.stringify({
      apiVersion: 'kubescheduler.config.k8s.io/v1',
      kind: 'KubeSchedulerConfiguration',
      clientConnection: { kubeconfig, qps: 5_000, burst: 5_000 },
      leaderElection: { leaderElect: false },
    }),
  );
  const peer: Subject = {
    name: 'kube-scheduler',
    start: async () =>
      startProgram(bench, { command: [binary] }, [`--config=${config}`, `--secure-port=${await freePort()}`]),
  };
  return [own, peer];
}

async function measure(bench: Bench, field: Field, what: { subject: Subject; nodes: number }): Promise<void> {
  const { plane, load, pods } = field;
  const { subject, nodes } = what;
  const { endpoint } = plane;
  const objects = Array.from({ length: pods }, (_, index) => loadPod(podName(index), { toleratesEverything: true }));
  await load.do('create', { endpoint, path: podsPath, objects });
  bench.log(`${subject.name}: ${pods} pods, ${nodes} nodes`);
  const bindings = load.do('awaitBindings', { endpoint, namespace, count: pods, timeoutMs: bindLimitMs });
  // Its failure is the next await's; until then it must not count as unhandled.
  bindings.catch(() => undefined);
  await Promise.race([load.watching(), bindings]);
  const began = Date.now();
  const child = await subject.start();
  try {
    const { boundAt } = await bindings.catch((error: unknown) => {
      throw new Error(`${subject.name} at ${nodes} nodes: ${String(error)}: ${child.output()}`);
    });
    const first = Math.min(...boundAt);
    const last = Math.max(...boundAt);
    const at = `${nodes.toLocaleString('en-US')} nodes`;
    const rate = (pods - 1) / ((last - first) / 1000);
    bench.record({ name: `pods bound, ${at}`, unit: '1/s', better: 'higher' }, subject.name, [rate]);
    bench.record({ name: `process start to first binding, ${at}`, unit: 'ms', better: 'lower' }, subject.name, [
      first - began,
    ]);
    // Its start is in it, too: little, and the same at every size.
    const cost = (processorSeconds(child.pid) / pods) * 1e6;
    bench.record({ name: `scheduler's processor time per pod, ${at}`, unit: 'µs', better: 'lower' }, subject.name, [
      cost,
    ]);
    const memory = memoryOf(child.pid).rss / 1e6;
    bench.record({ name: `scheduler RSS, ${at}`, unit: 'MB', better: 'lower' }, subject.name, [memory]);
  } finally {
    await child.stop();
  }
  await deletePods(endpoint);
}

async function deletePods(endpoint: ControlPlane['endpoint']): Promise<void> {
  const client = new ApiClient(endpoint);
  try {
    await client.json('DELETE', `${podsPath}?gracePeriodSeconds=0`);
    const { items } = await client.json<{ items: unknown[] }>('GET', podsPath);
    if (items.length > 0) throw new Error(`${items.length} pods stayed after they had been deleted at once`);
  } finally {
    client.close();
  }
}
