// SPDX-License-Identifier: Apache-2.0
// Deployments: roll a replica set of pods from one template to the next.
import type { Deployment } from '../../../machinery/api-types.ts';
import { defaultTemplate } from '../defaults/templates.ts';
import { define } from '../define.ts';
import type { FieldError } from '../definition.ts';
import { containerColumns, integer, selectorText, text, wide } from '../printing/columns.ts';
import { forbidden, immutable, invalid, nonNegative, oneOf, required } from '../validation/fields.ts';
import { validatePodTemplate, validateRestartAlways } from '../validation/pod-spec.ts';
import { validateRollingUpdate } from '../validation/rollouts.ts';
import { validateWorkloadSelector } from '../validation/selectors.ts';

export const deployments = define<Deployment>({
  group: 'apps',
  plural: 'deployments',
  kind: 'Deployment',
  namespaced: true,
  shortNames: ['deploy'],
  categories: ['all'],
  default({ spec }) {
    if (spec === undefined) {
      return;
    }
    spec.replicas ??= 1;
    spec.strategy ??= {};
    spec.strategy.type ??= 'RollingUpdate';
    if (spec.strategy.type === 'RollingUpdate') {
      spec.strategy.rollingUpdate ??= {};
      spec.strategy.rollingUpdate.maxUnavailable ??= '25%';
      spec.strategy.rollingUpdate.maxSurge ??= '25%';
    }
    spec.revisionHistoryLimit ??= 10;
    spec.progressDeadlineSeconds ??= 600;
    defaultTemplate(spec.template);
  },
  validate,
  validateUpdate: (deployment, old) => immutable('spec.selector', deployment.spec?.selector, old.spec?.selector),
  status: true,
  initialStatus: () => ({}),
  scale: { specReplicas: '.spec.replicas', statusReplicas: '.status.replicas', selector: '.spec.selector' },
  columns: [
    text(
      'Ready',
      ({ spec, status }) => `${status?.readyReplicas ?? 0}/${spec?.replicas ?? 0}`,
      'Number of the pod with ready state',
    ),
    integer('Up-to-date', ({ status }) => status?.updatedReplicas),
    integer('Available', ({ status }) => status?.availableReplicas),
  ],
  wideColumns: [
    ...containerColumns<Deployment>(({ spec }) => spec?.template?.spec?.containers),
    wide(text('Selector', ({ spec }) => selectorText(spec?.selector))),
  ],
});

function validate({ spec }: Deployment): FieldError[] {
  if (spec === undefined) {
    return [required('spec.selector')];
  }
  const errors = [
    ...nonNegative('spec.replicas', spec.replicas),
    ...validateWorkloadSelector(spec.selector, spec.template?.metadata?.labels, { kind: 'deployment' }),
    ...validatePodTemplate(spec.template, 'spec.template'),
    ...validateRestartAlways(spec.template, 'spec.template'),
    ...oneOf('spec.strategy.type', spec.strategy?.type, ['Recreate', 'RollingUpdate']),
    ...nonNegative('spec.minReadySeconds', spec.minReadySeconds),
    ...nonNegative('spec.revisionHistoryLimit', spec.revisionHistoryLimit),
    ...nonNegative('spec.progressDeadlineSeconds', spec.progressDeadlineSeconds),
  ];
  if (spec.strategy?.rollingUpdate !== undefined) {
    errors.push(
      ...(spec.strategy.type === 'Recreate'
        ? [forbidden('spec.strategy.rollingUpdate', "may not be specified when strategy `type` is 'Recreate'")]
        : validateRollingUpdate(spec.strategy.rollingUpdate, 'spec.strategy.rollingUpdate')),
    );
  }
  if (spec.progressDeadlineSeconds !== undefined && spec.progressDeadlineSeconds <= (spec.minReadySeconds ?? 0)) {
    errors.push(
      invalid('spec.progressDeadlineSeconds', spec.progressDeadlineSeconds, 'must be greater than minReadySeconds'),
    );
  }
  return errors;
}
