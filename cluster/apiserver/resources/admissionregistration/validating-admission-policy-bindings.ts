// SPDX-License-Identifier: Apache-2.0
// Bindings of validating admission policies: where a policy holds, and what follows.
import type { ValidatingAdmissionPolicyBinding } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import { text } from '../printing/columns.ts';
import { required } from '../validation/fields.ts';

export const validatingAdmissionPolicyBindings = define<ValidatingAdmissionPolicyBinding>({
  group: 'admissionregistration.k8s.io',
  plural: 'validatingadmissionpolicybindings',
  kind: 'ValidatingAdmissionPolicyBinding',
  namespaced: false,
  categories: ['api-extensions'],
  default({ spec }) {
    if (spec?.matchResources !== undefined) {
      spec.matchResources.matchPolicy ??= 'Equivalent';
      spec.matchResources.namespaceSelector ??= {};
      spec.matchResources.objectSelector ??= {};
    }
  },
  validate: ({ spec }) => [
    ...((spec?.policyName ?? '') === '' ? [required('spec.policyName')] : []),
    ...((spec?.validationActions ?? []).length === 0 ? [required('spec.validationActions')] : []),
  ],
  columns: [
    text('PolicyName', ({ spec }) => spec?.policyName ?? ''),
    text('ParamRef', ({ spec }) => {
      const reference = spec?.paramRef;
      if (reference === undefined) {
        return '<unset>';
      }
      return reference.namespace === undefined
        ? (reference.name ?? '*')
        : `${reference.namespace}/${reference.name ?? '*'}`;
    }),
  ],
});
