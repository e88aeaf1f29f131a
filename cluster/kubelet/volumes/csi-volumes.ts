// SPDX-License-Identifier: Apache-2.0
// Mounts CSI volumes into pods: wait for attachment, stage once per node, publish per pod, and back again. What is mounted is written beside it
// on disk (vol_data.json, as upstream does), so that a restarted kubelet can undo it.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type {
  CSIDriver as CsiDriverObject,
  PersistentVolume,
  PersistentVolumeClaim,
  Pod,
  Secret,
  VolumeAttachment,
  Volume,
} from '../../machinery/api-types.ts';
import { isNotFound } from '../../machinery/client.ts';
import type { Client } from '../../machinery/client.ts';
import { logger } from '../../machinery/log.ts';
import { compare, toBytes } from '../../machinery/quantities.ts';
import { resources } from '../../machinery/resources.ts';
import type { NodeGetVolumeStatsResponse, VolumeCapability, VolumeUsage } from '../grpc/csi.types.ts';
import { grpcCode, grpcMessage, grpcStatus } from '../grpc/service-client.ts';
import type { Outgoing } from '../grpc/service-client.ts';
import { identityOf, specOf } from '../pods/pod-facts.ts';
import type { CsiDriver, CsiDrivers } from './csi-drivers.ts';
import { unmountTree } from './mounts.ts';
import { applyFsGroup } from './ownership.ts';
import { secretData } from './file-content.ts';
import type { TokenManager } from './tokens.ts';

export interface ClaimRequest {
  readonly persistent: PersistentVolume;
  readonly claim: PersistentVolumeClaim;
  readonly specName: string;
  readonly readOnly: boolean;
  readonly podFolder: string;
  readonly signal: AbortSignal;
}

/** What is on disk beside each mount. */
interface VolumeRecord {
  readonly driverName: string;
  readonly volumeHandle: string;
  readonly specVolID: string;
  readonly volumeLifecycleMode: 'Persistent' | 'Ephemeral';
  readonly block?: boolean;
  readonly attachable?: boolean;
}

interface Published {
  readonly pod: Pod;
  readonly driver: string;
  readonly target: string;
  readonly request: Record<string, unknown>;
}

const log = logger('csi');
const attachTimeoutMs = 120_000;

export class CsiVolumes {
  readonly #client: Client;
  readonly #drivers: CsiDrivers;
  readonly #tokens: TokenManager;
  readonly #nodeName: string;
  readonly #rootDir: string;
  /** Serialises staging and unstaging of one volume. */
  readonly #locks = new Map<string, Promise<unknown>>();
  readonly #inUse = new Map<string, Set<string>>();
  /** Mounts that their driver wants to be asked about again and again. */
  readonly #republished = new Map<string, Published[]>();
  readonly #expandable = new Map<string, { claim: PersistentVolumeClaim; target: string; staging: string }[]>();
  readonly #onUseChange: () => void;

  constructor(options: {
    client: Client;
    drivers: CsiDrivers;
    tokens: TokenManager;
    nodeName: string;
    rootDir: string;
    /** The set of attachable volumes in use changed: the node status must say so. */
    onUseChange: () => void;
  }) {
    this.#client = options.client;
    this.#drivers = options.drivers;
    this.#tokens = options.tokens;
    this.#nodeName = options.nodeName;
    this.#rootDir = options.rootDir;
    this.#onUseChange = options.onUseChange;
  }

