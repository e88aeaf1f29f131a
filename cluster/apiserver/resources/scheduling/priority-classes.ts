// SPDX-License-Identifier: Apache-2.0
// Priority classes.
import type { PriorityClass } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const priorityClasses = define<PriorityClass>({
  group: 'scheduling.k8s.io',
  plural: 'priorityclasses',
  kind: 'PriorityClass',
  namespaced: false,
  shortNames: ['pc'],
});
