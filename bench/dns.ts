// SPDX-License-Identifier: Apache-2.0
/**
 * Cluster DNS under dnsperf, on one core, with dnsperf on the others: cluster names and forwarded names, from the cache and not, beside a
 * bare UDP echo in the same runtime. Then a flood of packets that are no queries.
 */
import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { ours, type Bench, type Benchmark } from './benchmark.ts';
import { temporaryDirectory } from './control-plane.ts';
import { memoryOf, processorSeconds, runChild, startChild, type Child } from './processes.ts';

const subjects = fileURLToPath(new URL('dns-subjects/main.ts', import.meta.url));
const echo = 'UDP echo';
const serviceCount = 1_000;
/** A rate that every subject can take, for latencies without queues. */
const steadyRate = 5_000;

export const dns: Benchmark = {
  name: 'dns',
  about: 'cluster DNS under dnsperf, on one core: cluster and forwarded names, cached and not, beside a UDP echo',
  async run(bench) {
    const seconds = bench.options.quick ? 2 : 5;
    const rounds = bench.options.runs ?? (bench.options.quick ? 1 : 3);
    const directory = temporaryDirectory(bench);
    const files = queryFiles(directory, bench.options.quick ? 200_000 : 600_000);
    const upstream = await subject(bench, ['replier'], otherCores());
    for (let round = 0; round < rounds; round++) {
      for (const { what, name, file } of [
        { what: echo, name: 'a UDP packet', file: files.cluster },
        { what: ours, name: 'cluster names', file: files.cluster },
        { what: ours, name: 'cluster names, changing cluster', file: files.cluster },
        { what: ours, name: 'forwarded names, cached', file: files.cached },
        { what: ours, name: 'forwarded names, not cached', file: files.fresh },
      ]) {
        bench.log(`round ${round + 1} of ${rounds}: ${name}`);
        const run = await subject(
          bench,
          what === echo ? ['echo'] : ['server', String(upstream.port), String(serviceCount)],
          '0',
        );
        const changing = name.endsWith('changing cluster')
          ? every(10, () => process.kill(run.child.pid, 'SIGUSR2'))
          : undefined;
        await measure(bench, { what, name, file, seconds, run });
        clearInterval(changing);
        await run.child.stop();
      }
    }
    await flood(bench, upstream.port);
    bench.note(`${serviceCount} Services, a quarter of the cluster names do not exist; not cached: every name is new`);
    bench.note(
      'dnsperf and the upstream server share the other cores: where they are the limit, compare processor time',
    );
  },
};

interface Subject {
  readonly child: Child;
  readonly port: number;
}

interface Measurement {
  readonly what: string;
  readonly name: string;
  readonly file: string;
  readonly seconds: number;
  readonly run: Subject;
}

async function measure(bench: Bench, { what, name, file, seconds, run }: Measurement): Promise<void> {
  // Once through, so that the runtime has compiled what it will.
  await dnsperf(bench, run.port, ['-d', file, '-l', '2']);
  const before = processorSeconds(run.child.pid);
  const full = await dnsperf(bench, run.port, ['-d', file, '-l', String(seconds)]);
  const spent = processorSeconds(run.child.pid) - before;
  const completed = numberIn(full, /Queries completed:\s+(\d+)/);
  const lost = numberIn(full, /Queries lost:\s+(\d+)/);
  if (completed === 0) throw new Error(`dnsperf had no answers for ${name}: ${full}`);
  if (lost > 0) bench.note(`${name}: ${lost} of ${completed + lost} queries lost`);
  bench.record({ name: `${name}: answers`, unit: '1/s', better: 'higher' }, what, [
    numberIn(full, /Queries per second:\s+([\d.]+)/),
  ]);
  bench.record({ name: `${name}: processor time`, unit: 'µs', better: 'lower' }, what, [(spent / completed) * 1e6]);
  const steady = await dnsperf(bench, run.port, ['-d', file, '-l', '2', '-Q', String(steadyRate), '-v'], `${file}.out`);
  const latencies = [...steady.matchAll(/^> \S+ \S+ \S+ ([\d.]+)$/gm)].map((match) => Number(match[1]) * 1000);
  bench.record({ name: `${name}: latency at ${steadyRate}/s`, unit: 'ms', better: 'lower' }, what, latencies);
  bench.record({ name: `${name}: memory`, unit: 'MB', better: 'lower' }, what, [memoryOf(run.child.pid).rss / 1e6]);
}

