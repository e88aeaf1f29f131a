// SPDX-License-Identifier: Apache-2.0
/**
 * Time from a Service and its endpoints existing to the first connection through it, on a node where many other Services are: our
 * kube-proxy in both modes, upstream's where it is there, and what the kernel's tool takes for a Service among the same rules as the floor.
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

/** A proxy that has not programmed one more Service, or all of them when it starts, after this long is noted as such. */
const reachLimitMs = 30_000;
const startLimitMs = 90_000;
/** No more samples are begun after this long, so that slow subjects cost a bounded time. */
const samplingMs = 45_000;
const modes = ['nftables', 'iptables'] as const;

async function run(bench: Bench): Promise<void> {
  const { quick, runs } = bench.options;
  const sizes = chosenSizes() ?? (quick ? [100, 1_000] : [100, 1_000, 5_000, 20_000]);
  const samples = runs ?? (quick ? 5 : 30);
  const peer = peerBinary('PLUMB_PEER_KUBE_PROXY', 'kube-proxy');
  const subjects: Subject[] = chosenModes().flatMap((mode) => [
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

/** Those that PLUMB_BENCH_SERVICES names, separated by commas; undefined for the benchmark's own. */
function chosenSizes(): number[] | undefined {
  const text = process.env['PLUMB_BENCH_SERVICES'];
  if (text === undefined) return undefined;
  const sizes = text.split(',').map(Number);
  if (sizes.every((size) => Number.isInteger(size) && size > 0)) return sizes.toSorted((a, b) => a - b);
  throw new Error(`PLUMB_BENCH_SERVICES: "${text}" is no list of numbers such as 100,5000`);
}

/** Both, or the one that PLUMB_BENCH_PROXY_MODE names. */
function chosenModes(): readonly ProxyMode[] {
  const name = process.env['PLUMB_BENCH_PROXY_MODE'];
  if (name === undefined) return modes;
  const found = modes.filter((mode) => mode === name);
  if (found.length > 0) return found;
  throw new Error(`PLUMB_BENCH_PROXY_MODE: "${name}" is neither ${modes.join(' nor ')}`);
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
    if (first === undefined) {
      noteSilence(bench, { subject, proxy, what: `${title}: not in force after ${startLimitMs / 1000} s` });
      return;
    }
    bench.record(figure(`proxy started -> in force, ${title}`, 'ms'), subject.name, [first.at - started]);
    bench.log(`${title}: ${subject.name} is in force after ${Math.round(first.at - started)} ms`);
    await calm(proxy, bench);
    const times: number[] = [];
    const before = processorSeconds(proxy.pid);
    const until = monotonicMs() + samplingMs;
    for (let number = 0; number < samples && monotonicMs() < until; number++) {
      bench.signal.throwIfAborted();
      const one = await reach(world, node, { name: `sample-${number}`, timeoutMs: reachLimitMs });
      if (one === undefined) {
        noteSilence(bench, { subject, proxy, what: `${title}: no connection after ${reachLimitMs / 1000} s` });
        return;
      }
      times.push(one.at - one.since);
    }
    bench.record(figure(`first connection, ${title}`, 'ms'), subject.name, times);
    const work = ((processorSeconds(proxy.pid) - before) / times.length) * 1000;
    bench.record(figure(`processor time of the proxy per Service made and deleted, ${title}`, 'ms'), subject.name, [
      work,
    ]);
    bench.record(figure(`memory, ${title}`, 'MB'), subject.name, [memoryOf(proxy.pid).rss / 1e6]);
    if (subject.binary === undefined) {
      const { tool } = floors[subject.mode];
      // It may be about to write a chain anew, which would take the rule away again. What it has written stays.
      await proxy.stop();
      bench.record(figure(`first connection, ${title}`, 'ms'), tool.join(' '), floor(node, subject.mode, samples));
    }
  } finally {
    await proxy.stop();
    await node.stop();
  }
}

/** A peer may be too slow for a size; that ours is must not be overlooked. */
function noteSilence(bench: Bench, { subject, proxy, what }: { subject: Subject; proxy: Child; what: string }): void {
  if (subject.binary === undefined) throw new Error(`${subject.name}: ${what}: ${proxy.output()}`);
  bench.note(`${subject.name}, ${what}`);
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

interface Floor {
  readonly tool: readonly string[];
  /** What is there with the proxy as long as some Service has one endpoint. */
  readonly prepare: string;
  /** One Service with one endpoint, as the proxy writes it. */
  readonly add: string;
  readonly remove: string;
}

const floorElements = [
  ['cluster-ips', '198.18.255.250', ''],
  ['endpoint-0', '198.18.255.250 . tcp . 80', ' : 10.244.0.2 . 8080'],
  ['service-ips', '198.18.255.250 . tcp . 80', ' comment "bench/floor" : goto balance-1'],
] as const;
const floorRule =
  'KUBE-SERVICES -m comment --comment "bench/floor cluster IP" -m tcp -p tcp -d 198.18.255.250/32 --dport 80 -j KUBE-SVC-FLOOR';
const floorChains = '*nat\n:KUBE-SVC-FLOOR - [0:0]\n:KUBE-SEP-FLOOR - [0:0]\n';

const floors: Readonly<Record<ProxyMode, Floor>> = {
  nftables: {
    tool: ['nft', '-f'],
    prepare: 'add chain ip kube-proxy balance-1\n',
    add: floorElements
      .map(([set, element, rest]) => `add element ip kube-proxy ${set} { ${element}${rest} }\n`)
      .join(''),
    remove: floorElements.map(([set, element]) => `delete element ip kube-proxy ${set} { ${element} }\n`).join(''),
  },
  iptables: {
    tool: ['iptables-restore', '--noflush'],
    prepare: '',
    add: `${floorChains}-A KUBE-SVC-FLOOR -j KUBE-SEP-FLOOR
-A KUBE-SEP-FLOOR -m tcp -p tcp -j DNAT --to-destination 10.244.0.2:8080
-I ${floorRule}
COMMIT
`,
    remove: `${floorChains}-D ${floorRule}\n-X KUBE-SVC-FLOOR\n-X KUBE-SEP-FLOOR\nCOMMIT\n`,
  },
};

/** What the tool and the kernel take for one Service, without any proxy, ms. */
function floor(node: BenchNode, mode: ProxyMode, samples: number): number[] {
  const { tool, prepare, add, remove } = floors[mode];
  const feed = (input: string): number => {
    const start = performance.now();
    const command = ['-t', String(node.pid), '-n', ...tool, ...(mode === 'nftables' ? ['-'] : [])];
    const { status, stderr } = spawnSync('nsenter', command, { input });
    if (status !== 0) throw new Error(`${tool.join(' ')}: ${stderr.toString()}`);
    return performance.now() - start;
  };
  if (prepare !== '') feed(prepare);
  return Array.from({ length: samples }, () => {
    const took = feed(add);
    feed(remove);
    return took;
  });
}

function figure(name: string, unit: string): Figure {
  return { name, unit, better: 'lower' };
}
