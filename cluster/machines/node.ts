// SPDX-License-Identifier: Apache-2.0
// A node: mount, network, pid, UTS, IPC and cgroup namespaces of this host around one supervisor, which is PID 1 in
// there. Killing it (or the unshare process that is its parent) ends every process and mount of the node at once.

import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { clearCgroups, createCgroup, delegateNodeCgroup, hostCgroups } from './cgroups.ts';
import { firstLine } from './first-line.ts';
import { plugIn, type Lan } from './lan.ts';
import { initScript, privateDirectories } from './node-init.ts';
import { childrenOf, identify, type ProcessIdentity } from './processes.ts';

export interface NodeSpec {
  readonly cluster: string;
  readonly name: string;
  /** Addresses on the LAN, at most one per family; the host has number 1 there. */
  readonly addresses: readonly string[];
  /** Where the node's private directories are kept on the host; see node-init.ts for what is in it. */
  readonly directory: string;
  /** Directories of the host that programs in the node need although they lie where the node has its own (/tmp, /run). */
  readonly keepVisible: readonly string[];
  readonly resolvConf: string;
  readonly hosts: string;
}

export interface NodeMachine {
  readonly name: string;
  readonly directory: string;
  /** PID 1 of the node, as the host sees it. */
  readonly init: ProcessIdentity;
  /** The unshare process whose end is the node's end. */
  readonly parent: ProcessIdentity;
}

/** Resolves when the node's network is up and its supervisor is about to look for services. */
export async function startNode(spec: NodeSpec, lan: Lan): Promise<NodeMachine> {
  const mounts = hostCgroups();
  prepareDirectory(spec);
  const joinFiles = createCgroup(mounts, spec.cluster, spec.name);
  const log = openSync(join(spec.directory, 'supervisor.log'), 'a');
  const launcher = [
    'set -e',
    'script=$1; shift',
    'for file in "$@"; do echo $$ > "$file"; done',
    'exec unshare --mount --net --pid --uts --ipc --cgroup --fork --kill-child --propagation private sh -e "$script"',
  ].join('\n');
  const child = spawn('sh', ['-c', launcher, 'plumb-node', join(spec.directory, 'init.sh'), ...joinFiles], {
    detached: true,
    stdio: ['pipe', 'pipe', 'pipe', log],
    cwd: '/',
    env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' },
  });
  closeSync(log);
  await firstLine(child, `node ${spec.name}`);
  const parent = child.pid === undefined ? undefined : identify(child.pid);
  const init = child.pid === undefined ? undefined : childrenOf(child.pid).map(identify).at(0);
  if (parent === undefined || init === undefined) throw new Error(`node ${spec.name} ended as soon as it had started`);
  delegateNodeCgroup(mounts, { cluster: spec.cluster, member: spec.name }, [parent.pid, init.pid]);
  await plugIn(lan, portName(spec.addresses), init.pid);
  child.stdin?.end('go\n');
  return { name: spec.name, directory: spec.directory, init, parent };
}

/** Ends a node, whatever is left of it, and removes its control groups; its directory stays. */
export async function stopNode(cluster: string, name: string): Promise<void> {
  await clearCgroups(cluster, name);
}

/** Name of the node's port on the bridge: unique in the LAN by the last number of the address. */
export function portName(addresses: readonly string[]): string {
  return `port${addresses[0]?.split(/[.:]/).at(-1) ?? ''}`;
}

function prepareDirectory(spec: NodeSpec): void {
  for (const name of [...privateDirectories.map((entry) => entry.source), 'etc', 'etc-work', 'services', 'log']) {
    mkdirSync(join(spec.directory, name), { recursive: true });
  }
  const etc = join(spec.directory, 'etc');
  writeFileSync(join(etc, 'hostname'), `${spec.name}\n`);
  writeFileSync(join(etc, 'hosts'), spec.hosts);
  writeFileSync(join(etc, 'resolv.conf'), spec.resolvConf);
  writeFileSync(join(etc, 'machine-id'), `${crypto.randomUUID().replaceAll('-', '')}\n`);
  const script = initScript({ ...spec, cgroups: hostCgroups() });
  writeFileSync(join(spec.directory, 'init.sh'), script);
  // runsvdir waits a second before it reads a directory that has changed within the current one.
  const past = new Date(Date.now() - 60_000);
  utimesSync(join(spec.directory, 'services'), past, past);
}
