// SPDX-License-Identifier: Apache-2.0
// Storage classes.
import type { StorageClass } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const storageClasses = define<StorageClass>({
  group: 'storage.k8s.io',
  plural: 'storageclasses',
  kind: 'StorageClass',
  namespaced: false,
  shortNames: ['sc'],
});
