// SPDX-License-Identifier: Apache-2.0
// Claims.
import type { PersistentVolumeClaim } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const persistentVolumeClaims = define<PersistentVolumeClaim>({
  group: '',
  plural: 'persistentvolumeclaims',
  kind: 'PersistentVolumeClaim',
  namespaced: true,
  shortNames: ['pvc'],
  status: true,
});
