// SPDX-License-Identifier: Apache-2.0
// Keeps claims that pods use, and volumes that claims use, from going away under their users.
import type { PersistentVolume, PersistentVolumeClaim, Pod } from '../../machinery/api-types.ts';
import { isNotFound } from '../../machinery/client.ts';
import { keyOf, splitKey } from '../../machinery/informer.ts';
import { resources } from '../../machinery/resources.ts';
import { WorkQueue } from '../../machinery/work-queue.ts';
import type { Controller, ControllerContext, Running } from '../controller.ts';
import { isFinished } from '../pod-state.ts';

const claimFinalizer = 'kubernetes.io/pvc-protection';
const volumeFinalizer = 'kubernetes.io/pv-protection';

export const claimProtectionController: Controller = {
  name: 'persistentvolumeclaim-protection-controller',
  serviceAccount: 'pvc-protection-controller',
  setup: setupClaims,
};

export const volumeProtectionController: Controller = {
  name: 'persistentvolume-protection-controller',
  serviceAccount: 'pv-protection-controller',
  setup: setupVolumes,
};

/** Claims of a pod by name, those that ephemeral volumes make included. */
export function claimsOf(pod: Pod): string[] {
  return (pod.spec?.volumes ?? []).flatMap(({ name, persistentVolumeClaim, ephemeral }) => {
    if (persistentVolumeClaim) return [persistentVolumeClaim.claimName];
    return ephemeral ? [`${pod.metadata.name}-${name}`] : [];
  });
}

function setupClaims({ client, informers }: ControllerContext): Running {
  const claims = informers.get<PersistentVolumeClaim>(resources.persistentVolumeClaims);
  const pods = informers.get<Pod>(resources.pods);
  const queue = new WorkQueue({ name: 'pvc-protection', reconcile });
  claims.onChange(({ type, object }) => {
    if (type !== 'deleted') queue.add(keyOf(object));
  });
  pods.onChange(({ type, object }) => {
    if (type !== 'deleted' && !isFinished(object)) return;
    for (const name of claimsOf(object)) queue.add(`${object.metadata.namespace}/${name}`);
  });

  async function reconcile(key: string): Promise<void> {
    const { name, namespace } = splitKey(key);
    const claim = claims.get(name, namespace);
    if (!claim) return;
    const guarded = claim.metadata.finalizers?.includes(claimFinalizer) ?? false;
    if (!claim.metadata.deletionTimestamp) {
      if (!guarded) await setFinalizers(claim, [...(claim.metadata.finalizers ?? []), claimFinalizer]);
      return;
    }
    // A pod that is not scheduled cannot use the claim yet, and will not get it.
    const uses = (pod: Pod): boolean => claimsOf(pod).includes(name) && !isFinished(pod) && Boolean(pod.spec?.nodeName);
    if (!guarded || pods.list(namespace).some(uses)) return;
    const live = await client.list<Pod>(resources.pods, { namespace });
    if (live.items.some(uses)) return;
    await setFinalizers(
      claim,
      (claim.metadata.finalizers ?? []).filter((finalizer) => finalizer !== claimFinalizer),
    );
  }

  async function setFinalizers(claim: PersistentVolumeClaim, finalizers: string[]): Promise<void> {
    const metadata = { ...claim.metadata, finalizers };
    await client.update(resources.persistentVolumeClaims, { ...claim, metadata }).catch(ignoreGone);
  }

  return { queues: [queue] };
}

function setupVolumes({ client, informers }: ControllerContext): Running {
  const volumes = informers.get<PersistentVolume>(resources.persistentVolumes);
  const queue = new WorkQueue({ name: 'pv-protection', reconcile });
  volumes.onChange(({ type, object }) => {
    if (type !== 'deleted') queue.add(keyOf(object));
  });

  async function reconcile(name: string): Promise<void> {
    const volume = volumes.get(name);
    if (!volume) return;
    const current = volume.metadata.finalizers ?? [];
    const guarded = current.includes(volumeFinalizer);
    const deleting = volume.metadata.deletionTimestamp !== undefined;
    if (deleting === !guarded || (deleting && volume.status?.phase === 'Bound')) return;
    const finalizers = deleting
      ? current.filter((finalizer) => finalizer !== volumeFinalizer)
      : [...current, volumeFinalizer];
    const metadata = { ...volume.metadata, finalizers };
    await client.update(resources.persistentVolumes, { ...volume, metadata }).catch(ignoreGone);
  }

  return { queues: [queue] };
}

function ignoreGone(error: unknown): void {
  if (!isNotFound(error)) throw error;
}
