// SPDX-License-Identifier: Apache-2.0
// Which volume suits which claim, and what a claim or a volume should do next. Pure: reads objects, returns steps.
import type { PersistentVolume, PersistentVolumeClaim, StorageClass } from '../../machinery/api-types.ts';
import { compare } from '../../machinery/quantities.ts';
import { matchesLabelSelector } from '../../machinery/selectors.ts';

export const bindCompleted = 'pv.kubernetes.io/bind-completed';
export const boundByController = 'pv.kubernetes.io/bound-by-controller';
export const selectedNode = 'volume.kubernetes.io/selected-node';
export const provisionerAnnotation = 'volume.kubernetes.io/storage-provisioner';
export const betaProvisionerAnnotation = 'volume.beta.kubernetes.io/storage-provisioner';
export const noProvisioner = 'kubernetes.io/no-provisioner';

export type ClaimStep =
  | { readonly step: 'none' }
  | { readonly step: 'wait'; readonly reason: string; readonly message: string; readonly type: 'Normal' | 'Warning' }
  | { readonly step: 'provision'; readonly provisioner: string }
  | { readonly step: 'bind'; readonly volume: PersistentVolume }
  | { readonly step: 'lost'; readonly reason: string; readonly message: string };

export interface Storage {
  readonly volumes: readonly PersistentVolume[];
  readonly classOf: (name: string) => StorageClass | undefined;
}

export function planClaim(claim: PersistentVolumeClaim, storage: Storage): ClaimStep {
  const volumeName = claim.spec?.volumeName ?? '';
  const bound = claim.metadata.annotations?.[bindCompleted] !== undefined;
  if (bound && volumeName === '') {
    return lost('ClaimLost', 'Bound claim has lost reference to PersistentVolume. Data on the volume is lost!');
  }
  if (volumeName === '') return planUnbound(claim, storage);
  const volume = storage.volumes.find(({ metadata }) => metadata.name === volumeName);
  if (!volume) {
    return bound
      ? lost('ClaimLost', 'Bound claim has lost its PersistentVolume. Data on the volume is lost!')
      : { step: 'none' };
  }
  const reference = volume.spec?.claimRef;
  if (!reference) {
    if (bound) return { step: 'bind', volume };
    const problem = mismatch(claim, volume);
    return problem
      ? { step: 'wait', type: 'Warning', reason: 'VolumeMismatch', message: problem }
      : { step: 'bind', volume };
  }
  if (refersTo(volume, claim)) return { step: 'bind', volume };
  if (!bound) {
    const message = `volume "${volumeName}" already bound to a different claim.`;
    return { step: 'wait', type: 'Warning', reason: 'FailedBinding', message };
  }
  return lost('ClaimMisbound', 'Two claims are bound to the same volume, this one is bound incorrectly');
}

export type VolumeStep = 'none' | 'available' | 'bound' | 'released' | 'unbind' | 'recheck-claim';

/** `claim` is the one that `claimRef` names, if it exists. */
export function planVolume(volume: PersistentVolume, claim: PersistentVolumeClaim | undefined): VolumeStep {
  const reference = volume.spec?.claimRef;
  if (!reference) return 'available';
  if (!reference.uid) return 'available';
  if (!claim || claim.metadata.uid !== reference.uid) return 'released';
  const volumeName = claim.spec?.volumeName ?? '';
  if (volumeName === '') return 'recheck-claim';
  if (volumeName === volume.metadata.name) return 'bound';
  // The claim took another volume meanwhile.
  const provisioned = volume.metadata.annotations?.['pv.kubernetes.io/provisioned-by'] !== undefined;
  return provisioned && volume.spec?.persistentVolumeReclaimPolicy === 'Delete' ? 'released' : 'unbind';
}

/** True when the volume's claimRef is this claim, or its name without a uid (bound by hand beforehand). */
export function refersTo(volume: PersistentVolume, claim: PersistentVolumeClaim): boolean {
  const reference = volume.spec?.claimRef;
  return (
    reference?.name === claim.metadata.name &&
    reference?.namespace === claim.metadata.namespace &&
    (!reference?.uid || reference.uid === claim.metadata.uid)
  );
}

/** The smallest volume that satisfies the claim; one that is reserved for the claim goes before all. */
export function findVolume(
  claim: PersistentVolumeClaim,
  volumes: readonly PersistentVolume[],
  onlyReserved: boolean,
): PersistentVolume | undefined {
  const fitting = volumes.filter((volume) => !volume.metadata.deletionTimestamp && !mismatch(claim, volume));
  const reserved = fitting.find((volume) => volume.spec?.claimRef && refersTo(volume, claim));
  if (reserved || onlyReserved) return reserved;
  return fitting
    .filter(
      (volume) =>
        !volume.spec?.claimRef &&
        (volume.status?.phase ?? 'Available') === 'Available' &&
        (!claim.spec?.selector || matchesLabelSelector(claim.spec.selector, volume.metadata.labels)),
    )
    .toSorted((a, b) => compare(a.spec?.capacity?.['storage'], b.spec?.capacity?.['storage']))[0];
}

function planUnbound(claim: PersistentVolumeClaim, storage: Storage): ClaimStep {
  const className = classNameOf(claim);
  const storageClass = className === '' ? undefined : storage.classOf(className);
  const node = claim.metadata.annotations?.[selectedNode];
  const delayed = storageClass?.volumeBindingMode === 'WaitForFirstConsumer' && node === undefined;
  const volume = findVolume(claim, storage.volumes, delayed);
  if (volume) return { step: 'bind', volume };
  if (delayed) {
    const message = 'waiting for first consumer to be created before binding';
    return { step: 'wait', type: 'Normal', reason: 'WaitForFirstConsumer', message };
  }
  if (className === '') {
    const message = 'no persistent volumes available for this claim and no storage class is set';
    return { step: 'wait', type: 'Normal', reason: 'FailedBinding', message };
  }
  if (!storageClass) {
    const message = `storageclass.storage.k8s.io "${className}" not found`;
    return { step: 'wait', type: 'Warning', reason: 'ProvisioningFailed', message };
  }
  if (storageClass.provisioner === noProvisioner) {
    const message = 'no volume plugin matched name: kubernetes.io/no-provisioner';
    return { step: 'wait', type: 'Warning', reason: 'ProvisioningFailed', message };
  }
  return { step: 'provision', provisioner: storageClass.provisioner };
}

/** Why the volume cannot serve the claim. */
function mismatch(claim: PersistentVolumeClaim, volume: PersistentVolume): string | undefined {
  const cannot = (why: string): string => `Cannot bind to requested volume "${volume.metadata.name}": ${why}`;
  if (compare(volume.spec?.capacity?.['storage'], claim.spec?.resources?.requests?.['storage']) < 0) {
    return cannot('requested PV is too small');
  }
  if ((volume.spec?.storageClassName ?? '') !== classNameOf(claim)) return cannot('storageClassName does not match');
  if ((volume.spec?.volumeMode ?? 'Filesystem') !== (claim.spec?.volumeMode ?? 'Filesystem')) {
    return cannot('incompatible volumeMode');
  }
  const modes = volume.spec?.accessModes ?? [];
  if (!(claim.spec?.accessModes ?? []).every((mode) => modes.includes(mode))) return cannot('incompatible accessMode');
  return undefined;
}

export function classNameOf(claim: PersistentVolumeClaim): string {
  return claim.metadata.annotations?.['volume.beta.kubernetes.io/storage-class'] ?? claim.spec?.storageClassName ?? '';
}

function lost(reason: string, message: string): ClaimStep {
  return { step: 'lost', reason, message };
}
