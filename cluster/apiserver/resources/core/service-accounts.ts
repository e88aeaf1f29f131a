// SPDX-License-Identifier: Apache-2.0
// Service accounts: who pods are.
import type { ServiceAccount } from '../../../machinery/api-types.ts';
import type { ResourcesConfig } from '../config.ts';
import { define } from '../define.ts';
import type { ResourceDefinition } from '../definition.ts';
import { integer } from '../printing/columns.ts';
import { tokenSubresource } from '../subresources/token.ts';

export function serviceAccounts(config: ResourcesConfig): ResourceDefinition {
  return define<ServiceAccount>({
    group: '',
    plural: 'serviceaccounts',
    kind: 'ServiceAccount',
    namespaced: true,
    shortNames: ['sa'],
    subresources: { token: tokenSubresource(config) },
    columns: [integer('Secrets', ({ secrets }) => secrets?.length)],
  });
}
