// SPDX-License-Identifier: Apache-2.0
// MutatingAdmissionPolicyBinding objects.
import type { MutatingAdmissionPolicyBinding } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const mutatingAdmissionPolicyBindings = define<MutatingAdmissionPolicyBinding>({
  group: 'admissionregistration.k8s.io',
  plural: 'mutatingadmissionpolicybindings',
  kind: 'MutatingAdmissionPolicyBinding',
  namespaced: false,
});
