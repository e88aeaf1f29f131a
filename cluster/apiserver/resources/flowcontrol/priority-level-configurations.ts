// SPDX-License-Identifier: Apache-2.0
// Priority levels: how much of the server a class of requests may take. Stored; the server does not queue by them.
import type { PriorityLevelConfiguration } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import { text } from '../printing/columns.ts';
import { oneOf } from '../validation/fields.ts';

export const priorityLevelConfigurations = define<PriorityLevelConfiguration>({
  group: 'flowcontrol.apiserver.k8s.io',
  plural: 'prioritylevelconfigurations',
  kind: 'PriorityLevelConfiguration',
  namespaced: false,
  default({ spec }) {
    if (spec?.limited !== undefined) {
      spec.limited.nominalConcurrencyShares ??= 30;
      spec.limited.lendablePercent ??= 0;
    }
    const queuing = spec?.limited?.limitResponse?.queuing;
    if (queuing !== undefined) {
      queuing.queues ??= 64;
      queuing.handSize ??= 8;
      queuing.queueLengthLimit ??= 50;
    }
  },
  validate: ({ spec }) => oneOf('spec.type', spec?.type, ['Exempt', 'Limited']),
  status: true,
  initialStatus: () => ({}),
  columns: [
    text('Type', ({ spec }) => spec?.type ?? ''),
    text('NominalConcurrencyShares', ({ spec }) => String(spec?.limited?.nominalConcurrencyShares ?? '<none>')),
    text('Queues', ({ spec }) => String(spec?.limited?.limitResponse?.queuing?.queues ?? '<none>')),
    text('HandSize', ({ spec }) => String(spec?.limited?.limitResponse?.queuing?.handSize ?? '<none>')),
    text('QueueLengthLimit', ({ spec }) => String(spec?.limited?.limitResponse?.queuing?.queueLengthLimit ?? '<none>')),
  ],
});
