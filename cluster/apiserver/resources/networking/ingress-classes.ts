// SPDX-License-Identifier: Apache-2.0
// Ingress classes: which controller serves an ingress.
import type { IngressClass } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import { text } from '../printing/columns.ts';
import { immutable, required } from '../validation/fields.ts';

export const ingressClasses = define<IngressClass>({
  group: 'networking.k8s.io',
  plural: 'ingressclasses',
  kind: 'IngressClass',
  namespaced: false,
  default({ spec }) {
    if (spec?.parameters !== undefined) {
      spec.parameters.scope ??= 'Cluster';
    }
  },
  validate: ({ spec }) => ((spec?.controller ?? '') === '' ? [required('spec.controller')] : []),
  validateUpdate: (value, old) => immutable('spec.controller', value.spec?.controller, old.spec?.controller),
  columns: [
    text('Controller', ({ spec }) => spec?.controller ?? ''),
    text('Parameters', ({ spec }) => {
      const parameters = spec?.parameters;
      if (parameters === undefined) {
        return '<none>';
      }
      const group = (parameters.apiGroup ?? '') === '' ? '' : `.${parameters.apiGroup}`;
      return `${parameters.kind}${group}/${parameters.name}`;
    }),
  ],
});
