// SPDX-License-Identifier: Apache-2.0
// Persistent volumes: storage that claims are bound to.
import type { PersistentVolume, PersistentVolumeSpec } from '../../../machinery/api-types.ts';
import { isQuantity, parseQuantity } from '../../../machinery/quantities.ts';
import { define } from '../define.ts';
import type { FieldError } from '../definition.ts';
import { text, wide } from '../printing/columns.ts';
import { validateAccessModes } from '../validation/claims.ts';
import { forbidden, immutable, invalid, oneOf, required, same } from '../validation/fields.ts';
import { validateQuantity } from '../validation/resources.ts';
import { validateNodeSelectorTerm } from '../validation/selectors.ts';
import { shortModes } from './access-modes.ts';

/** Fields of the spec that are no volume source. */
const plainFields = new Set([
  'capacity',
  'accessModes',
  'claimRef',
  'persistentVolumeReclaimPolicy',
  'storageClassName',
  'mountOptions',
  'volumeMode',
  'nodeAffinity',
  'volumeAttributesClassName',
]);

export const persistentVolumes = define<PersistentVolume>({
  group: '',
  plural: 'persistentvolumes',
  kind: 'PersistentVolume',
  namespaced: false,
  shortNames: ['pv'],
  default(volume) {
    if (volume.spec !== undefined) {
      volume.spec.persistentVolumeReclaimPolicy ??= 'Retain';
      volume.spec.volumeMode ??= 'Filesystem';
      if (volume.spec.hostPath !== undefined) {
        volume.spec.hostPath.type ??= '';
      }
    }
    volume.status ??= {};
    volume.status.phase ??= 'Pending';
  },
  validate: ({ spec }) => validateSpec(spec ?? {}),
  validateUpdate: ({ spec = {} }, { spec: old = {} }) => [
    ...(same(sourceOf(spec), sourceOf(old))
      ? []
      : [forbidden('spec.persistentvolumesource', 'spec.persistentvolumesource is immutable after creation')]),
    ...immutable('spec.volumeMode', spec.volumeMode, old.volumeMode),
  ],
  status: true,
  initialStatus: () => ({ phase: 'Pending' }),
  columns: [
    text('Capacity', ({ spec }) => spec?.capacity?.['storage'] ?? ''),
    text('Access Modes', ({ spec }) => shortModes(spec?.accessModes)),
    text('Reclaim Policy', ({ spec }) => spec?.persistentVolumeReclaimPolicy ?? ''),
    text('Status', ({ metadata, status }) =>
      metadata.deletionTimestamp === undefined ? (status?.phase ?? '') : 'Terminating',
    ),
    text('Claim', ({ spec }) =>
      spec?.claimRef === undefined ? '' : `${spec.claimRef.namespace ?? ''}/${spec.claimRef.name ?? ''}`,
    ),
    text('StorageClass', ({ spec }) => spec?.storageClassName ?? ''),
    text('VolumeAttributesClass', ({ spec }) => spec?.volumeAttributesClassName ?? '<unset>'),
    text('Reason', ({ status }) => status?.reason ?? ''),
  ],
  wideColumns: [wide(text('VolumeMode', ({ spec }) => spec?.volumeMode ?? '<unset>'))],
});

function validateSpec(spec: PersistentVolumeSpec): FieldError[] {
  const errors: FieldError[] = [
    ...((spec.accessModes ?? []).length === 0
      ? [required('spec.accessModes')]
      : validateAccessModes(spec.accessModes ?? [], 'spec.accessModes')),
    ...oneOf('spec.persistentVolumeReclaimPolicy', spec.persistentVolumeReclaimPolicy, ['Delete', 'Recycle', 'Retain']),
    ...oneOf('spec.volumeMode', spec.volumeMode, ['Block', 'Filesystem']),
  ];
  const storage = spec.capacity?.['storage'];
  if (storage === undefined) {
    errors.push(required('spec.capacity'));
  } else {
    errors.push(...validateQuantity(storage, 'spec.capacity[storage]'));
    if (isQuantity(storage) && parseQuantity(storage) === 0n) {
      errors.push(invalid('spec.capacity[storage]', storage, 'must be greater than zero'));
    }
  }
  const [source, ...more] = Object.keys(sourceOf(spec));
  if (source === undefined) {
    errors.push(required('spec', 'must specify a volume type'));
  }
  for (const field of more) {
    errors.push(forbidden(`spec.${field}`, 'may not specify more than 1 volume type'));
  }
  const terms = spec.nodeAffinity?.required?.nodeSelectorTerms ?? [];
  if (spec.local !== undefined && terms.length === 0) {
    errors.push(required('spec.nodeAffinity', 'Local volume requires node affinity'));
  }
  for (const [index, term] of terms.entries()) {
    errors.push(...validateNodeSelectorTerm(term, `spec.nodeAffinity.required.nodeSelectorTerms[${index}]`));
  }
  if (spec.csi !== undefined) {
    errors.push(
      ...((spec.csi.driver ?? '') === '' ? [required('spec.csi.driver')] : []),
      ...((spec.csi.volumeHandle ?? '') === '' ? [required('spec.csi.volumeHandle')] : []),
    );
  }
  return errors;
}

function sourceOf(spec: PersistentVolumeSpec): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(spec).filter(([field, value]) => !plainFields.has(field) && value !== undefined),
  );
}
