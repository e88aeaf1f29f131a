// SPDX-License-Identifier: Apache-2.0
/**
 * Time from a Service and its endpoints existing to the first connection through it, on a node where many other Services are: our
 * kube-proxy in both modes, upstream's where it is there, and one `nft -f` of a Service's elements into the same table as the floor.
 */
import { spawnSync } from 'node:child_process';
import { peerBinary } from './api.ts';
import { ours, type Bench, type Benchmark, type Figure } from './benchmark.ts';
import { memoryOf, processorSeconds, type Child } from './processes.ts';
import { endpointAddresses, monotonicMs } from './services-node.ts';
import {
  createService,
  deleteService,
  fillServices,
  startServicesWorld,
  type BenchNode,
  type ProxyMode,
  type ServicesWorld,
} from './services-world.ts';

export const services: Benchmark = {
  name: 'services',
  about: 'a Service and its endpoints exist -> first connection through it, with 100 to 20,000 Services in place',
  run,
};

interface Subject {
  readonly name: string;
  readonly mode: ProxyMode;
  readonly binary?: string;
}

/** A proxy that has not programmed one more Service after this long is not going to. */
const reachLimitMs = 60_000;
const startLimitMs = 600_000;

async function run(bench: Bench): Promise<void> {
  const { quick, runs } = bench.options;
  const sizes = quick ? [100, 1_000] : [100, 1_000, 5_000, 20_000];
  const samples = runs ?? (quick ? 5 : 30);
  const peer = peerBinary('PLUMB_PEER_KUBE_PROXY', 'kube-proxy');
  const subjects: Subject[] = (['nftables', 'iptables'] as const).flatMap((mode) => [
    { name: mode === 'nftables' ? ours : `${ours} iptables`, mode },
    ...(peer === undefined ? [] : [{ name: `kube-proxy ${mode}`, mode, binary: peer }]),
  ]);
  if (peer === undefined) bench.note('no peer: kube-proxy is not on the PATH; PLUMB_PEER_KUBE_PROXY names one');
  const world = await startServicesWorld(bench);
  let present = 0;
  for (const size of sizes) {
    bench.log(`making ${size - present} Services`);
    await fillServices(world.client, { from: present, to: size });
    present = size;
    for (const subject of subjects) await measure(bench, { world, subject, size, samples });
  }
}

async function measure(
  bench: Bench,
  { world, subject, size, samples }: { world: ServicesWorld; subject: Subject; size: number; samples: number },
): Promise<void> {
  const title = `${size.toLocaleString('en')} Services`;
  const node = await world.startNode();
  const started = monotonicMs();
  const proxy = await node.startProxy(subject.mode, subject.binary);
  try {
    const first = await reach(world, node, { name: 'first', timeoutMs: startLimitMs });
    if (first === undefined) throw new Error(`${subject.name} programs nothing: ${proxy.output()}`);
    bench.record(figure(`proxy started -> in force, ${title}`, 'ms'), subject.name, [first.at - started]);
    bench.log(`${title}: ${subject.name} is in force after ${Math.round(first.at - started)} ms`);
    await calm(proxy, bench);
    const times: number[] = [];
    const before = processorSeconds(proxy.pid);
    for (let number = 0; number < samples; number++) {
      bench.signal.throwIfAborted();
      const one = await reach(world, node, { name: `sample-${number}`, timeoutMs: reachLimitMs });
      if (one === undefined)
        throw new Error(`${subject.name}: no connection after ${reachLimitMs} ms: ${proxy.output()}`);
      times.push(one.at - one.since);
    }
    bench.record(figure(`first connection, ${title}`, 'ms'), subject.name, times);
    const work = ((processorSeconds(proxy.pid) - before) / samples) * 1000;
    bench.record(figure(`processor time of the proxy per Service made and deleted, ${title}`, 'ms'), subject.name, [
      work,
    ]);
    bench.record(figure(`memory, ${title}`, 'MB'), subject.name, [memoryOf(proxy.pid).rss / 1e6]);
    if (subject.name === ours) bench.record(figure(`first connection, ${title}`, 'ms'), 'nft -f', floor(node, samples));
  } finally {
    await proxy.stop();
    await node.stop();
  }
}

/** Start-up is not what is measured next; a proxy that is busy with it is waited for. */
async function calm(proxy: Child, bench: Bench): Promise<void> {
  for (let last = -1; ;) {
    bench.signal.throwIfAborted();
    const now = processorSeconds(proxy.pid);
    if (now - last < 0.03) return;
    last = now;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

async function reach(
  { client }: ServicesWorld,
  node: BenchNode,
  { name, timeoutMs }: { name: string; timeoutMs: number },
): Promise<{ since: number; at: number } | undefined> {
  const address = await createService(client, { name, hosts: endpointAddresses.slice(0, 1) });
  const since = monotonicMs();
  const { at } = await node.ask({ do: 'reach', address, port: 80, timeoutMs });
  await deleteService(client, name);
  return at === undefined ? undefined : { since, at };
}

/** What the tool and the kernel take for the elements of one Service, without any proxy. */
function floor(node: BenchNode, samples: number): number[] {
  const key = '10.96.255.250 . tcp . 80';
  const elements = [
    ['cluster-ips', '10.96.255.250', ''],
    ['endpoint-0', key, ' : 10.244.0.2 . 8080'],
    ['service-ips', key, ' comment "bench/floor" : goto balance-1'],
  ] as const;
  const nft = (verb: 'add' | 'delete'): number => {
    const input = elements.map(
      ([set, element, rest]) => `${verb} element ip kube-proxy ${set} { ${element}${verb === 'add' ? rest : ''} }`,
    );
    const start = performance.now();
    const { status, stderr } = spawnSync('nsenter', ['-t', String(node.pid), '-n', 'nft', '-f', '-'], {
      input: input.join('\n'),
    });
    if (status !== 0) throw new Error(`nft -f: ${stderr.toString()}`);
    return performance.now() - start;
  };
  // The shared chain is there only while some Service has one endpoint.
  const shared = spawnSync('nsenter', ['-t', String(node.pid), '-n', 'nft', '-f', '-'], {
    input: 'add chain ip kube-proxy balance-1\n',
  });
  if (shared.status !== 0) throw new Error(`nft -f: ${shared.stderr.toString()}`);
  return Array.from({ length: samples }, () => {
    const took = nft('add');
    nft('delete');
    return took;
  });
}

function figure(name: string, unit: string): Figure {
  return { name, unit, better: 'lower' };
}
