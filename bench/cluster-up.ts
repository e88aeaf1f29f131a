// SPDX-License-Identifier: Apache-2.0
/** From nothing to a cluster of three nodes that answers, and back; and what it holds in memory while nothing happens. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ours, type Bench, type Benchmark } from './benchmark.ts';
import { clusterDown, clusterName, kubeconfigPath, ownNodes, watchComingUp } from './cluster.ts';
import { clusterProgram, temporaryDirectory } from './control-plane.ts';
import { memoryOf, processesMatching, runChild, startChild, type Memory } from './processes.ts';

interface Subject {
  readonly name: string;
  readonly nodes: number;
  /** Everything below is of one run. */
  begin(): Attempt;
}

interface Attempt {
  readonly kubeconfig: string;
  readonly env: Readonly<Record<string, string>>;
  readonly up: readonly string[];
  readonly down: readonly string[];
  /** By component, the sum apart as `total`. */
  memory(): Promise<ReadonlyMap<string, Memory>>;
  /** Whatever happened before. */
  remove(): Promise<void>;
}

const upLimitMs = 600_000;
/** After which a cluster that has come up is at rest. */
const settleMs = 8_000;

export const clusterUp: Benchmark = {
  name: 'cluster-up',
  about: 'plumb cluster up with 3 nodes: time to API, nodes, DNS; memory; down; beside a peer’s commands',
  async run(bench) {
    const { quick, runs } = bench.options;
    const subjects = [ownCluster(bench), ...peerCluster(bench)];
    const rounds = runs ?? (quick ? 1 : 3);
    // The first brings images and caches into place and is not counted.
    for (const subject of subjects) await measure(bench, subject, { counted: false, memory: false });
    for (let round = 0; round < rounds; round++) {
      for (const subject of subjects) await measure(bench, subject, { counted: true, memory: round === rounds - 1 });
    }
  },
};

function ownCluster(bench: Bench): Subject {
  return {
    name: ours,
    nodes: ownNodes,
    begin() {
      const name = clusterName();
      return {
        kubeconfig: kubeconfigPath(name),
        env: {},
        up: [...clusterProgram, 'up', '--name', name, '--nodes', String(ownNodes)],
        down: [...clusterProgram, 'down', '--name', name],
        memory: () => memoryOfOwn(bench, name),
        remove: () => clusterDown(name),
      };
    },
  };
}

interface ComponentRow extends Memory {
  readonly component: string;
}

async function memoryOfOwn(bench: Bench, name: string): Promise<Map<string, Memory>> {
  const text = await runChild(bench, [...clusterProgram, 'status', '--json', '--name', name]);
  const rows = JSON.parse(text) as ComponentRow[];
  const sums = new Map<string, Memory>();
  for (const { component, rss, pss } of rows) {
    for (const key of ['total', component]) {
      const sum = sums.get(key) ?? { rss: 0, pss: 0 };
      sums.set(key, { rss: sum.rss + rss, pss: sum.pss + pss });
    }
  }
  return sums;
}

/** Two shell commands make a peer; both find the path of the kubeconfig to be written in KUBECONFIG. */
function peerCluster(bench: Bench): Subject[] {
  const environment = (name: string): string => process.env[name] ?? '';
  const up = environment('PLUMB_PEER_CLUSTER_UP');
  const down = environment('PLUMB_PEER_CLUSTER_DOWN');
  if (up === '' || down === '') {
    bench.note('no peer: PLUMB_PEER_CLUSTER_UP and PLUMB_PEER_CLUSTER_DOWN are shell commands for one');
    return [];
  }
  const match = environment('PLUMB_PEER_CLUSTER_PROCESSES');
  if (match === '') bench.note('no memory of the peer: PLUMB_PEER_CLUSTER_PROCESSES is a pattern for its processes');
  return [
    {
      name: 'peer',
      nodes: Number(environment('PLUMB_PEER_CLUSTER_NODES') || ownNodes),
      begin() {
        const kubeconfig = join(temporaryDirectory(bench), 'kubeconfig');
        const env = { KUBECONFIG: kubeconfig };
        return {
          kubeconfig,
          env,
          up: ['sh', '-c', up],
          down: ['sh', '-c', down],
          memory: async () => (match === '' ? new Map() : memoryOfMatching(new RegExp(match))),
          async remove() {
            if (!existsSync(kubeconfig)) return;
            const signal = new AbortController().signal;
            await runChild({ signal, onCleanup: () => undefined }, ['sh', '-c', down], { env });
          },
        };
      },
    },
  ];
}

function memoryOfMatching(pattern: RegExp): Map<string, Memory> {
  const all = processesMatching(pattern).map(memoryOf);
  const sum = (key: keyof Memory): number => all.reduce((total, use) => total + use[key], 0);
  return new Map([['total', { rss: sum('rss'), pss: sum('pss') }]]);
}

async function measure(
  bench: Bench,
  subject: Subject,
  what: { readonly counted: boolean; readonly memory: boolean },
): Promise<void> {
  const attempt = subject.begin();
  const { env, kubeconfig } = attempt;
  let present = true;
  bench.onCleanup(async () => {
    if (present) await attempt.remove();
  });
  bench.log(`${subject.name}: up${what.counted ? '' : ' (to warm up)'}`);
  const start = performance.now();
  const stop = new AbortController();
  const signal = AbortSignal.any([bench.signal, stop.signal, AbortSignal.timeout(upLimitMs)]);
  const comingUp = watchComingUp(kubeconfig, { nodes: subject.nodes, start, signal });
  comingUp.catch(() => undefined);
  const child = await startChild(bench, attempt.up, { env });
  const code = await child.ended();
  const returnedMs = performance.now() - start;
  if (code !== 0) {
    stop.abort();
    throw new Error(`"${attempt.up.join(' ')}" ended with ${code}: ${child.output()}`);
  }
  const { apiReadyMs, nodesReadyMs, dnsReadyMs } = await comingUp;
  const memory = what.memory ? (await delay(settleMs, undefined, { signal }), await attempt.memory()) : undefined;
  const downStart = performance.now();
  await runChild(bench, attempt.down, { env });
  present = false;
  const downMs = performance.now() - downStart;
  if (!what.counted) return;
  const time = (name: string, ms: number): void =>
    bench.record({ name, unit: 's', better: 'lower' }, subject.name, [ms / 1000]);
  time('API ready', apiReadyMs);
  time('nodes Ready', nodesReadyMs);
  time('DNS endpoint ready', dnsReadyMs);
  time('up returned (ours: DNS has answered)', returnedMs);
  time('down', downMs);
  for (const [component, { rss, pss }] of memory ?? []) {
    const figure = (kind: string) => ({ name: `${kind} ${component}`, unit: 'MB', better: 'lower' }) as const;
    bench.record(figure('PSS'), subject.name, [pss / 1e6]);
    bench.record(figure('RSS'), subject.name, [rss / 1e6]);
  }
}
