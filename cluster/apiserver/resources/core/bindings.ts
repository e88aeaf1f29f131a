// SPDX-License-Identifier: Apache-2.0
// Bindings.
import type { Binding } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const bindings = define<Binding>({
  group: '',
  plural: 'bindings',
  kind: 'Binding',
  namespaced: true,
  verbs: ['create'],
});
