// SPDX-License-Identifier: Apache-2.0
/**
 * Opens what an earlier run left: a results directory, a tarball of ours, or any Sonobuoy tarball or extracted directory. All of them may be
 * damaged or hostile: sizes are bounded, paths are only ever looked up, nothing is extracted.
 */
import { createReadStream, existsSync, globSync, readFileSync, statSync } from 'node:fs';
import { join, posix } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { extract } from 'tar-stream';
import { messageOf, Problem } from '../problem.ts';

/** Files of an archive or directory by relative, normalised path. */
export interface ResultSource {
  readonly path: string;
  list(): readonly string[];
  read(path: string): Uint8Array | undefined;
}

const archiveBytesMax = 2 ** 31;

export async function openResults(path: string): Promise<ResultSource> {
  if (!existsSync(path))
    throw new Problem(`${path} does not exist`, 'Name a results directory (results/<run-id>) or a Sonobuoy tarball.');
  return statSync(path).isDirectory() ? openDirectory(path) : openTarball(path);
}

export function openDirectory(path: string): ResultSource {
  const list = globSync('**', { cwd: path, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => posix.normalize(join(entry.parentPath, entry.name).slice(path.length).replace(/^\/+/, '')))
    .filter((file) => !file.endsWith('.partial'))
    .toSorted();
  const known = new Set(list);
  return { path, list: () => list, read: (file) => (known.has(file) ? readFileSync(join(path, file)) : undefined) };
}

async function openTarball(path: string): Promise<ResultSource> {
  const files = new Map<string, Uint8Array>();
  let bytes = 0;
  const archive = extract();
  archive.on('entry', (header, stream, next) => {
    const chunks: Buffer[] = [];
    stream.on('data', (data) => {
      const chunk = data as Buffer;
      bytes += chunk.length;
      if (bytes > archiveBytesMax) archive.destroy(new Error(`it unpacks to more than ${archiveBytesMax} bytes`));
      chunks.push(chunk);
    });
    stream.on('end', () => {
      if (header.type === 'file') files.set(posix.normalize(header.name), Buffer.concat(chunks));
      next();
    });
    stream.on('error', next);
  });
  try {
    await pipeline(createReadStream(path), createGunzip(), archive);
  } catch (error) {
    throw new Problem(
      `${path} is not a readable tar.gz: ${messageOf(error)}`,
      'It may be cut off or no tarball at all: check it with tar -tzf, or get it again.',
      { cause: error },
    );
  }
  if (files.size === 0) throw new Problem(`${path} is an archive without files`, 'Get it again.');
  const list = [...files.keys()].toSorted();
  return { path, list: () => list, read: (file) => files.get(file) };
}
