// SPDX-License-Identifier: Apache-2.0
// Service accounts.
import type { ServiceAccount } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const serviceAccounts = define<ServiceAccount>({
  group: '',
  plural: 'serviceaccounts',
  kind: 'ServiceAccount',
  namespaced: true,
  shortNames: ['sa'],
});
