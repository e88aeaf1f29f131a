// SPDX-License-Identifier: Apache-2.0
// Control groups of clusters and nodes, for hierarchy version 1 and 2 (and both mounted at once). Every process of a
// cluster lives under <controller>/plumb/<cluster>/<node or "lan">, and inside a node a cgroup namespace makes that
// directory the root. So the processes of a cluster can always be found, and removing the directories leaves nothing.

import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';

import { killAll } from './processes.ts';
import { until } from './until.ts';

export interface CgroupMount {
  /** Mount point on the host, such as /sys/fs/cgroup/memory. */
  readonly path: string;
  readonly version: 1 | 2;
  /** Mount option that selects the hierarchy when it is mounted again: "memory", "cpu,cpuacct", "none,name=systemd". */
  readonly option: string;
}

const parent = 'plumb';

/** Reads the hierarchies from the text of /proc/self/mountinfo; each appears once, at its first mount point. */
export function parseCgroupMounts(mountinfo: string): CgroupMount[] {
  const mounts = new Map<string, CgroupMount>();
  for (const line of mountinfo.split('\n')) {
    const [left, right] = line.split(' - ');
    const path = left?.split(' ')[4];
    const [type, , superOptions] = right?.split(' ') ?? [];
    if (path === undefined || superOptions === undefined) continue;
    if (type === 'cgroup2' && !mounts.has('2')) mounts.set('2', { path, version: 2, option: '' });
    if (type !== 'cgroup') continue;
    const controllers = superOptions
      .split(',')
      .filter((word) => !generic.has(word) && !word.startsWith('release_agent='));
    const named = controllers.some((word) => word.startsWith('name='));
    const option = named ? `none,${controllers.join(',')}` : controllers.join(',');
    if (!mounts.has(option)) mounts.set(option, { path, version: 1, option });
  }
  return [...mounts.values()];
}

const weightInProcesses = 8;
const generic = new Set(['rw', 'ro', 'xattr', 'clone_children', 'noprefix', 'nsdelegate', 'memory_recursiveprot']);

export function hostCgroups(): CgroupMount[] {
  return parseCgroupMounts(readFileSync('/proc/self/mountinfo', 'utf8'));
}

/** Makes the group of one node in every hierarchy and returns the cgroup.procs files that a process joins it by. */
export function createCgroup(mounts: readonly CgroupMount[], cluster: string, member: string): string[] {
  return mounts.map((mount) => {
    let path = mount.path;
    for (const name of [parent, cluster, member]) {
      delegate(mount, path);
      const child = join(path, name);
      mkdirSync(child, { recursive: true });
      inheritCpuset(mount, path, child);
      if (name === parent) weigh(child);
      path = child;
    }
    return join(path, 'cgroup.procs');
  });
}

/**
 * All clusters together are one group beside the host's single processes, and would get the share of one of them: a few compilers would
 * starve every cluster. Both versions count in parts of what one process has by default (1024 and 100).
 */
function weigh(group: string): void {
  for (const [file, single] of [
    ['cpu.shares', 1024],
    ['cpu.weight', 100],
  ] as const) {
    const path = join(group, file);
    if (existsSync(path)) writeFileSync(path, String(single * weightInProcesses));
  }
}

/** The files by which a process joins a node that runs: in version 2 only the leaf takes processes. */
export function cgroupFiles(mounts: readonly CgroupMount[], place: NodeCgroup): string[] {
  return mounts.map((mount) =>
    join(mount.path, parent, place.cluster, place.member, mount.version === 2 ? 'system' : '', 'cgroup.procs'),
  );
}

/** Pids of all processes of a cluster, or of one member of it. */
export function cgroupPids(mounts: readonly CgroupMount[], cluster: string, member?: string): number[] {
  const pids = new Set<number>();
  for (const mount of mounts) {
    const root = join(mount.path, parent, cluster, member ?? '');
    for (const directory of treeOf(root)) {
      for (const pid of readPids(join(directory, 'cgroup.procs'))) pids.add(pid);
    }
  }
  return [...pids];
}

/** Names of the clusters that have control groups on this machine, whatever state directory they belong to. */
export function cgroupClusters(mounts: readonly CgroupMount[]): string[] {
  return [
    ...new Set(mounts.flatMap((mount) => childDirectories(join(mount.path, parent)).map((path) => basename(path)))),
  ];
}

/** Ends every process of a cluster, or of one member of it, and removes their groups. */
export async function clearCgroups(cluster: string, member?: string): Promise<void> {
  const mounts = hostCgroups();
  const what = `the processes of ${member ?? `cluster ${cluster}`}`;
  const isCleared = async (): Promise<boolean> => {
    await killAll(() => cgroupPids(mounts, cluster, member), what);
    for (const mount of mounts) {
      // A process that has ended keeps its group busy until its parent has taken note: EBUSY then, and it is tried again.
      for (const directory of treeOf(join(mount.path, parent, cluster, member ?? '')).toReversed())
        rmdirSync(directory);
      if (member === undefined) removeIfEmpty(join(mount.path, parent));
    }
    return true;
  };
  await until(isCleared, {
    what: `the control groups of ${member ?? `cluster ${cluster}`} to be empty`,
    timeoutMs: 20_000,
  });
}

/** Directories of a tree, each before its children. */
function treeOf(root: string): string[] {
  if (!existsSync(root)) return [];
  return [root, ...childDirectories(root).flatMap(treeOf)];
}

function childDirectories(path: string): string[] {
  try {
    return readdirSync(path, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => join(path, entry.name));
  } catch {
    return [];
  }
}

function readPids(file: string): number[] {
  try {
    return readFileSync(file, 'utf8').split('\n').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

function removeIfEmpty(path: string): void {
  if (existsSync(path) && childDirectories(path).length === 0) rmdirSync(path);
}

/** Version 2: children get the controllers that `path` itself has. A controller that cannot be passed on is left out. */
function delegate(mount: CgroupMount, path: string): void {
  if (mount.version !== 2) return;
  for (const controller of readFileSync(join(path, 'cgroup.controllers'), 'utf8').trim().split(' ').filter(Boolean)) {
    try {
      writeFileSync(join(path, 'cgroup.subtree_control'), `+${controller}`);
    } catch {
      // Realtime processes keep "cpu" from being delegated, for example; the doctor reports what nodes lack.
    }
  }
}

/** Version 1: a cpuset without CPUs takes no process. */
function inheritCpuset(mount: CgroupMount, from: string, to: string): void {
  if (mount.version !== 1 || !mount.option.split(',').includes('cpuset')) return;
  for (const file of ['cpuset.cpus', 'cpuset.mems']) {
    if (readFileSync(join(to, file), 'utf8').trim() === '')
      writeFileSync(join(to, file), readFileSync(join(from, file)));
  }
}

/**
 * Version 2 allows controllers below a group only when no process is in the group itself: moves the first processes of
 * a node into a leaf, then passes the controllers on to what the kubelet and containerd will create beside it.
 */
export function delegateNodeCgroup(mounts: readonly CgroupMount[], place: NodeCgroup, pids: readonly number[]): void {
  for (const mount of mounts) {
    if (mount.version !== 2) continue;
    const node = join(mount.path, parent, place.cluster, place.member);
    const leaf = join(node, 'system');
    mkdirSync(leaf, { recursive: true });
    for (const pid of pids) writeFileSync(join(leaf, 'cgroup.procs'), String(pid));
    delegate(mount, node);
  }
}

export interface NodeCgroup {
  readonly cluster: string;
  readonly member: string;
}
