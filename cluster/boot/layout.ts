// SPDX-License-Identifier: Apache-2.0
// Where a cluster keeps its files on the host, and the constants of every cluster.

import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Root of the checkout that this file belongs to. */
export const projectDirectory = resolve(fileURLToPath(new URL('../..', import.meta.url)));

export const defaultName = 'plumb';
export const clusterDomain = 'cluster.local';

export function stateDirectory(): string {
  return resolve(process.env['PLUMB_STATE_DIR'] ?? '/var/lib/plumb');
}

export interface ClusterPaths {
  readonly root: string;
  readonly state: string;
  readonly kubeconfig: string;
  readonly nodes: string;
}

export function clusterPaths(name: string): ClusterPaths {
  const root = join(stateDirectory(), 'clusters', name);
  return {
    root,
    state: join(root, 'cluster.json'),
    kubeconfig: join(root, 'kubeconfig'),
    nodes: join(root, 'nodes'),
  };
}

/** Kept between clusters: V8's compile cache and the image template. */
export function cacheDirectory(name: 'compile' | 'images'): string {
  return join(stateDirectory(), 'cache', name);
}

/** The programs of the components: bundles, one directory per content. */
export const buildDirectory = join(projectDirectory, '.plumb', 'build');
