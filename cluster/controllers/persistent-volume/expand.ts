// SPDX-License-Identifier: Apache-2.0
// Hands claims that ask for more than they have to the external resizer of their driver.
import type { PersistentVolume, PersistentVolumeClaim } from '../../machinery/api-types.ts';
import { keyOf, splitKey } from '../../machinery/informer.ts';
import { compare } from '../../machinery/quantities.ts';
import { resources } from '../../machinery/resources.ts';
import { WorkQueue } from '../../machinery/work-queue.ts';
import type { Controller, ControllerContext, Running } from '../controller.ts';

export const volumeExpandController: Controller = {
  name: 'persistentvolume-expander-controller',
  serviceAccount: 'expand-controller',
  setup,
};

const resizerAnnotation = 'volume.kubernetes.io/storage-resizer';

function setup({ client, informers, recorder }: ControllerContext): Running {
  const claims = informers.get<PersistentVolumeClaim>(resources.persistentVolumeClaims);
  const volumes = informers.get<PersistentVolume>(resources.persistentVolumes);
  const events = recorder('volume_expand');
  const queue = new WorkQueue({ name: 'volume-expand', reconcile });
  claims.onChange(({ type, object, old }) => {
    const grown = compare(object.spec?.resources?.requests?.['storage'], object.status?.capacity?.['storage']) > 0;
    const asked =
      !old || compare(object.spec?.resources?.requests?.['storage'], old.spec?.resources?.requests?.['storage']) > 0;
    if (type !== 'deleted' && object.status?.phase === 'Bound' && grown && asked) queue.add(keyOf(object));
  });

  async function reconcile(key: string): Promise<void> {
    const { name, namespace } = splitKey(key);
    const claim = claims.get(name, namespace);
    const driver = volumes.get(claim?.spec?.volumeName ?? '')?.spec?.csi?.driver;
    if (!claim || !driver) return;
    if (claim.metadata.annotations?.[resizerAnnotation] !== driver) {
      const body = { metadata: { annotations: { [resizerAnnotation]: driver } } };
      // Through the status, which is all that the role system:controller:expand-controller may write of a claim.
      const subresource = 'status';
      await client.patch(resources.persistentVolumeClaims, name, { namespace, subresource, type: 'merge', body });
    }
    events.event(claim, 'Normal', 'ExternalExpanding', 'waiting for an external controller to expand this PVC');
  }

  return { queues: [queue] };
}
