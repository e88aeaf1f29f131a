// SPDX-License-Identifier: Apache-2.0
/**
 * Endpoints of one Service come and go 100 times a second for a minute while connections are made: how many were answered by an
 * endpoint that had left more than a second before, how many failed, what the proxy's memory did, and what rules were left.
 */
import { execFileSync } from 'node:child_process';
import { ours, type Bench, type Benchmark, type Figure } from './benchmark.ts';
import { memoryOf } from './processes.ts';
import { endpointAddresses, monotonicMs } from './services-node.ts';
import {
  createService,
  endpointSlice,
  fillServices,
  slicesPath,
  startServicesWorld,
  type BenchNode,
  type ProxyMode,
  type ServicesWorld,
} from './services-world.ts';

export const servicesFlap: Benchmark = {
  name: 'services-flap',
  about: 'endpoints flap 100 times a second for a minute: connections to the dead, lost ones, memory and rules left',
  run,
};

const perSecond = 100;
const settleMs = 1_000;

async function run(bench: Bench): Promise<void> {
  const seconds = bench.options.runs ?? (bench.options.quick ? 10 : 60);
  const world = await startServicesWorld(bench);
  await fillServices(world.client, { from: 0, to: 100 });
  for (const mode of ['nftables', 'iptables'] as const) await flap(bench, world, { mode, seconds });
}

async function flap(
  bench: Bench,
  { client, startNode }: ServicesWorld,
  { mode, seconds }: { mode: ProxyMode; seconds: number },
): Promise<void> {
  const subject = mode === 'nftables' ? ours : `${ours} iptables`;
  const name = `flap-${mode}`;
  const [a, b] = endpointAddresses;
  const node = await startNode();
  const proxy = await node.startProxy(mode);
  const address = await createService(client, { name, hosts: [a] });
  const { at } = await node.ask({ do: 'reach', address, port: 80, timeoutMs: 60_000 });
  if (at === undefined) throw new Error(`${subject} programs nothing: ${proxy.output()}`);
  // What the process takes at first for any change at all is no growth.
  const lifetimes = new Map<string, { from: number; until: number }[]>([
    [a, [{ from: 0, until: Infinity }]],
    [b, []],
  ]);
  const write = async (hosts: readonly string[]): Promise<void> => {
    const leaving = [...lifetimes].filter(([host]) => !hosts.includes(host));
    for (const host of hosts) {
      const spans = lifetimes.get(host) ?? [];
      if (spans.at(-1)?.until !== Infinity) spans.push({ from: monotonicMs(), until: Infinity });
    }
    await client.json('PUT', `${slicesPath}/${name}`, endpointSlice(name, hosts));
    for (const [, spans] of leaving) {
      const last = spans.at(-1);
      if (last?.until === Infinity) last.until = monotonicMs();
    }
  };
  const states = [[a], [a, b], [b], [b, a]];
  await write([a, b]);
  await write([a]);
  // Chains that nothing uses any more are removed a moment later.
  await pause(3 * settleMs);
  // Questions from before the Service's rules are tracked as not translated, for 120 s: a connection from one of their ports would be lost.
  inNode(node, 'conntrack -F 2>&1');
  const rulesBefore = ruleLines(node, mode);
  await node.ask({ do: 'watch', address, port: 80 });
  const memory: number[] = [];
  const start = monotonicMs();
  let changes = 0;
  for (; monotonicMs() - start < seconds * 1000; changes++) {
    bench.signal.throwIfAborted();
    await write(states[changes % states.length] ?? [a]);
    if (changes % perSecond === 0) memory.push(memoryOf(proxy.pid).rss / 1e6);
    const due = start + ((changes + 1) * 1000) / perSecond;
    await pause(Math.max(0, due - monotonicMs()));
  }
  const rate = changes / ((monotonicMs() - start) / 1000);
  await write([a]);
  await pause(settleMs);
  const { answers = [], failures = 0 } = await node.ask({ do: 'stop' });
  const dead = answers.filter(
    ({ at, by }) => !(lifetimes.get(by) ?? []).some(({ from, until }) => at >= from && at <= until + settleMs),
  );
  await pause(2_000);
  const left = ruleLines(node, mode) - rulesBefore;
  const half = memory[Math.floor(memory.length / 2)] ?? 0;
  const record = (what: string, unit: string, value: number): void =>
    bench.record(figure(what, unit), subject, [value]);
  record('changes of endpoints', '1/s', rate);
  record('connections answered', '1/s', answers.length / seconds);
  record('connections to an endpoint 1 s after it left', 'count', dead.length);
  record('connections without an answer', 'count', failures);
  record('lines of rules left behind', 'count', left);
  record('memory of the proxy at the end', 'MB', memory.at(-1) ?? 0);
  record('growth of memory in the second half', 'MB', (memory.at(-1) ?? 0) - half);
  await proxy.stop();
  await node.stop();
}

function ruleLines(node: BenchNode, mode: ProxyMode): number {
  return inNode(node, mode === 'nftables' ? 'nft list ruleset' : 'iptables-save; ip6tables-save').split('\n').length;
}

function inNode(node: BenchNode, script: string): string {
  const command = ['-t', String(node.pid), '-n', 'sh', '-c', script];
  return execFileSync('nsenter', command, { maxBuffer: 1 << 28, encoding: 'utf8' });
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function figure(name: string, unit: string): Figure {
  return { name, unit, better: unit === '1/s' ? 'higher' : 'lower' };
}
