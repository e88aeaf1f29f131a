// SPDX-License-Identifier: Apache-2.0
// The mounts and devices of one container: its volumes with subPath and propagation, the managed hosts file and the termination message
// file. Makes the files that are missing.
import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, realpathSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import type { Container, EphemeralContainer, Pod, VolumeMount } from '../../machinery/api-types.ts';
import type { Device, Mount } from '../grpc/runtime-v1.types.ts';
import type { Outgoing } from '../grpc/service-client.ts';
import { specOf } from '../pods/pod-facts.ts';
import { hostsFile } from '../pods/pod-network-files.ts';
import type { MountedVolume } from '../volumes/volume-manager.ts';
import { ConfigurationError, expand } from './environment.ts';

export interface MountInput {
  readonly pod: Pod;
  readonly container: Container | EphemeralContainer;
  readonly volumes: ReadonlyMap<string, MountedVolume>;
  readonly environment: ReadonlyMap<string, string>;
  readonly podFolder: string;
  readonly podIPs: readonly string[];
  readonly clusterDomain: string;
}

const propagations = {
  None: 'PROPAGATION_PRIVATE',
  HostToContainer: 'PROPAGATION_HOST_TO_CONTAINER',
  Bidirectional: 'PROPAGATION_BIDIRECTIONAL',
} as const;

/** Errors: ConfigurationError when a subPath leads out of its volume. */
export function containerMounts(input: MountInput): { mounts: Outgoing<Mount>[]; devices: Outgoing<Device>[] } {
  const { container } = input;
  const mounts: Outgoing<Mount>[] = [];
  for (const mount of container.volumeMounts ?? []) {
    const volume = input.volumes.get(mount.name);
    if (volume === undefined)
      throw new ConfigurationError(`cannot find volume "${mount.name}" to mount into container "${container.name}"`);
    if (volume.block) throw new ConfigurationError(`volume "${mount.name}" is a block device: use volumeDevices`);
    const readonly = (mount.readOnly ?? false) || volume.readOnly;
    const hostPath = withSubPath(volume.path, mount, input.environment);
    const propagation = propagations[(mount.mountPropagation as keyof typeof propagations | undefined) ?? 'None'];
    // A plain hostPath folder that doesn't exist is made, as it always was.
    if (!existsSync(hostPath)) mkdirSync(hostPath, { recursive: true, mode: 0o755 });
    mounts.push({ containerPath: mount.mountPath, hostPath, readonly, propagation, selinuxRelabel: false });
  }
  const taken = new Set(mounts.map((mount) => mount.containerPath));
  if (!taken.has('/etc/hosts')) {
    mounts.push({ containerPath: '/etc/hosts', hostPath: writeHosts(input), readonly: false });
  }
  const messagePath = container.terminationMessagePath ?? '/dev/termination-log';
  if (messagePath !== '') {
    const hostPath = join(input.podFolder, 'containers', container.name, randomBytes(4).toString('hex'));
    mkdirSync(dirname(hostPath), { recursive: true, mode: 0o750 });
    writeFileSync(hostPath, '');
    // Whatever user the container runs as must be able to write.
    chmodSync(hostPath, 0o666);
    mounts.push({ containerPath: messagePath, hostPath, readonly: false });
  }
  const devices = (container.volumeDevices ?? []).map((device) => {
    const volume = input.volumes.get(device.name);
    if (!volume?.block)
      throw new ConfigurationError(`volume "${device.name}" of container "${container.name}" is not a block device`);
    return { containerPath: device.devicePath, hostPath: volume.path, permissions: volume.readOnly ? 'r' : 'mrw' };
  });
  return { mounts, devices };
}

function withSubPath(root: string, mount: VolumeMount, environment: ReadonlyMap<string, string>): string {
  let subPath = mount.subPath ?? '';
  if (mount.subPathExpr) {
    subPath = expand(mount.subPathExpr, (name) => {
      const value = environment.get(name);
      if (value === undefined) throw new ConfigurationError(`missing value for ${JSON.stringify(name)}`);
      return value;
    });
  }
  if (subPath === '') return root;
  if (subPath.startsWith('/') || subPath.split('/').includes('..')) {
    throw new ConfigurationError(
      `error creating subPath directory: subPath "${subPath}" must be relative and stay inside the volume`,
    );
  }
  const path = join(root, subPath);
  if (!existsSync(path)) {
    const { mode } = statSync(root);
    mkdirSync(path, { recursive: true });
    chmodSync(path, mode & 0o7777);
  }
  // Links inside the volume are followed, but never out of it.
  const real = realpathSync(path);
  const inside = relative(realpathSync(root), real);
  if (inside === '..' || inside.startsWith('../'))
    throw new ConfigurationError(`subPath "${subPath}" leads out of volume "${mount.name}"`);
  return real;
}

function writeHosts(input: MountInput): string {
  const path = join(input.podFolder, 'etc-hosts');
  const nodeHosts = specOf(input.pod).hostNetwork ? readFileSync('/etc/hosts', 'utf8') : '';
  mkdirSync(dirname(path), { recursive: true, mode: 0o750 });
  writeFileSync(path, hostsFile(input.pod, { podIPs: input.podIPs, clusterDomain: input.clusterDomain, nodeHosts }));
  chmodSync(path, 0o644);
  return path;
}
