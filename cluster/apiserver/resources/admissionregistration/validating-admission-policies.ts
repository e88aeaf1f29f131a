// SPDX-License-Identifier: Apache-2.0
// ValidatingAdmissionPolicy objects.
import type { ValidatingAdmissionPolicy } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const validatingAdmissionPolicies = define<ValidatingAdmissionPolicy>({
  group: 'admissionregistration.k8s.io',
  plural: 'validatingadmissionpolicies',
  kind: 'ValidatingAdmissionPolicy',
  namespaced: false,
  status: true,
});
