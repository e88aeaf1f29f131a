// SPDX-License-Identifier: Apache-2.0
// Removes a cluster completely, whatever state a crash has left it in. What to remove is read from the kernel (control
// groups, link names, mounts), and only then from the state file, so that a lost file loses nothing.

import { existsSync, readFileSync, rmSync } from 'node:fs';

import { cgroupClusters, clearCgroups, hostCgroups } from '../machines/cgroups.ts';
import { removeLan } from '../machines/lan.ts';
import { run } from '../machines/command.ts';
import { removeMountPoints } from '../machines/mount-points.ts';
import { kill } from '../machines/processes.ts';
import { clusterPaths, stateDirectory } from './layout.ts';
import { readState } from './state.ts';

/** Idempotent. Errors name what could not be removed. */
export async function down(name: string): Promise<void> {
  const paths = clusterPaths(name);
  const state = readState(name);
  for (const node of state?.nodes ?? []) {
    // The end of its PID 1 is the end of everything in a node; what is left is swept by control group.
    if (node.init !== undefined) kill(node.init, 'SIGKILL');
    if (node.parent !== undefined) kill(node.parent, 'SIGKILL');
  }
  if (state?.lan !== undefined) kill(state.lan.holder, 'SIGKILL');
  await clearCgroups(name);
  await removeLan(name);
  if (cgroupClusters(hostCgroups()).length === 0) removeMountPoints(stateDirectory());
  await unmountBelow(paths.root);
  if (existsSync(paths.root)) rmSync(paths.root, { recursive: true, force: true, maxRetries: 3 });
}

/** Mounts of the host below a directory; the nodes' own went with their namespaces, so normally there are none. */
async function unmountBelow(root: string): Promise<void> {
  const targets = mountPoints(readFileSync('/proc/self/mountinfo', 'utf8')).filter((path) =>
    path.startsWith(`${root}/`),
  );
  for (const target of targets.toReversed()) await run(['umount', '-l', target]);
}

/** Mount points in the order in which they were mounted; the kernel writes spaces and the like as octal escapes. */
export function mountPoints(mountinfo: string): string[] {
  return mountinfo
    .split('\n')
    .map((line) => line.split(' ')[4])
    .filter((path) => path !== undefined)
    .map((path) => path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8))));
}
