// SPDX-License-Identifier: Apache-2.0
// Leases.
import type { Lease } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const leases = define<Lease>({
  group: 'coordination.k8s.io',
  plural: 'leases',
  kind: 'Lease',
  namespaced: true,
});
