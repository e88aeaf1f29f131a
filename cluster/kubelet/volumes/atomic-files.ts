// SPDX-License-Identifier: Apache-2.0
// Writes a volume's files so that readers see either all old or all new content: a timestamped folder, and one symbolic link `..data` that is
// renamed over. The visible names are links through `..data`. Does nothing when nothing changed.
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';

export interface VolumeFile {
  readonly data: Buffer;
  readonly mode: number;
  /** Owner, where it isn't root. */
  readonly uid?: number;
}

/** Returns whether anything was written. `files` are relative paths without `..`. */
export function writeAtomically(folder: string, files: ReadonlyMap<string, VolumeFile>, gid?: number): boolean {
  mkdirSync(folder, { recursive: true });
  const link = join(folder, '..data');
  const current = readLink(link);
  if (current !== undefined && isSame(join(folder, current), files)) return false;
  const stamp = `..${new Date().toISOString().replaceAll(/[-:T]/g, '_').replace('Z', '')}_${Math.random().toString(36).slice(2, 8)}`;
  const fresh = join(folder, stamp);
  mkdirSync(fresh, { mode: 0o755 });
  for (const [path, file] of files) {
    const target = join(fresh, path);
    mkdirSync(dirname(target), { recursive: true, mode: 0o755 });
    writeFileSync(target, file.data);
    if (file.uid !== undefined || gid !== undefined) chownSync(target, file.uid ?? 0, gid ?? 0);
    chmodSync(target, gid === undefined ? file.mode : file.mode | 0o040);
  }
  if (gid !== undefined) {
    chownSync(folder, 0, gid);
    chmodSync(folder, 0o2775);
    chownSync(fresh, 0, gid);
  }
  symlinkSync(stamp, join(folder, '..data_tmp'));
  renameSync(join(folder, '..data_tmp'), link);
  const wanted = new Set([...files.keys()].map((path) => path.split('/')[0] ?? path));
  for (const name of wanted) {
    if (readLink(join(folder, name)) === undefined) symlinkSync(join('..data', name), join(folder, name));
  }
  for (const name of readdirSync(folder)) {
    const stale = name.startsWith('..') ? name !== '..data' && name !== stamp : !wanted.has(name);
    if (stale) rmSync(join(folder, name), { recursive: true, force: true });
  }
  return true;
}

function isSame(folder: string, files: ReadonlyMap<string, VolumeFile>): boolean {
  const present = listFiles(folder, '');
  if (present.length !== files.size) return false;
  return present.every((path) => {
    const file = files.get(path);
    if (file === undefined) return false;
    const mode = statSync(join(folder, path)).mode & 0o777;
    return (mode & ~0o040) === (file.mode & ~0o040) && readFileSync(join(folder, path)).equals(file.data);
  });
}

function listFiles(folder: string, prefix: string): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
      entry.isDirectory() ? listFiles(join(folder, entry.name), `${prefix}${entry.name}/`) : [`${prefix}${entry.name}`],
    );
  } catch {
    return [];
  }
}

function readLink(path: string): string | undefined {
  try {
    return lstatSync(path).isSymbolicLink() ? readlinkSync(path) : undefined;
  } catch {
    return undefined;
  }
}
