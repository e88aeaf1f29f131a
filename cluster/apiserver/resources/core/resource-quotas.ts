// SPDX-License-Identifier: Apache-2.0
// Resource quotas.
import type { ResourceQuota } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const resourceQuotas = define<ResourceQuota>({
  group: '',
  plural: 'resourcequotas',
  kind: 'ResourceQuota',
  namespaced: true,
  shortNames: ['quota'],
  status: true,
});
