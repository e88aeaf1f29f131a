// SPDX-License-Identifier: Apache-2.0
// Stateful sets: pods with names, order and volumes of their own.
import type { StatefulSet, StatefulSetSpec } from '../../../machinery/api-types.ts';
import { defaultClaimTemplate, defaultTemplate } from '../defaults/templates.ts';
import { define } from '../define.ts';
import type { FieldError } from '../definition.ts';
import { containerColumns, text } from '../printing/columns.ts';
import { forbidden, invalid, nonNegative, oneOf, required, same } from '../validation/fields.ts';
import { dnsLabelName } from '../validation/names.ts';
import { validatePodTemplate, validateRestartAlways } from '../validation/pod-spec.ts';
import { validateIntOrPercent } from '../validation/rollouts.ts';
import { validateWorkloadSelector } from '../validation/selectors.ts';

const retention = ['Delete', 'Retain'];
const mutableFields = new Set([
  'replicas',
  'ordinals',
  'template',
  'updateStrategy',
  'revisionHistoryLimit',
  'persistentVolumeClaimRetentionPolicy',
  'minReadySeconds',
]);

export const statefulSets = define<StatefulSet>({
  group: 'apps',
  plural: 'statefulsets',
  kind: 'StatefulSet',
  namespaced: true,
  shortNames: ['sts'],
  categories: ['all'],
  nameRule: dnsLabelName,
  default({ spec }) {
    if (spec === undefined) {
      return;
    }
    spec.podManagementPolicy ??= 'OrderedReady';
    spec.updateStrategy ??= {};
    spec.updateStrategy.type ??= 'RollingUpdate';
    if (spec.updateStrategy.type === 'RollingUpdate') {
      spec.updateStrategy.rollingUpdate ??= {};
      spec.updateStrategy.rollingUpdate.partition ??= 0;
    }
    spec.persistentVolumeClaimRetentionPolicy ??= {};
    spec.persistentVolumeClaimRetentionPolicy.whenDeleted ??= 'Retain';
    spec.persistentVolumeClaimRetentionPolicy.whenScaled ??= 'Retain';
    spec.replicas ??= 1;
    spec.revisionHistoryLimit ??= 10;
    defaultTemplate(spec.template);
    spec.volumeClaimTemplates?.forEach(defaultClaimTemplate);
  },
  validate,
  validateUpdate,
  status: true,
  initialStatus: () => ({ replicas: 0, availableReplicas: 0 }),
  scale: { specReplicas: '.spec.replicas', statusReplicas: '.status.replicas', selector: '.spec.selector' },
  columns: [
    text(
      'Ready',
      ({ spec, status }) => `${status?.readyReplicas ?? 0}/${spec?.replicas ?? 0}`,
      'Number of the pod with ready state',
    ),
  ],
  wideColumns: containerColumns<StatefulSet>(({ spec }) => spec?.template?.spec?.containers),
});

function validate({ spec }: StatefulSet): FieldError[] {
  if (spec === undefined) {
    return [required('spec.selector')];
  }
  const policy = spec.persistentVolumeClaimRetentionPolicy;
  const partition = spec.updateStrategy?.rollingUpdate?.partition;
  const errors = [
    ...oneOf('spec.podManagementPolicy', spec.podManagementPolicy, ['OrderedReady', 'Parallel']),
    ...oneOf('spec.updateStrategy.type', spec.updateStrategy?.type, ['OnDelete', 'RollingUpdate']),
    ...nonNegative('spec.updateStrategy.rollingUpdate.partition', partition),
    ...validateIntOrPercent(
      spec.updateStrategy?.rollingUpdate?.maxUnavailable,
      'spec.updateStrategy.rollingUpdate.maxUnavailable',
    ),
    ...oneOf('spec.persistentVolumeClaimRetentionPolicy.whenDeleted', policy?.whenDeleted, retention),
    ...oneOf('spec.persistentVolumeClaimRetentionPolicy.whenScaled', policy?.whenScaled, retention),
    ...nonNegative('spec.replicas', spec.replicas),
    ...nonNegative('spec.minReadySeconds', spec.minReadySeconds),
    ...nonNegative('spec.revisionHistoryLimit', spec.revisionHistoryLimit),
    ...nonNegative('spec.ordinals.start', spec.ordinals?.start),
    ...validateWorkloadSelector(spec.selector, spec.template?.metadata?.labels, { kind: 'statefulset' }),
    ...validatePodTemplate(withClaimVolumes(spec), 'spec.template'),
    ...validateRestartAlways(spec.template, 'spec.template'),
  ];
  if (spec.updateStrategy?.type === 'OnDelete' && spec.updateStrategy.rollingUpdate !== undefined) {
    errors.push(
      invalid(
        'spec.updateStrategy.rollingUpdate',
        spec.updateStrategy.rollingUpdate,
        `only allowed for updateStrategy 'RollingUpdate'`,
      ),
    );
  }
  return errors;
}

/** The template as its pods will be: every claim template adds a volume of its name. */
function withClaimVolumes(spec: StatefulSetSpec): StatefulSetSpec['template'] {
  const claims = (spec.volumeClaimTemplates ?? []).map(({ metadata }) => metadata.name ?? '');
  if (claims.length === 0 || spec.template?.spec === undefined) {
    return spec.template;
  }
  const given = (spec.template.spec.volumes ?? []).filter(({ name }) => !claims.includes(name));
  const added = claims.map((name) => ({ name, persistentVolumeClaim: { claimName: name === '' ? 'unnamed' : name } }));
  return { ...spec.template, spec: { ...spec.template.spec, volumes: [...given, ...added] } };
}

function validateUpdate({ spec }: StatefulSet, { spec: old }: StatefulSet): FieldError[] {
  const before = (old ?? {}) as Record<string, unknown>;
  const now = (spec ?? {}) as Record<string, unknown>;
  const keys = new Set([...Object.keys(before), ...Object.keys(now)]);
  return [...keys].some((key) => !mutableFields.has(key) && !same(now[key], before[key]))
    ? [
        forbidden(
          'spec',
          "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        ),
      ]
    : [];
}
