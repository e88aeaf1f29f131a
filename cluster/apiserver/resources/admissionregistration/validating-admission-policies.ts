// SPDX-License-Identifier: Apache-2.0
// Validating admission policies: rules in CEL.
import type { ValidatingAdmissionPolicy } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import { integer, text } from '../printing/columns.ts';
import { required } from '../validation/fields.ts';

export const validatingAdmissionPolicies = define<ValidatingAdmissionPolicy>({
  group: 'admissionregistration.k8s.io',
  plural: 'validatingadmissionpolicies',
  kind: 'ValidatingAdmissionPolicy',
  namespaced: false,
  categories: ['api-extensions'],
  default({ spec }) {
    if (spec !== undefined) {
      spec.failurePolicy ??= 'Fail';
      if (spec.matchConstraints !== undefined) {
        spec.matchConstraints.matchPolicy ??= 'Equivalent';
        spec.matchConstraints.namespaceSelector ??= {};
        spec.matchConstraints.objectSelector ??= {};
        for (const rule of spec.matchConstraints.resourceRules ?? []) {
          rule.scope ??= '*';
        }
      }
    }
  },
  validate: ({ spec }) =>
    (spec?.matchConstraints?.resourceRules ?? []).length === 0 ? [required('spec.matchConstraints.resourceRules')] : [],
  status: true,
  initialStatus: () => ({}),
  columns: [
    integer('Validations', ({ spec }) => spec?.validations?.length),
    text('ParamKind', ({ spec }) =>
      spec?.paramKind === undefined ? '<unset>' : `${spec.paramKind.apiVersion}/${spec.paramKind.kind}`,
    ),
  ],
});
