// SPDX-License-Identifier: Apache-2.0
// Binds claims and volumes to each other, hands claims to external provisioners, and releases volumes whose claim is
// gone. The order of writes makes a half-done binding recognisable: the volume names the claim first.
import type { PersistentVolume, PersistentVolumeClaim, StorageClass } from '../../machinery/api-types.ts';
import { keyOf, splitKey } from '../../machinery/informer.ts';
import { compare } from '../../machinery/quantities.ts';
import { resources } from '../../machinery/resources.ts';
import { WorkQueue } from '../../machinery/work-queue.ts';
import { sameJson } from '../canonical-json.ts';
import { timestamp } from '../conditions.ts';
import type { Controller, ControllerContext, Running } from '../controller.ts';
import {
  betaProvisionerAnnotation,
  bindCompleted,
  boundByController,
  classNameOf,
  planClaim,
  planVolume,
  provisionerAnnotation,
  refersTo,
} from './claims.ts';

export const persistentVolumeBinderController: Controller = {
  name: 'persistentvolume-binder-controller',
  serviceAccount: 'persistent-volume-binder',
  setup,
};

function setup(context: ControllerContext): Running {
  const { client, informers, now } = context;
  const volumes = informers.get<PersistentVolume>(resources.persistentVolumes);
  const claims = informers.get<PersistentVolumeClaim>(resources.persistentVolumeClaims);
  const classes = informers.get<StorageClass>(resources.storageClasses);
  const events = context.recorder('persistentvolume-controller');
  // One claim at a time: two claims must not choose the same volume.
  const claimQueue = new WorkQueue({
    name: 'pv-binder-claims',
    reconcile: syncClaim,
    concurrency: 1,
    backoff: { baseMs: 20, maxMs: 10_000 },
  });
  const volumeQueue = new WorkQueue({
    name: 'pv-binder-volumes',
    reconcile: syncVolume,
    concurrency: 4,
    backoff: { baseMs: 20, maxMs: 10_000 },
  });

  claims.onChange(({ type, object }) => {
    if (type !== 'deleted') claimQueue.add(keyOf(object));
    const name = object.spec?.volumeName;
    if (name) volumeQueue.add(name);
    if (type !== 'deleted') return;
    for (const volume of volumes.list()) if (refersTo(volume, object)) volumeQueue.add(keyOf(volume));
  });
  volumes.onChange(({ type, object, old }) => {
    if (type !== 'deleted') volumeQueue.add(keyOf(object));
    const reference = object.spec?.claimRef ?? old?.spec?.claimRef;
    if (reference) claimQueue.add(`${reference.namespace}/${reference.name}`);
    else if (type !== 'deleted') wakePending(object.spec?.storageClassName ?? '');
  });
  classes.onChange(({ object }) => wakePending(object.metadata.name ?? ''));

  function wakePending(className: string): void {
    for (const claim of claims.list()) {
      if (!claim.spec?.volumeName && classNameOf(claim) === className) claimQueue.add(keyOf(claim));
    }
  }

  async function syncClaim(key: string): Promise<void> {
    const { name, namespace } = splitKey(key);
    const claim = claims.get(name, namespace);
    if (!claim || claim.metadata.deletionTimestamp) return;
    const plan = planClaim(claim, { volumes: volumes.list(), classOf: (className) => classes.get(className) });
    switch (plan.step) {
      case 'bind':
        await bind(plan.volume, claim);
        return;
      case 'provision':
        await handOver(claim, plan.provisioner);
        return;
      case 'lost':
        if (claim.status?.phase === 'Lost') return;
        await client.update(
          resources.persistentVolumeClaims,
          { ...claim, status: { ...claim.status, phase: 'Lost' } },
          { subresource: 'status' },
        );
        events.event(claim, 'Warning', plan.reason, plan.message);
        return;
      case 'wait':
        if (claim.status?.phase === undefined) await setPending(claim);
        events.event(claim, plan.type, plan.reason, plan.message);
        return;
      case 'none':
        if (claim.status?.phase === undefined) await setPending(claim);
    }
  }

  async function setPending(claim: PersistentVolumeClaim): Promise<void> {
    await client.update(
      resources.persistentVolumeClaims,
      { ...claim, status: { ...claim.status, phase: 'Pending' } },
      { subresource: 'status' },
    );
  }

  /** An external provisioner acts on claims that carry its name. */
  async function handOver(claim: PersistentVolumeClaim, provisioner: string): Promise<void> {
    const { annotations } = claim.metadata;
    if (
      annotations?.[provisionerAnnotation] !== provisioner ||
      annotations[betaProvisionerAnnotation] !== provisioner
    ) {
      const marks = { [provisionerAnnotation]: provisioner, [betaProvisionerAnnotation]: provisioner };
      const metadata = { ...claim.metadata, annotations: { ...annotations, ...marks } };
      await client.update(resources.persistentVolumeClaims, { ...claim, metadata });
    }
    const message =
      `Waiting for a volume to be created either by the external provisioner '${provisioner}' or manually by the system administrator. ` +
      'If volume creation is delayed, please verify that the provisioner is running and correctly registered.';
    events.event(claim, 'Normal', 'ExternalProvisioning', message);
  }

  async function bind(given: PersistentVolume, claim: PersistentVolumeClaim): Promise<void> {
    let volume = given;
    const { name, namespace, uid, resourceVersion } = claim.metadata;
    if (volume.spec?.claimRef?.uid !== uid) {
      const chosenHere = !volume.spec?.claimRef;
      const claimRef = {
        kind: 'PersistentVolumeClaim',
        apiVersion: 'v1',
        ...(namespace && { namespace }),
        ...(name && { name }),
        ...(uid && { uid }),
        ...(resourceVersion && { resourceVersion }),
      };
      const annotations = { ...volume.metadata.annotations, ...(chosenHere && { [boundByController]: 'yes' }) };
      volume = await client.update<PersistentVolume>(resources.persistentVolumes, {
        ...volume,
        metadata: { ...volume.metadata, annotations },
        spec: { ...volume.spec, claimRef },
      });
    }
    volume = await setPhase(volume, 'Bound');
    let bound = claim;
    const volumeName = volume.metadata.name ?? '';
    const { annotations } = claim.metadata;
    if (claim.spec?.volumeName !== volumeName || annotations?.[bindCompleted] === undefined) {
      const chosenHere = claim.spec?.volumeName ? {} : { [boundByController]: 'yes' };
      const metadata = { ...claim.metadata, annotations: { ...annotations, ...chosenHere, [bindCompleted]: 'yes' } };
      bound = await client.update<PersistentVolumeClaim>(resources.persistentVolumeClaims, {
        ...claim,
        metadata,
        spec: { ...claim.spec, volumeName },
      });
    }
    await setBound(bound, volume);
  }

  async function setBound(claim: PersistentVolumeClaim, volume: PersistentVolume): Promise<void> {
    const { accessModes, capacity = {} } = volume.spec ?? {};
    const shown = claim.status?.capacity?.['storage'];
    // After an expansion the claim's own capacity is the newer one; the resizer keeps it.
    const keep = claim.status?.phase === 'Bound' && shown !== undefined && compare(shown, capacity['storage']) !== 0;
    const { currentVolumeAttributesClassName: _, ...old } = claim.status ?? {};
    const { volumeAttributesClassName } = claim.spec ?? {};
    const status = {
      ...old,
      phase: 'Bound' as const,
      ...(accessModes && { accessModes }),
      capacity: keep ? claim.status?.capacity : { ...claim.status?.capacity, ...capacity },
      ...(volumeAttributesClassName && { currentVolumeAttributesClassName: volumeAttributesClassName }),
    };
    if (sameJson(status, claim.status)) return;
    await client.update(resources.persistentVolumeClaims, { ...claim, status }, { subresource: 'status' });
  }

  async function syncVolume(name: string): Promise<void> {
    const volume = volumes.get(name);
    if (!volume) return;
    const reference = volume.spec?.claimRef;
    const claim = reference?.name ? claims.get(reference.name, reference.namespace) : undefined;
    switch (planVolume(volume, claim)) {
      case 'available':
        await setPhase(volume, 'Available');
        return;
      case 'bound':
        await setPhase(volume, 'Bound');
        return;
      case 'released':
        await release(volume);
        return;
      case 'unbind':
        await unbind(volume);
        return;
      case 'recheck-claim':
        if (reference) claimQueue.add(`${reference.namespace}/${reference.name}`);
        return;
      case 'none':
    }
  }

  /** Deleting the storage is the provisioner's part; it watches for Released volumes with policy Delete. */
  async function release(volume: PersistentVolume): Promise<void> {
    const reference = volume.spec?.claimRef;
    // The cache of claims may be behind that of volumes.
    const live = await client
      .get<PersistentVolumeClaim>(resources.persistentVolumeClaims, reference?.name ?? '', reference?.namespace)
      .catch(() => undefined);
    if (
      live &&
      live.metadata.uid === reference?.uid &&
      live.spec?.volumeName !== undefined &&
      live.spec.volumeName === volume.metadata.name
    )
      return;
    if (live && live.metadata.uid === reference?.uid && !live.spec?.volumeName) return;
    await setPhase(volume, 'Released');
    if (volume.spec?.persistentVolumeReclaimPolicy === 'Recycle') {
      events.event(
        volume,
        'Warning',
        'VolumeFailedRecycle',
        'reclaim policy Recycle is not supported; use Delete or Retain',
      );
    }
  }

  async function unbind(volume: PersistentVolume): Promise<void> {
    const { claimRef, ...spec } = volume.spec ?? {};
    const { [boundByController]: ours, ...annotations } = volume.metadata.annotations ?? {};
    const { uid: _, resourceVersion: __, ...reserved } = claimRef ?? {};
    await client.update(resources.persistentVolumes, {
      ...volume,
      metadata: { ...volume.metadata, annotations },
      spec: ours ? spec : { ...spec, claimRef: reserved },
    });
  }

  async function setPhase(
    volume: PersistentVolume,
    phase: 'Available' | 'Bound' | 'Released',
  ): Promise<PersistentVolume> {
    if (volume.status?.phase === phase) return volume;
    const status = { ...volume.status, phase, lastPhaseTransitionTime: timestamp(now()) };
    return client.update<PersistentVolume>(
      resources.persistentVolumes,
      { ...volume, status },
      { subresource: 'status' },
    );
  }

  return { queues: [claimQueue, volumeQueue] };
}
