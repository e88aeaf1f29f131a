// SPDX-License-Identifier: Apache-2.0
// Replication controllers.
import type { ReplicationController } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const replicationControllers = define<ReplicationController>({
  group: '',
  plural: 'replicationcontrollers',
  kind: 'ReplicationController',
  namespaced: true,
  shortNames: ['rc'],
  categories: ['all'],
  status: true,
  scale: { specReplicas: '.spec.replicas', statusReplicas: '.status.replicas', selector: '.spec.selector' },
});
