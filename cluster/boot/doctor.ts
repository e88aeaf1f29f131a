// SPDX-License-Identifier: Apache-2.0
// What a cluster needs of the machine, as a list of checks. Each tries the thing itself rather than asking for versions,
// and a failed one says what to do. `up` runs the required ones first; `plumb doctor` prints all of them.

import { accessSync, constants, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statfsSync } from 'node:fs';
import { join } from 'node:path';

import { hostCgroups } from '../machines/cgroups.ts';
import { run } from '../machines/command.ts';
import { hostRoutes, pickPrefix } from '../machines/lan.ts';
import { cniDirectory } from './containerd.ts';
import { lacksSysResource } from './containerd.ts';
import { stateDirectory } from './layout.ts';
import { nodeResolvConf } from './node-files.ts';
import type { NetworkMode } from './state.ts';

export interface Finding {
  readonly ok: boolean;
  /** What was found. */
  readonly detail: string;
  readonly remedy?: string;
  /** Debian packages that would mend it; alternatives are separated by "|", the first that exists is taken. */
  readonly packages?: readonly string[];
}

export interface Check {
  readonly id: string;
  readonly title: string;
  /** Without a required one there is no cluster; without an advised one something is missing, which `detail` names. */
  readonly level: 'required' | 'advised';
  readonly run: () => Promise<Finding>;
}

export interface CheckResult extends Finding {
  readonly id: string;
  readonly title: string;
  readonly level: Check['level'];
}

/** Programs by the Debian package that brings them. */
const programs: readonly { name: string; packages: string; level: Check['level']; use: string }[] = [
  { name: 'etcd', packages: 'etcd-server', level: 'required', use: 'stores the state' },
  { name: 'containerd', packages: 'containerd', level: 'required', use: 'runs the containers' },
  { name: 'ctr', packages: 'containerd', level: 'required', use: 'imports images' },
  { name: 'runc', packages: 'runc', level: 'required', use: 'starts the containers' },
  { name: 'nft', packages: 'nftables', level: 'required', use: 'carries Services and network policy' },
  { name: 'ip', packages: 'iproute2', level: 'required', use: 'wires the nodes' },
  { name: 'unshare', packages: 'util-linux', level: 'required', use: 'makes the nodes' },
  { name: 'setpriv', packages: 'util-linux', level: 'required', use: 'ties programs to their supervisor' },
  { name: 'runsvdir', packages: 'runit', level: 'required', use: 'supervises programs in the nodes' },
  { name: 'busybox', packages: 'busybox-static', level: 'required', use: 'is the shell in the images' },
  { name: 'tar', packages: 'tar', level: 'required', use: 'packs the images' },
  { name: 'iptables', packages: 'iptables', level: 'advised', use: 'is needed by CNI plugins that masquerade' },
  { name: 'conntrack', packages: 'conntrack', level: 'advised', use: 'shows and clears translated connections' },
  { name: 'bird', packages: 'bird2', level: 'advised', use: 'speaks BGP for "--network bgp"' },
  { name: 'haproxy', packages: 'haproxy', level: 'advised', use: 'serves Ingresses for "--ingress"' },
  { name: 'tcpdump', packages: 'tcpdump', level: 'advised', use: 'captures packets in probe pods' },
  {
    name: 'kubectl',
    packages: 'kubernetes-client|kubectl',
    level: 'advised',
    use: 'is how people talk to the cluster',
  },
];

