// SPDX-License-Identifier: Apache-2.0
// Stateful sets.
import type { StatefulSet } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const statefulSets = define<StatefulSet>({
  group: 'apps',
  plural: 'statefulsets',
  kind: 'StatefulSet',
  namespaced: true,
  shortNames: ['sts'],
  categories: ['all'],
  status: true,
  scale: { specReplicas: '.spec.replicas', statusReplicas: '.status.replicas', selector: '.spec.selector' },
});
