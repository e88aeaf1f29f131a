// SPDX-License-Identifier: Apache-2.0
// Children of the set-up: other programs of this project and of the system, run to their end.

import { spawn } from 'node:child_process';
import { join } from 'node:path';

import { projectDirectory } from './bootstrap.js';

export interface ChildOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Collect standard output instead of showing it. */
  readonly capture?: boolean;
  /** Killed (with its process group) after this time. */
  readonly timeoutMs?: number;
}

export interface ChildResult {
  /** 128 and the signal's number for a child that was killed, as shells have it. */
  readonly code: number;
  readonly output: string;
  readonly timedOut: boolean;
}

const running = new Set<number>();

/** Never rejects because of the child's exit code. Errors: the program is not there. */
export async function runChild(command: readonly string[], options: ChildOptions = {}): Promise<ChildResult> {
  const { promise, resolve, reject } = Promise.withResolvers<ChildResult>();
  const child = spawn(command[0] ?? '', command.slice(1), {
    cwd: options.cwd ?? projectDirectory,
    env: { ...process.env, ...options.env },
    stdio: ['ignore', options.capture === true ? 'pipe' : 'inherit', 'inherit'],
    detached: true,
  });
  let output = '';
  let timedOut = false;
  child.stdout?.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const timer =
    options.timeoutMs === undefined
      ? undefined
      : setTimeout(() => {
          timedOut = true;
          signalGroup(child.pid, 'SIGKILL');
        }, options.timeoutMs);
  if (child.pid !== undefined) running.add(child.pid);
  child.on('error', reject);
  child.on('close', (code, signal) => {
    clearTimeout(timer);
    if (child.pid !== undefined) running.delete(child.pid);
    resolve({ code: code ?? (signal === 'SIGINT' ? 130 : 137), output, timedOut });
  });
  return promise;
}

/** A TypeScript program of this project, on this very Node. */
export function runProgram(path: string, args: readonly string[], options: ChildOptions = {}): Promise<ChildResult> {
  return runChild([process.execPath, join(projectDirectory, path), ...args], options);
}

/** Passes Ctrl-C and the like on to the children; they clean up, and the caller goes on when they have ended. */
export function passSignalsOn(onSignal: (signal: NodeJS.Signals) => void): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      for (const pid of running) signalGroup(pid, signal === 'SIGHUP' ? 'SIGTERM' : signal);
      onSignal(signal);
    });
  }
}

function signalGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  try {
    if (pid !== undefined) process.kill(-pid, signal);
  } catch {
    // It has ended meanwhile.
  }
}
