// SPDX-License-Identifier: Apache-2.0
// Replica sets: keep a number of pods of one template running.
import type { ReplicaSet } from '../../../machinery/api-types.ts';
import { defaultTemplate } from '../defaults/templates.ts';
import { define } from '../define.ts';
import { containerColumns, integer, selectorText, text, wide } from '../printing/columns.ts';
import { immutable, nonNegative } from '../validation/fields.ts';
import { validatePodTemplate, validateRestartAlways } from '../validation/pod-spec.ts';
import { validateWorkloadSelector } from '../validation/selectors.ts';

export const replicaSets = define<ReplicaSet>({
  group: 'apps',
  plural: 'replicasets',
  kind: 'ReplicaSet',
  namespaced: true,
  shortNames: ['rs'],
  categories: ['all'],
  default({ spec }) {
    if (spec !== undefined) {
      spec.replicas ??= 1;
      defaultTemplate(spec.template);
    }
  },
  validate: ({ spec }) => [
    ...nonNegative('spec.replicas', spec?.replicas),
    ...nonNegative('spec.minReadySeconds', spec?.minReadySeconds),
    ...validateWorkloadSelector(spec?.selector, spec?.template?.metadata?.labels, { kind: 'replicaset' }),
    ...validatePodTemplate(spec?.template, 'spec.template'),
    ...validateRestartAlways(spec?.template, 'spec.template'),
  ],
  validateUpdate: (set, old) => immutable('spec.selector', set.spec?.selector, old.spec?.selector),
  status: true,
  initialStatus: () => ({ replicas: 0 }),
  scale: { specReplicas: '.spec.replicas', statusReplicas: '.status.replicas', selector: '.spec.selector' },
  selectableFields: ({ status }) => ({ 'status.replicas': String(status?.replicas ?? 0) }),
  columns: [
    integer('Desired', ({ spec }) => spec?.replicas),
    integer('Current', ({ status }) => status?.replicas),
    integer('Ready', ({ status }) => status?.readyReplicas),
  ],
  wideColumns: [
    ...containerColumns<ReplicaSet>(({ spec }) => spec?.template?.spec?.containers),
    wide(text('Selector', ({ spec }) => selectorText(spec?.selector))),
  ],
});
