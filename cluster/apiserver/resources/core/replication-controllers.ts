// SPDX-License-Identifier: Apache-2.0
// Replication controllers: what replica sets were called before.
import type { ReplicationController } from '../../../machinery/api-types.ts';
import { defaultTemplate } from '../defaults/templates.ts';
import { define } from '../define.ts';
import { containerColumns, integer, mapText, text, wide } from '../printing/columns.ts';
import { nonNegative, required } from '../validation/fields.ts';
import { validatePodTemplate, validateRestartAlways } from '../validation/pod-spec.ts';
import { validateWorkloadSelector } from '../validation/selectors.ts';

export const replicationControllers = define<ReplicationController>({
  group: '',
  plural: 'replicationcontrollers',
  kind: 'ReplicationController',
  namespaced: true,
  shortNames: ['rc'],
  categories: ['all'],
  default(controller) {
    const { spec } = controller;
    if (spec === undefined) {
      return;
    }
    const labels = spec.template?.metadata?.labels;
    if (labels !== undefined) {
      if (Object.keys(spec.selector ?? {}).length === 0) {
        spec.selector = { ...labels };
      }
      if (Object.keys(controller.metadata.labels ?? {}).length === 0) {
        controller.metadata.labels = { ...labels };
      }
    }
    spec.replicas ??= 1;
    defaultTemplate(spec.template);
  },
  validate: ({ spec }) => [
    ...nonNegative('spec.replicas', spec?.replicas),
    ...nonNegative('spec.minReadySeconds', spec?.minReadySeconds),
    ...(Object.keys(spec?.selector ?? {}).length === 0
      ? [required('spec.selector')]
      : validateWorkloadSelector({ matchLabels: spec?.selector ?? {} }, spec?.template?.metadata?.labels, {
          kind: 'replicationcontroller',
        })),
    ...(spec?.template === undefined
      ? [required('spec.template')]
      : [
          ...validatePodTemplate(spec.template, 'spec.template'),
          ...validateRestartAlways(spec.template, 'spec.template'),
        ]),
  ],
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
    ...containerColumns<ReplicationController>(({ spec }) => spec?.template?.spec?.containers),
    wide(text('Selector', ({ spec }) => mapText(spec?.selector))),
  ],
});
