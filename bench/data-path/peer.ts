// SPDX-License-Identifier: Apache-2.0
/**
 * Both ends of a measurement of a network path, started by Node in the namespaces between which it leads.
 * `server PORT` serves until it is killed; `client HOST PORT SECONDS` measures once and prints a `PathFigures` as JSON.
 */
import { connect, createServer, type Socket } from 'node:net';

export interface PathFigures {
  /** Round trip of one byte, in microseconds: the middle one of all. */
  readonly roundTripUs: number;
  readonly gigabitsPerSecond: number;
  /** Of both ends, what their kernel did for them on the way included. */
  readonly processorPerRoundTripUs: number;
  readonly processorPerGigabitMs: number;
}

/** What the server tells at the end of a connection. */
interface Served {
  readonly bytes: number;
  readonly processorUs: number;
}

const echo = 0x65;
const sink = 0x73;
const chunk = Buffer.alloc(256 * 1024);

function serve(port: number): void {
  createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
    const began = process.cpuUsage();
    let bytes = -1;
    let echoes = false;
    socket.on('error', () => socket.destroy());
    socket.on('data', (data) => {
      const first = bytes < 0;
      if (first) echoes = data[0] === echo;
      bytes += data.length;
      // The first byte is a word to us, whatever has come together with it.
      if (echoes && (!first || data.length > 1)) socket.write(first ? data.subarray(1) : data);
    });
    // What has arrived counts, not what the sender's kernel has taken.
    socket.on('end', () => {
      const served: Served = { bytes, processorUs: processorSince(began) };
      socket.end(JSON.stringify(served));
    });
  }).listen(port);
}

function processorSince(began: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(began);
  return user + system;
}

async function open(host: string, port: number, word: number): Promise<Socket> {
  const socket = connect({ host, port, noDelay: true, allowHalfOpen: true });
  await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  socket.write(Uint8Array.of(word));
  return socket;
}

async function finish(socket: Socket): Promise<Served> {
  let text = '';
  socket.on('data', (data) => (text += data.toString()));
  const ended = new Promise<void>((resolve, reject) => socket.once('end', () => resolve()).once('error', reject));
  socket.end();
  await ended;
  return JSON.parse(text) as Served;
}

async function roundTrip(
  host: string,
  port: number,
  milliseconds: number,
): Promise<Pick<PathFigures, 'roundTripUs' | 'processorPerRoundTripUs'>> {
  const socket = await open(host, port, echo);
  const samples: number[] = [];
  const began = process.cpuUsage();
  const end = performance.now() + milliseconds;
  while (performance.now() < end) {
    const start = performance.now();
    socket.write('x');
    await new Promise((resolve) => socket.once('data', resolve));
    samples.push((performance.now() - start) * 1000);
  }
  const own = processorSince(began);
  const { processorUs } = await finish(socket);
  // The first ones are the compiler's.
  const settled = samples.slice(Math.floor(samples.length / 10)).toSorted((a, b) => a - b);
  return {
    roundTripUs: settled[Math.floor(settled.length / 2)] ?? Number.NaN,
    processorPerRoundTripUs: (own + processorUs) / samples.length,
  };
}

async function throughput(
  host: string,
  port: number,
  milliseconds: number,
): Promise<Pick<PathFigures, 'gigabitsPerSecond' | 'processorPerGigabitMs'>> {
  const socket = await open(host, port, sink);
  const began = process.cpuUsage();
  const start = performance.now();
  while (performance.now() - start < milliseconds) {
    if (!socket.write(chunk)) await new Promise<void>((resolve) => socket.once('drain', () => resolve()));
  }
  const { bytes, processorUs } = await finish(socket);
  const gigabits = (bytes * 8) / 1e9;
  return {
    gigabitsPerSecond: gigabits / ((performance.now() - start) / 1000),
    processorPerGigabitMs: (processorSince(began) + processorUs) / 1000 / gigabits,
  };
}

if (process.argv[1] === import.meta.filename) {
  const [role, ...rest] = process.argv.slice(2);
  if (role === 'server') serve(Number(rest[0]));
  else {
    const [host = '', port, seconds] = rest;
    const milliseconds = Number(seconds) * 1000;
    const figures: PathFigures = {
      ...(await roundTrip(host, Number(port), milliseconds)),
      ...(await throughput(host, Number(port), milliseconds)),
    };
    process.stdout.write(`${JSON.stringify(figures)}\n`);
  }
}
