// SPDX-License-Identifier: Apache-2.0
// Sets up a pod's volumes and takes them down. Setting up twice is harmless and brings file content up to date. Taking down works from what is
// on disk, so that it also finds what an earlier kubelet left.
import { chmodSync, existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Client } from '../../machinery/client.ts';
import type {
  HostPathVolumeSource,
  PersistentVolume,
  PersistentVolumeClaim,
  Pod,
  Volume,
} from '../../machinery/api-types.ts';
import { isNotFound } from '../../machinery/client.ts';
import { toBytes } from '../../machinery/quantities.ts';
import { resources } from '../../machinery/resources.ts';
import { ConfigurationError } from '../containers/environment.ts';
import { identityOf, specOf } from '../pods/pod-facts.ts';
import { writeAtomically } from './atomic-files.ts';
import type { CsiVolumes } from './csi-volumes.ts';
import { hasFileContent, isSensitive, volumeFiles } from './file-content.ts';
import { mountPoints, mountTmpfs, unmountTree } from './mounts.ts';
import type { ObjectCache } from './object-cache.ts';
import { applyFsGroup } from './ownership.ts';
import type { TokenManager } from './tokens.ts';

export interface MountedVolume {
  /** A folder or file to mount, or the device of a block volume. */
  readonly path: string;
  readonly block: boolean;
  readonly readOnly: boolean;
}

export interface VolumeContext {
  readonly podIPs: readonly string[];
  readonly hostIPs: readonly string[];
  readonly allocatable: Readonly<Record<string, number>>;
  readonly signal: AbortSignal;
}

export interface VolumeManagerOptions {
  readonly rootDir: string;
  readonly client: Client;
  readonly objects: ObjectCache;
  readonly tokens: TokenManager;
  readonly csi: CsiVolumes;
}

/** Where in a pod's folder its emptyDir volumes are, one folder each. */
export const emptyDirs = 'volumes/kubernetes.io~empty-dir';

export class VolumeManager {
  readonly #options: VolumeManagerOptions;

  constructor(options: VolumeManagerOptions) {
    this.#options = options;
  }

