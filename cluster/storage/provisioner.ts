// SPDX-License-Identifier: Apache-2.0
// The provisioner and resizer beside the driver: watches claims and volumes, calls the driver through its own CSI socket, and writes what
// came of it. Level-based: a key is worked on until the objects say that nothing is left to do.
import type { CSINode, PersistentVolume, PersistentVolumeClaim, StorageClass } from '../machinery/api-types.ts';
import { isAlreadyExists, isNotFound } from '../machinery/client.ts';
import type { Client } from '../machinery/client.ts';
import { EventRecorder } from '../machinery/events.ts';
import { Informer, keyOf, splitKey } from '../machinery/informer.ts';
import { logger } from '../machinery/log.ts';
import { toBytes } from '../machinery/quantities.ts';
import { resources } from '../machinery/resources.ts';
import { WorkQueue } from '../machinery/work-queue.ts';
import type { ControllerExpandVolumeResponse, CreateVolumeResponse } from '../kubelet/grpc/csi.types.ts';
import { grpcCode, grpcMessage, grpcStatus, type ServiceClient } from '../kubelet/grpc/service-client.ts';
import { driverName, topologyKey } from './driver.ts';
import {
  binaryQuantity,
  classToProvision,
  growthBytes,
  nodesWithDriver,
  shouldDelete,
  volumeNameFor,
  volumeObject,
  type StorageView,
} from './plan.ts';

const log = logger('provisioner');

export interface ProvisionerOptions {
  readonly client: Client;
  /** The driver's csi.v1.Controller. */
  readonly controller: ServiceClient;
  readonly nodeName: string;
  readonly signal: AbortSignal;
}

