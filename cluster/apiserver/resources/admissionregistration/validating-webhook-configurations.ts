// SPDX-License-Identifier: Apache-2.0
// Validating webhook configurations: which outside services have a say in which requests.
import type { ValidatingWebhookConfiguration } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import { integer } from '../printing/columns.ts';
import { defaultWebhook, validateWebhooks } from './webhooks.ts';

export const validatingWebhookConfigurations = define<ValidatingWebhookConfiguration>({
  group: 'admissionregistration.k8s.io',
  plural: 'validatingwebhookconfigurations',
  kind: 'ValidatingWebhookConfiguration',
  namespaced: false,
  categories: ['api-extensions'],
  default({ webhooks }) {
    for (const webhook of webhooks ?? []) {
      defaultWebhook(webhook);
    }
  },
  validate: ({ webhooks }) => validateWebhooks(webhooks),
  columns: [integer('Webhooks', ({ webhooks }) => webhooks?.length)],
});
