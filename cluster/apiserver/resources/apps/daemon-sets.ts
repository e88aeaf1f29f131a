// SPDX-License-Identifier: Apache-2.0
// Daemon sets.
import type { DaemonSet } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const daemonSets = define<DaemonSet>({
  group: 'apps',
  plural: 'daemonsets',
  kind: 'DaemonSet',
  namespaced: true,
  shortNames: ['ds'],
  categories: ['all'],
  status: true,
});
