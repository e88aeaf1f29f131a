// SPDX-License-Identifier: Apache-2.0
// Namespaces.
import type { Namespace } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const namespaces = define<Namespace>({
  group: '',
  plural: 'namespaces',
  kind: 'Namespace',
  namespaced: false,
  shortNames: ['ns'],
  status: true,
  initialStatus: () => ({ phase: 'Active' }),
});
