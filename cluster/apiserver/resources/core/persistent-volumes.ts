// SPDX-License-Identifier: Apache-2.0
// Persistent volumes.
import type { PersistentVolume } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const persistentVolumes = define<PersistentVolume>({
  group: '',
  plural: 'persistentvolumes',
  kind: 'PersistentVolume',
  namespaced: false,
  shortNames: ['pv'],
  status: true,
});
