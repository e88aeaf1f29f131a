// SPDX-License-Identifier: Apache-2.0
// Ingresses.
import type { Ingress } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const ingresses = define<Ingress>({
  group: 'networking.k8s.io',
  plural: 'ingresses',
  kind: 'Ingress',
  namespaced: true,
  shortNames: ['ing'],
  status: true,
});
