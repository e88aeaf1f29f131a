// SPDX-License-Identifier: Apache-2.0
/** Writes entries as tar.gz: whole or not at all, one entry in memory at a time, owner and times fixed so that equal content is an equal file. */
import { createWriteStream } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path/posix';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { pack, type Pack } from 'tar-stream';
import type { TarballEntry } from './sonobuoy.ts';

export async function writeTarball(path: string, entries: readonly TarballEntry[], time: Date): Promise<void> {
  const temporary = `${path}.partial`;
  const archive = pack();
  try {
    const written = pipeline(archive, createGzip({ level: 6 }), createWriteStream(temporary));
    // A write error shows both here and in `written`; it must be handled in both.
    const filled = fill(archive, entries, time).catch((error: unknown) => archive.destroy(error as Error));
    await Promise.all([written, filled]);
    const file = await open(temporary, 'r+');
    await file.sync().finally(() => file.close());
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

async function fill(archive: Pack, entries: readonly TarballEntry[], mtime: Date): Promise<void> {
  const folders = new Set<string>();
  const closed = new Promise<never>((_, reject) =>
    archive.once('close', () => reject(new Error('the archive was closed'))),
  );
  closed.catch(() => {});
  const add = async (header: Parameters<Pack['entry']>[0], content: Uint8Array = new Uint8Array()): Promise<void> => {
    const added = new Promise<void>((resolve, reject) => {
      archive.entry(header, Buffer.from(content), (error) => (error ? reject(error) : resolve()));
    });
    await Promise.race([added, closed]);
  };
  for (const entry of entries) {
    for (const folder of parents(entry.path)) {
      if (folders.has(folder)) continue;
      folders.add(folder);
      await add({ name: `${folder}/`, type: 'directory', mode: 0o755, mtime });
    }
    const content = entry.content();
    await add({ name: entry.path, size: content.byteLength, mode: 0o644, mtime }, content);
  }
  archive.finalize();
}

/** `a`, `a/b` for `a/b/c`. */
function parents(path: string): string[] {
  const folder = dirname(path);
  return folder === '.' ? [] : [...parents(folder), folder];
}
