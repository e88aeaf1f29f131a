// SPDX-License-Identifier: Apache-2.0
// Creates the claims of pods' generic ephemeral volumes; they belong to the pod and go with it.
import type { PersistentVolumeClaim, Pod } from '../../machinery/api-types.ts';
import { isAlreadyExists } from '../../machinery/client.ts';
import { keyOf, splitKey } from '../../machinery/informer.ts';
import { resources } from '../../machinery/resources.ts';
import { WorkQueue } from '../../machinery/work-queue.ts';
import type { Controller, ControllerContext, Running } from '../controller.ts';
import { ownerReferenceTo } from '../ownership.ts';
import { isActive } from '../pod-state.ts';

export const ephemeralVolumeController: Controller = {
  name: 'ephemeral-volume-controller',
  serviceAccount: 'ephemeral-volume-controller',
  setup,
};

function setup({ client, informers, recorder }: ControllerContext): Running {
  const pods = informers.get<Pod>(resources.pods);
  const claims = informers.get<PersistentVolumeClaim>(resources.persistentVolumeClaims);
  const events = recorder('ephemeral_volume');
  const queue = new WorkQueue({ name: 'ephemeral-volume', reconcile });
  pods.onChange(({ type, object }) => {
    if (type === 'added' && object.spec?.volumes?.some(({ ephemeral }) => ephemeral)) queue.add(keyOf(object));
  });
  claims.onChange(({ type, object }) => {
    const owner = object.metadata.ownerReferences?.find(({ kind, controller }) => kind === 'Pod' && controller);
    if (type === 'deleted' && owner) queue.add(`${object.metadata.namespace}/${owner.name}`);
  });

  async function reconcile(key: string): Promise<void> {
    const { name, namespace = '' } = splitKey(key);
    const pod = pods.get(name, namespace);
    if (!pod || !isActive(pod)) return;
    for (const volume of pod.spec?.volumes ?? []) {
      const template = volume.ephemeral?.volumeClaimTemplate;
      if (!template) continue;
      const claimName = `${name}-${volume.name}`;
      const existing = claims.get(claimName, namespace);
      if (existing && !existing.metadata.ownerReferences?.some(({ uid }) => uid === pod.metadata.uid)) {
        const message = `PVC ${namespace}/${claimName} was not created for pod ${key} (pod is not owner)`;
        events.event(pod, 'Warning', 'EphemeralVolumeConflict', message);
        throw new Error(message);
      }
      if (existing) continue;
      const { labels, annotations } = template.metadata ?? {};
      try {
        await client.create(resources.persistentVolumeClaims, {
          metadata: {
            name: claimName,
            namespace,
            ...(labels && { labels }),
            ...(annotations && { annotations }),
            ownerReferences: [ownerReferenceTo(pod, resources.pods)],
          },
          spec: template.spec,
        });
      } catch (error) {
        if (!isAlreadyExists(error)) throw error;
      }
    }
  }

  return { queues: [queue] };
}
