// SPDX-License-Identifier: Apache-2.0
// How much room the folders in a folder take on disk.
import type { Dirent } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';

/** Bytes of disk that each folder in `folder` takes with all that is below it, by name. What vanishes meanwhile counts nothing; so does a missing folder. */
export async function diskUsage(folder: string): Promise<Map<string, number>> {
  const usage = new Map<string, number>();
  for (const entry of await entriesOf(folder)) {
    if (entry.isDirectory()) usage.set(entry.name, await bytesBelow(join(folder, entry.name)));
  }
  return usage;
}

/** A file with several names counts once. */
async function bytesBelow(folder: string): Promise<number> {
  const seen = new Set<string>();
  const folders = [folder];
  let bytes = 0;
  for (let next = folders.pop(); next !== undefined; next = folders.pop()) {
    for (const entry of await entriesOf(next)) {
      const path = join(next, entry.name);
      const stat = await lstat(path).catch(() => undefined);
      if (stat === undefined) continue;
      if (entry.isDirectory()) folders.push(path);
      else if (stat.nlink > 1) {
        const file = `${stat.dev}:${stat.ino}`;
        if (seen.has(file)) continue;
        seen.add(file);
      }
      bytes += stat.blocks * 512;
    }
  }
  return bytes;
}

async function entriesOf(folder: string): Promise<Dirent[]> {
  return readdir(folder, { withFileTypes: true }).catch(() => []);
}
