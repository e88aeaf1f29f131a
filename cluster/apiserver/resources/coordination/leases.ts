// SPDX-License-Identifier: Apache-2.0
// Leases: heartbeats of nodes and leadership of components.
import type { Lease } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import { text } from '../printing/columns.ts';
import { nonNegative, positive } from '../validation/fields.ts';

export const leases = define<Lease>({
  group: 'coordination.k8s.io',
  plural: 'leases',
  kind: 'Lease',
  namespaced: true,
  validate: ({ spec }) => [
    ...positive('spec.leaseDurationSeconds', spec?.leaseDurationSeconds),
    ...nonNegative('spec.leaseTransitions', spec?.leaseTransitions),
  ],
  columns: [text('Holder', ({ spec }) => spec?.holderIdentity ?? '')],
});
