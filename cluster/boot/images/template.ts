// SPDX-License-Identifier: Apache-2.0
// Images are imported and unpacked once per machine, by a containerd of its own, into a template directory named by
// what went into it. A node's containerd then starts from a copy of the template whose large files are hard links: no
// unpacking, no space, and one page cache for the same file in all nodes.

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  lstatSync,
  readlinkSync,
  chownSync,
  lchownSync,
  chmodSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

import { run } from '../../machines/command.ts';
import { identify, kill } from '../../machines/processes.ts';
import { until } from '../../machines/until.ts';
import { parseContainerdVersion } from '../containerd.ts';
import { cacheDirectory } from '../layout.ts';
import { imageSpecs, type ImageSpec } from './images.ts';
import { fingerprint, type FileTree } from './layers.ts';
import { openLayerCache } from './layer-cache.ts';
import { writeLayout } from './layout-archive.ts';

export interface ImageTemplate {
  /** containerd root to copy into a node. */
  readonly directory: string;
  /** OCI image layout of the same images, for nodes that run already. */
  readonly layout: string;
  /** Changes when any image does. */
  readonly key: string;
  readonly notes: readonly string[];
  readonly containerdVersion: string;
}

/** Makes the template unless there is one of exactly these images. */
export async function imageTemplate(): Promise<ImageTemplate> {
  const containerdVersion = parseContainerdVersion(await run(['containerd', '--version']));
  const { images, notes } = await imageSpecs();
  const key = keyOf(images, containerdVersion);
  const cache = cacheDirectory('images');
  const root = join(cache, key);
  const template = { directory: join(root, 'containerd'), layout: join(root, 'layout'), key, notes, containerdVersion };
  if (existsSync(join(root, 'complete'))) return template;
  const staging = join(cache, `${key}.${process.pid}.new`);
  const layerCache = openLayerCache(join(cache, 'layers'));
  try {
    await writeLayout(images, join(staging, 'layout'), { compress: false, layerCache });
    // What an earlier template has unpacked already is taken over; containerd then adds only what is new.
    const earlier = earlierTemplate(cache, containerdVersion);
    if (earlier !== undefined) copyTree(join(earlier, 'containerd'), join(staging, 'containerd'));
    await importInto(join(staging, 'containerd'), join(staging, 'layout'));
    writeFileSync(join(staging, 'complete'), containerdVersion);
    rmSync(root, { recursive: true, force: true });
    renameSync(staging, root);
    forgetOthers(cache, key);
    layerCache.forgetUnused();
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
  return template;
}

function earlierTemplate(cache: string, containerdVersion: string): string | undefined {
  return readdirSync(cache)
    .map((name) => join(cache, name))
    .find(
      (path) =>
        existsSync(join(path, 'complete')) && readFileSync(join(path, 'complete'), 'utf8') === containerdVersion,
    );
}

/** Fills a node's containerd root; across file systems, where links cannot be, by copies. */
export function copyTemplate(template: ImageTemplate, target: string): void {
  copyTree(template.directory, target);
}

function keyOf(images: readonly ImageSpec[], containerdVersion: string): string {
  const hash = createHash('sha256').update(`${containerdVersion}\n${process.arch}\n`);
  const seen = new Map<FileTree, string>();
  for (const image of images) {
    hash.update(JSON.stringify([image.reference, image.entrypoint, image.user]));
    for (const layer of image.layers) {
      const text = seen.get(layer) ?? createHash('sha256').update(fingerprint(layer)).digest('hex');
      seen.set(layer, text);
      hash.update(text);
    }
  }
  return hash.digest('hex').slice(0, 16);
}

/** Nodes that came from other templates keep their links to them. */
function forgetOthers(cache: string, key: string): void {
  for (const name of readdirSync(cache)) {
    if (name !== key && name !== 'layers' && !name.endsWith('.new'))
      rmSync(join(cache, name), { recursive: true, force: true });
  }
}

/** Runs a containerd in a mount namespace of its own until it has taken the images in. */
async function importInto(directory: string, layout: string): Promise<void> {
  mkdirSync(directory, { recursive: true });
  // A socket's path has at most 107 characters, and the state directory may have as many by itself.
  const state = mkdtempSync('/run/plumb-images-');
  const socket = join(state, 'containerd.sock');
  const config = join(state, 'config.toml');
  writeFileSync(config, configuration({ directory, state, socket }));
  const child = spawn(
    'unshare',
    ['-m', '--propagation', 'private', 'containerd', '--config', config, '--log-level', 'warn'],
    {
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  );
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => (said = (said + chunk.toString()).slice(-4000)));
  const ended = new Promise<void>((resolve) => child.on('close', () => resolve()));
  const identity = child.pid === undefined ? undefined : identify(child.pid);
  try {
    const ctr = ['ctr', '--address', socket, '--namespace', 'k8s.io'];
    const serves = async (): Promise<boolean> => {
      if (child.exitCode !== null) throw new Error(`containerd ended: ${said}`);
      return existsSync(socket) && (await run([...ctr, 'version'])) !== '';
    };
    await until(serves, { what: `containerd for the image template; it said: ${said}`, timeoutMs: 20_000 });
    await run(importCommand(layout, ctr), { timeoutMs: 300_000 });
    // What the CRI plugin sets on what it has pulled itself.
    const references = (await run([...ctr, 'images', 'ls', '-q'])).split('\n').filter(Boolean);
    for (const reference of references)
      await run([...ctr, 'images', 'label', reference, 'io.cri-containerd.image=managed']);
    await collectGarbage(ctr, references);
  } finally {
    if (identity !== undefined) kill(identity, 'SIGTERM');
    await ended;
    rmSync(state, { recursive: true, force: true });
  }
}

/**
 * Nothing is collected by itself: an image that takes the name of an older one leaves that one's snapshots to the collector, which would take
 * them from under the layers just being unpacked on top of them.
 */
function configuration(paths: { readonly directory: string; readonly state: string; readonly socket: string }): string {
  return `version = 2
root = "${paths.directory}"
state = "${paths.state}"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "${paths.socket}"
[plugins."io.containerd.gc.v1.scheduler"]
  deletion_threshold = 0
  mutation_threshold = 0
  startup_delay = "1h"
`;
}

/** Removing an image synchronously is the one way to have containerd collect now. */
async function collectGarbage(ctr: readonly string[], references: readonly string[]): Promise<void> {
  const [some] = references;
  if (some === undefined) return;
  const stand = 'plumbline.local/to-be-collected:1';
  await run([...ctr, 'images', 'tag', some, stand]);
  await run([...ctr, 'images', 'rm', '--sync', stand], { timeoutMs: 120_000 });
}

/** Imports a layout directory by the given ctr command, without an archive on disk. */
export function importCommand(layout: string, ctr: readonly string[]): string[] {
  const script =
    'layout=$1; shift; tar -C "$layout" -cf - oci-layout index.json blobs | "$@" images import --snapshotter overlayfs -';
  return ['sh', '-ec', script, 'plumb-import', layout, ...ctr];
}

/** bbolt databases are written in place and so must be copies; everything else is only ever replaced or removed. */
function copyTree(from: string, to: string): void {
  const stats = lstatSync(from);
  if (stats.isDirectory()) {
    mkdirSync(to, { recursive: true });
    chmodSync(to, stats.mode & 0o7777);
    chownSync(to, stats.uid, stats.gid);
    for (const name of readdirSync(from)) copyTree(join(from, name), join(to, name));
  } else if (stats.isSymbolicLink()) {
    symlinkSync(readlinkSync(from), to);
    lchownSync(to, stats.uid, stats.gid);
  } else if (stats.isFile()) {
    if (from.endsWith('.db')) cpSync(from, to);
    else linkOrCopy(from, to);
  }
}

function linkOrCopy(from: string, to: string): void {
  try {
    linkSync(from, to);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'EXDEV' && code !== 'EMLINK') throw error;
    cpSync(from, to, { preserveTimestamps: true });
    chmodSync(to, lstatSync(from).mode & 0o7777);
  }
}