  podFolder(uid: string): string {
    return join(this.#options.rootDir, 'pods', uid);
  }

  /** All volumes of the pod by name. Errors name the volume. */
  async setUp(pod: Pod, context: VolumeContext): Promise<Map<string, MountedVolume>> {
    const mounted = new Map<string, MountedVolume>();
    const used = volumesInUse(pod);
    await Promise.all(
      (specOf(pod).volumes ?? [])
        .filter((volume) => used.has(volume.name))
        .map(async (volume) => {
          try {
            mounted.set(volume.name, await this.#setUpOne(pod, volume, context));
          } catch (error) {
            const reason = error instanceof Error ? error.message : String(error);
            throw new VolumeError(
              volume.name,
              `MountVolume.SetUp failed for volume "${volume.name}" : ${reason}`,
              error,
            );
          }
        }),
    );
    return mounted;
  }

  /** Brings configMap, secret, downwardAPI and projected content up to date. */
  async refresh(pod: Pod, context: VolumeContext): Promise<void> {
    const used = volumesInUse(pod);
    for (const volume of specOf(pod).volumes ?? []) {
      if (used.has(volume.name) && hasFileContent(volume)) await this.#writeFiles(pod, volume, context);
    }
    await this.#options.csi.refresh(pod, this.podFolder(identityOf(pod).uid));
  }

  /** Unmounts and removes every volume of a pod, by what is on disk. */
  async tearDown(uid: string): Promise<void> {
    const podFolder = this.podFolder(uid);
    await this.#options.csi.tearDownPod(uid, podFolder);
    await unmountTree(podFolder);
    const volumes = join(podFolder, 'volumes');
    await rm(volumes, { recursive: true, force: true });
    await rm(join(podFolder, 'volume-subpaths'), { recursive: true, force: true });
  }

  /** Removes all that is left of a pod that runs no more. */
  async removePod(uid: string): Promise<void> {
    await this.tearDown(uid);
    await rm(this.podFolder(uid), { recursive: true, force: true });
    this.#options.tokens.forgetPod(uid);
    this.#options.objects.forgetPod(uid);
  }

  /** True for pods with volumes that change without anyone telling. */
  wantAttention(uid: string): boolean {
    return this.#options.csi.watchesVolumes(uid);
  }

  /** Uids of pods that have a folder on this node. */
  podsOnDisk(): string[] {
    const folder = join(this.#options.rootDir, 'pods');
    return existsSync(folder) ? readdirSync(folder) : [];
  }

  async #setUpOne(pod: Pod, volume: Volume, context: VolumeContext): Promise<MountedVolume> {
    const { uid } = identityOf(pod);
    const plain = { block: false, readOnly: false };
    if (volume.emptyDir) return { ...plain, path: await this.#emptyDir(pod, volume) };
    if (hasFileContent(volume)) return { ...plain, path: await this.#writeFiles(pod, volume, context), readOnly: true };
    if (volume.hostPath) return { ...plain, path: hostPath(volume.hostPath) };
    if (volume.csi) {
      const path = await this.#options.csi.setUpInline(pod, volume, { podFolder: this.podFolder(uid), ...context });
      return { ...plain, path, readOnly: volume.csi.readOnly ?? false };
    }
    const claimName = volume.ephemeral
      ? `${pod.metadata.name}-${volume.name}`
      : volume.persistentVolumeClaim?.claimName;
    if (claimName !== undefined) return this.#claim(pod, { volume, claimName, context });
    const kind = Object.keys(volume).find((key) => key !== 'name') ?? 'no source';
    throw new Error(`no volume plugin matched: ${kind}`);
  }

  async #emptyDir(pod: Pod, volume: Volume): Promise<string> {
    const path = join(this.podFolder(identityOf(pod).uid), emptyDirs, volume.name);
    const fresh = !existsSync(path);
    mkdirSync(path, { recursive: true, mode: 0o750 });
    if (volume.emptyDir?.medium === 'Memory' && !mountPoints().has(path)) {
      const limit = volume.emptyDir.sizeLimit ? toBytes(volume.emptyDir.sizeLimit) : undefined;
      await mountTmpfs(path, limit);
    } else if (!fresh) return path;
    chmodSync(path, 0o777);
    await this.#giveToGroup(pod, path);
    return path;
  }

  async #giveToGroup(pod: Pod, path: string): Promise<void> {
    const security = specOf(pod).securityContext;
    if (security?.fsGroup !== undefined) await applyFsGroup(path, security.fsGroup, security.fsGroupChangePolicy);
  }

  async #writeFiles(pod: Pod, volume: Volume, context: VolumeContext): Promise<string> {
    const { uid, namespace } = identityOf(pod);
    const { objects, tokens } = this.#options;
    const plugin = volume.configMap
      ? 'configmap'
      : volume.secret
        ? 'secret'
        : volume.downwardAPI
          ? 'downward-api'
          : 'projected';
    const path = join(this.podFolder(uid), `volumes/kubernetes.io~${plugin}`, volume.name);
    const files = await volumeFiles(volume, {
      pod,
      podIPs: context.podIPs,
      hostIPs: context.hostIPs,
      allocatable: context.allocatable,
      configMap: (name) => objects.configMap(namespace, name),
      secret: (name) => objects.secret(namespace, name),
      token: (projection) => tokens.token(pod, projection),
    });
    mkdirSync(path, { recursive: true, mode: 0o755 });
    if (isSensitive(volume) && !mountPoints().has(path)) await mountTmpfs(path);
    writeAtomically(path, files, specOf(pod).securityContext?.fsGroup);
    return path;
  }

  async #claim(
    pod: Pod,
    request: { volume: Volume; claimName: string; context: VolumeContext },
  ): Promise<MountedVolume> {
    const { namespace, uid } = identityOf(pod);
    const { client, csi } = this.#options;
    const { volume, claimName, context } = request;
    let claim: PersistentVolumeClaim;
    try {
      claim = await client.get<PersistentVolumeClaim>(resources.persistentVolumeClaims, claimName, namespace);
    } catch (error) {
      if (isNotFound(error)) throw new Error(`persistentvolumeclaim "${claimName}" not found`, { cause: error });
      throw error;
    }
    if (volume.ephemeral && !claim.metadata.ownerReferences?.some((owner) => owner.uid === uid)) {
      throw new Error(`PVC ${namespace}/${claimName} was not created for pod ${pod.metadata.name} (pod is not owner)`);
    }
    const volumeName = claim.spec?.volumeName;
    if (!volumeName || claim.status?.phase !== 'Bound') throw new Error(`PVC ${namespace}/${claimName} is not bound`);
    const persistent = await client.get<PersistentVolume>(resources.persistentVolumes, volumeName);
    const readOnly = volume.persistentVolumeClaim?.readOnly ?? false;
    const block = persistent.spec?.volumeMode === 'Block';
    if (persistent.spec?.hostPath) return { path: hostPath(persistent.spec.hostPath), block: false, readOnly };
    if (persistent.spec?.local) {
      const { path } = persistent.spec.local;
      statSync(path);
      return { path, block, readOnly };
    }
    if (persistent.spec?.csi === undefined)
      throw new Error(`no volume plugin matched for PersistentVolume ${volumeName}`);
    const path = await csi.setUp(pod, {
      persistent,
      claim,
      specName: volume.name,
      readOnly,
      podFolder: this.podFolder(uid),
      ...context,
    });
    return { path, block, readOnly: readOnly || (persistent.spec.csi.readOnly ?? false) };
  }
}

