// SPDX-License-Identifier: Apache-2.0
// Finds the kubectl binaries of this machine, for tests that drive the cluster as people do.
import { accessSync, constants, realpathSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';

/** `kubectl.VERSION` in a folder of the PATH, or beside the file that `kubectl` there leads to. */
export function findKubectl(version: string): string | undefined {
  const directories = folders();
  const beside = directories.flatMap((directory) => {
    try {
      return [dirname(realpathSync(join(directory, 'kubectl')))];
    } catch {
      return [];
    }
  });
  return [...directories, ...beside].map((directory) => join(directory, `kubectl.${version}`)).find(isExecutable);
}

/** Those of these versions that there are; the plain `kubectl` where there is none of them. */
export function kubectlBinaries(versions: readonly string[]): { readonly version: string; readonly path: string }[] {
  const found = versions.flatMap((version) => {
    const path = findKubectl(version);
    return path === undefined ? [] : [{ version, path }];
  });
  if (found.length > 0) return found;
  const plain = folders()
    .map((directory) => join(directory, 'kubectl'))
    .find(isExecutable);
  return plain === undefined ? [] : [{ version: 'on the PATH', path: plain }];
}

function folders(): string[] {
  return (process.env['PATH'] ?? '').split(delimiter).filter((one) => one !== '');
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
