// SPDX-License-Identifier: Apache-2.0
// Directories of the host over which nodes mount their own. Those that the host lacks are made, remembered, and removed
// with the last cluster: removing one earlier would take the mount away from under a node.

import { existsSync, mkdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { privateDirectories } from './node-init.ts';

/** What lies in /etc is made in the node's overlay, not on the host. */
const onHost = privateDirectories.map(({ target }) => target).filter((target) => !target.startsWith('/etc/'));

/** `directory` is where the list of what was made is kept. */
export function makeMountPoints(directory: string, targets: readonly string[] = onHost): void {
  const missing = targets.filter((target) => !existsSync(target));
  if (missing.length === 0) return;
  const file = listFile(directory);
  writeFileSync(file, [...new Set([...readList(file), ...missing])].map((path) => `${path}\n`).join(''));
  for (const path of missing) mkdirSync(path, { recursive: true });
}

/** Removes what `makeMountPoints` made, unless somebody has put something in it. */
export function removeMountPoints(directory: string): void {
  const file = listFile(directory);
  for (const path of readList(file)) {
    try {
      rmdirSync(path);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'ENOENT' && code !== 'ENOTEMPTY' && code !== 'EBUSY') throw error;
    }
  }
  rmSync(file, { force: true });
}

function listFile(directory: string): string {
  return join(directory, 'made-directories');
}

function readList(file: string): string[] {
  return existsSync(file) ? readFileSync(file, 'utf8').split('\n').filter(Boolean) : [];
}
