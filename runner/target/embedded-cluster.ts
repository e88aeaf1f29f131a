// SPDX-License-Identifier: Apache-2.0
/**
 * The embedded cluster, seen from outside: a program that is started and asked by its command line. Nothing of `cluster/` is imported, so
 * that the harness can know nothing about the cluster that it tests.
 */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Problem } from '../problem.ts';

const entry = fileURLToPath(new URL('../../cluster/boot/main.ts', import.meta.url));

/** Runs a verb with the terminal handed through; resolves to its exit code. SIGINT reaches the child through the terminal's process group. */
export async function runClusterCommand(args: readonly string[]): Promise<number> {
  const child = spawn(process.execPath, [entry, ...args], { stdio: 'inherit' });
  const ignore = (): void => {};
  process.on('SIGINT', ignore);
  try {
    return await new Promise<number>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code, signal) => resolve(code ?? (signal === 'SIGINT' ? 130 : 1)));
    });
  } finally {
    process.removeListener('SIGINT', ignore);
  }
}

/** Path of the kubeconfig of a running embedded cluster, or undefined if it does not run. */
export async function embeddedKubeconfig(name: string): Promise<string | undefined> {
  const child = spawn(process.execPath, [entry, 'kubeconfig', '--name', name], { stdio: ['ignore', 'pipe', 'ignore'] });
  const chunks: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  const path = Buffer.concat(chunks).toString().trim();
  return code === 0 && path !== '' ? path : undefined;
}

/** The kubeconfig of the embedded cluster, which is started if it does not run yet. */
export async function ensureEmbeddedCluster(name: string): Promise<string> {
  const running = await embeddedKubeconfig(name);
  if (running !== undefined) return running;
  const code = await runClusterCommand(['up', '--name', name]);
  const path = code === 0 ? await embeddedKubeconfig(name) : undefined;
  if (path !== undefined) return path;
  throw new Problem(
    `no kubeconfig was given, and the embedded cluster "${name}" could not be started (exit code ${code})`,
    'Name a cluster with --kubeconfig FILE, or see `plumb doctor` for what this machine lacks.',
  );
}