  /** Unique names of attachable volumes that pods here use. */
  volumesInUse(): string[] {
    return [...this.#inUse.keys()].toSorted();
  }

  async setUp(pod: Pod, request: ClaimRequest): Promise<string> {
    const { persistent, claim } = request;
    const source = persistent.spec?.csi;
    const pvName = persistent.metadata.name ?? '';
    if (source === undefined) throw new Error(`PersistentVolume ${pvName} is not a CSI volume`);
    const settings = await this.#settings(source.driver);
    const { uid } = identityOf(pod);
    const attachable = settings?.spec?.attachRequired ?? true;
    if (attachable) this.#markInUse(`kubernetes.io/csi/${source.driver}^${source.volumeHandle}`, uid);
    const publishContext = attachable ? await this.#waitForAttach(source, request.signal) : {};
    const driver = await this.#driver(source.driver, request.signal);
    const block = persistent.spec?.volumeMode === 'Block';
    const capability = volumeCapability(persistent, driver, specOf(pod).securityContext?.fsGroup);
    const staging = this.#stagingPath(source.driver, source.volumeHandle, block ? pvName : undefined);
    const target = block
      ? join(this.#rootDir, 'plugins/kubernetes.io/csi/volumeDevices/publish', pvName, uid)
      : join(request.podFolder, 'volumes/kubernetes.io~csi', pvName, 'mount');
    const record: VolumeRecord = {
      driverName: source.driver,
      volumeHandle: source.volumeHandle,
      specVolID: pvName,
      volumeLifecycleMode: 'Persistent',
      block,
      attachable,
    };
    const stages = driver.capabilities.has('STAGE_UNSTAGE_VOLUME');
    const context = { volumeId: source.volumeHandle, publishContext, volumeCapability: capability };
    await this.#exclusively(`${source.driver}/${source.volumeHandle}`, async () => {
      const recordFolder = block
        ? join(request.podFolder, 'volumeDevices/kubernetes.io~csi', `${pvName}.data`)
        : dirname(target);
      writeRecord(recordFolder, record);
      if (stages) {
        mkdirSync(staging, { recursive: true, mode: 0o750 });
        writeRecord(dirname(staging), record);
        await driver.node.call('NodeStageVolume', {
          ...context,
          stagingTargetPath: staging,
          secrets: await this.#secretOf(source.nodeStageSecretRef),
          volumeContext: source.volumeAttributes ?? {},
        });
      }
      mkdirSync(dirname(target), { recursive: true, mode: 0o750 });
      await this.#publish(
        pod,
        driver,
        {
          ...context,
          stagingTargetPath: stages ? staging : '',
          targetPath: target,
          readonly: request.readOnly || (source.readOnly ?? false),
          secrets: await this.#secretOf(source.nodePublishSecretRef),
          volumeContext: { ...source.volumeAttributes, ...(await this.#podContext(pod, settings, false)) },
        },
        settings,
      );
      await this.#expandIfDue({ driver, persistent, claim, target, staging });
    });
    if (driver.capabilities.has('EXPAND_VOLUME')) {
      const list = (this.#expandable.get(uid) ?? []).filter((entry) => entry.target !== target);
      this.#expandable.set(uid, [...list, { claim, target, staging }]);
    }
    if (block) {
      const link = join(request.podFolder, 'volumeDevices/kubernetes.io~csi', pvName);
      mkdirSync(dirname(link), { recursive: true, mode: 0o750 });
      rmSync(link, { force: true });
      symlinkSync(target, link);
      return target;
    }
    await this.#giveToGroup(pod, { persistent, settings, driver, target, readOnly: request.readOnly });
    return target;
  }

  /** An inline (ephemeral) CSI volume: published straight away, its handle made from pod and name. */
  async setUpInline(pod: Pod, volume: Volume, request: { podFolder: string; signal: AbortSignal }): Promise<string> {
    const source = volume.csi;
    if (source === undefined) throw new Error(`volume ${volume.name} has no csi source`);
    const { uid, namespace } = identityOf(pod);
    const settings = await this.#settings(source.driver);
    if (!settings?.spec?.volumeLifecycleModes?.includes('Ephemeral')) {
      throw new Error(
        `volume mode "Ephemeral" not supported by driver ${source.driver} (no CSIDriver object, or only supports others)`,
      );
    }
    const driver = await this.#driver(source.driver, request.signal);
    const handle = `csi-${createHash('sha256').update(`${namespace}/${pod.metadata.name}/${uid}/${volume.name}`).digest('hex')}`;
    const target = join(request.podFolder, 'volumes/kubernetes.io~csi', volume.name, 'mount');
    writeRecord(dirname(target), {
      driverName: source.driver,
      volumeHandle: handle,
      specVolID: volume.name,
      volumeLifecycleMode: 'Ephemeral',
    });
    const secretRef = source.nodePublishSecretRef?.name
      ? { name: source.nodePublishSecretRef.name, namespace }
      : undefined;
    await this.#publish(
      pod,
      driver,
      {
        volumeId: handle,
        targetPath: target,
        readonly: source.readOnly ?? false,
        volumeCapability: {
          mount: { fsType: source.fsType ?? '', mountFlags: [] },
          accessMode: { mode: 'SINGLE_NODE_WRITER' },
        },
        secrets: await this.#secretOf(secretRef),
        volumeContext: { ...source.volumeAttributes, ...(await this.#podContext(pod, settings, true)) },
      },
      settings,
    );
    const fsGroup = specOf(pod).securityContext?.fsGroup;
    if (fsGroup !== undefined && settings.spec.fsGroupPolicy === 'File' && !source.readOnly) {
      await applyFsGroup(target, fsGroup, specOf(pod).securityContext?.fsGroupChangePolicy);
    }
    return target;
  }

  /** Publishes again where the driver asks for it, and carries out expansions that became due. */
  async refresh(pod: Pod, _podFolder: string): Promise<void> {
    const { uid } = identityOf(pod);
    for (const published of this.#republished.get(uid) ?? []) {
      const settings = await this.#settings(published.driver);
      const driver = this.#drivers.get(published.driver);
      const ephemeral =
        (published.request['volumeContext'] as Record<string, string>)['csi.storage.k8s.io/ephemeral'] === 'true';
      const volumeContext = {
        ...(published.request['volumeContext'] as object),
        ...(await this.#podContext(pod, settings, ephemeral)),
      };
      await driver.node.call('NodePublishVolume', { ...published.request, volumeContext });
    }
    for (const { claim, target, staging } of this.#expandable.get(uid) ?? []) {
      const { name = '', namespace } = claim.metadata;
      const current = await this.#client.get<PersistentVolumeClaim>(resources.persistentVolumeClaims, name, namespace);
      if (!needsNodeExpansion(current)) continue;
      const persistent = await this.#client.get<PersistentVolume>(
        resources.persistentVolumes,
        current.spec?.volumeName ?? '',
      );
      const driver = this.#drivers.get(persistent.spec?.csi?.driver ?? '');
      await this.#expandIfDue({ driver, persistent, claim: current, target, staging });
    }
  }

  /** True when the pod's volumes must be looked at often. */
  watchesVolumes(uid: string): boolean {
    return this.#expandable.has(uid) || this.#republished.has(uid);
  }

  async tearDownPod(uid: string, podFolder: string): Promise<void> {
    this.#republished.delete(uid);
    this.#expandable.delete(uid);
    const folder = join(podFolder, 'volumes/kubernetes.io~csi');
    for (const name of list(folder)) {
      const record = readRecord(join(folder, name));
      if (record === undefined) continue;
      await this.#takeDown(record, join(folder, name, 'mount'), { uid, recordFolder: join(folder, name) });
    }
    const devices = join(podFolder, 'volumeDevices/kubernetes.io~csi');
    for (const name of list(devices).filter((entry) => entry.endsWith('.data'))) {
      const record = readRecord(join(devices, name));
      if (record === undefined) continue;
      const target = join(this.#rootDir, 'plugins/kubernetes.io/csi/volumeDevices/publish', record.specVolID, uid);
      await this.#takeDown(record, target, { uid, recordFolder: join(devices, name) });
      rmSync(join(devices, record.specVolID), { force: true });
    }
  }

  /** Usage of one mounted volume as its driver tells it; undefined when the driver can't. */
  async usage(recordFolder: string): Promise<VolumeUsage[] | undefined> {
    const record = readRecord(recordFolder);
    if (record === undefined || !this.#drivers.has(record.driverName)) return undefined;
    const driver = this.#drivers.get(record.driverName);
    if (!driver.capabilities.has('GET_VOLUME_STATS')) return undefined;
    const request = { volumeId: record.volumeHandle, volumePath: join(recordFolder, 'mount') };
    return (await driver.node.call<NodeGetVolumeStatsResponse>('NodeGetVolumeStats', request, { timeoutMs: 5_000 }))
      .usage;
  }

  async #takeDown(record: VolumeRecord, target: string, place: { uid: string; recordFolder: string }): Promise<void> {
    const { driverName, volumeHandle } = record;
    await this.#exclusively(`${driverName}/${volumeHandle}`, async () => {
      const driver = this.#drivers.get(driverName);
      await goneIsDone(driver.node.call('NodeUnpublishVolume', { volumeId: volumeHandle, targetPath: target }));
      await unmountTree(target);
      await rm(place.recordFolder, { recursive: true, force: true });
      const staging = this.#stagingPath(driverName, volumeHandle, record.block ? record.specVolID : undefined);
      if (record.volumeLifecycleMode === 'Persistent' && existsSync(staging) && !this.#usedElsewhere(record)) {
        await goneIsDone(driver.node.call('NodeUnstageVolume', { volumeId: volumeHandle, stagingTargetPath: staging }));
        await unmountTree(staging);
        await rm(dirname(staging), { recursive: true, force: true });
      }
    });
    const name = `kubernetes.io/csi/${driverName}^${volumeHandle}`;
    const users = this.#inUse.get(name);
    users?.delete(place.uid);
    if (users?.size === 0) {
      this.#inUse.delete(name);
      this.#onUseChange();
    }
  }

  /** Whether some pod folder still has this volume published. */
  #usedElsewhere(record: VolumeRecord): boolean {
    const pods = join(this.#rootDir, 'pods');
    return list(pods).some((uid) => {
      const mounts = join(pods, uid, 'volumes/kubernetes.io~csi');
      const devices = join(pods, uid, 'volumeDevices/kubernetes.io~csi');
      return [
        ...list(mounts).map((name) => join(mounts, name)),
        ...list(devices).map((name) => join(devices, name)),
      ].some((folder) => {
        const other = readRecord(folder);
        return other?.driverName === record.driverName && other.volumeHandle === record.volumeHandle;
      });
    });
  }

  async #publish(
    pod: Pod,
    driver: CsiDriver,
    request: Record<string, unknown>,
    settings: CsiDriverObject | undefined,
  ): Promise<void> {
    const target = request['targetPath'] as string;
    mkdirSync(dirname(target), { recursive: true, mode: 0o750 });
    await driver.node.call('NodePublishVolume', request);
    if (!settings?.spec?.requiresRepublish) return;
    const { uid } = identityOf(pod);
    const others = (this.#republished.get(uid) ?? []).filter((published) => published.target !== target);
    this.#republished.set(uid, [...others, { pod, driver: driver.name, target, request }]);
  }

  async #waitForAttach(
    source: { driver: string; volumeHandle: string },
    signal: AbortSignal,
  ): Promise<Record<string, string>> {
    const digest = createHash('sha256')
      .update(source.volumeHandle + source.driver + this.#nodeName)
      .digest('hex');
    const name = `csi-${digest}`;
    const deadline = Date.now() + attachTimeoutMs;
    let delay = 100;
    let last = 'no VolumeAttachment yet';
    while (Date.now() < deadline) {
      signal.throwIfAborted();
      try {
        const attachment = await this.#client.get<VolumeAttachment>(resources.volumeAttachments, name);
        if (attachment.status?.attached) return attachment.status.attachmentMetadata ?? {};
        last = attachment.status?.attachError?.message ?? 'attachment is not finished';
      } catch (error) {
        if (!isNotFound(error)) throw error;
      }
      await pause(delay, undefined, { signal });
      delay = Math.min(delay * 1.5, 1_000);
    }
    throw new Error(
      `timed out waiting for external-attacher of ${source.driver} CSI driver to attach volume ${source.volumeHandle}: ${last}`,
    );
  }

  /** A driver whose pod starts with this one may need a moment. */
  async #driver(name: string, signal: AbortSignal): Promise<CsiDriver> {
    for (let attempt = 0; attempt < 20 && !this.#drivers.has(name); attempt++) await pause(100, undefined, { signal });
    return this.#drivers.get(name);
  }

  async #settings(name: string): Promise<CsiDriverObject | undefined> {
    try {
      return await this.#client.get<CsiDriverObject>(resources.csiDrivers, name);
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  async #secretOf(reference: { name?: string; namespace?: string } | undefined): Promise<Record<string, string>> {
    if (!reference?.name) return {};
    const secret = await this.#client.get<Secret>(resources.secrets, reference.name, reference.namespace);
    return Object.fromEntries(Object.entries(secretData(secret)).map(([key, value]) => [key, value.toString('utf8')]));
  }

  /** Facts about the pod, and tokens, for drivers whose CSIDriver asks for them. */
  async #podContext(
    pod: Pod,
    settings: CsiDriverObject | undefined,
    ephemeral: boolean,
  ): Promise<Record<string, string>> {
    const context: Record<string, string> = {};
    const { uid, name, namespace } = identityOf(pod);
    if (settings?.spec?.podInfoOnMount) {
      context['csi.storage.k8s.io/pod.name'] = name;
      context['csi.storage.k8s.io/pod.namespace'] = namespace;
      context['csi.storage.k8s.io/pod.uid'] = uid;
      context['csi.storage.k8s.io/serviceAccount.name'] = specOf(pod).serviceAccountName ?? 'default';
      context['csi.storage.k8s.io/ephemeral'] = String(ephemeral);
    }
    const requests = settings?.spec?.tokenRequests ?? [];
    if (requests.length === 0) return context;
    const tokens: Record<string, { token: string; expirationTimestamp: string }> = {};
    for (const { audience = '', expirationSeconds } of requests) {
      const { token, expiresAt } = await this.#tokens.request(pod, {
        audience,
        ...(expirationSeconds !== undefined && { expirationSeconds }),
      });
      tokens[audience] = { token, expirationTimestamp: new Date(expiresAt).toISOString().replace(/\.\d+Z$/, 'Z') };
    }
    context['csi.storage.k8s.io/serviceAccount.tokens'] = JSON.stringify(tokens);
    return context;
  }

  async #giveToGroup(
    pod: Pod,
    facts: {
      persistent: PersistentVolume;
      settings: CsiDriverObject | undefined;
      driver: CsiDriver;
      target: string;
      readOnly: boolean;
    },
  ): Promise<void> {
    const security = specOf(pod).securityContext;
    if (security?.fsGroup === undefined || facts.readOnly || facts.driver.capabilities.has('VOLUME_MOUNT_GROUP'))
      return;
    const policy = facts.settings?.spec?.fsGroupPolicy ?? 'ReadWriteOnceWithFSType';
    const modes = facts.persistent.spec?.accessModes ?? [];
    const single = modes.length === 1 && (modes[0] === 'ReadWriteOnce' || modes[0] === 'ReadWriteOncePod');
    const applies =
      policy === 'File' ||
      (policy === 'ReadWriteOnceWithFSType' && single && Boolean(facts.persistent.spec?.csi?.fsType));
    if (applies) await applyFsGroup(facts.target, security.fsGroup, security.fsGroupChangePolicy);
  }

  async #expandIfDue(request: {
    driver: CsiDriver;
    persistent: PersistentVolume;
    claim: PersistentVolumeClaim;
    target: string;
    staging: string;
  }): Promise<void> {
    const { driver, persistent, claim, target, staging } = request;
    const wanted = persistent.spec?.capacity?.['storage'];
    const has = claim.status?.capacity?.['storage'];
    if (!driver.capabilities.has('EXPAND_VOLUME') || wanted === undefined || has === undefined) return;
    if (!needsNodeExpansion(claim) || compare(wanted, has) <= 0) return;
    await driver.node.call('NodeExpandVolume', {
      volumeId: persistent.spec?.csi?.volumeHandle ?? '',
      volumePath: target,
      stagingTargetPath: staging,
      capacityRange: { requiredBytes: toBytes(wanted) },
      volumeCapability: volumeCapability(persistent, driver, undefined),
    });
    const { name = '', namespace } = claim.metadata;
    await this.#client.patch(resources.persistentVolumeClaims, name, {
      namespace,
      type: 'merge',
      subresource: 'status',
      body: { status: { capacity: { storage: wanted }, conditions: null, allocatedResourceStatuses: null } },
    });
    log.info('expanded volume', { claim: `${namespace}/${name}`, size: wanted });
  }

  #stagingPath(driver: string, handle: string, blockVolume: string | undefined): string {
    const base = join(this.#rootDir, 'plugins/kubernetes.io/csi');
    if (blockVolume !== undefined) return join(base, 'volumeDevices/staging', blockVolume, 'device');
    return join(base, driver, createHash('sha256').update(handle).digest('hex'), 'globalmount');
  }

  #markInUse(name: string, uid: string): void {
    const users = this.#inUse.get(name);
    if (users) users.add(uid);
    else {
      this.#inUse.set(name, new Set([uid]));
      this.#onUseChange();
    }
  }

  async #exclusively<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#locks.get(key) ?? Promise.resolve();
    const mine = before.catch(() => undefined).then(work);
    this.#locks.set(key, mine);
    try {
      return await mine;
    } finally {
      if (this.#locks.get(key) === mine) this.#locks.delete(key);
    }
  }
}

