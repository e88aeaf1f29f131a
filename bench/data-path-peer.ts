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
}

const echo = 0x65;
const sink = 0x73;
const chunk = Buffer.alloc(256 * 1024);

function serve(port: number): void {
  createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
    socket.on('error', () => socket.destroy());
    socket.once('data', (first) => {
      if (first[0] === echo) {
        // The first question may have come together with the word.
        if (first.length > 1) socket.write(first.subarray(1));
        socket.on('data', (data) => socket.write(data));
        return;
      }
      let bytes = first.length - 1;
      socket.on('data', (data) => (bytes += data.length));
      // What has arrived counts, not what the sender's kernel has taken.
      socket.on('end', () => socket.end(String(bytes)));
    });
  }).listen(port);
}

async function open(host: string, port: number): Promise<Socket> {
  const socket = connect({ host, port, noDelay: true, allowHalfOpen: true });
  await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  return socket;
}

async function roundTrip(host: string, port: number, milliseconds: number): Promise<number> {
  const socket = await open(host, port);
  const samples: number[] = [];
  const end = performance.now() + milliseconds;
  socket.write(Uint8Array.of(echo));
  while (performance.now() < end) {
    const start = performance.now();
    socket.write('x');
    await new Promise((resolve) => socket.once('data', resolve));
    samples.push((performance.now() - start) * 1000);
  }
  socket.destroy();
  // The first ones are the compiler's.
  const settled = samples.slice(Math.floor(samples.length / 10)).toSorted((a, b) => a - b);
  return settled[Math.floor(settled.length / 2)] ?? Number.NaN;
}

async function throughput(host: string, port: number, milliseconds: number): Promise<number> {
  const socket = await open(host, port);
  const answer = new Promise<string>((resolve, reject) => {
    let text = '';
    socket.on('data', (data) => (text += data.toString()));
    socket.once('end', () => resolve(text)).once('error', reject);
  });
  const start = performance.now();
  socket.write(Uint8Array.of(sink));
  while (performance.now() - start < milliseconds) {
    if (!socket.write(chunk)) await new Promise<void>((resolve) => socket.once('drain', () => resolve()));
  }
  socket.end();
  const bytes = Number(await answer);
  return (bytes * 8) / ((performance.now() - start) * 1e6);
}

if (process.argv[1] === import.meta.filename) {
  const [role, ...rest] = process.argv.slice(2);
  if (role === 'server') serve(Number(rest[0]));
  else {
    const [host = '', port, seconds] = rest;
    const milliseconds = Number(seconds) * 1000;
    const figures: PathFigures = {
      roundTripUs: await roundTrip(host, Number(port), milliseconds),
      gigabitsPerSecond: await throughput(host, Number(port), milliseconds),
    };
    process.stdout.write(`${JSON.stringify(figures)}\n`);
  }
}
