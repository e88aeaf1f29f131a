// SPDX-License-Identifier: Apache-2.0
// Mutating webhook configurations: which outside services have a say in which requests.
import type { MutatingWebhookConfiguration } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import { integer } from '../printing/columns.ts';
import { defaultWebhook, validateWebhooks } from './webhooks.ts';

export const mutatingWebhookConfigurations = define<MutatingWebhookConfiguration>({
  group: 'admissionregistration.k8s.io',
  plural: 'mutatingwebhookconfigurations',
  kind: 'MutatingWebhookConfiguration',
  namespaced: false,
  categories: ['api-extensions'],
  default({ webhooks }) {
    for (const webhook of webhooks ?? []) {
      defaultWebhook(webhook);
      webhook.reinvocationPolicy ??= 'Never';
    }
  },
  validate: ({ webhooks }) => validateWebhooks(webhooks),
  columns: [integer('Webhooks', ({ webhooks }) => webhooks?.length)],
});
