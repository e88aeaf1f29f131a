// SPDX-License-Identifier: Apache-2.0
// Component statuses: deprecated, and always an empty list here.
import type { ComponentStatus } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import { nameColumn, text } from '../printing/columns.ts';

export const componentStatuses = define<ComponentStatus>({
  group: '',
  plural: 'componentstatuses',
  kind: 'ComponentStatus',
  namespaced: false,
  shortNames: ['cs'],
  verbs: ['get', 'list'],
  allColumns: [
    nameColumn(),
    text('Status', ({ conditions }) =>
      conditions?.some(({ status }) => status === 'True') === true ? 'Healthy' : 'Unhealthy',
    ),
    text('Message', ({ conditions }) => conditions?.[0]?.message ?? ''),
    text('Error', ({ conditions }) => conditions?.[0]?.error ?? ''),
  ],
});
