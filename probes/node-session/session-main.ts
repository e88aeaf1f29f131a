// SPDX-License-Identifier: Apache-2.0
/** The agent's verb `node`: carries out the orders of a node session. Every child dies with it. */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import {
  frameHead,
  frameKind,
  sessionVersion,
  silenceMs,
  wallClockBase,
  type FrameKind,
  type Order,
  type OrderName,
  type Orders,
  type ProcessOrder,
} from './protocol.ts';

const outputMax = 16 * 1024 * 1024;
const killAfterMs = 1_000;

const children = new Map<number, ChildProcess>();

type Handlers = {
  [Name in OrderName]: (input: Orders[Name]['in'], id: number) => Promise<Orders[Name]['out']> | Orders[Name]['out'];
};

const handlers: Handlers = {
  hello: () => ({ version: sessionVersion }),
  clock: () => ({ at: wallClockBase() + performance.now(), monotonic: Number(process.hrtime.bigint()) / 1e6 }),
  read: ({ paths }) => ({ texts: paths.map(readText) }),
  run: runToEnd,
  start: startProcess,
  write: ({ process: number, text, end }) => {
    const stdin = children.get(number)?.stdin;
    if (text !== '') stdin?.write(text);
    if (end === true) stdin?.end();
    return {};
  },
  stop: ({ process: number }) => {
    const child = children.get(number);
    if (child !== undefined) stopChild(child);
    return {};
  },
};

/** Never returns while the host is there. */
export function serveSession(): void {
  let silence = setTimeout(leave, silenceMs);
  const lines = createInterface({ input: process.stdin, crlfDelay: Infinity });
  lines.on('line', (line) => {
    clearTimeout(silence);
    silence = setTimeout(leave, silenceMs);
    void obey(line);
  });
  lines.on('close', leave);
  process.stdout.on('error', leave);
  process.on('SIGTERM', leave);
}

function leave(): void {
  for (const child of children.values()) child.kill('SIGINT');
  setTimeout(() => {
    for (const child of children.values()) child.kill('SIGKILL');
    process.exit(0);
  }, 300);
}

async function obey(line: string): Promise<void> {
  let order: Order;
  try {
    order = JSON.parse(line) as Order;
  } catch {
    return;
  }
  try {
    if (!Object.hasOwn(handlers, order.order)) throw new Error(`unknown order ${order.order}`);
    const output = await handlers[order.order](order.input as never, order.id);
    send(frameKind.reply, order.id, Buffer.from(JSON.stringify(output)));
  } catch (error) {
    send(frameKind.failure, order.id, Buffer.from(error instanceof Error ? error.message : String(error)));
  }
}

/** False: whoever reads is behind, and the sender should wait for `drain`. */
function send(kind: FrameKind, id: number, content: Buffer): boolean {
  process.stdout.write(frameHead(kind, id, content.length));
  return process.stdout.write(content);
}

function spawnProgram({ argv, pid, stdin }: ProcessOrder): ChildProcess {
  const [name = '', ...words] = argv;
  // busybox runs its own `ip` for a bare name, which is another program.
  const whole = pid === undefined ? argv : ['/bin/busybox', 'nsenter', '-t', String(pid), '-n', pathOf(name), ...words];
  const [program = '', ...rest] = whole;
  const child = spawn(program, rest, { stdio: ['pipe', 'pipe', 'pipe'] });
  child.stdin?.on('error', () => undefined);
  if (stdin !== undefined) child.stdin?.write(stdin);
  return child;
}

function pathOf(name: string): string {
  if (name.includes('/')) return name;
  const folders = (process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin').split(':');
  return folders.map((folder) => `${folder}/${name}`).find((path) => existsSync(path)) ?? name;
}

function stopChild(child: ChildProcess): void {
  child.kill('SIGINT');
  const timer = setTimeout(() => child.kill('SIGKILL'), killAfterMs);
  child.once('exit', () => clearTimeout(timer));
}

function runToEnd(input: Orders['run']['in'], id: number): Promise<Orders['run']['out']> {
  return new Promise((resolve, reject) => {
    const child = spawnProgram(input);
    children.set(id, child);
    child.stdin?.end();
    const timer = setTimeout(() => child.kill('SIGKILL'), input.timeoutMs);
    const out = collect(child.stdout);
    const err = collect(child.stderr);
    const done = (): void => {
      clearTimeout(timer);
      children.delete(id);
    };
    child.once('error', (error) => {
      done();
      reject(error);
    });
    child.once('close', (code) => {
      done();
      resolve({ exitCode: code ?? 137, stdout: out(), stderr: err() });
    });
  });
}

function collect(stream: NodeJS.ReadableStream | null): () => string {
  const chunks: Buffer[] = [];
  let size = 0;
  stream?.on('data', (chunk: Buffer) => {
    if (size < outputMax) chunks.push(chunk);
    size += chunk.length;
  });
  return () => Buffer.concat(chunks).toString();
}

function startProcess(input: Orders['start']['in'], id: number): Promise<Orders['start']['out']> {
  return new Promise((resolve, reject) => {
    const child = spawnProgram(input);
    child.once('error', reject);
    child.once('spawn', () => {
      children.set(id, child);
      resolve({ pid: child.pid ?? 0 });
    });
    for (const [kind, stream] of [
      [frameKind.stdout, child.stdout],
      [frameKind.stderr, child.stderr],
    ] as const) {
      stream?.on('data', (chunk: Buffer) => {
        if (send(kind, id, chunk)) return;
        stream.pause();
        process.stdout.once('drain', () => stream.resume());
      });
    }
    child.once('close', (code) => {
      children.delete(id);
      send(frameKind.exit, id, Buffer.from(String(code ?? 137)));
    });
  });
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}
