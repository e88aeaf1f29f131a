// SPDX-License-Identifier: Apache-2.0
// containerd's configuration in a node, for 1.6 and 1.7 (version 2 of the format) and 2.x (version 3).

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface ContainerdSpec {
  /** Such as "1.6.20"; see `parseContainerdVersion`. */
  readonly version: string;
  readonly sandboxImage: string;
  readonly cniDirectory: string;
  /** Set when this machine's root may not lower oom_score_adj: without it no sandbox would start. */
  readonly restrictOomScoreAdj: boolean;
}

export function containerdConfig(spec: ContainerdSpec): string {
  const runc = `runtime_type = "io.containerd.runc.v2"`;
  const common = `root = "/var/lib/containerd"
state = "/run/containerd"

[grpc]
  address = "/run/containerd/containerd.sock"
`;
  if (Number(spec.version.split('.')[0]) >= 2) {
    return `version = 3
${common}
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "${spec.sandboxImage}"
[plugins."io.containerd.cri.v1.images".registry]
  config_path = "/etc/containerd/certs.d"

[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = ${spec.restrictOomScoreAdj}
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["${spec.cniDirectory}"]
  conf_dir = "/etc/cni/net.d"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  ${runc}
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
    SystemdCgroup = false

[plugins."io.containerd.grpc.v1.cri"]
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
`;
  }
  return `version = 2
${common}
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${spec.sandboxImage}"
  restrict_oom_score_adj = ${spec.restrictOomScoreAdj}
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "${spec.cniDirectory}"
  conf_dir = "/etc/cni/net.d"
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  ${runc}
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
    SystemdCgroup = false
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "/etc/containerd/certs.d"
`;
}

/** Where this machine has the CNI plugins that nodes use: Debian's place or upstream's. */
export function cniDirectory(): string | undefined {
  const plugins = ['ptp', 'host-local', 'loopback', 'portmap', 'tuning', 'bandwidth'];
  return ['/usr/lib/cni', '/opt/cni/bin'].find((directory) =>
    plugins.every((plugin) => existsSync(join(directory, plugin))),
  );
}

/** "containerd github.com/containerd/containerd 1.6.20~ds1 ..." and "containerd containerd.io v2.1.4 ..." alike. */
export function parseContainerdVersion(output: string): string {
  const version = /\bv?(\d+\.\d+\.\d+)/.exec(output)?.[1];
  if (version === undefined) throw new Error(`"containerd --version" printed no version: ${output.trim()}`);
  return version;
}

/** True when this process lacks CAP_SYS_RESOURCE (capability 24), as in many containers and small VMs. */
export function lacksSysResource(status = readFileSync('/proc/self/status', 'utf8')): boolean {
  const effective = /^CapEff:\s+([0-9a-f]+)$/m.exec(status)?.[1] ?? '0';
  return ((BigInt(`0x${effective}`) >> 24n) & 1n) === 0n;
}
