// SPDX-License-Identifier: Apache-2.0
// Flow schemas: which requests count towards which priority level. Stored; the server does not queue by them.
import type { FlowSchema } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import { ageColumn, integer, nameColumn, text } from '../printing/columns.ts';
import { required } from '../validation/fields.ts';

export const flowSchemas = define<FlowSchema>({
  group: 'flowcontrol.apiserver.k8s.io',
  plural: 'flowschemas',
  kind: 'FlowSchema',
  namespaced: false,
  default({ spec }) {
    if (spec !== undefined) {
      spec.matchingPrecedence ??= 1000;
    }
  },
  validate: ({ spec }) =>
    (spec?.priorityLevelConfiguration?.name ?? '') === '' ? [required('spec.priorityLevelConfiguration.name')] : [],
  status: true,
  initialStatus: () => ({}),
  allColumns: [
    nameColumn(),
    text('PriorityLevel', ({ spec }) => spec?.priorityLevelConfiguration.name ?? ''),
    integer('MatchingPrecedence', ({ spec }) => spec?.matchingPrecedence),
    text('DistinguisherMethod', ({ spec }) => spec?.distinguisherMethod?.type ?? '<none>'),
    ageColumn(),
    text('MissingPL', ({ status }) => status?.conditions?.find(({ type }) => type === 'Dangling')?.status ?? '?'),
  ],
});
