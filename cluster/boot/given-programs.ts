// SPDX-License-Identifier: Apache-2.0
// Upstream's executables in place of the project's components (`up --component NAME=PATH`). Each is started with the command line of the component
// whose place it takes, but for the few flags that only one of the two has.

import { accessSync, constants, statSync } from 'node:fs';
import { resolve } from 'node:path';

/** Components that upstream has as well. */
const differences = {
  'kube-apiserver': {
    without: ['reported-version'],
    // Upstream's authorizes everybody and refuses privileged pods unless told.
    added: ['--authorization-mode=Node,RBAC', '--allow-privileged=true'],
  },
  'kube-controller-manager': { without: [], added: [] },
  'kube-scheduler': { without: [], added: [] },
  kubelet: { without: [], added: [] },
  'kube-proxy': {
    without: [],
    // A node may not change the machine's conntrack limits; 0 leaves them alone.
    added: [
      '--conntrack-max-per-core=0',
      '--conntrack-tcp-timeout-established=0s',
      '--conntrack-tcp-timeout-close-wait=0s',
    ],
  },
} as const satisfies Record<string, { without: readonly string[]; added: readonly string[] }>;

export type GivenProgram = keyof typeof differences;

export function isGivenProgram(name: string): name is GivenProgram {
  return Object.hasOwn(differences, name);
}

/** The command line of an executable that takes the component's place; `flags` are those of the component. */
export function givenCommand(name: GivenProgram, path: string, flags: readonly string[]): string[] {
  const { without, added } = differences[name];
  const kept = flags.filter((flag) => !without.some((one) => flag === `--${one}` || flag.startsWith(`--${one}=`)));
  return [path, ...kept, ...added];
}

/** Directories of which each node has its own. */
const ownOfNodes = ['/tmp', '/run', '/var/run', '/var/lib/kubelet', '/var/lib/containerd', '/etc/kubernetes'];

/** NAME=PATH, as the command line has it, to absolute paths by name. Errors name the argument and what it must be. */
export function readGivenPrograms(texts: readonly string[]): Partial<Record<GivenProgram, string>> {
  const programs: Partial<Record<GivenProgram, string>> = {};
  for (const text of texts) {
    const [, name = '', given = ''] = /^([^=]+)=(.+)$/.exec(text) ?? [];
    if (!isGivenProgram(name))
      throw new Error(`--component "${text}": write NAME=PATH; names are ${Object.keys(differences).join(', ')}`);
    if (programs[name] !== undefined) throw new Error(`--component ${name} is given twice`);
    const path = resolve(given);
    const hidden = ownOfNodes.find((directory) => path.startsWith(`${directory}/`));
    if (hidden !== undefined)
      throw new Error(`--component "${text}": every node has its own ${hidden}; put the executable elsewhere`);
    requireExecutable(text, path);
    programs[name] = path;
  }
  return programs;
}

function requireExecutable(text: string, path: string): void {
  try {
    accessSync(path, constants.X_OK);
    if (statSync(path).isFile()) return;
  } catch (error) {
    throw new Error(`--component "${text}": ${path} cannot be executed`, { cause: error });
  }
  throw new Error(`--component "${text}": ${path} is no file`);
}
