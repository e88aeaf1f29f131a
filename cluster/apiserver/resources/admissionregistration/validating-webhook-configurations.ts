// SPDX-License-Identifier: Apache-2.0
// ValidatingWebhookConfiguration objects.
import type { ValidatingWebhookConfiguration } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const validatingWebhookConfigurations = define<ValidatingWebhookConfiguration>({
  group: 'admissionregistration.k8s.io',
  plural: 'validatingwebhookconfigurations',
  kind: 'ValidatingWebhookConfiguration',
  namespaced: false,
});
