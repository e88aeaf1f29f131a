// SPDX-License-Identifier: Apache-2.0
// The cgroup file system behind one small interface, for v1 and v2. Guarantees that making a cgroup twice is harmless and that removing one
// kills whatever still runs in it.
import { existsSync, mkdirSync, readFileSync, readdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import type { LinuxPodResources } from './pod-cgroups.ts';
import { weightOf } from './pod-cgroups.ts';

export interface CgroupUsage {
  readonly cpuNanos: number;
  readonly memoryBytes: number;
  /** Memory in use less what the kernel can drop at once (inactive files). */
  readonly workingSetBytes: number;
}

export interface Cgroups {
  readonly version: 1 | 2;
  ensure(path: string, limits?: LinuxPodResources, pids?: number): void;
  remove(path: string): Promise<void>;
  usage(path: string): CgroupUsage | undefined;
  /** Cgroup directories directly below, by name. */
  children(path: string): string[];
}

const base = '/sys/fs/cgroup';

export function openCgroups(): Cgroups {
  return existsSync(`${base}/cgroup.controllers`) ? new CgroupsV2() : new CgroupsV1();
}

/** One hierarchy per controller. Others than these are left to the runtime. */
class CgroupsV1 implements Cgroups {
  readonly version = 1;
  readonly #controllers = ['cpu', 'memory', 'pids', 'cpuset', 'cpuacct', 'systemd'].filter((name) =>
    existsSync(`${base}/${name}`),
  );

  ensure(path: string, limits?: LinuxPodResources, pids?: number): void {
    for (const controller of this.#controllers) {
      const folder = `${base}/${controller}${path}`;
      if (controller === 'cpuset') this.#ensureCpuset(path);
      else mkdirSync(folder, { recursive: true });
    }
    if (limits !== undefined) {
      write(`${base}/cpu${path}/cpu.shares`, limits.cpuShares);
      write(`${base}/cpu${path}/cpu.cfs_quota_us`, limits.cpuQuota > 0 ? limits.cpuQuota : -1);
      write(
        `${base}/memory${path}/memory.limit_in_bytes`,
        limits.memoryLimitInBytes > 0 ? limits.memoryLimitInBytes : -1,
      );
    }
    if (pids !== undefined && pids > 0) write(`${base}/pids${path}/pids.max`, pids);
  }

  /** A new cpuset is empty and takes no process until cpus and memory nodes are copied from above. */
  #ensureCpuset(path: string): void {
    let folder = `${base}/cpuset`;
    for (const part of path.split('/').filter((name) => name !== '')) {
      const parent = folder;
      folder += `/${part}`;
      mkdirSync(folder, { recursive: true });
      for (const file of ['cpuset.cpus', 'cpuset.mems']) {
        if (read(`${folder}/${file}`) === '') write(`${folder}/${file}`, read(`${parent}/${file}`));
      }
    }
  }

  async remove(path: string): Promise<void> {
    for (const controller of readdirSync(base)) await removeTree(`${base}/${controller}${path}`);
  }

  usage(path: string): CgroupUsage | undefined {
    const cpu = read(`${base}/cpuacct${path}/cpuacct.usage`);
    const memory = read(`${base}/memory${path}/memory.usage_in_bytes`);
    if (cpu === '' && memory === '') return undefined;
    const inactive = Number(/^total_inactive_file (\d+)/m.exec(read(`${base}/memory${path}/memory.stat`))?.[1] ?? 0);
    const memoryBytes = Number(memory);
    return { cpuNanos: Number(cpu), memoryBytes, workingSetBytes: Math.max(0, memoryBytes - inactive) };
  }

  children(path: string): string[] {
    return folders(`${base}/memory${path}`);
  }
}

class CgroupsV2 implements Cgroups {
  readonly version = 2;

  ensure(path: string, limits?: LinuxPodResources, pids?: number): void {
    let folder = base;
    for (const part of path.split('/').filter((name) => name !== '')) {
      // Controllers must be switched on from the root downwards before the next level has their files.
      for (const controller of ['cpu', 'memory', 'pids', 'cpuset', 'io'])
        write(`${folder}/cgroup.subtree_control`, `+${controller}`);
      folder += `/${part}`;
      mkdirSync(folder, { recursive: true });
    }
    if (limits !== undefined) {
      write(`${folder}/cpu.weight`, weightOf(limits.cpuShares));
      write(`${folder}/cpu.max`, `${limits.cpuQuota > 0 ? limits.cpuQuota : 'max'} ${limits.cpuPeriod}`);
      write(`${folder}/memory.max`, limits.memoryLimitInBytes > 0 ? limits.memoryLimitInBytes : 'max');
    }
    if (pids !== undefined && pids > 0) write(`${folder}/pids.max`, pids);
  }

  async remove(path: string): Promise<void> {
    write(`${base}${path}/cgroup.kill`, 1);
    await removeTree(`${base}${path}`);
  }

  usage(path: string): CgroupUsage | undefined {
    const cpu = /^usage_usec (\d+)/m.exec(read(`${base}${path}/cpu.stat`))?.[1];
    const memory = read(`${base}${path}/memory.current`);
    if (cpu === undefined && memory === '') return undefined;
    const inactive = Number(/^inactive_file (\d+)/m.exec(read(`${base}${path}/memory.stat`))?.[1] ?? 0);
    const memoryBytes = Number(memory);
    return { cpuNanos: Number(cpu ?? 0) * 1000, memoryBytes, workingSetBytes: Math.max(0, memoryBytes - inactive) };
  }

  children(path: string): string[] {
    return folders(`${base}${path}`);
  }
}

/** Removes a cgroup bottom-up; a process that still lives in it is killed and waited for. */
async function removeTree(folder: string): Promise<void> {
  if (!existsSync(folder)) return;
  for (const child of folders(folder)) await removeTree(`${folder}/${child}`);
  for (let attempt = 0; attempt < 50; attempt++) {
    try {
      rmdirSync(folder);
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EBUSY') return;
      for (const pid of read(`${folder}/cgroup.procs`).split('\n').map(Number)) {
        if (pid > 1) kill(pid);
      }
      await pause(20);
    }
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended by itself in the meantime.
  }
}

function folders(folder: string): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name);
  } catch {
    return [];
  }
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return '';
  }
}

/** Limits that this kernel or hierarchy doesn't have are left out, as a pod must run without them too. */
function write(file: string, value: string | number): void {
  try {
    writeFileSync(file, String(value));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT' && code !== 'EBUSY' && code !== 'EINVAL' && code !== 'EACCES' && code !== 'EPERM')
      throw error;
  }
}
