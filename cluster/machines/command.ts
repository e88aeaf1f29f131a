// SPDX-License-Identifier: Apache-2.0
// Runs one command of the host to its end. Together with the launchers in lan.ts and node.ts this is the only door
// from the cluster to ip, nft, mount, unshare and nsenter. A failure names the command, its exit code and what it said.

import { spawn } from 'node:child_process';

export interface CommandOptions {
  /** Written to standard input, which is then closed. */
  readonly input?: string;
  /** Killed after this many milliseconds; 30,000 unless told otherwise. */
  readonly timeoutMs?: number;
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
}

export class CommandError extends Error {
  override readonly name = 'CommandError';
  readonly exitCode: number | undefined;
  readonly stderr: string;

  constructor(command: readonly string[], exitCode: number | undefined, stderr: string) {
    const said = stderr.trim() || 'no message';
    super(`"${command.join(' ')}" ended with ${exitCode === undefined ? 'no exit code' : `code ${exitCode}`}: ${said}`);
    this.exitCode = exitCode;
    this.stderr = stderr;
  }
}

/** Resolves to standard output; rejects with a CommandError when the command cannot start, fails or takes too long. */
export async function run(command: readonly string[], options: CommandOptions = {}): Promise<string> {
  const [program, ...args] = command;
  if (program === undefined) throw new TypeError('run: the command is empty');
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const child = spawn(program, args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    timeout: options.timeoutMs ?? 30_000,
    killSignal: 'SIGKILL',
    ...(options.env === undefined ? {} : { env: options.env }),
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
  child.on('error', (error: NodeJS.ErrnoException) => {
    const remedy =
      error.code === 'ENOENT' ? `${program} is not installed; "plumb doctor" names its package` : error.message;
    reject(new CommandError(command, undefined, remedy));
  });
  child.on('close', (code, signal) => {
    const stderr = Buffer.concat(err).toString();
    if (code === 0) resolve(Buffer.concat(out).toString());
    else
      reject(
        new CommandError(command, code ?? undefined, signal === null ? stderr : `${stderr} (killed by ${signal})`),
      );
  });
  // A command that ends without reading its input is not an error of ours.
  child.stdin.on('error', () => {});
  child.stdin.end(options.input ?? '');
  return promise;
}
