// SPDX-License-Identifier: Apache-2.0
// Replica sets.
import type { ReplicaSet } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const replicaSets = define<ReplicaSet>({
  group: 'apps',
  plural: 'replicasets',
  kind: 'ReplicaSet',
  namespaced: true,
  shortNames: ['rs'],
  categories: ['all'],
  status: true,
  scale: { specReplicas: '.spec.replicas', statusReplicas: '.status.replicas', selector: '.spec.selector' },
});
