// SPDX-License-Identifier: Apache-2.0
// Mount points of the node: reads the kernel's table, and runs mount and umount, which Node has no call for.
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Every mount point of this mount namespace. */
export function mountPoints(): Set<string> {
  const points = new Set<string>();
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
    const path = line.split(' ')[4];
    if (path !== undefined)
      points.add(path.replaceAll(/\\(\d{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8))));
  }
  return points;
}

export async function mountTmpfs(path: string, sizeBytes?: number): Promise<void> {
  await run('mount', ['-t', 'tmpfs', '-o', `mode=0755${sizeBytes ? `,size=${sizeBytes}` : ''}`, 'tmpfs', path]);
}

/** Unmounts everything at and below `path`, innermost first. */
export async function unmountTree(path: string): Promise<void> {
  const below = [...mountPoints()].filter((point) => point === path || point.startsWith(`${path}/`));
  for (const point of below.toSorted((a, b) => b.length - a.length)) await unmount(point);
}

async function unmount(path: string): Promise<void> {
  try {
    await run('umount', [path]);
  } catch (error) {
    if (mountPoints().has(path)) {
      // Busy, most likely by a process that is just ending: detach now, the kernel frees it later.
      await run('umount', ['-l', path]).catch(() => {
        throw error;
      });
    }
  }
}

function run(command: string, args: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    execFile(command, args, (error, _, stderr) => {
      if (error === null) resolve();
      else reject(new Error(`${command} ${args.join(' ')}: ${stderr.trim() || error.message}`));
    });
  });
}
