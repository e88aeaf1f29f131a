// SPDX-License-Identifier: Apache-2.0
// Claims: what a pod asks of storage.
import type { PersistentVolumeClaim } from '../../../machinery/api-types.ts';
import { compare } from '../../../machinery/quantities.ts';
import { define } from '../define.ts';
import type { FieldError } from '../definition.ts';
import { text, wide } from '../printing/columns.ts';
import { validateClaimSpec } from '../validation/claims.ts';
import { forbidden, same } from '../validation/fields.ts';
import { shortModes } from './access-modes.ts';

export const persistentVolumeClaims = define<PersistentVolumeClaim>({
  group: '',
  plural: 'persistentvolumeclaims',
  kind: 'PersistentVolumeClaim',
  namespaced: true,
  shortNames: ['pvc'],
  default(claim) {
    if (claim.spec !== undefined) {
      claim.spec.volumeMode ??= 'Filesystem';
    }
    claim.status ??= {};
    claim.status.phase ??= 'Pending';
  },
  validate: ({ spec }) => validateClaimSpec(spec ?? {}, 'spec'),
  validateUpdate,
  status: true,
  initialStatus: () => ({ phase: 'Pending' }),
  columns: [
    text('Status', ({ metadata, status }) =>
      metadata.deletionTimestamp === undefined ? (status?.phase ?? '') : 'Terminating',
    ),
    text('Volume', ({ spec }) => spec?.volumeName ?? ''),
    text('Capacity', ({ spec, status }) =>
      (spec?.volumeName ?? '') === '' ? '' : (status?.capacity?.['storage'] ?? ''),
    ),
    text('Access Modes', ({ spec, status }) =>
      (spec?.volumeName ?? '') === '' ? '' : shortModes(status?.accessModes),
    ),
    text('StorageClass', ({ spec }) => spec?.storageClassName ?? ''),
    text('VolumeAttributesClass', ({ spec }) => spec?.volumeAttributesClassName ?? '<unset>'),
  ],
  wideColumns: [wide(text('VolumeMode', ({ spec }) => spec?.volumeMode ?? '<unset>'))],
});

/** After creation only the binding, the size and a missing class can be filled in or grow. */
function validateUpdate(claim: PersistentVolumeClaim, old: PersistentVolumeClaim): FieldError[] {
  const spec = claim.spec ?? {};
  const before = old.spec ?? {};
  const bound = old.status?.phase === 'Bound';
  const comparable = { ...spec };
  if ((before.volumeName ?? '') === '') {
    comparable.volumeName = '';
  }
  if (before.storageClassName === undefined || before.storageClassName === spec.storageClassName) {
    delete comparable.storageClassName;
  }
  if (bound) {
    if (before.resources === undefined) {
      delete comparable.resources;
    } else {
      comparable.resources = before.resources;
    }
  }
  delete comparable.volumeAttributesClassName;
  const { volumeAttributesClassName: _, ...rest } = before;
  const expected = { ...rest, ...((before.volumeName ?? '') === '' && { volumeName: '' }) };
  if (comparable.storageClassName === undefined) {
    delete expected.storageClassName;
  }
  if (!same(comparable, expected)) {
    return [
      forbidden(
        'spec',
        'spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims',
      ),
    ];
  }
  const wanted = spec.resources?.requests?.['storage'];
  const had = before.resources?.requests?.['storage'];
  const actual = old.status?.capacity?.['storage'];
  return wanted !== undefined &&
    had !== undefined &&
    compare(wanted, had) < 0 &&
    (actual === undefined || compare(wanted, actual) <= 0)
    ? [forbidden('spec.resources.requests.storage', 'field can not be less than status.capacity')]
    : [];
}
