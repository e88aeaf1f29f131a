// SPDX-License-Identifier: Apache-2.0
// The CSI host-path driver: a volume is a folder of its node, bind-mounted into pods. All three CSI services in one program, one per
// node, each serving the volumes of its own node. Every call is idempotent, as CSI demands: state is what is on the disk.
import { execFile } from 'node:child_process';
import { mkdir, readFile, rename, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import type {
  ControllerExpandVolumeRequest,
  CreateVolumeRequest,
  CreateVolumeResponse,
  DeleteVolumeRequest,
  GetCapacityRequest,
  NodeExpandVolumeRequest,
  NodeGetVolumeStatsRequest,
  NodePublishVolumeRequest,
  NodeUnpublishVolumeRequest,
  Topology,
  ValidateVolumeCapabilitiesRequest,
  VolumeCapability,
} from '../kubelet/grpc/csi.types.ts';
import { RpcError, type ServedService } from './grpc-server.ts';

export const driverName = 'hostpath.csi.plumbline.io';
export const topologyKey = 'topology.hostpath.csi.plumbline.io/node';

export interface DriverOptions {
  readonly nodeName: string;
  readonly version: string;
  /** Where volumes are kept: one folder each, with `data/` and `volume.json`. */
  readonly root: string;
}

interface VolumeRecord {
  readonly name: string;
  readonly capacityBytes: number;
}

const capacityBytesDefault = 1024 ** 3;
const run = promisify(execFile);

export function driverServices(options: DriverOptions): ServedService[] {
  return [
    { name: 'csi.v1.Identity', handlers: identity(options) },
    { name: 'csi.v1.Controller', handlers: controller(options) },
    { name: 'csi.v1.Node', handlers: node(options) },
  ];
}

function identity({ version }: DriverOptions): ServedService['handlers'] {
  return {
    GetPluginInfo: () => ({ name: driverName, vendorVersion: version }),
    GetPluginCapabilities: () => ({
      capabilities: [
        { service: { type: 'CONTROLLER_SERVICE' } },
        { service: { type: 'VOLUME_ACCESSIBILITY_CONSTRAINTS' } },
        { volumeExpansion: { type: 'ONLINE' } },
      ],
    }),
    Probe: () => ({ ready: { value: true } }),
  };
}

function controller(options: DriverOptions): ServedService['handlers'] {
  const { nodeName, root } = options;
  return {
    ControllerGetCapabilities: () => ({
      capabilities: ['CREATE_DELETE_VOLUME', 'GET_CAPACITY', 'EXPAND_VOLUME'].map((type) => ({ rpc: { type } })),
    }),
    CreateVolume: async (request: CreateVolumeRequest): Promise<CreateVolumeResponse> => {
      if (request.name === '') throw new RpcError('INVALID_ARGUMENT', 'name is required');
      checkCapabilities(request.volumeCapabilities);
      checkTopology(request.accessibilityRequirements, nodeName);
      const required = request.capacityRange?.requiredBytes ?? 0;
      const limit = request.capacityRange?.limitBytes ?? 0;
      const wanted = required > 0 ? required : limit > 0 ? Math.min(limit, capacityBytesDefault) : capacityBytesDefault;
      const volumeId = volumeIdFor(request.name);
      const known = await readRecord(root, volumeId);
      if (known !== undefined && (known.capacityBytes < required || (limit > 0 && known.capacityBytes > limit))) {
        throw new RpcError(
          'ALREADY_EXISTS',
          `volume ${request.name} exists with ${known.capacityBytes} bytes, not between ${required} and ${limit}`,
        );
      }
      const capacityBytes = known?.capacityBytes ?? wanted;
      if (known === undefined) {
        const free = await freeBytes(root);
        if (wanted > free)
          throw new RpcError('OUT_OF_RANGE', `${wanted} bytes wanted, ${free} are free on ${nodeName}`);
        await mkdir(dataPath(root, volumeId), { recursive: true, mode: 0o777 });
        await writeRecord(root, volumeId, { name: request.name, capacityBytes });
      }
      const accessibleTopology: Topology[] = [{ segments: { [topologyKey]: nodeName } }];
      return { volume: { capacityBytes, volumeId, volumeContext: {}, contentSource: null, accessibleTopology } };
    },
    DeleteVolume: async ({ volumeId }: DeleteVolumeRequest) => {
      if (volumeId === '') throw new RpcError('INVALID_ARGUMENT', 'volume_id is required');
      if (isVolumeId(volumeId)) await rm(join(root, volumeId), { recursive: true, force: true });
      return {};
    },
    ValidateVolumeCapabilities: async (request: ValidateVolumeCapabilitiesRequest) => {
      await requireVolume(root, request.volumeId);
      checkCapabilities(request.volumeCapabilities);
      const { volumeContext, volumeCapabilities, parameters } = request;
      return { confirmed: { volumeContext, volumeCapabilities, parameters } };
    },
    GetCapacity: async ({ accessibleTopology }: GetCapacityRequest) => {
      const asked = accessibleTopology?.segments[topologyKey] ?? nodeName;
      return { availableCapacity: asked === nodeName ? await freeBytes(root) : 0 };
    },
    ControllerExpandVolume: async ({ volumeId, capacityRange }: ControllerExpandVolumeRequest) => {
      const record = await requireVolume(root, volumeId);
      const wanted = capacityRange?.requiredBytes ?? 0;
      const capacityBytes = Math.max(record.capacityBytes, wanted);
      if (wanted - record.capacityBytes > (await freeBytes(root))) {
        throw new RpcError('OUT_OF_RANGE', `${wanted} bytes wanted, node ${nodeName} has too few free`);
      }
      await writeRecord(root, volumeId, { ...record, capacityBytes });
      return { capacityBytes, nodeExpansionRequired: false };
    },
  };
}

function node({ nodeName, root }: DriverOptions): ServedService['handlers'] {
  return {
    NodeGetInfo: () => ({ nodeId: nodeName, accessibleTopology: { segments: { [topologyKey]: nodeName } } }),
    NodeGetCapabilities: () => ({
      capabilities: ['GET_VOLUME_STATS', 'EXPAND_VOLUME'].map((type) => ({ rpc: { type } })),
    }),
    NodePublishVolume: async (request: NodePublishVolumeRequest) => {
      const { volumeId, targetPath, readonly, volumeCapability } = request;
      if (targetPath === '') throw new RpcError('INVALID_ARGUMENT', 'target_path is required');
      if (!volumeCapability) throw new RpcError('INVALID_ARGUMENT', 'volume_capability is required');
      checkCapabilities([volumeCapability]);
      await requireVolume(root, volumeId);
      if (await isMounted(targetPath)) return {};
      await mkdir(targetPath, { recursive: true, mode: 0o750 });
      await run('mount', ['--bind', dataPath(root, volumeId), targetPath]);
      // A bind mount takes read-only only when it is mounted once more.
      if (readonly) await run('mount', ['-o', 'remount,bind,ro', targetPath]);
      return {};
    },
    NodeUnpublishVolume: async ({ volumeId, targetPath }: NodeUnpublishVolumeRequest) => {
      if (volumeId === '' || targetPath === '') {
        throw new RpcError('INVALID_ARGUMENT', 'volume_id and target_path are required');
      }
      if (await isMounted(targetPath)) await run('umount', [targetPath]);
      await rm(targetPath, { recursive: true, force: true });
      return {};
    },
    NodeGetVolumeStats: async ({ volumeId, volumePath }: NodeGetVolumeStatsRequest) => {
      if (volumePath === '') throw new RpcError('INVALID_ARGUMENT', 'volume_path is required');
      await requireVolume(root, volumeId);
      const usage = await statfs(volumePath).catch(() => {
        throw new RpcError('NOT_FOUND', `nothing at ${volumePath}`);
      });
      const bytes = (blocks: number): number => blocks * usage.bsize;
      return {
        usage: [
          {
            unit: 'BYTES',
            total: bytes(usage.blocks),
            available: bytes(usage.bavail),
            used: bytes(usage.blocks - usage.bfree),
          },
          { unit: 'INODES', total: usage.files, available: usage.ffree, used: usage.files - usage.ffree },
        ],
      };
    },
    NodeExpandVolume: async ({ volumeId, volumePath, capacityRange }: NodeExpandVolumeRequest) => {
      if (volumePath === '') throw new RpcError('INVALID_ARGUMENT', 'volume_path is required');
      const { capacityBytes } = await requireVolume(root, volumeId);
      return { capacityBytes: Math.max(capacityBytes, capacityRange?.requiredBytes ?? 0) };
    },
  };
}

function checkCapabilities(capabilities: readonly VolumeCapability[]): void {
  if (capabilities.length === 0) throw new RpcError('INVALID_ARGUMENT', 'volume_capabilities are required');
  for (const { block, accessMode } of capabilities) {
    if (block) {
      throw new RpcError(
        'INVALID_ARGUMENT',
        `${driverName} serves folders, not block devices: use volumeMode Filesystem`,
      );
    }
    const mode = accessMode?.mode ?? 'UNKNOWN';
    if (mode.startsWith('MULTI_NODE_')) {
      throw new RpcError(
        'INVALID_ARGUMENT',
        `access mode ${mode}: a volume is a folder of one node; use ReadWriteOnce or ReadWriteOncePod`,
      );
    }
  }
}

function checkTopology(requirements: CreateVolumeRequest['accessibilityRequirements'], nodeName: string): void {
  const requisite = requirements?.requisite ?? [];
  if (requisite.length === 0 || requisite.some(({ segments }) => segments[topologyKey] === nodeName)) return;
  throw new RpcError(
    'RESOURCE_EXHAUSTED',
    `this is the driver of node ${nodeName}, which is none of the requisite ones`,
  );
}

/** The id is the name made safe: asking again for the same name finds the same volume. */
function volumeIdFor(name: string): string {
  return name
    .replace(/[^A-Za-z0-9._-]/g, '_')
    .replace(/^\.+/, '_')
    .slice(0, 128);
}

function isVolumeId(volumeId: string): boolean {
  return volumeId !== '' && volumeId === volumeIdFor(volumeId);
}

function dataPath(root: string, volumeId: string): string {
  return join(root, volumeId, 'data');
}

async function requireVolume(root: string, volumeId: string): Promise<VolumeRecord> {
  if (volumeId === '') throw new RpcError('INVALID_ARGUMENT', 'volume_id is required');
  const record = isVolumeId(volumeId) ? await readRecord(root, volumeId) : undefined;
  if (record === undefined) throw new RpcError('NOT_FOUND', `there is no volume ${volumeId} on this node`);
  return record;
}

async function readRecord(root: string, volumeId: string): Promise<VolumeRecord | undefined> {
  try {
    return JSON.parse(await readFile(join(root, volumeId, 'volume.json'), 'utf8')) as VolumeRecord;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

async function writeRecord(root: string, volumeId: string, record: VolumeRecord): Promise<void> {
  const path = join(root, volumeId, 'volume.json');
  await writeFile(`${path}.new`, JSON.stringify(record));
  await rename(`${path}.new`, path);
}

async function freeBytes(root: string): Promise<number> {
  await mkdir(root, { recursive: true });
  const { bavail, bsize } = await statfs(root);
  return bavail * bsize;
}

/** A bind mount of the same file system does not change st_dev, so the mount table is asked. */
async function isMounted(path: string): Promise<boolean> {
  const exists = await stat(dirname(path)).then(
    () => true,
    () => false,
  );
  if (!exists) return false;
  const table = await readFile('/proc/self/mountinfo', 'utf8');
  const escaped = path.replaceAll(' ', '\\040');
  return table.split('\n').some((line) => line.split(' ')[4] === escaped);
}
