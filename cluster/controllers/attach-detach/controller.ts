// SPDX-License-Identifier: Apache-2.0
// Asks CSI drivers to attach volumes to nodes whose pods need them, by VolumeAttachment objects, and tells the kubelets
// what is attached. Drivers that say attachRequired: false are left alone.
import { createHash } from 'node:crypto';
import type {
  CSIDriver,
  Node,
  PersistentVolume,
  PersistentVolumeClaim,
  Pod,
  VolumeAttachment,
} from '../../machinery/api-types.ts';
import { isAlreadyExists, isNotFound } from '../../machinery/client.ts';
import { resources } from '../../machinery/resources.ts';
import { WorkQueue } from '../../machinery/work-queue.ts';
import { sameJson } from '../canonical-json.ts';
import type { Controller, ControllerContext, Running } from '../controller.ts';
import { isFinished } from '../pod-state.ts';
import { claimsOf } from '../protection/controller.ts';

export const attachDetachController: Controller = {
  name: 'persistentvolume-attach-detach-controller',
  serviceAccount: 'attachdetach-controller',
  setup,
};

export interface Attachment {
  readonly name: string;
  readonly driver: string;
  readonly volumeName: string;
  /** As node.status names it. */
  readonly uniqueName: string;
}

export function attachmentOf(volume: PersistentVolume, node: string): Attachment | undefined {
  const { csi } = volume.spec ?? {};
  if (!csi) return undefined;
  const digest = createHash('sha256').update(`${csi.volumeHandle}${csi.driver}${node}`).digest('hex');
  return {
    name: `csi-${digest}`,
    driver: csi.driver,
    volumeName: volume.metadata.name ?? '',
    uniqueName: `kubernetes.io/csi/${csi.driver}^${csi.volumeHandle}`,
  };
}

/** Attachments of other names are somebody else's, who will remove them. */
function isOwnName(name: string): boolean {
  return /^csi-[0-9a-f]{64}$/.test(name);
}

function setup({ client, informers, recorder }: ControllerContext): Running {
  const nodes = informers.get<Node>(resources.nodes);
  const pods = informers.get<Pod>(resources.pods);
  pods.addIndex('node', (pod) => [pod.spec?.nodeName ?? '']);
  const claims = informers.get<PersistentVolumeClaim>(resources.persistentVolumeClaims);
  const volumes = informers.get<PersistentVolume>(resources.persistentVolumes);
  const drivers = informers.get<CSIDriver>(resources.csiDrivers);
  const attachments = informers.get<VolumeAttachment>(resources.volumeAttachments);
  attachments.addIndex('node', ({ spec }) => [spec.nodeName]);
  const events = recorder('attachdetach-controller');
  const queue = new WorkQueue({ name: 'attach-detach', reconcile, backoff: { baseMs: 50, maxMs: 10_000 } });

  pods.onChange(({ object, old, type }) => {
    const node = object.spec?.nodeName;
    const matters = type !== 'updated' || old?.spec?.nodeName !== node || isFinished(object);
    if (node && matters && claimsOf(object).length > 0) queue.add(node);
  });
  attachments.onChange(({ object }) => queue.add(object.spec.nodeName));
  nodes.onChange(({ object, old }) => {
    if (!sameJson(old?.status?.volumesInUse, object.status?.volumesInUse)) queue.add(object.metadata.name ?? '');
  });
  claims.onChange(({ object, old }) => {
    if (object.spec?.volumeName === old?.spec?.volumeName) return;
    for (const pod of pods.list(object.metadata.namespace)) {
      if (pod.spec?.nodeName && claimsOf(pod).includes(object.metadata.name ?? '')) queue.add(pod.spec.nodeName);
    }
  });

  function wanted(node: string): Map<string, { attachment: Attachment; pod: Pod }> {
    const found = new Map<string, { attachment: Attachment; pod: Pod }>();
    for (const pod of pods.byIndex('node', node)) {
      if (isFinished(pod)) continue;
      for (const name of claimsOf(pod)) {
        const volume = volumes.get(claims.get(name, pod.metadata.namespace)?.spec?.volumeName ?? '');
        const attachment = volume && attachmentOf(volume, node);
        if (attachment && drivers.get(attachment.driver)?.spec?.attachRequired !== false)
          found.set(attachment.name, { attachment, pod });
      }
    }
    return found;
  }

  async function reconcile(nodeName: string): Promise<void> {
    const node = nodes.get(nodeName);
    const needed = wanted(nodeName);
    const existing = attachments.byIndex('node', nodeName);
    for (const { attachment } of needed.values()) {
      if (!node || existing.some(({ metadata }) => metadata.name === attachment.name)) continue;
      try {
        await client.create(resources.volumeAttachments, {
          metadata: { name: attachment.name },
          spec: { attacher: attachment.driver, nodeName, source: { persistentVolumeName: attachment.volumeName } },
        });
      } catch (error) {
        if (!isAlreadyExists(error)) throw error;
      }
    }
    const inUse = new Set(node?.status?.volumesInUse ?? []);
    const attached: { name: string; devicePath: string }[] = [];
    for (const current of existing) {
      const volume = volumes.get(current.spec.source.persistentVolumeName ?? '');
      const uniqueName = volume && attachmentOf(volume, nodeName)?.uniqueName;
      const name = current.metadata.name ?? '';
      if (current.status?.attached && uniqueName) {
        attached.push({ name: uniqueName, devicePath: '' });
        const user = needed.get(name)?.pod;
        const reported = node?.status?.volumesAttached?.some((one) => one.name === uniqueName);
        if (user && !reported)
          events.event(
            user,
            'Normal',
            'SuccessfulAttachVolume',
            `AttachVolume.Attach succeeded for volume "${volume.metadata.name}"`,
          );
      }
      const busy = needed.has(name) || (uniqueName !== undefined && inUse.has(uniqueName));
      if (!busy && isOwnName(name) && !current.metadata.deletionTimestamp) {
        await client.delete(resources.volumeAttachments, name, { uid: current.metadata.uid }).catch(ignoreGone);
      }
    }
    if (node && !sameJson(attached, node.status?.volumesAttached ?? [])) {
      const body = { status: { volumesAttached: attached.length > 0 ? attached : null } };
      await client.patch(resources.nodes, nodeName, { type: 'merge', subresource: 'status', body }).catch(ignoreGone);
    }
  }

  return { queues: [queue] };
}

function ignoreGone(error: unknown): void {
  if (!isNotFound(error)) throw error;
}
