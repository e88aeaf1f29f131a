// SPDX-License-Identifier: Apache-2.0
// Volume attributes classes.
import type { VolumeAttributesClass } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const volumeAttributesClasses = define<VolumeAttributesClass>({
  group: 'storage.k8s.io',
  plural: 'volumeattributesclasses',
  kind: 'VolumeAttributesClass',
  namespaced: false,
  shortNames: ['vac'],
});
