// SPDX-License-Identifier: Apache-2.0
// CSI storage capacities: how much room a driver has where.
import type { CSIStorageCapacity } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import { text } from '../printing/columns.ts';
import { immutable, required } from '../validation/fields.ts';

export const csiStorageCapacities = define<CSIStorageCapacity>({
  group: 'storage.k8s.io',
  plural: 'csistoragecapacities',
  kind: 'CSIStorageCapacity',
  namespaced: true,
  validate: ({ storageClassName }) => ((storageClassName ?? '') === '' ? [required('storageClassName')] : []),
  validateUpdate: (value, old) => [
    ...immutable('nodeTopology', value.nodeTopology, old.nodeTopology),
    ...immutable('storageClassName', value.storageClassName, old.storageClassName),
  ],
  columns: [
    text('StorageClassName', ({ storageClassName }) => storageClassName),
    text('Capacity', ({ capacity }) => capacity ?? '<unset>'),
  ],
});
