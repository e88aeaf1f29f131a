// SPDX-License-Identifier: Apache-2.0
// The script that turns fresh namespaces into a node: which parts of the host's file tree are private to it, which
// kernel settings hold in it, and how its network comes up. Pure: it returns the text.

import type { CgroupMount } from './cgroups.ts';

export interface InitSpec {
  readonly name: string;
  readonly addresses: readonly string[];
  readonly directory: string;
  readonly keepVisible: readonly string[];
  readonly cgroups: readonly CgroupMount[];
}

/** Directories that a node has for itself: `source` below the node's directory appears at `target`. */
export const privateDirectories: readonly { readonly source: string; readonly target: string }[] = [
  { source: 'kubelet', target: '/var/lib/kubelet' },
  { source: 'containerd', target: '/var/lib/containerd' },
  { source: 'cni-state', target: '/var/lib/cni' },
  { source: 'pod-logs', target: '/var/log/pods' },
  { source: 'container-logs', target: '/var/log/containers' },
  { source: 'kubernetes', target: '/etc/kubernetes' },
  { source: 'cni-conf', target: '/etc/cni/net.d' },
  { source: 'tmp', target: '/tmp' },
];

/**
 * The shell script of PID 1. It says "ready" once the mounts are made, waits for a line on standard input (by then the
 * host has plugged in eth0), brings the network up and becomes the supervisor.
 */
export function initScript(spec: InitSpec): string {
  const hidden = spec.keepVisible.find((path) => path.startsWith('/run/') || path.startsWith('/etc/'));
  if (hidden !== undefined)
    throw new Error(`${hidden} cannot be seen in nodes, which have their own /run and /etc; move it elsewhere`);
  return `# Written by plumb: PID 1 of node ${spec.name}.
${mountLines(spec).join('\n')}
hostname ${spec.name}
${sysctls.map(([file, value]) => `echo "${value}" > /proc/sys/${file} 2>/dev/null || true`).join('\n')}
exec 2>&3
echo ready
read -r go
ip -b - <<'END'
link set lo up
${spec.addresses.map(addressLine).join('\n')}
link set eth0 up
${spec.addresses.map(routeLine).join('\n')}
END
exec runsvdir -P ${quote(`${spec.directory}/services`)} </dev/null >&3 3>&-
`;
}

/** No duplicate address detection: addresses are dealt out by plan, and nobody could use them for its duration. */
function addressLine(address: string): string {
  return address.includes(':') ? `addr add ${address}/64 dev eth0 nodad` : `addr add ${address}/24 dev eth0`;
}

function routeLine(address: string): string {
  return `route add default via ${address.replace(/\d+$/, '1')}`;
}

function mountLines(spec: InitSpec): string[] {
  const own = (name: string): string => quote(`${spec.directory}/${name}`);
  return [
    // Shared among the node's own mount namespaces (containers with Bidirectional propagation), private to the host.
    'mount --make-rshared /',
    'mount -t proc -o nosuid,nodev,noexec proc /proc',
    'mount -t sysfs -o nosuid,nodev,noexec sysfs /sys',
    ...cgroupLines(spec.cgroups),
    'mount -t bpf bpf /sys/fs/bpf 2>/dev/null || true',
    'mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null || true',
    // One overlay instead of a bind per file: /etc/resolv.conf may be a link into /run, and its target may be missing.
    `mount -t overlay -o lowerdir=/etc,upperdir=${own('etc')},workdir=${own('etc-work')} overlay /etc`,
    ...keepVisibleLines(spec),
    ...privateDirectories.map(({ source, target }) => `mkdir -p ${target} && mount --rbind ${own(source)} ${target}`),
    'mount -t tmpfs -o mode=755,nosuid,nodev tmpfs /run',
    'mkdir -p /run/lock /run/netns',
    'mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs /dev/shm',
    'chmod 1777 /tmp',
  ];
}

/** What lies under the host's /tmp is bound into the node's /tmp before that covers it. */
function keepVisibleLines(spec: InitSpec): string[] {
  return spec.keepVisible
    .filter((path) => path.startsWith('/tmp/'))
    .map((path) => {
      const inside = quote(`${spec.directory}/tmp/${path.slice('/tmp/'.length)}`);
      return `mkdir -p ${inside} && mount --rbind ${quote(path)} ${inside}`;
    });
}

/** The node's cgroup namespace makes its own group the root of every hierarchy that is mounted afresh. */
function cgroupLines(mounts: readonly CgroupMount[]): string[] {
  const unified = mounts.find((mount) => mount.path === '/sys/fs/cgroup');
  if (unified !== undefined) return ['mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 /sys/fs/cgroup'];
  const lines = mounts.flatMap((mount) => {
    const type = mount.version === 2 ? '-t cgroup2' : `-t cgroup -o ${mount.option}`;
    return [`mkdir -p ${mount.path}`, `mount ${type} cgroup ${mount.path}`, ...aliasLines(mount)];
  });
  return ['mount -t tmpfs -o mode=755,nosuid,nodev,noexec tmpfs /sys/fs/cgroup', ...lines];
}

/** A hierarchy with two controllers, mounted at cpu,cpuacct, is also found under each controller's own name. */
function aliasLines(mount: CgroupMount): string[] {
  const controllers = mount.option.split(',');
  if (mount.version === 2 || controllers.length < 2 || controllers[0] === 'none') return [];
  return controllers.map((name) => `ln -sfn ${mount.path} /sys/fs/cgroup/${name}`);
}

const sysctls: readonly (readonly [string, string])[] = [
  ['net/ipv4/ip_forward', '1'],
  ['net/ipv6/conf/all/forwarding', '1'],
  ['net/ipv6/conf/all/accept_ra', '0'],
  ['net/ipv6/conf/default/accept_ra', '0'],
  // The node's ends of pod links can be used at once; they carry no address that another machine could have.
  ['net/ipv6/conf/default/accept_dad', '0'],
  // Replies of Services come from a pod's link although the request left by another one.
  ['net/ipv4/conf/all/rp_filter', '0'],
  ['net/ipv4/conf/default/rp_filter', '0'],
  // A packet that conntrack finds out of window is delivered instead of being marked invalid and then not translated.
  ['net/netfilter/nf_conntrack_tcp_be_liberal', '1'],
];

/** Single-quoted for the shell. */
function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