function needsNodeExpansion(claim: PersistentVolumeClaim): boolean {
  const pending = claim.status?.conditions?.some(
    (one) => one.type === 'FileSystemResizePending' && one.status === 'True',
  );
  const state = claim.status?.allocatedResourceStatuses?.['storage'];
  return Boolean(pending) || state === 'NodeResizePending' || state === 'NodeResizeInProgress';
}

export function volumeCapability(
  persistent: PersistentVolume,
  driver: Pick<CsiDriver, 'capabilities'>,
  fsGroup: number | undefined,
): Outgoing<VolumeCapability> {
  const { accessModes = [], mountOptions = [], volumeMode, csi } = persistent.spec ?? {};
  const multi = driver.capabilities.has('SINGLE_NODE_MULTI_WRITER');
  const mode = accessModes.includes('ReadWriteMany')
    ? 'MULTI_NODE_MULTI_WRITER'
    : accessModes.includes('ReadWriteOncePod')
      ? multi
        ? 'SINGLE_NODE_SINGLE_WRITER'
        : 'SINGLE_NODE_WRITER'
      : accessModes.includes('ReadWriteOnce')
        ? multi
          ? 'SINGLE_NODE_MULTI_WRITER'
          : 'SINGLE_NODE_WRITER'
        : 'MULTI_NODE_READER_ONLY';
  if (volumeMode === 'Block') return { block: {}, accessMode: { mode } };
  const group = fsGroup !== undefined && driver.capabilities.has('VOLUME_MOUNT_GROUP') ? String(fsGroup) : '';
  return {
    mount: { fsType: csi?.fsType ?? '', mountFlags: mountOptions, volumeMountGroup: group },
    accessMode: { mode },
  };
}

function writeRecord(folder: string, record: VolumeRecord): void {
  mkdirSync(folder, { recursive: true, mode: 0o750 });
  writeFileSync(join(folder, 'vol_data.json'), JSON.stringify(record));
}

function readRecord(folder: string): VolumeRecord | undefined {
  try {
    return JSON.parse(readFileSync(join(folder, 'vol_data.json'), 'utf8')) as VolumeRecord;
  } catch {
    return undefined;
  }
}

function list(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : [];
}

async function goneIsDone(call: Promise<unknown>): Promise<void> {
  try {
    await call;
  } catch (error) {
    if (grpcCode(error) === grpcStatus.NOT_FOUND) return;
    throw new Error(grpcMessage(error), { cause: error });
  }
}
