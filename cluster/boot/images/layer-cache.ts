// SPDX-License-Identifier: Apache-2.0
// Layers by what goes into them, so that a change in one small program does not pack the 130 MB of Node again. A
// directory holds one blob and one description per layer; blobs are hard links of those in image layouts.

import { createHash } from 'node:crypto';
import { existsSync, linkSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { LayerCache, WrittenLayer } from './layout-archive.ts';
import { fingerprint, type FileTree } from './layers.ts';

/** `forgetUnused` drops the layers that were neither found nor kept since. */
export function openLayerCache(directory: string): LayerCache & { forgetUnused(): void } {
  mkdirSync(directory, { recursive: true });
  const used = new Set<string>();
  const nameOf = (tree: FileTree): string => {
    const name = createHash('sha256').update(fingerprint(tree)).digest('hex').slice(0, 32);
    used.add(name);
    return name;
  };
  const fileOf = (name: string, kind: 'tar' | 'json'): string => join(directory, `${name}.${kind}`);
  return {
    find(tree) {
      const name = nameOf(tree);
      if (!existsSync(fileOf(name, 'json')) || !existsSync(fileOf(name, 'tar'))) return undefined;
      return {
        layer: JSON.parse(readFileSync(fileOf(name, 'json'), 'utf8')) as WrittenLayer,
        file: fileOf(name, 'tar'),
      };
    },
    keep(tree, layer, file) {
      const name = nameOf(tree);
      rmSync(fileOf(name, 'tar'), { force: true });
      linkSync(file, fileOf(name, 'tar'));
      // Written last: a description means that the blob is complete.
      writeFileSync(fileOf(name, 'json'), JSON.stringify(layer));
    },
    forgetUnused() {
      for (const file of readdirSync(directory)) {
        if (!used.has(file.replace(/\.(tar|json)$/, ''))) rmSync(join(directory, file), { force: true });
      }
    },
  };
}
