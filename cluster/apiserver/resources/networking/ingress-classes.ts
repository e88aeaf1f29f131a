// SPDX-License-Identifier: Apache-2.0
// Ingress classes.
import type { IngressClass } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const ingressClasses = define<IngressClass>({
  group: 'networking.k8s.io',
  plural: 'ingressclasses',
  kind: 'IngressClass',
  namespaced: false,
});
