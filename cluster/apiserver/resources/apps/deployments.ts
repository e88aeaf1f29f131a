// SPDX-License-Identifier: Apache-2.0
// Deployments.
import type { Deployment } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const deployments = define<Deployment>({
  group: 'apps',
  plural: 'deployments',
  kind: 'Deployment',
  namespaced: true,
  shortNames: ['deploy'],
  categories: ['all'],
  status: true,
  scale: { specReplicas: '.spec.replicas', statusReplicas: '.status.replicas', selector: '.spec.selector' },
});
