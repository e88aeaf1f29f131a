// SPDX-License-Identifier: Apache-2.0
// ValidatingAdmissionPolicyBinding objects.
import type { ValidatingAdmissionPolicyBinding } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const validatingAdmissionPolicyBindings = define<ValidatingAdmissionPolicyBinding>({
  group: 'admissionregistration.k8s.io',
  plural: 'validatingadmissionpolicybindings',
  kind: 'ValidatingAdmissionPolicyBinding',
  namespaced: false,
});
