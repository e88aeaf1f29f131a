// SPDX-License-Identifier: Apache-2.0
// What the provisioner of one node has to do, decided from the objects alone: which claims to provision, which volumes to delete, which
// claims to grow. Every node's provisioner sees all objects and takes exactly those that are its own.
import { createHash } from 'node:crypto';
import type { CSINode, PersistentVolume, PersistentVolumeClaim, StorageClass } from '../machinery/api-types.ts';
import { toBytes } from '../machinery/quantities.ts';
import { driverName, topologyKey } from './driver.ts';

export interface StorageView {
  readonly nodeName: string;
  /** Names of all nodes on which the driver runs. */
  readonly driverNodes: readonly string[];
  readonly storageClass: (name: string) => StorageClass | undefined;
  readonly volume: (name: string) => PersistentVolume | undefined;
}

const selectedNode = 'volume.kubernetes.io/selected-node';
const provisionerAnnotations = [
  'volume.kubernetes.io/storage-provisioner',
  'volume.beta.kubernetes.io/storage-provisioner',
];
export const provisionedBy = 'pv.kubernetes.io/provisioned-by';

/** The class to provision the claim with, if that is this node's work and now is the time. */
export function classToProvision(claim: PersistentVolumeClaim, view: StorageView): StorageClass | undefined {
  const { metadata, spec } = claim;
  if (metadata.deletionTimestamp !== undefined || (spec?.volumeName ?? '') !== '') return undefined;
  // The volume controller hands a claim over by this annotation; before that a static volume may still fit.
  if (!provisionerAnnotations.some((key) => metadata.annotations?.[key] === driverName)) return undefined;
  const storageClass = view.storageClass(spec?.storageClassName ?? '');
  if (storageClass?.provisioner !== driverName) return undefined;
  const node = metadata.annotations?.[selectedNode] ?? (waits(storageClass) ? undefined : nodeFor(claim, view));
  return node === view.nodeName ? storageClass : undefined;
}

/** Names of the nodes on which the driver runs. Upstream's kubelet writes no list at all for a node without drivers. */
export function nodesWithDriver(csiNodes: readonly CSINode[]): string[] {
  return csiNodes
    .filter(({ spec }) => (spec.drivers as typeof spec.drivers | null)?.some(({ name }) => name === driverName))
    .map(({ metadata }) => metadata.name ?? '');
}

export function volumeNameFor(claim: PersistentVolumeClaim): string {
  return `pvc-${claim.metadata.uid ?? ''}`;
}

/** The PersistentVolume for what the driver made. */
export function volumeObject(
  claim: PersistentVolumeClaim,
  storageClass: StorageClass,
  made: { readonly volumeId: string; readonly capacityBytes: number; readonly nodeName: string },
): PersistentVolume {
  const { name = '', namespace = '', uid = '', resourceVersion } = claim.metadata;
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name: volumeNameFor(claim), annotations: { [provisionedBy]: driverName } },
    spec: {
      capacity: { storage: binaryQuantity(made.capacityBytes) },
      accessModes: [...(claim.spec?.accessModes ?? [])],
      claimRef: {
        apiVersion: 'v1',
        kind: 'PersistentVolumeClaim',
        name,
        namespace,
        uid,
        ...(resourceVersion !== undefined && { resourceVersion }),
      },
      csi: { driver: driverName, volumeHandle: made.volumeId },
      nodeAffinity: {
        required: {
          nodeSelectorTerms: [{ matchExpressions: [{ key: topologyKey, operator: 'In', values: [made.nodeName] }] }],
        },
      },
      persistentVolumeReclaimPolicy: storageClass.reclaimPolicy ?? 'Delete',
      storageClassName: storageClass.metadata.name ?? '',
      volumeMode: claim.spec?.volumeMode ?? 'Filesystem',
      ...(storageClass.mountOptions !== undefined && { mountOptions: storageClass.mountOptions }),
    },
  };
}

/** A volume of ours on this node that nobody claims any more and that shall not be kept. */
export function shouldDelete(volume: PersistentVolume, view: StorageView): boolean {
  return (
    volume.metadata.annotations?.[provisionedBy] === driverName &&
    volume.status?.phase === 'Released' &&
    volume.spec?.persistentVolumeReclaimPolicy === 'Delete' &&
    nodeOf(volume) === view.nodeName
  );
}

/** The bytes to grow a bound claim's volume to, or undefined where there is nothing to do here. */
export function growthBytes(claim: PersistentVolumeClaim, view: StorageView): number | undefined {
  if (claim.status?.phase !== 'Bound' || claim.metadata.deletionTimestamp !== undefined) return undefined;
  const volume = view.volume(claim.spec?.volumeName ?? '');
  if (volume?.spec?.csi?.driver !== driverName || nodeOf(volume) !== view.nodeName) return undefined;
  const wanted = toBytes(claim.spec?.resources?.requests?.['storage'] ?? '0');
  const has = toBytes(claim.status.capacity?.['storage'] ?? '0');
  return wanted > has ? wanted : undefined;
}

/** `1Gi` for 1073741824; plain bytes where no unit divides them. */
export function binaryQuantity(bytes: number): string {
  for (const [unit, size] of [
    ['Ti', 1024 ** 4],
    ['Gi', 1024 ** 3],
    ['Mi', 1024 ** 2],
    ['Ki', 1024],
  ] as const) {
    if (bytes >= size && bytes % size === 0) return `${bytes / size}${unit}`;
  }
  return String(bytes);
}

function waits(storageClass: StorageClass): boolean {
  return storageClass.volumeBindingMode === 'WaitForFirstConsumer';
}

/** Without a pod that says where, all nodes agree on one by the claim's uid. */
function nodeFor(claim: PersistentVolumeClaim, { driverNodes }: StorageView): string | undefined {
  const sorted = driverNodes.toSorted();
  const hash = createHash('sha256')
    .update(claim.metadata.uid ?? '')
    .digest()
    .readUInt32BE(0);
  return sorted[hash % Math.max(1, sorted.length)];
}

function nodeOf(volume: PersistentVolume): string | undefined {
  return volume.spec?.nodeAffinity?.required?.nodeSelectorTerms
    .flatMap(({ matchExpressions }) => matchExpressions ?? [])
    .find(({ key }) => key === topologyKey)?.values?.[0];
}
