// SPDX-License-Identifier: Apache-2.0
// Storage classes: how volumes are provisioned.
import type { StorageClass } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import type { FieldError } from '../definition.ts';
import { ageColumn, boolean, nameColumn, text } from '../printing/columns.ts';
import { forbidden, oneOf, required, same } from '../validation/fields.ts';

export const isDefaultAnnotation = 'storageclass.kubernetes.io/is-default-class';

export const storageClasses = define<StorageClass>({
  group: 'storage.k8s.io',
  plural: 'storageclasses',
  kind: 'StorageClass',
  namespaced: false,
  shortNames: ['sc'],
  default(value) {
    value.reclaimPolicy ??= 'Delete';
    value.volumeBindingMode ??= 'Immediate';
  },
  validate: (value) => [
    ...((value.provisioner ?? '') === '' ? [required('provisioner')] : []),
    ...oneOf('reclaimPolicy', value.reclaimPolicy, ['Delete', 'Retain']),
    ...oneOf('volumeBindingMode', value.volumeBindingMode, ['Immediate', 'WaitForFirstConsumer']),
  ],
  validateUpdate: (value, old) =>
    (['parameters', 'provisioner', 'reclaimPolicy', 'volumeBindingMode'] as const).flatMap((field): FieldError[] =>
      same(value[field], old[field]) ? [] : [forbidden(field, `updates to ${field} are forbidden.`)],
    ),
  allColumns: [
    {
      ...nameColumn(),
      cell: ({ metadata }) =>
        metadata.annotations?.[isDefaultAnnotation] === 'true' ? `${metadata.name} (default)` : metadata.name,
    },
    text('Provisioner', ({ provisioner }) => provisioner),
    text('ReclaimPolicy', ({ reclaimPolicy }) => reclaimPolicy ?? 'Delete'),
    text('VolumeBindingMode', ({ volumeBindingMode }) => volumeBindingMode ?? 'Immediate'),
    boolean('AllowVolumeExpansion', ({ allowVolumeExpansion }) => allowVolumeExpansion),
    ageColumn(),
  ],
});
