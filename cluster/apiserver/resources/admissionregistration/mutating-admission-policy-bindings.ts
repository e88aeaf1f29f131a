// SPDX-License-Identifier: Apache-2.0
// Bindings of mutating admission policies: where a policy holds.
import type { MutatingAdmissionPolicyBinding } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import { text } from '../printing/columns.ts';
import { required } from '../validation/fields.ts';
import { defaultMatchResources, paramRefCell } from './webhooks.ts';

export const mutatingAdmissionPolicyBindings = define<MutatingAdmissionPolicyBinding>({
  group: 'admissionregistration.k8s.io',
  plural: 'mutatingadmissionpolicybindings',
  kind: 'MutatingAdmissionPolicyBinding',
  namespaced: false,
  categories: ['api-extensions'],
  default({ spec }) {
    defaultMatchResources(spec?.matchResources);
  },
  validate: ({ spec }) => ((spec?.policyName ?? '') === '' ? [required('spec.policyName')] : []),
  columns: [
    text('PolicyName', ({ spec }) => spec?.policyName ?? ''),
    text('ParamRef', ({ spec }) => paramRefCell(spec?.paramRef)),
  ],
});