/** Resolves once the caches are synced and work has begun; goes on until the signal aborts. */
export async function runProvisioner({ client, controller, nodeName, signal }: ProvisionerOptions): Promise<void> {
  const claims = new Informer<PersistentVolumeClaim>(client, resources.persistentVolumeClaims);
  const volumes = new Informer<PersistentVolume>(client, resources.persistentVolumes);
  const classes = new Informer<StorageClass>(client, resources.storageClasses);
  const csiNodes = new Informer<CSINode>(client, resources.csiNodes);
  const events = new EventRecorder(client, driverName, nodeName);
  const view: StorageView = {
    nodeName,
    get driverNodes() {
      return nodesWithDriver(csiNodes.list());
    },
    storageClass: (name) => classes.get(name),
    volume: (name) => volumes.get(name),
  };

  const provision = async (claim: PersistentVolumeClaim, storageClass: StorageClass): Promise<void> => {
    const name = volumeNameFor(claim);
    if (volumes.get(name) !== undefined) return;
    const { namespace = '' } = claim.metadata;
    events.event(
      claim,
      'Normal',
      'Provisioning',
      `External provisioner is provisioning volume for claim "${keyOf(claim)}"`,
    );
    try {
      const { volume } = await controller.call<CreateVolumeResponse>('CreateVolume', {
        name,
        capacityRange: { requiredBytes: toBytes(claim.spec?.resources?.requests?.['storage'] ?? '0') },
        volumeCapabilities: (claim.spec?.accessModes ?? []).map((mode) => ({
          ...(claim.spec?.volumeMode === 'Block' ? { block: {} } : { mount: {} }),
          accessMode: { mode: csiAccessMode(mode) },
        })),
        parameters: storageClass.parameters ?? {},
        accessibilityRequirements: { requisite: [{ segments: { [topologyKey]: nodeName } }] },
      });
      const { volumeId = '', capacityBytes = 0 } = volume ?? {};
      await client
        .create(resources.persistentVolumes, volumeObject(claim, storageClass, { volumeId, capacityBytes, nodeName }))
        .catch((error: unknown) => {
          if (!isAlreadyExists(error)) throw error;
        });
      events.event(claim, 'Normal', 'ProvisioningSucceeded', `Successfully provisioned volume ${name}`);
      log.info('provisioned', { volume: name, claim: keyOf(claim) });
    } catch (error) {
      const message = `failed to provision volume with StorageClass "${storageClass.metadata.name}": ${grpcMessage(error)}`;
      events.event(claim, 'Warning', 'ProvisioningFailed', message);
      // Another node may have room: the scheduler chooses again once the annotation is gone.
      const full = grpcCode(error) === grpcStatus.RESOURCE_EXHAUSTED || grpcCode(error) === grpcStatus.OUT_OF_RANGE;
      if (full && storageClass.volumeBindingMode === 'WaitForFirstConsumer') {
        await client.patch(resources.persistentVolumeClaims, claim.metadata.name ?? '', {
          namespace,
          type: 'merge',
          body: { metadata: { annotations: { 'volume.kubernetes.io/selected-node': null } } },
        });
      }
      throw error;
    }
  };

  const grow = async (claim: PersistentVolumeClaim, requiredBytes: number): Promise<void> => {
    const { name = '', namespace = '' } = claim.metadata;
    const volume = volumes.get(claim.spec?.volumeName ?? '');
    if (volume === undefined) return;
    const { capacityBytes } = await controller
      .call<ControllerExpandVolumeResponse>('ControllerExpandVolume', {
        volumeId: volume.spec?.csi?.volumeHandle ?? '',
        capacityRange: { requiredBytes },
      })
      .catch((error: unknown) => {
        events.event(claim, 'Warning', 'VolumeResizeFailed', grpcMessage(error));
        throw error;
      });
    const storage = binaryQuantity(capacityBytes);
    await client.patch(resources.persistentVolumes, volume.metadata.name ?? '', {
      type: 'merge',
      body: { spec: { capacity: { storage } } },
    });
    // The driver needs no work on the node, so the claim has its size now.
    await client.patch(resources.persistentVolumeClaims, name, {
      namespace,
      subresource: 'status',
      type: 'merge',
      body: { status: { capacity: { storage }, conditions: null, allocatedResourceStatuses: null } },
    });
    events.event(claim, 'Normal', 'VolumeResizeSuccessful', 'Resize volume succeeded');
  };

  const remove = async (volume: PersistentVolume): Promise<void> => {
    const name = volume.metadata.name ?? '';
    try {
      await controller.call('DeleteVolume', { volumeId: volume.spec?.csi?.volumeHandle ?? '' });
      await client.delete(resources.persistentVolumes, name);
      log.info('deleted', { volume: name });
    } catch (error) {
      if (isNotFound(error)) return;
      events.event(volume, 'Warning', 'VolumeFailedDelete', grpcMessage(error));
      throw error;
    }
  };

  const claimQueue = new WorkQueue({
    name: 'claims',
    concurrency: 4,
    reconcile: async (key) => {
      const { namespace, name } = splitKey(key);
      const claim = claims.get(name, namespace);
      if (claim === undefined) return;
      const storageClass = classToProvision(claim, view);
      if (storageClass !== undefined) await provision(claim, storageClass);
      const bytes = growthBytes(claim, view);
      if (bytes !== undefined) await grow(claim, bytes);
    },
  });
  const volumeQueue = new WorkQueue({
    name: 'volumes',
    concurrency: 4,
    reconcile: async (name) => {
      const volume = volumes.get(name);
      if (volume !== undefined && shouldDelete(volume, view)) await remove(volume);
    },
  });
  claims.onChange(({ object }) => claimQueue.add(keyOf(object)));
  volumes.onChange(({ object }) => volumeQueue.add(keyOf(object)));
  const allClaims = (): void => {
    for (const claim of claims.list()) claimQueue.add(keyOf(claim));
  };
  classes.onChange(allClaims);
  csiNodes.onChange(allClaims);
  await Promise.all([claims, volumes, classes, csiNodes].map((informer) => informer.start(signal)));
  claimQueue.start(signal);
  volumeQueue.start(signal);
}

function csiAccessMode(mode: string): string {
  switch (mode) {
    case 'ReadWriteOncePod':
      return 'SINGLE_NODE_SINGLE_WRITER';
    case 'ReadOnlyMany':
      return 'MULTI_NODE_READER_ONLY';
    case 'ReadWriteMany':
      return 'MULTI_NODE_MULTI_WRITER';
    default:
      return 'SINGLE_NODE_WRITER';
  }
}
