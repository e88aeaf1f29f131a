// SPDX-License-Identifier: Apache-2.0
/** Runs the real command in a process of its own, as a user would, for the end-to-end tests. */
import { spawn, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const main = fileURLToPath(new URL('../cli/main.ts', import.meta.url));

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** stdout and stderr, in the order in which they came. */
  readonly output: string;
}

export interface PlumbProcess {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  /** Resolves to the output so far as soon as it matches; rejects if the process ends before. */
  seen(pattern: RegExp): Promise<string>;
}

export function startPlumb(args: readonly string[], environment: Record<string, string> = {}): PlumbProcess {
  const child = spawn(process.execPath, [main, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'], HOME: '/nonexistent', ...environment },
  });
  let output = '';
  const watchers = new Set<() => void>();
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      for (const watcher of watchers) watcher();
    });
  }
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code, signal, output }));
  });
  return {
    child,
    ended,
    seen: (pattern) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          if (!pattern.test(output)) return;
          watchers.delete(look);
          resolve(output);
        };
        watchers.add(look);
        look();
        ended.then(() => reject(new Error(`ended without ${pattern}:\n${output}`)), reject);
      }),
  };
}

export async function plumb(args: readonly string[], environment: Record<string, string> = {}): Promise<Ended> {
  return startPlumb(args, environment).ended;
}
