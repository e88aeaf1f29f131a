// SPDX-License-Identifier: Apache-2.0
// Brings the probe image to clusters that are not ours: as one file, or to a registry.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

import { imageSpecs, registryHost, type ImageSpec } from './images.ts';
import { archiveLayout, writeLayout, type WrittenImage } from './layout-archive.ts';
import { parseReference, pushImage } from './registry.ts';

/** Resolves to what to tell the user. */
export async function archiveProbe(file: string): Promise<string> {
  const probe = await probeSpec();
  await withLayout(probe, (_, directory) => archiveLayout(directory, resolve(file)));
  return `wrote ${probe.reference} to ${file}
  containerd: ctr --namespace k8s.io images import ${file}   (on every node)
  kind:       kind load image-archive ${file}
  docker:     docker load -i ${file}
`;
}

export async function pushProbe(reference: string, insecure: boolean): Promise<string> {
  const target = parseReference(reference);
  const probe = await probeSpec();
  await withLayout(probe, (image, directory) => pushImage({ image, directory, target, insecure }));
  return `pushed ${reference}; use it with: plumb run --image ${reference}\n`;
}

async function probeSpec(): Promise<ImageSpec> {
  const { images, notes } = await imageSpecs();
  const probe = images.find((image) => image.reference.startsWith(`${registryHost}/probe:`));
  if (probe === undefined) throw new Error(`the probe image cannot be built: ${notes.join('; ')}`);
  return probe;
}

async function withLayout(
  spec: ImageSpec,
  use: (image: WrittenImage, directory: string) => Promise<void>,
): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'plumb-image-'));
  try {
    const [image] = await writeLayout([spec], directory, { compress: true });
    if (image !== undefined) await use(image, directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
