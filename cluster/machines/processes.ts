// SPDX-License-Identifier: Apache-2.0
// Identity of processes across crashes: a pid alone may have been reused, a pid with its start time cannot. Everything
// that kills goes through here, so that a stale state file never costs an innocent process its life.

import { readFileSync } from 'node:fs';

import { until } from './until.ts';

export interface ProcessIdentity {
  readonly pid: number;
  /** Field 22 of /proc/<pid>/stat: clock ticks after boot. */
  readonly startTime: string;
}

export function identify(pid: number): ProcessIdentity | undefined {
  const startTime = startTimeOf(pid);
  return startTime === undefined ? undefined : { pid, startTime };
}

/** True while exactly this process lives; a zombie counts as dead. */
export function isAlive(identity: ProcessIdentity): boolean {
  return startTimeOf(identity.pid) === identity.startTime;
}

export function kill(identity: ProcessIdentity, signal: NodeJS.Signals): void {
  if (isAlive(identity)) signalPid(identity.pid, signal);
}

/** SIGKILLs every process that `list` yields, and again while it yields any (children forked meanwhile). */
export async function killAll(list: () => readonly number[], what: string): Promise<void> {
  const gone = (): boolean => {
    const pids = list().filter((pid) => startTimeOf(pid) !== undefined);
    for (const pid of pids) signalPid(pid, 'SIGKILL');
    return pids.length === 0;
  };
  await until(gone, { what: `${what} to end after SIGKILL`, timeoutMs: 20_000 });
}

/** Children of a process, as the host numbers them. */
export function childrenOf(pid: number): number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    return text === '' ? [] : text.split(' ').map(Number);
  } catch {
    return [];
  }
}

/** Host pids by the pid that they have inside the pid namespace of `init` (a host pid). */
export function pidsInside(init: number, candidates: readonly number[]): Map<number, number> {
  const depth = namespacePids(init)?.length;
  const inside = new Map<number, number>();
  for (const pid of candidates) {
    const pids = namespacePids(pid);
    if (pids === undefined || depth === undefined || pids.length < depth) continue;
    const local = pids[depth - 1];
    if (local !== undefined) inside.set(local, pid);
  }
  return inside;
}

export interface MemoryUse {
  /** Bytes in RAM, shared pages counted in full. */
  readonly rss: number;
  /** Bytes in RAM, shared pages divided by the number of their users. */
  readonly pss: number;
}

export function memoryOf(pid: number): MemoryUse {
  try {
    const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
    const field = (name: string): number =>
      Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? 0) * 1024;
    return { rss: field('Rss'), pss: field('Pss') };
  } catch {
    return { rss: 0, pss: 0 };
  }
}

function namespacePids(pid: number): number[] | undefined {
  try {
    const line = /^NSpid:\s+(.*)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    return line?.split(/\s+/).map(Number);
  } catch {
    return undefined;
  }
}

function startTimeOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The command name may hold spaces and parentheses; fields are counted after its last parenthesis.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

function signalPid(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
