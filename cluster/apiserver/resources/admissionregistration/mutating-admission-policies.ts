// SPDX-License-Identifier: Apache-2.0
// MutatingAdmissionPolicy objects.
import type { MutatingAdmissionPolicy } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const mutatingAdmissionPolicies = define<MutatingAdmissionPolicy>({
  group: 'admissionregistration.k8s.io',
  plural: 'mutatingadmissionpolicies',
  kind: 'MutatingAdmissionPolicy',
  namespaced: false,
});
