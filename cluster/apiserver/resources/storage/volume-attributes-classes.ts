// SPDX-License-Identifier: Apache-2.0
// Volume attributes classes: qualities of volumes that can change.
import type { VolumeAttributesClass } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import { text } from '../printing/columns.ts';
import { forbidden, required, same } from '../validation/fields.ts';

export const volumeAttributesClasses = define<VolumeAttributesClass>({
  group: 'storage.k8s.io',
  plural: 'volumeattributesclasses',
  kind: 'VolumeAttributesClass',
  namespaced: false,
  shortNames: ['vac'],
  validate: ({ driverName }) => ((driverName ?? '') === '' ? [required('driverName')] : []),
  validateUpdate: (value, old) =>
    (['driverName', 'parameters'] as const).flatMap((field) =>
      same(value[field], old[field]) ? [] : [forbidden(field, `updates to ${field} are forbidden.`)],
    ),
  columns: [text('DriverName', ({ driverName }) => driverName)],
});
