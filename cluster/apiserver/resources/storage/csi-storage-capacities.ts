// SPDX-License-Identifier: Apache-2.0
// CSI storage capacities.
import type { CSIStorageCapacity } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const csiStorageCapacities = define<CSIStorageCapacity>({
  group: 'storage.k8s.io',
  plural: 'csistoragecapacities',
  kind: 'CSIStorageCapacity',
  namespaced: true,
});
