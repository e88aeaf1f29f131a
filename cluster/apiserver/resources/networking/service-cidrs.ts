// SPDX-License-Identifier: Apache-2.0
// Service CIDRs: ranges of service addresses. The API server gives out addresses of those that are Ready.
import type { ServiceCIDR } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import { text } from '../printing/columns.ts';
import { validateCidr } from '../validation/addresses.ts';
import { immutable, required } from '../validation/fields.ts';

export const serviceCIDRs = define<ServiceCIDR>({
  group: 'networking.k8s.io',
  plural: 'servicecidrs',
  kind: 'ServiceCIDR',
  namespaced: false,
  validate: ({ spec }) =>
    (spec?.cidrs ?? []).length === 0
      ? [required('spec.cidrs', 'at least one CIDR required')]
      : (spec?.cidrs ?? []).flatMap((cidr, index) => validateCidr(cidr, `spec.cidrs[${index}]`)),
  validateUpdate: (value, old) => immutable('spec.cidrs[0]', value.spec?.cidrs?.[0], old.spec?.cidrs?.[0]),
  status: true,
  initialStatus: () => ({}),
  columns: [text('CIDRs', ({ spec }) => (spec?.cidrs ?? []).join(','))],
});
