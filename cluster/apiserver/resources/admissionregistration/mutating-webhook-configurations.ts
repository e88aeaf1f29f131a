// SPDX-License-Identifier: Apache-2.0
// MutatingWebhookConfiguration objects.
import type { MutatingWebhookConfiguration } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const mutatingWebhookConfigurations = define<MutatingWebhookConfiguration>({
  group: 'admissionregistration.k8s.io',
  plural: 'mutatingwebhookconfigurations',
  kind: 'MutatingWebhookConfiguration',
  namespaced: false,
});
