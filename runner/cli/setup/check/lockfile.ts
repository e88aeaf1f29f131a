// SPDX-License-Identifier: Apache-2.0
// Keeps package-lock.json complete: a registry mirror that lacks a package's build for some other platform makes npm
// leave it out, and then "npm ci" refuses the lockfile everywhere. The missing entries are never installed on Linux with
// glibc; they only have to be there.

import { readFileSync, writeFileSync } from 'node:fs';

export interface LockEntry {
  version?: string;
  dev?: boolean;
  optional?: boolean;
  os?: string[];
  cpu?: string[];
  libc?: string[];
  optionalDependencies?: Record<string, string>;
}

export interface Lockfile {
  packages: Record<string, LockEntry>;
}

/** Entries that "npm ci" would miss, by path, as they have to be written. */
export function missingEntries(lock: Lockfile): Record<string, LockEntry> {
  const missing: Record<string, LockEntry> = {};
  for (const entry of Object.values(lock.packages)) {
    for (const [name, range] of Object.entries(entry.optionalDependencies ?? {})) {
      const path = `node_modules/${name}`;
      if (lock.packages[path] !== undefined || !/^\d/.test(range)) continue;
      missing[path] = {
        version: range,
        ...platformOf(name),
        ...(entry.dev === true ? { dev: true } : {}),
        optional: true,
      };
    }
  }
  return missing;
}

/** Platform packages are named <os>-<cpu>[-<libc>] at their end, throughout the ecosystem. */
function platformOf(name: string): Pick<LockEntry, 'os' | 'cpu' | 'libc'> {
  const [, os, cpu, abi] = /-([a-z0-9]+)-([a-z0-9]+)(?:-([a-z]+))?$/.exec(`-${name.split('/').at(-1) ?? ''}`) ?? [];
  if (os === undefined || cpu === undefined) throw new Error(`package-lock.json: cannot tell the platform of ${name}`);
  const libc = abi === 'musl' ? { libc: ['musl'] } : abi === 'gnu' ? { libc: ['glibc'] } : {};
  return { os: [os], cpu: [cpu], ...libc };
}

export function readLockfile(file: string): Lockfile {
  return JSON.parse(readFileSync(file, 'utf8')) as Lockfile;
}

/** Adds what is missing. */
export function completeLockfile(file: string): void {
  const lock = readLockfile(file);
  const missing = missingEntries(lock);
  if (Object.keys(missing).length === 0) return;
  const all = { ...lock.packages, ...missing };
  lock.packages = Object.fromEntries(Object.entries(all).toSorted(([a], [b]) => (a < b ? -1 : 1)));
  writeFileSync(file, `${JSON.stringify(lock, undefined, 2)}\n`);
}
