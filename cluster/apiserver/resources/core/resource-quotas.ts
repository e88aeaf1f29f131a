// SPDX-License-Identifier: Apache-2.0
// Resource quotas: how much a namespace may use. Admission charges them, the controller recounts.
import type { ResourceQuota } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import { ageColumn, nameColumn, text } from '../printing/columns.ts';
import { immutable } from '../validation/fields.ts';
import { validateResourceList } from '../validation/resources.ts';

export const resourceQuotas = define<ResourceQuota>({
  group: '',
  plural: 'resourcequotas',
  kind: 'ResourceQuota',
  namespaced: true,
  shortNames: ['quota'],
  validate: ({ spec }) => validateResourceList(spec?.hard, 'spec.hard'),
  validateUpdate: (quota, old) => immutable('spec.scopes', quota.spec?.scopes, old.spec?.scopes),
  status: {
    validateUpdate: ({ status }) => [
      ...validateResourceList(status?.hard, 'status.hard'),
      ...validateResourceList(status?.used, 'status.used'),
    ],
  },
  initialStatus: () => ({}),
  allColumns: [
    nameColumn(),
    text('Request', (quota) => amounts(quota, false)),
    text('Limit', (quota) => amounts(quota, true)),
    ageColumn(),
  ],
});

/** `cpu: 100m/1, pods: 2/10`, of limits or of everything else. */
function amounts({ status }: ResourceQuota, limits: boolean): string {
  return Object.entries(status?.hard ?? {})
    .filter(([name]) => name.startsWith('limits.') === limits)
    .toSorted(([left], [right]) => (left < right ? -1 : 1))
    .map(([name, hard]) => `${name}: ${status?.used?.[name] ?? '0'}/${hard}`)
    .join(', ');
}
