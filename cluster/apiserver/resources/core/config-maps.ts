// SPDX-License-Identifier: Apache-2.0
// Config maps.
import type { ConfigMap } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const configMaps = define<ConfigMap>({
  group: '',
  plural: 'configmaps',
  kind: 'ConfigMap',
  namespaced: true,
  shortNames: ['cm'],
});
