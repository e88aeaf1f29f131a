// SPDX-License-Identifier: Apache-2.0
/**
 * Captures: lines of one large capture beside tcpdump, and its flows beside tshark. The capture is made of TCP, UDP, DNS, ICMP and tunnels.
 * PLUMB_BENCH_PCAP_MB sets its size.
 */
import { spawn, spawnSync } from 'node:child_process';
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pcapng } from '../probes/pcap-parser/capture-writer.ts';
import { ethernet, frames, ip4, tcp } from '../probes/pcap-parser/sample-frames.ts';
import { ours, type Bench, type Benchmark } from './benchmark.ts';
import { temporaryDirectory } from './control-plane.ts';

const plumb = fileURLToPath(new URL('../runner/cli/plumb.js', import.meta.url));

export const pcap: Benchmark = {
  name: 'pcap',
  about: 'reads a large capture: packets printed beside tcpdump, flows beside tshark',
  async run(bench) {
    const megabytes = Number(process.env['PLUMB_BENCH_PCAP_MB'] ?? (bench.options.quick ? 20 : 200));
    const path = join(temporaryDirectory(bench), 'mixed.pcapng');
    const packets = writeCapture(path, megabytes * 1e6);
    bench.note(`${megabytes} MB, ${packets} packets`);
    const own = [process.execPath, plumb, 'pcap', path];
    const lines = [
      [ours, own],
      ['tcpdump', ['tcpdump', '-nn', '-r', path]],
    ] as const;
    const flows = [
      [ours, [...own, '--flows']],
      ['tshark', ['tshark', '-n', '-q', '-z', 'conv,tcp', '-z', 'conv,udp', '-r', path]],
    ] as const;
    for (let run = 0; run < (bench.options.runs ?? 2); run++) {
      for (const [subject, command] of lines) await measure(bench, { what: 'printed', subject, command, packets });
      for (const [subject, command] of flows) await measure(bench, { what: 'in flows', subject, command, packets });
    }
  },
};

interface Reading {
  readonly what: string;
  readonly subject: string;
  readonly command: readonly string[];
  readonly packets: number;
}

async function measure(bench: Bench, { what, subject, command, packets }: Reading): Promise<void> {
  const [program = '', ...args] = command;
  if (spawnSync(program, ['--version']).error !== undefined) {
    bench.note(`no peer: ${program} is not installed`);
    return;
  }
  const started = performance.now();
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'ignore'], signal: bench.signal });
  let peak = 0;
  const watching = setInterval(() => (peak = Math.max(peak, peakOf(child.pid))), 50);
  const code = await new Promise<number | null>((resolve, reject) => child.on('error', reject).on('exit', resolve));
  clearInterval(watching);
  if (code !== 0) throw new Error(`${command.join(' ')} ended with code ${code}`);
  const seconds = (performance.now() - started) / 1000;
  bench.record({ name: `packets ${what}`, unit: '1/s', better: 'higher' }, subject, [packets / seconds]);
  bench.record({ name: `memory, packets ${what}`, unit: 'MB', better: 'lower' }, subject, [peak]);
}

/** Most memory that a process has had so far, in MB; 0 once it has ended. */
function peakOf(pid: number | undefined): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    return Number(/^VmHWM:\s+(\d+)/m.exec(status)?.[1] ?? 0) / 1024;
  } catch {
    return 0;
  }
}

const connections = 500;

/** Returns how many packets the capture holds. */
function writeCapture(path: string, octets: number): number {
  const file = openSync(path, 'w');
  writeSync(file, Buffer.concat([pcapng.section(), pcapng.interface({ linkType: 1, name: 'eth0' })]));
  const others = frames.map(([, frame]) => frame);
  const payloads = [0, 100, 700, 1448].map((size) => Buffer.alloc(size, 0x61));
  let written = 0;
  let count = 0;
  while (written < octets) {
    const parts: Buffer[] = [];
    for (let index = 0; index < 2000; index++, count++) {
      const frame = count % 5 === 0 ? (others[(count / 5) % others.length] as Buffer) : segment(count, payloads);
      const time = { seconds: 1_700_000_000 + Math.floor(count / 10_000), nanoseconds: (count % 10_000) * 100_000 };
      parts.push(pcapng.packet({ interfaceIndex: 0, ...time, frame }));
    }
    written += writeSync(file, Buffer.concat(parts));
  }
  closeSync(file);
  return count;
}

function segment(count: number, payloads: readonly Buffer[]): Buffer {
  const payload = payloads[count % payloads.length] as Buffer;
  const port = 20_000 + (count % connections);
  const sequence = (Math.floor(count / connections) * 562) >>> 0;
  return ethernet(
    0x0800,
    ip4(tcp(payload, { flags: 24, sequence, acknowledgement: 1, from: port, to: 9000 }), { protocol: 6 }),
  );
}
