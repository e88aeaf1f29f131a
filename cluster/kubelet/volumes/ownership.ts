// SPDX-License-Identifier: Apache-2.0
// Gives a volume to the pod's fsGroup: group on everything, group bits as the owner's, set-group-id on folders so that new files follow.
import type { PodSecurityContext } from '../../machinery/api-types.ts';
import { chown, chmod, lchown, lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';

/** With policy OnRootMismatch nothing is walked when the root already fits. */
export async function applyFsGroup(
  path: string,
  fsGroup: number,
  policy: PodSecurityContext['fsGroupChangePolicy'],
): Promise<void> {
  if (policy === 'OnRootMismatch') {
    const root = await lstat(path);
    if (root.gid === fsGroup && (root.mode & 0o2070) === 0o2070) return;
  }
  await change(path, fsGroup);
}

async function change(path: string, gid: number): Promise<void> {
  const facts = await lstat(path);
  if (facts.isSymbolicLink()) {
    await lchown(path, facts.uid, gid);
    return;
  }
  await chown(path, facts.uid, gid);
  if (facts.isDirectory()) {
    await chmod(path, (facts.mode & 0o7777) | 0o2770);
    for (const name of await readdir(path)) await change(join(path, name), gid);
  } else await chmod(path, (facts.mode & 0o7777) | 0o660);
}