export const checks: readonly Check[] = [
  {
    id: 'root',
    title: 'running as root',
    level: 'required',
    run: async () => {
      const uid = process.getuid?.() ?? -1;
      const remedy = 'run the command with sudo; "plumb run --kubeconfig FILE" tests another cluster without root';
      return { ok: uid === 0, detail: `user ${uid}`, remedy };
    },
  },
  ...programs.map(({ name, packages, level, use }): Check => ({
    id: `program-${name}`,
    title: `${name} (${use})`,
    level,
    run: async () => {
      const path = locate(name);
      return {
        ok: path !== undefined,
        detail: path ?? 'not on the PATH',
        remedy: `apt-get install --no-install-recommends ${packages.split('|')[0] ?? ''}`,
        packages: [packages],
      };
    },
  })),
  {
    id: 'busybox-static',
    title: 'busybox is statically linked',
    level: 'required',
    run: async () => {
      const path = locate('busybox');
      if (path === undefined) return { ok: false, detail: 'there is none', packages: ['busybox-static'] };
      const said = await run(['sh', '-c', 'ldd "$1" 2>&1 || true', 'sh', path]);
      const isStatic = /not a dynamic executable|statically linked/.test(said);
      return {
        ok: isStatic,
        detail: isStatic ? path : 'it needs libraries that the images do not have',
        remedy: 'apt-get install busybox-static (it takes the place of busybox)',
        packages: ['busybox-static'],
      };
    },
  },
  {
    id: 'cni',
    title: 'CNI plugins ptp, host-local, loopback, portmap, tuning and bandwidth',
    level: 'required',
    run: async () => {
      const directory = cniDirectory();
      return {
        ok: directory !== undefined,
        detail: directory ?? 'neither in /usr/lib/cni nor in /opt/cni/bin',
        remedy: 'apt-get install containernetworking-plugins',
        packages: ['containernetworking-plugins'],
      };
    },
  },
  {
    id: 'namespaces',
    title: 'namespaces can be made (mount, network, pid, UTS, IPC, cgroup)',
    level: 'required',
    run: () =>
      attempt(['unshare', '-m', '-n', '-p', '-u', '-i', '-C', '--fork', 'true'], {
        remedy: 'run on a machine or VM where root may make namespaces; in a container, start it with --privileged',
      }),
  },
  {
    id: 'links',
    title: 'kernel: veth and bridge',
    level: 'required',
    run: () =>
      attempt(
        [
          'unshare',
          '-n',
          'sh',
          '-c',
          'ip link add name br0 type bridge && ip link add name veth0 type veth peer name veth1',
        ],
        {
          remedy: 'load the modules: modprobe -a veth bridge',
        },
      ),
  },
  {
    id: 'vxlan',
    title: 'kernel: vxlan (for "--network vxlan")',
    level: 'advised',
    run: () =>
      attempt(['unshare', '-n', 'ip', 'link', 'add', 'name', 'v0', 'type', 'vxlan', 'id', '1', 'dstport', '8472'], {
        remedy: 'load the module: modprobe vxlan',
      }),
  },
  {
    id: 'bandwidth',
    title: 'kernel: ifb and tbf (for the bandwidth annotations of pods)',
    level: 'advised',
    run: () =>
      attempt(
        [
          'unshare',
          '-n',
          'sh',
          '-c',
          'ip link add name i0 type ifb && tc qdisc add dev i0 root tbf rate 1mbit burst 32kb latency 25ms',
        ],
        { remedy: 'load the modules: modprobe -a ifb sch_tbf sch_ingress act_mirred' },
      ),
  },
  {
    id: 'nftables',
    title: 'kernel: nftables with NAT, maps, numgen, fib, conntrack and reject',
    level: 'required',
    run: () =>
      attempt(['unshare', '-n', 'nft', '-f', '-'], {
        input: nftExperiment,
        remedy:
          'use a kernel with nf_tables and its NAT, fib, numgen and reject expressions (every distribution kernel since 5.10)',
      }),
  },
  {
    id: 'overlayfs',
    title: `overlayfs works in ${stateDirectory()}`,
    level: 'required',
    run: overlayExperiment,
  },
  {
    id: 'cgroups',
    title: 'control groups: cpu, memory, pids, cpuset',
    level: 'required',
    run: async () => {
      const controllers = hostCgroups().flatMap((mount) =>
        mount.version === 1
          ? mount.option.split(',')
          : readText(join(mount.path, 'cgroup.controllers')).trim().split(' '),
      );
      const missing = ['cpu', 'memory', 'pids', 'cpuset'].filter((name) => !controllers.includes(name));
      return {
        ok: missing.length === 0,
        detail: missing.length === 0 ? controllers.filter(Boolean).join(' ') : `missing: ${missing.join(', ')}`,
        remedy:
          "boot with the controllers on (on Raspberry Pi: cgroup_enable=memory), or give a container the host's cgroups",
      };
    },
  },
  {
    id: 'network',
    title: 'a free /24 for the LAN of a cluster',
    level: 'required',
    run: async () => {
      const prefix = pickPrefix(await hostRoutes(), []);
      return { ok: true, detail: `${prefix}.0/24` };
    },
  },
  {
    id: 'disk',
    title: `2 GB free for ${stateDirectory()}`,
    level: 'required',
    run: async () => {
      const { bavail, bsize } = statfsSync(existingParent(stateDirectory()));
      const free = bavail * bsize;
      return {
        ok: free >= 2e9,
        detail: gigabytes(free),
        remedy: 'free some space, or set PLUMB_STATE_DIR to a directory on a larger disk',
      };
    },
  },
  {
    id: 'memory',
    title: '1.2 GB of memory available',
    level: 'required',
    run: async () => {
      const available = Number(/^MemAvailable:\s+(\d+)/m.exec(readText('/proc/meminfo'))?.[1] ?? 0) * 1024;
      return {
        ok: available >= 1.2e9,
        detail: gigabytes(available),
        remedy: 'end other programs, or use fewer nodes: --workers 1',
      };
    },
  },
  {
    id: 'inotify',
    title: 'room for inotify instances',
    level: 'advised',
    run: async () => {
      const limit = Number(readText('/proc/sys/fs/inotify/max_user_instances'));
      return {
        ok: limit >= 512,
        detail: `fs.inotify.max_user_instances is ${limit}${limit >= 512 ? '' : ', enough for about 5 nodes'}`,
        remedy: 'sysctl -w fs.inotify.max_user_instances=512',
      };
    },
  },
  {
    id: 'oom-score',
    title: 'oom_score_adj can be lowered (CAP_SYS_RESOURCE)',
    level: 'advised',
    run: async () => ({
      ok: !lacksSysResource(),
      detail: lacksSysResource() ? 'not allowed: Guaranteed pods get the score of this process instead' : 'allowed',
      remedy: 'nothing needs to be done; with that capability the kernel would spare Guaranteed pods first',
    }),
  },
  {
    id: 'resolvers',
    title: 'the host has a resolver that nodes can use',
    level: 'advised',
    run: async () => {
      const servers = [...nodeResolvConf().matchAll(/^nameserver (\S+)/gm)].map((match) => match[1]);
      return {
        ok: servers.length > 0,
        detail:
          servers.length > 0
            ? servers.join(', ')
            : 'only on its loopback: pods resolve names of the cluster, but no others',
        remedy: 'name a resolver in /etc/resolv.conf that is reachable over the network',
      };
    },
  },
];

