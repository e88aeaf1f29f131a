// SPDX-License-Identifier: Apache-2.0
// Writes images as an OCI image layout directory and as one tar of it, which `ctr images import`, `docker load` (by the
// manifest.json that it holds besides) and registries' tools read.

import { createHash } from 'node:crypto';
import {
  createWriteStream,
  existsSync,
  linkSync,
  mkdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';

import { run } from '../../machines/command.ts';
import type { ImageSpec } from './images.ts';
import { tarOf, type FileTree } from './layers.ts';
import { architectureOf } from './pause-program.ts';

export interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

export interface WrittenImage {
  readonly reference: string;
  readonly manifest: Descriptor;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
}

export interface WrittenLayer extends Descriptor {
  /** Digest of the tar before compression. */
  readonly diffId: string;
}

/** Layers that were written before; see layer-cache.ts. */
export interface LayerCache {
  find(tree: FileTree): { readonly layer: WrittenLayer; readonly file: string } | undefined;
  keep(tree: FileTree, layer: WrittenLayer, file: string): void;
}

const mediaType = {
  index: 'application/vnd.oci.image.index.v1+json',
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar',
} as const;

/** Fills `directory`; a layer that several images share is written once. */
export async function writeLayout(
  images: readonly ImageSpec[],
  directory: string,
  options: { compress: boolean; layerCache?: LayerCache },
): Promise<WrittenImage[]> {
  mkdirSync(join(directory, 'blobs', 'sha256'), { recursive: true });
  const layers = new Map<FileTree, WrittenLayer>();
  const written: WrittenImage[] = [];
  for (const image of images) {
    const own: WrittenLayer[] = [];
    for (const tree of image.layers) {
      const layer = layers.get(tree) ?? (await cachedLayer(tree, directory, options));
      layers.set(tree, layer);
      own.push(layer);
    }
    written.push(writeImage(image, own, directory));
  }
  writeFileSync(join(directory, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  writeFileSync(join(directory, 'index.json'), JSON.stringify(indexOf(written)));
  writeFileSync(join(directory, 'manifest.json'), JSON.stringify(dockerManifest(written)));
  return written;
}

export async function archiveLayout(directory: string, file: string): Promise<void> {
  const names = ['oci-layout', 'index.json', 'manifest.json', 'blobs'];
  await run(
    [
      'tar',
      '-C',
      directory,
      '--sort=name',
      '--owner=0',
      '--group=0',
      '--numeric-owner',
      '--mtime=@0',
      '-cf',
      `${file}.new`,
      ...names,
    ],
    {
      timeoutMs: 300_000,
    },
  );
  renameSync(`${file}.new`, file);
}

export function blobPath(directory: string, digest: string): string {
  return join(directory, 'blobs', ...digest.split(':'));
}

async function cachedLayer(
  tree: FileTree,
  directory: string,
  options: { compress: boolean; layerCache?: LayerCache },
): Promise<WrittenLayer> {
  const cache = options.compress ? undefined : options.layerCache;
  const known = cache?.find(tree);
  if (known !== undefined) {
    if (!existsSync(blobPath(directory, known.layer.digest)))
      linkSync(known.file, blobPath(directory, known.layer.digest));
    return known.layer;
  }
  const layer = await writeLayer(tree, directory, options.compress);
  cache?.keep(tree, layer, blobPath(directory, layer.digest));
  return layer;
}

async function writeLayer(tree: FileTree, directory: string, compress: boolean): Promise<WrittenLayer> {
  const temporary = join(directory, 'layer.new');
  const plain = createHash('sha256');
  const stored = createHash('sha256');
  const hashInto = (hash: typeof plain): Transform =>
    new Transform({
      transform(chunk: Buffer, _encoding, done) {
        hash.update(chunk);
        done(null, chunk);
      },
    });
  const file = createWriteStream(temporary);
  if (compress) await pipeline(tarOf(tree), hashInto(plain), createGzip({ level: 6 }), hashInto(stored), file);
  else await pipeline(tarOf(tree), hashInto(plain), file);
  const diffId = `sha256:${plain.digest('hex')}`;
  const digest = compress ? `sha256:${stored.digest('hex')}` : diffId;
  const { size } = statSync(temporary);
  const target = blobPath(directory, digest);
  if (existsSync(target)) rmSync(temporary);
  else renameSync(temporary, target);
  return { mediaType: compress ? `${mediaType.layer}+gzip` : mediaType.layer, digest, size, diffId };
}

function writeImage(image: ImageSpec, layers: readonly WrittenLayer[], directory: string): WrittenImage {
  const config = writeJson(directory, mediaType.config, {
    created: new Date(0).toISOString(),
    architecture: architectureOf(process.arch),
    os: 'linux',
    config: {
      User: image.user,
      Entrypoint: image.entrypoint,
      Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
      WorkingDir: '/',
      Labels: { 'org.opencontainers.image.title': image.reference },
    },
    rootfs: { type: 'layers', diff_ids: layers.map((layer) => layer.diffId) },
    history: layers.map(() => ({ created: new Date(0).toISOString(), created_by: 'plumb image build' })),
  });
  const descriptors = layers.map(({ mediaType: type, digest, size }) => ({ mediaType: type, digest, size }));
  const manifest = writeJson(directory, mediaType.manifest, {
    schemaVersion: 2,
    mediaType: mediaType.manifest,
    config,
    layers: descriptors,
  });
  return { reference: image.reference, manifest, config, layers: descriptors };
}

function writeJson(directory: string, type: string, value: unknown): Descriptor {
  const bytes = Buffer.from(JSON.stringify(value));
  const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  writeFileSync(blobPath(directory, digest), bytes);
  return { mediaType: type, digest, size: bytes.length };
}

function indexOf(images: readonly WrittenImage[]): object {
  return {
    schemaVersion: 2,
    mediaType: mediaType.index,
    manifests: images.map((image) => ({
      ...image.manifest,
      platform: { architecture: architectureOf(process.arch), os: 'linux' },
      annotations: {
        // containerd takes the full name from the first, the OCI specification knows only the tag.
        'io.containerd.image.name': image.reference,
        'org.opencontainers.image.ref.name': image.reference.split(':').at(-1),
      },
    })),
  };
}

/** The list that docker versions before OCI layouts read. */
function dockerManifest(images: readonly WrittenImage[]): object {
  const path = ({ digest }: Descriptor): string => `blobs/${digest.replace(':', '/')}`;
  return images.map((image) => ({
    Config: path(image.config),
    RepoTags: [image.reference],
    Layers: image.layers.map(path),
  }));
}
