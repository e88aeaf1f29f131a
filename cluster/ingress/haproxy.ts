// SPDX-License-Identifier: Apache-2.0
// One HAProxy: its files, its processes, and its socket for changes at run time. Endpoints that come and go are told over the
// socket; anything else is a new configuration, which a new worker takes up while the old one finishes what it has begun.

import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { logger } from '../machinery/log.ts';
import {
  adminSocket,
  configFile,
  proxyFiles,
  serverName,
  type ProxyFiles,
  type ProxyOptions,
} from './haproxy-config.ts';
import type { Routes } from './routes.ts';

const log = logger('haproxy');
const masterSocket = 'master.sock';
const reloadTimeoutMs = 10_000;

export class Haproxy {
  readonly #program: string;
  readonly #options: ProxyOptions;
  #master: ChildProcess | undefined;
  #files: ProxyFiles = new Map();
  /** Everything but endpoints, as text: what a reload is needed for. */
  #shape = '';
  #backends = new Map<string, readonly string[]>();
  /** Servers that are to go when their last request has ended. */
  readonly #leaving = new Set<string>();
  #onExit: (code: number | null) => void;

  /** `onExit` is called when HAProxy ends without being asked to. */
  constructor(program: string, options: ProxyOptions, onExit: (code: number | null) => void) {
    this.#program = program;
    this.#options = options;
    this.#onExit = onExit;
  }

  /** Brings the proxy to these routes. Errors: HAProxy's own words; then what was in force still is. */
  async apply(routes: Routes): Promise<'none' | 'endpoints' | 'reload'> {
    const shape = JSON.stringify([...proxyFiles({ ...routes, backends: emptied(routes.backends) }, this.#options)]);
    if (this.#master !== undefined && shape === this.#shape) {
      return (await this.#applyEndpoints(routes.backends)) ? 'endpoints' : 'none';
    }
    await this.#write(proxyFiles(routes, this.#options));
    if (this.#master === undefined) await this.#start();
    else await this.#reload();
    this.#shape = shape;
    this.#backends = new Map(routes.backends);
    this.#leaving.clear();
    return 'reload';
  }

  /** Servers that have left but could not be removed yet. */
  get untidy(): boolean {
    return this.#leaving.size > 0;
  }

  /** Ends when the last request has, or after a while. */
  async stop(): Promise<void> {
    const master = this.#master;
    if (master === undefined) return;
    this.#onExit = () => undefined;
    const ended = new Promise<void>((resolve) => void master.once('exit', () => resolve()));
    master.kill('SIGUSR1');
    const hard = setTimeout(() => master.kill('SIGTERM'), 10_000);
    await ended;
    clearTimeout(hard);
  }

  async #write(files: ProxyFiles): Promise<void> {
    const { directory } = this.#options;
    await mkdir(directory, { recursive: true, mode: 0o700 });
    for (const [name, content] of files) {
      if (name === configFile || this.#files.get(name) === content) continue;
      await replace(join(directory, name), content);
    }
    const candidate = join(directory, `${configFile}.new`);
    await writeFile(candidate, files.get(configFile) ?? '', { mode: 0o600 });
    try {
      await promisify(execFile)(this.#program, ['-c', '-q', '-f', candidate]);
    } catch (error) {
      const words = (error as { stderr?: string }).stderr ?? String(error);
      throw new Error(`HAProxy refuses the configuration: ${words.trim().slice(0, 1000)}`, { cause: error });
    }
    await rename(candidate, join(directory, configFile));
    // Keys of certificates that are no longer used have no business on a disk.
    for (const name of this.#files.keys()) if (!files.has(name)) await rm(join(directory, name), { force: true });
    this.#files = files;
  }

  async #start(): Promise<void> {
    const { directory } = this.#options;
    const args = ['-W', '-q', '-S', `${join(directory, masterSocket)},mode,600`, '-f', join(directory, configFile)];
    const master = spawn(this.#program, args, { stdio: ['ignore', this.#options.output, this.#options.output] });
    master.on('exit', (code) => this.#onExit(code));
    master.on('error', (error) => log.error(`${this.#program} cannot be started; install the haproxy package`, error));
    this.#master = master;
    await this.#newWorker(undefined);
  }

  async #reload(): Promise<void> {
    const before = await this.#pid();
    await ask(join(this.#options.directory, masterSocket), 'reload');
    await this.#newWorker(before);
  }

  /** Waits until a worker other than the one before answers. */
  async #newWorker(before: string | undefined): Promise<void> {
    const end = Date.now() + reloadTimeoutMs;
    for (;;) {
      const pid = await this.#pid();
      if (pid !== undefined && pid !== before) return;
      if (Date.now() > end) throw new Error(`HAProxy has no new worker after ${reloadTimeoutMs} ms; see its log`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async #pid(): Promise<string | undefined> {
    const info = await this.#command('show info').catch(() => '');
    return /^Pid: (\d+)/m.exec(info)?.[1];
  }

  /** Whether anything had to be said. */
  async #applyEndpoints(backends: Routes['backends']): Promise<boolean> {
    let changed = false;
    for (const [backend, addresses] of backends) {
      const before = this.#backends.get(backend) ?? [];
      for (const address of addresses) {
        if (before.includes(address)) continue;
        changed = true;
        const server = `${backend}/${serverName(address)}`;
        if (!this.#leaving.delete(server)) await this.#say(`add server ${server} ${address}`, /registered/);
        await this.#say(`set server ${server} state ready`, /^$/);
      }
      for (const address of before) {
        if (addresses.includes(address)) continue;
        changed = true;
        const server = `${backend}/${serverName(address)}`;
        await this.#say(`set server ${server} state maint`, /^$/);
        this.#leaving.add(server);
      }
      this.#backends.set(backend, addresses);
    }
    for (const server of this.#leaving) {
      if (/deleted/.test(await this.#command(`del server ${server}`))) this.#leaving.delete(server);
    }
    return changed;
  }

  /** Errors: an answer that is not the expected one. The shape is then forgotten, so that the next try is a reload. */
  async #say(command: string, expected: RegExp): Promise<void> {
    const answer = await this.#command(command);
    if (expected.test(answer.trim())) return;
    this.#shape = '';
    throw new Error(`HAProxy answers "${answer.trim()}" to "${command}"`);
  }

  #command(command: string): Promise<string> {
    return ask(join(this.#options.directory, adminSocket), command);
  }
}

function emptied(backends: Routes['backends']): Routes['backends'] {
  return new Map([...backends.keys()].map((name) => [name, []]));
}

async function replace(path: string, content: string): Promise<void> {
  await writeFile(`${path}.new`, content, { mode: 0o600 });
  await rename(`${path}.new`, path);
}

function ask(socket: string, command: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = '';
    const connection = connect(socket, () => connection.write(`${command}\n`));
    connection.setEncoding('utf8').setTimeout(5000, () => connection.destroy(new Error(`no answer to "${command}"`)));
    connection.on('data', (text: string) => (answer += text));
    connection.on('error', reject);
    connection.on('close', () => resolve(answer));
  });
}