/** Advised checks that a cluster with this network cannot do without. */
export const checksOfMode: Readonly<Record<NetworkMode, readonly string[]>> = {
  routed: [],
  vxlan: ['vxlan'],
  bgp: ['program-bird'],
};

/** Runs the checks at once; results in the order of the list. */
export async function examine(selected: readonly Check[] = checks): Promise<CheckResult[]> {
  return Promise.all(
    selected.map(async ({ id, title, level, run: check }) => {
      const finding = await check().catch((error: unknown): Finding => {
        return { ok: false, detail: error instanceof Error ? error.message : String(error), remedy: 'see the message' };
      });
      return { id, title, level, ...finding };
    }),
  );
}

export function formatResults(results: readonly CheckResult[]): string {
  const lines = results.map((result) => {
    const mark = result.ok ? 'ok  ' : result.level === 'required' ? 'FAIL' : 'warn';
    const remedy = result.ok || result.remedy === undefined ? '' : `\n      -> ${result.remedy}`;
    return `${mark}  ${result.title}: ${result.detail}${remedy}`;
  });
  const failed = results.filter((result) => !result.ok && result.level === 'required').length;
  const summary =
    failed === 0 ? 'This machine can run a cluster.' : `${failed} of these keep a cluster from running here.`;
  return [...lines, summary, ''].join('\n');
}

async function attempt(command: readonly string[], options: { input?: string; remedy: string }): Promise<Finding> {
  try {
    await run(command, options.input === undefined ? {} : { input: options.input });
    return { ok: true, detail: 'works' };
  } catch (error) {
    return { ok: false, detail: error instanceof Error ? error.message : String(error), remedy: options.remedy };
  }
}

async function overlayExperiment(): Promise<Finding> {
  const directory = stateDirectory();
  const remedy = 'overlayfs cannot lie on overlayfs: set PLUMB_STATE_DIR to a directory on an ext4 or xfs disk';
  mkdirSync(directory, { recursive: true });
  const place = mkdtempSync(join(directory, 'overlay-'));
  try {
    const script =
      'cd "$1" && mkdir l u w m && mount -t overlay -o lowerdir=l,upperdir=u,workdir=w overlay m && touch m/x';
    return await attempt(['unshare', '-m', '--propagation', 'private', 'sh', '-c', script, 'sh', place], { remedy });
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

const nftExperiment = `table ip t {
  map m { type ipv4_addr . inet_proto . inet_service : verdict; }
  chain c { type nat hook prerouting priority -100;
    ip daddr . ip protocol . th dport vmap @m
    dnat to numgen random mod 2 map { 0 : 192.0.2.1, 1 : 192.0.2.2 };
    fib daddr type local accept;
  }
  chain d { type filter hook forward priority 0; ct state established accept; reject with tcp reset; }
  chain e { type nat hook postrouting priority 100; masquerade; }
}
`;

function locate(program: string): string | undefined {
  const directories = [...(process.env['PATH'] ?? '').split(':'), '/usr/sbin', '/sbin'];
  return directories
    .map((directory) => join(directory, program))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

function existingParent(path: string): string {
  return existsSync(path) ? path : existingParent(join(path, '..'));
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(1)} GB`;
}