export class VolumeError extends Error {
  override readonly name = 'VolumeError';
  readonly volume: string;

  constructor(volume: string, message: string, cause: unknown) {
    super(message, { cause });
    this.volume = volume;
  }
}

/** Names of volumes that some container mounts or maps; others are not set up. */
function volumesInUse(pod: Pod): Set<string> {
  const spec = specOf(pod);
  const names = new Set<string>();
  for (const container of [...spec.containers, ...(spec.initContainers ?? []), ...(spec.ephemeralContainers ?? [])]) {
    for (const mount of container.volumeMounts ?? []) names.add(mount.name);
    for (const device of container.volumeDevices ?? []) names.add(device.name);
  }
  return names;
}

/** Checks (or makes) what a hostPath volume promises; returns the path. */
function hostPath(source: HostPathVolumeSource): string {
  const { path } = source;
  const facts = existsSync(path) ? statSync(path) : undefined;
  const wrong = (what: string): Error => new ConfigurationError(`hostPath type check failed: ${path} is not a ${what}`);
  switch (source.type ?? '') {
    case 'DirectoryOrCreate':
      if (facts === undefined) mkdirSync(path, { recursive: true, mode: 0o755 });
      else if (!facts.isDirectory()) throw wrong('directory');
      break;
    case 'Directory':
      if (!facts?.isDirectory()) throw wrong('directory');
      break;
    case 'FileOrCreate':
      if (facts === undefined) writeFileSync(path, '', { mode: 0o644 });
      else if (!facts.isFile()) throw wrong('file');
      break;
    case 'File':
      if (!facts?.isFile()) throw wrong('file');
      break;
    case 'Socket':
      if (!facts?.isSocket()) throw wrong('socket file');
      break;
    case 'CharDevice':
      if (!facts?.isCharacterDevice()) throw wrong('character device');
      break;
    case 'BlockDevice':
      if (!facts?.isBlockDevice()) throw wrong('block device');
      break;
    default:
      break;
  }
  return path;
}