/** Packets that are no queries, as fast as one process can send them: replies per packet, and memory before and after. */
async function flood(bench: Bench, upstreamPort: number): Promise<void> {
  const packets = bench.options.quick ? 200_000 : 2_000_000;
  bench.log(`${packets} malformed packets`);
  const run = await subject(bench, ['server', String(upstreamPort), '10'], '0');
  const socket = createSocket({ type: 'udp4', lookup: (hostname, _options, callback) => callback(null, hostname, 4) });
  let sentBytes = 0;
  let replies = 0;
  let replyBytes = 0;
  socket.on('message', (message) => {
    replies++;
    replyBytes += message.length;
  });
  const noise = Array.from({ length: 1_000 }, (_, index) => {
    const packet = randomBytes(12 + ((index * 7) % 200));
    packet.writeUInt16BE(packet.readUInt16BE(2) & 0x7fff, 2);
    return packet;
  });
  const memory: number[] = [];
  for (let sent = 0; sent < packets;) {
    for (let burst = 0; burst < 500; burst++, sent++) {
      const packet = noise[sent % noise.length] ?? Buffer.alloc(0);
      sentBytes += packet.length;
      socket.send(packet, run.port, '127.0.0.1');
    }
    await delay(1);
    bench.signal.throwIfAborted();
    if (sent === packets / 4 || sent === packets) memory.push(memoryOf(run.child.pid).rss / 1e6);
  }
  await delay(500);
  socket.close();
  if (run.child.exitCode() !== undefined) throw new Error(`the server ended: ${run.child.output()}`);
  bench.record({ name: 'malformed packets: reply bytes per byte', unit: 'ratio', better: 'lower' }, ours, [
    replyBytes / sentBytes,
  ]);
  bench.record({ name: 'malformed packets: memory', unit: 'MB', better: 'lower' }, ours, memory);
  bench.note(`${packets} malformed packets: ${replies} replies`);
  await run.child.stop();
}

async function dnsperf(bench: Bench, port: number, args: readonly string[], into?: string): Promise<string> {
  const command = ['dnsperf', '-s', '127.0.0.1', '-p', String(port), '-c', '8', '-q', '200', '-t', '2', ...args];
  const pinned = ['taskset', '-c', otherCores(), ...command];
  if (into === undefined) return runChild(bench, pinned);
  await runChild(bench, ['sh', '-c', `${pinned.join(' ')} > '${into}'`]);
  return readFileSync(into, 'utf8');
}

async function subject(bench: Bench, args: readonly string[], cores: string): Promise<Subject> {
  const child = await startChild(bench, ['taskset', '-c', cores, process.execPath, subjects, ...args]);
  for (let turn = 0; turn < 200; turn++) {
    const port = /^port (\d+)$/m.exec(child.output())?.[1];
    if (port !== undefined) return { child, port: Number(port) };
    if (child.exitCode() !== undefined) break;
    await delay(50);
  }
  throw new Error(`"${args.join(' ')}" did not start: ${child.output()}`);
}

/** Core 0 is the subject's. */
function otherCores(): string {
  const count = cpus().length;
  return count === 1 ? '0' : `1-${count - 1}`;
}

function queryFiles(directory: string, fresh: number): { cluster: string; cached: string; fresh: string } {
  const write = (name: string, lines: readonly string[]): string => {
    const path = join(directory, name);
    writeFileSync(path, `${lines.join('\n')}\n`);
    return path;
  };
  const services = Array.from({ length: serviceCount }, (_, index) =>
    index % 4 === 3 ? `no${index}.default.svc.cluster.local A` : `s${index}.default.svc.cluster.local A`,
  );
  return {
    cluster: write('cluster', services),
    cached: write(
      'cached',
      Array.from({ length: 1_000 }, (_, index) => `host${index}.example.com A`),
    ),
    fresh: write(
      'fresh',
      Array.from({ length: fresh }, (_, index) => `h${index}.example.net A`),
    ),
  };
}

function numberIn(text: string, pattern: RegExp): number {
  return Number(pattern.exec(text)?.[1] ?? 0);
}

function every(milliseconds: number, action: () => void): NodeJS.Timeout {
  return setInterval(() => {
    try {
      action();
    } catch {
      // The subject has ended.
    }
  }, milliseconds);
}
