// SPDX-License-Identifier: Apache-2.0
// Services of a node under runit: each is a directory with a run script, kept running by runsv and logged by svlogd.
// runit was taken because it is in Debian and Ubuntu, is 100 KB per service, reaps orphans as PID 1, rotates logs, and
// is driven through a FIFO in the service's directory, so that the host needs neither a process nor an agent inside.

import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';

import { until } from './until.ts';

export interface Service {
  readonly name: string;
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

export interface ServiceStatus {
  readonly name: string;
  /** The pid inside the node; undefined while it is down. */
  readonly pid: number | undefined;
  /** Seconds since the last change between up and down. */
  readonly seconds: number;
  readonly wanted: 'up' | 'down';
}

/**
 * Writes the service, to be started later by `controlService(..., 'up')`. True when there was none yet or its command
 * differs, which takes effect when it starts again.
 */
export function writeService(nodeDirectory: string, service: Service): boolean {
  const directory = serviceDirectory(nodeDirectory, service.name);
  const logs = logDirectory(nodeDirectory, service.name);
  const script = join(directory, 'run');
  const isNew = !existsSync(script);
  const isChanged = isNew || readFileSync(script, 'utf8') !== runScript(service);
  mkdirSync(join(directory, 'log'), { recursive: true });
  mkdirSync(logs, { recursive: true });
  if (isNew) writeFileSync(join(directory, 'down'), '');
  writeFileSync(join(logs, 'config'), 's10000000\nn3\n');
  writeFileSync(join(directory, 'log', 'run'), `#!/bin/sh\nexec svlogd ${quote(logs)}\n`, { mode: 0o755 });
  if (isChanged) writeFileSync(script, runScript(service), { mode: 0o755 });
  return isChanged;
}

/** The service does not outlive its runsv: a second copy beside an orphan would fight over ports and locks. */
export function runScript(service: Service): string {
  const env = Object.entries(service.env ?? {}).map(([name, value]) => `export ${name}=${quote(value)}`);
  const command = ['setpriv', '--pdeathsig', 'KILL', ...service.command].map(quote).join(' \\\n  ');
  return ['#!/bin/sh', 'exec 2>&1', 'cd /', ...env, `exec ${command}`, ''].join('\n');
}

const commands = { up: 'u', down: 'd', restart: 't', kill: 'k' } as const;

/** Tells runsv what to do; resolves when it has been told, not when it is done. */
export async function controlService(
  nodeDirectory: string,
  name: string,
  command: keyof typeof commands,
): Promise<void> {
  const control = join(serviceDirectory(nodeDirectory, name), 'supervise', 'control');
  // A service that was started once starts again by itself when its runsv is lost.
  if (command === 'up') rmSync(join(serviceDirectory(nodeDirectory, name), 'down'), { force: true });
  let fifo = -1;
  const open = (): boolean => {
    fifo = openSync(control, constants.O_WRONLY | constants.O_NONBLOCK);
    return true;
  };
  await until(open, { what: `the supervisor of ${name} (${control})`, timeoutMs: 10_000 });
  try {
    writeSync(fifo, commands[command]);
  } finally {
    closeSync(fifo);
  }
}

export function serviceStatus(nodeDirectory: string, name: string): ServiceStatus | undefined {
  try {
    return decodeStatus(
      name,
      readFileSync(join(serviceDirectory(nodeDirectory, name), 'supervise', 'status')),
      Date.now(),
    );
  } catch {
    return undefined;
  }
}

/** runsv's 20 bytes: TAI64N time of the change, pid (little-endian), paused, wanted ('u' or 'd'), got TERM, state. */
export function decodeStatus(name: string, bytes: Buffer, nowMs: number): ServiceStatus | undefined {
  if (bytes.length < 18) return undefined;
  // TAI64 counts from 2^62 and is 10 s ahead of Unix time in runit's reckoning.
  const changed = Number(bytes.readBigUInt64BE(0) - 4_611_686_018_427_387_914n);
  const pid = bytes.readUInt32LE(12);
  return {
    name,
    pid: pid === 0 ? undefined : pid,
    seconds: Math.max(0, Math.round(nowMs / 1000 - changed)),
    wanted: bytes[17] === 0x64 ? 'down' : 'up',
  };
}

export function serviceNames(nodeDirectory: string): string[] {
  const directory = join(nodeDirectory, 'services');
  return existsSync(directory) ? readdirSync(directory).toSorted() : [];
}

export function logDirectory(nodeDirectory: string, name: string): string {
  return join(nodeDirectory, 'log', name);
}

/** The last lines that the service has written. */
export function logTail(nodeDirectory: string, name: string, lines: number): string {
  try {
    return readFileSync(join(logDirectory(nodeDirectory, name), 'current'), 'utf8')
      .trimEnd()
      .split('\n')
      .slice(-lines)
      .join('\n');
  } catch {
    return '';
  }
}

function serviceDirectory(nodeDirectory: string, name: string): string {
  return join(nodeDirectory, 'services', name);
}

function quote(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
