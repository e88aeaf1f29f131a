// SPDX-License-Identifier: Apache-2.0
// Service CIDRs.
import type { ServiceCIDR } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const serviceCIDRs = define<ServiceCIDR>({
  group: 'networking.k8s.io',
  plural: 'servicecidrs',
  kind: 'ServiceCIDR',
  namespaced: false,
  status: true,
});
