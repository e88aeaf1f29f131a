// SPDX-License-Identifier: Apache-2.0
// Daemon sets: one pod on every node that fits.
import type { DaemonSet } from '../../../machinery/api-types.ts';
import { defaultTemplate } from '../defaults/templates.ts';
import { define } from '../define.ts';
import type { FieldError } from '../definition.ts';
import { containerColumns, integer, mapText, selectorText, text, wide } from '../printing/columns.ts';
import { immutable, nonNegative, oneOf, required } from '../validation/fields.ts';
import { validatePodTemplate, validateRestartAlways } from '../validation/pod-spec.ts';
import { validateRollingUpdate } from '../validation/rollouts.ts';
import { validateWorkloadSelector } from '../validation/selectors.ts';

export const daemonSets = define<DaemonSet>({
  group: 'apps',
  plural: 'daemonsets',
  kind: 'DaemonSet',
  namespaced: true,
  shortNames: ['ds'],
  categories: ['all'],
  default({ spec }) {
    if (spec === undefined) {
      return;
    }
    spec.updateStrategy ??= {};
    spec.updateStrategy.type ??= 'RollingUpdate';
    if (spec.updateStrategy.type === 'RollingUpdate') {
      spec.updateStrategy.rollingUpdate ??= {};
      spec.updateStrategy.rollingUpdate.maxUnavailable ??= 1;
      spec.updateStrategy.rollingUpdate.maxSurge ??= 0;
    }
    spec.revisionHistoryLimit ??= 10;
    defaultTemplate(spec.template);
  },
  validate,
  validateUpdate: (set, old) => immutable('spec.selector', set.spec?.selector, old.spec?.selector),
  status: true,
  initialStatus: () => ({
    currentNumberScheduled: 0,
    desiredNumberScheduled: 0,
    numberMisscheduled: 0,
    numberReady: 0,
  }),
  columns: [
    integer('Desired', ({ status }) => status?.desiredNumberScheduled),
    integer('Current', ({ status }) => status?.currentNumberScheduled),
    integer('Ready', ({ status }) => status?.numberReady),
    integer('Up-to-date', ({ status }) => status?.updatedNumberScheduled),
    integer('Available', ({ status }) => status?.numberAvailable),
    text('Node Selector', ({ spec }) => mapText(spec?.template?.spec?.nodeSelector)),
  ],
  wideColumns: [
    ...containerColumns<DaemonSet>(({ spec }) => spec?.template?.spec?.containers),
    wide(text('Selector', ({ spec }) => selectorText(spec?.selector))),
  ],
});

function validate({ spec }: DaemonSet): FieldError[] {
  if (spec === undefined) {
    return [required('spec.selector')];
  }
  const update = spec.updateStrategy?.rollingUpdate;
  return [
    ...validateWorkloadSelector(spec.selector, spec.template?.metadata?.labels, { kind: 'daemonset' }),
    ...validatePodTemplate(spec.template, 'spec.template'),
    ...validateRestartAlways(spec.template, 'spec.template'),
    ...oneOf('spec.updateStrategy.type', spec.updateStrategy?.type, ['OnDelete', 'RollingUpdate']),
    ...(update === undefined ? [] : validateRollingUpdate(update, 'spec.updateStrategy.rollingUpdate')),
    ...nonNegative('spec.minReadySeconds', spec.minReadySeconds),
    ...nonNegative('spec.revisionHistoryLimit', spec.revisionHistoryLimit),
  ];
}
