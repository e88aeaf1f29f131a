// SPDX-License-Identifier: Apache-2.0
// @ts-check
// Everything that must happen before TypeScript can run, and therefore plain JavaScript for Node 18 and later: a Node
// that runs the sources as they are, and the packages of the lockfile. Says what it fetches; does nothing when all is there.

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export const projectDirectory = resolve(fileURLToPath(new URL('../../..', import.meta.url)));

/** The first release that runs TypeScript without a flag and without a warning. */
const leastNode = /** @type {const} */ ([22, 18]);

/** Node's own builds as the npm registry carries them, so that one source of packages is enough. */
const pinnedNode = {
  version: '24.21.0',
  integrity: {
    x64: 'sha512-3nULszZ5X0fciYpG0t6TrdApJzAn8+FlINP6OiMX7V8HrvpATPN936U1LlReOJriLRa4e8yEqQBYCnLyPNAs7Q==',
    arm64: 'sha512-FpJRPEz2OvvTLfjIOlNGFY9JLPMKgl5m+d4oGYBLg24kJ1mmvN1Zl/HPJgF4HDaJ51ISev1l1cRZ/DM+keXW5g==',
  },
};

/** A failure of the set-up, with what a person can do about it. */
export class SetUpError extends Error {
  /**
   * @param {string} message
   * @param {string} remedy
   */
  constructor(message, remedy) {
    super(message);
    this.name = 'SetUpError';
    this.remedy = remedy;
  }
}

/** Path of a Node that runs TypeScript: the running one, or the pinned one, which is fetched when it is missing. */
export function ensureNode() {
  if (runsTypeScript(process.versions.node)) return process.execPath;
  const directory = join(projectDirectory, '.plumb', 'node');
  const node = join(directory, 'bin', 'node');
  if (versionOf(directory) === pinnedNode.version && existsSync(node)) return node;
  const integrity = pinnedNode.integrity[/** @type {'x64' | 'arm64'} */ (process.arch)];
  if (process.platform !== 'linux' || integrity === undefined) {
    throw new SetUpError(
      `this is Node ${process.versions.node} on ${process.platform}-${process.arch}, for which no newer one can be fetched`,
      `install Node ${leastNode.join('.')} or later and run the command again`,
    );
  }
  say(`fetching Node ${pinnedNode.version} (this machine has ${process.versions.node}, which does not run TypeScript)`);
  mkdirSync(join(projectDirectory, '.plumb'), { recursive: true });
  const staging = mkdtempSync(join(projectDirectory, '.plumb', 'node-'));
  try {
    npm(['pack', `node-linux-${process.arch}@${pinnedNode.version}`, '--pack-destination', staging, '--silent']);
    const archive = readdirSync(staging).find((name) => name.endsWith('.tgz'));
    if (archive === undefined) throw new SetUpError('npm pack wrote no archive', 'run it by hand to see why');
    const digest = createHash('sha512')
      .update(readFileSync(join(staging, archive)))
      .digest('base64');
    if (`sha512-${digest}` !== integrity) {
      throw new SetUpError(
        `the registry's node-linux-${process.arch}@${pinnedNode.version} is not the one that this project was tested with`,
        'check the registry that "npm config get registry" names, or install Node 24 by hand',
      );
    }
    execute('tar', ['-xzf', join(staging, archive), '-C', staging, '--no-same-owner']);
    rmSync(directory, { recursive: true, force: true });
    renameSync(join(staging, 'package'), directory);
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
  return node;
}

/** Brings node_modules to what the lockfile says. */
export function ensurePackages() {
  const why = staleness();
  if (why === undefined) return;
  say(`installing the packages of package-lock.json (${why})`);
  npm(['ci', '--no-audit', '--no-fund', '--loglevel=error']);
}

/** True from the first release that strips types by itself. */
export function runsTypeScript(/** @type {string} */ version) {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major > leastNode[0] || (major === leastNode[0] && minor >= leastNode[1]);
}

/**
 * Runs a program of this project under `node`, on the caller's terminal, and ends as it ended.
 *
 * @param {string} node
 * @param {readonly string[]} args
 * @returns {never}
 */
export function become(node, args) {
  // Signals of a terminal reach the child by themselves; this process must only live long enough to pass on its end.
  for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) process.on(signal, () => {});
  const path = `${join(projectDirectory, '.plumb', 'node', 'bin')}:${process.env.PATH ?? ''}`;
  const env = node === process.execPath ? process.env : { ...process.env, PATH: path };
  const result = spawnSync(node, args, { stdio: 'inherit', env });
  if (result.error !== undefined) throw result.error;
  if (result.signal !== null) process.exit(128 + (result.signal === 'SIGINT' ? 2 : 15));
  process.exit(result.status ?? 1);
}

/** Prints a failure with its remedy and ends the process. */
export function fail(/** @type {unknown} */ error) {
  process.stderr.write(`plumb: ${error instanceof Error ? error.message : String(error)}\n`);
  if (error instanceof SetUpError) process.stderr.write(`What to do: ${error.remedy}\n`);
  process.exit(2);
}

/** Why node_modules is not what the lockfile says, or undefined. npm keeps in it a list of what it has installed. */
function staleness() {
  const installed = readLock(join(projectDirectory, 'node_modules', '.package-lock.json'));
  if (installed === undefined) return 'node_modules is missing';
  const wanted = readLock(join(projectDirectory, 'package-lock.json')) ?? {};
  for (const [path, entry] of Object.entries(wanted)) {
    if (path === '') continue;
    const there = installed[path];
    if (there === undefined && entry.optional !== true) return `${path} is missing`;
    if (there !== undefined && there.version !== entry.version)
      return `${path} is ${there.version}, not ${entry.version}`;
  }
  return undefined;
}

/** @returns {Record<string, { version?: string; optional?: boolean }> | undefined} */
function readLock(/** @type {string} */ path) {
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')).packages : undefined;
}

function versionOf(/** @type {string} */ directory) {
  const file = join(directory, 'package.json');
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).version : undefined;
}

function npm(/** @type {readonly string[]} */ args) {
  const result = spawnSync('npm', args, { cwd: projectDirectory, stdio: ['ignore', 'ignore', 'inherit'] });
  if (result.error !== undefined)
    throw new SetUpError('npm is not on the PATH', 'install npm (Debian: apt-get install npm)');
  if (result.status !== 0) {
    throw new SetUpError(
      `"npm ${args.slice(0, 2).join(' ')}" failed with code ${result.status}`,
      'npm has said why above; without a network, copy .plumb/node and node_modules from a machine that has them',
    );
  }
}

function execute(/** @type {string} */ program, /** @type {readonly string[]} */ args) {
  const result = spawnSync(program, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  if (result.status !== 0)
    throw new SetUpError(`"${program} ${args.join(' ')}" failed`, `see what ${program} has said above`);
}

function say(/** @type {string} */ text) {
  process.stderr.write(`set-up: ${text}\n`);
}
