// SPDX-License-Identifier: Apache-2.0
/** Child processes that are gone when the benchmark is: started with a clean-up hook, asked to end, and made to if they do not. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Bench } from './benchmark.ts';

/** Whose end is the end of the child. */
export type Owner = Pick<Bench, 'signal' | 'onCleanup'>;

export interface Child {
  readonly pid: number;
  /** Undefined while it runs. */
  exitCode(): number | undefined;
  /** The end of what it has written to stdout and stderr. */
  output(): string;
  /** Exit code, once it has ended by itself. Rejects when the benchmark is stopped. */
  ended(): Promise<number>;
  /** SIGTERM, after a while SIGKILL; resolves when it is gone. */
  stop(): Promise<void>;
}

export interface ChildOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

const graceMs = 10_000;
const outputMax = 8_192;

/** In a process group of its own, so that Ctrl-C leaves the order of ending to us. Errors: what cannot be started. */
export async function startChild(bench: Owner, command: readonly string[], options: ChildOptions = {}): Promise<Child> {
  const [program = '', ...args] = command;
  const { env, cwd } = options;
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
    env: { ...process.env, ...env },
    ...(cwd !== undefined && { cwd }),
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => (output = (output + chunk.toString()).slice(-outputMax)));
  }
  let code: number | undefined;
  const closed = new Promise<number>((resolve) => {
    child.once('close', (status, signal) => {
      code = status ?? (signal === null ? 1 : 128);
      resolve(code);
    });
  });
  await once(child, 'spawn');
  const { pid } = child;
  if (pid === undefined) throw new Error(`${program} has no process id`);
  const stop = async (): Promise<void> => {
    if (code !== undefined) return;
    child.kill('SIGTERM');
    const waiting = new AbortController();
    const late = delay(graceMs, 'late', { signal: waiting.signal }).catch(() => undefined);
    if ((await Promise.race([closed, late])) === 'late') killGroup(pid);
    waiting.abort();
    await closed;
  };
  bench.onCleanup(stop);
  return { pid, exitCode: () => code, output: () => output, ended: () => unlessAborted(closed, bench.signal), stop };
}

/** Runs a command to its end. Errors: an exit code other than 0, with what was said. */
export async function runChild(bench: Owner, command: readonly string[], options: ChildOptions = {}): Promise<string> {
  const child = await startChild(bench, command, options);
  const code = await child.ended();
  if (code !== 0) throw new Error(`"${command.join(' ')}" ended with ${code}: ${child.output()}`);
  return child.output();
}

export interface Memory {
  /** Bytes in RAM, shared pages counted in full. */
  readonly rss: number;
  /** Bytes in RAM, shared pages divided by the number of their users. */
  readonly pss: number;
}

/** Zero for a process that is gone. */
export function memoryOf(pid: number): Memory {
  try {
    const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
    const bytes = (name: string): number =>
      Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? 0) * 1024;
    return { rss: bytes('Rss'), pss: bytes('Pss') };
  } catch {
    return { rss: 0, pss: 0 };
  }
}

/** Clock ticks are hundredths of a second on every architecture that Node runs on. */
const ticksPerSecond = 100;

/** Processor time of a process and its threads so far, in seconds: says what work costs, however busy the machine is. */
export function processorSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The command name may hold spaces and parentheses; fields are counted after its last parenthesis.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
}

/** Processes whose command line or control groups match. */
export function processesMatching(pattern: RegExp): number[] {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && name !== String(process.pid));
  return pids.map(Number).filter((pid) => {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
      return pattern.test(command) || pattern.test(readFileSync(`/proc/${pid}/cgroup`, 'utf8'));
    } catch {
      return false;
    }
  });
}

/** The promise's outcome, or a rejection as soon as the signal aborts. */
export async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  // Where nobody waits for it any more, its failure is nobody's.
  promise.catch(() => undefined);
  signal.throwIfAborted();
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It has ended meanwhile.
  }
}
