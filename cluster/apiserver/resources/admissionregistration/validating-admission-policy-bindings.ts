// SPDX-License-Identifier: Apache-2.0
// Bindings of validating admission policies: where a policy holds, and what follows.
import type { ValidatingAdmissionPolicyBinding } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import { text } from '../printing/columns.ts';
import { required } from '../validation/fields.ts';
import { defaultMatchResources, paramRefCell } from './webhooks.ts';

export const validatingAdmissionPolicyBindings = define<ValidatingAdmissionPolicyBinding>({
  group: 'admissionregistration.k8s.io',
  plural: 'validatingadmissionpolicybindings',
  kind: 'ValidatingAdmissionPolicyBinding',
  namespaced: false,
  categories: ['api-extensions'],
  default({ spec }) {
    defaultMatchResources(spec?.matchResources);
  },
  validate: ({ spec }) => [
    ...((spec?.policyName ?? '') === '' ? [required('spec.policyName')] : []),
    ...((spec?.validationActions ?? []).length === 0 ? [required('spec.validationActions')] : []),
  ],
  columns: [
    text('PolicyName', ({ spec }) => spec?.policyName ?? ''),
    text('ParamRef', ({ spec }) => paramRefCell(spec?.paramRef)),
  ],
});
