// SPDX-License-Identifier: Apache-2.0
// Pods: the unit that the scheduler places and the kubelet runs.
import type { Pod } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const pods = define<Pod>({
  group: '',
  plural: 'pods',
  kind: 'Pod',
  namespaced: true,
  shortNames: ['po'],
  categories: ['all'],
  status: true,
  initialStatus: () => ({ phase: 'Pending' }),
});
