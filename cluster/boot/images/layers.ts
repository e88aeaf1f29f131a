// SPDX-License-Identifier: Apache-2.0
// File trees of image layers, taken from this machine's own binaries: a program comes with every library that its
// loader names. The same files give the same bytes, whoever builds them and when.

import { existsSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { pack, type Pack } from 'tar-stream';

import { run } from '../../machines/command.ts';

export type Entry =
  | { readonly kind: 'directory'; readonly mode: number }
  | { readonly kind: 'link'; readonly target: string }
  | { readonly kind: 'content'; readonly content: Buffer; readonly mode: number }
  /** A file of this machine. */
  | { readonly kind: 'file'; readonly source: string; readonly mode: number };

/** Entries by absolute path in the image. */
export type FileTree = ReadonlyMap<string, Entry>;

export function contentTree(files: Readonly<Record<string, Buffer | string>>, mode = 0o644): FileTree {
  return new Map(
    Object.entries(files).map(([path, content]) => [path, { kind: 'content', content: Buffer.from(content), mode }]),
  );
}

/** Directories, accounts and name resolution that programs expect to find, busybox, and the CA certificates. */
export async function baseTree(): Promise<FileTree> {
  const tree = new Map<string, Entry>();
  for (const path of ['/root', '/home/nonroot', '/proc', '/sys', '/dev', '/run', '/var/run', '/var/log', '/etc']) {
    tree.set(path, { kind: 'directory', mode: 0o755 });
  }
  for (const path of ['/tmp', '/var/tmp']) tree.set(path, { kind: 'directory', mode: 0o1777 });
  const accounts = {
    '/etc/passwd':
      'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\nnonroot:x:65532:65532:nonroot:/home/nonroot:/bin/sh\n',
    '/etc/group': 'root:x:0:\nnogroup:x:65534:\nnonroot:x:65532:\n',
    '/etc/nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files dns\n',
  };
  for (const [path, entry] of contentTree(accounts)) tree.set(path, entry);
  const certificates = '/etc/ssl/certs/ca-certificates.crt';
  if (existsSync(certificates)) tree.set(certificates, { kind: 'file', source: certificates, mode: 0o644 });
  tree.set('/bin/busybox', { kind: 'file', source: await locate('busybox'), mode: 0o755 });
  for (const applet of (await run(['busybox', '--list'])).split('\n').filter(Boolean)) {
    if (applet !== 'busybox') tree.set(`/bin/${applet}`, { kind: 'link', target: 'busybox' });
  }
  return tree;
}

/** A program of this machine at its usual place, with its libraries. */
export async function programTree(source: string, path: string): Promise<FileTree> {
  const tree = new Map<string, Entry>([[path, { kind: 'file', source: realpathSync(source), mode: 0o755 }]]);
  for (const library of await librariesOf(source))
    tree.set(library, { kind: 'file', source: realpathSync(library), mode: 0o755 });
  return tree;
}

/** Of the named programs, those that this machine has, each with its libraries; the others are named in `missing`. */
export async function toolsTree(names: readonly string[]): Promise<{ tree: FileTree; missing: string[] }> {
  const found = await Promise.all(
    names.map(async (name) => {
      const source = await locate(name).catch(() => undefined);
      return source === undefined ? undefined : programTree(source, source);
    }),
  );
  return {
    tree: new Map(found.flatMap((tree) => (tree === undefined ? [] : [...tree]))),
    missing: names.filter((_, index) => found[index] === undefined),
  };
}

/** What is in `tree` but not already in one of the trees below it. */
export function without(tree: FileTree, below: readonly FileTree[]): FileTree {
  return new Map([...tree].filter(([path]) => !below.some((lower) => lower.has(path))));
}

/** Text that changes whenever the layer's bytes would: contents of what is generated, size and time of the machine's files. */
export function fingerprint(tree: FileTree): string {
  return sorted(tree)
    .map(([path, entry]) => {
      if (entry.kind === 'content') return `${path} ${entry.mode} ${entry.content.toString('base64')}`;
      if (entry.kind !== 'file') return `${path} ${JSON.stringify(entry)}`;
      const { size, mtimeMs, ino } = statSync(entry.source);
      return `${path} ${entry.mode} ${size} ${mtimeMs} ${ino}`;
    })
    .join('\n');
}

/** The layer as a stream of tar bytes, entries sorted, parents first, every time set to zero. */
export function tarOf(tree: FileTree): Pack {
  const archive = pack();
  const write = async (): Promise<void> => {
    const mtime = new Date(0);
    for (const [path, entry] of sorted(withParents(tree))) {
      const name = path.slice(1);
      if (entry.kind === 'directory')
        await add(archive, { name: `${name}/`, type: 'directory', mode: entry.mode, mtime });
      else if (entry.kind === 'link')
        await add(archive, { name, type: 'symlink', linkname: entry.target, mode: 0o777, mtime });
      else
        await add(
          archive,
          { name, type: 'file', mode: entry.mode, mtime },
          entry.kind === 'content' ? entry.content : readFileSync(entry.source),
        );
    }
    archive.finalize();
  };
  write().catch((error: unknown) => archive.destroy(error instanceof Error ? error : new Error(String(error))));
  return archive;
}

type Header = Parameters<Pack['entry']>[0];

function add(archive: Pack, header: Header, content?: Buffer): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const done = (error?: Error | null): void => (error === undefined || error === null ? resolve() : reject(error));
  if (content === undefined) archive.entry(header, done);
  else archive.entry(header, content, done);
  return promise;
}

function withParents(tree: FileTree): FileTree {
  const all = new Map(tree);
  for (const path of tree.keys()) {
    for (let parent = dirname(path); parent !== '/'; parent = dirname(parent)) {
      if (!all.has(parent)) all.set(parent, { kind: 'directory', mode: 0o755 });
    }
  }
  return all;
}

function sorted(tree: FileTree): [string, Entry][] {
  return [...tree].toSorted(([a], [b]) => (a < b ? -1 : 1));
}

/** Absolute paths of the libraries and the loader; none for a static program. */
async function librariesOf(program: string): Promise<string[]> {
  const output = await run(['ldd', program]).catch((error: unknown) => {
    if (error instanceof Error && error.message.includes('not a dynamic executable')) return '';
    throw error;
  });
  return parseLdd(output);
}

export function parseLdd(output: string): string[] {
  return [...output.matchAll(/(?:=>\s+|^\s+)(\/\S+)\s+\(0x/gm)].map((match) => match[1] ?? '');
}

async function locate(program: string): Promise<string> {
  const path = (process.env['PATH'] ?? '')
    .split(':')
    .concat('/usr/sbin', '/sbin')
    .map((directory) => `${directory}/${program}`);
  const found = path.find((candidate) => existsSync(candidate));
  if (found === undefined) throw new Error(`${program} is not on this machine; "plumb doctor" names its package`);
  return found;
}
