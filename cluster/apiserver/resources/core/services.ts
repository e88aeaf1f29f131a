// SPDX-License-Identifier: Apache-2.0
// Services: a stable address in front of pods.
import type { Service } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const services = define<Service>({
  group: '',
  plural: 'services',
  kind: 'Service',
  namespaced: true,
  shortNames: ['svc'],
  categories: ['all'],
  status: true,
  initialStatus: () => ({ loadBalancer: {} }),
});
