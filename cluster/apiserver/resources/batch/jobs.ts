// SPDX-License-Identifier: Apache-2.0
// Jobs: run pods until enough of them have succeeded.
import type { Job, JobSpec } from '../../../machinery/api-types.ts';
import { defaultTemplate } from '../defaults/templates.ts';
import { define } from '../define.ts';
import { containerColumns, selectorText, text, wide } from '../printing/columns.ts';
import { humanDuration, since } from '../printing/durations.ts';
import { immutable, same } from '../validation/fields.ts';
import { validateJobSpec } from './job-rules.ts';

const unlimited = 2 ** 31 - 1;

export const jobs = define<Job>({
  group: 'batch',
  plural: 'jobs',
  kind: 'Job',
  namespaced: true,
  categories: ['all'],
  default({ spec }) {
    if (spec === undefined) {
      return;
    }
    if (spec.completions === undefined && spec.parallelism === undefined) {
      spec.completions = 1;
    }
    spec.parallelism ??= 1;
    spec.backoffLimit ??= spec.backoffLimitPerIndex === undefined ? 6 : unlimited;
    if (spec.backoffLimitPerIndex !== undefined) {
      spec.maxFailedIndexes ??= spec.completions ?? unlimited;
    }
    spec.completionMode ??= 'NonIndexed';
    spec.suspend ??= false;
    spec.podReplacementPolicy ??= spec.podFailurePolicy === undefined ? 'TerminatingOrFailed' : 'Failed';
    defaultTemplate(spec.template);
  },
  prepareForCreate: generateSelector,
  validate: ({ spec }, context) => validateJobSpec(spec, 'spec', { manual: spec?.manualSelector === true, context }),
  validateUpdate: (job, old) => validateUpdate(job.spec, old.spec),
  status: true,
  initialStatus: () => ({}),
  selectableFields: ({ status }) => ({ 'status.successful': String(status?.succeeded ?? 0) }),
  columns: [text('Status', statusText), text('Completions', completions), text('Duration', duration)],
  wideColumns: [
    ...containerColumns<Job>(({ spec }) => spec?.template?.spec?.containers),
    wide(text('Selector', ({ spec }) => selectorText(spec?.selector))),
  ],
});

/** Pods of one job are told apart by its uid, unless somebody has chosen a selector by hand. */
function generateSelector(job: Job): void {
  const { spec, metadata } = job;
  if (spec === undefined || spec.manualSelector === true || spec.template === undefined) {
    return;
  }
  const uid = metadata.uid ?? '';
  const name = metadata.name ?? '';
  spec.template.metadata ??= {};
  spec.template.metadata.labels = {
    ...spec.template.metadata.labels,
    'batch.kubernetes.io/controller-uid': uid,
    'batch.kubernetes.io/job-name': name,
    'controller-uid': uid,
    'job-name': name,
  };
  spec.selector ??= {};
  spec.selector.matchLabels = { ...spec.selector.matchLabels, 'batch.kubernetes.io/controller-uid': uid };
  if (Object.keys(metadata.labels ?? {}).length === 0) {
    metadata.labels = { ...spec.template.metadata.labels };
  }
}

function validateUpdate(spec: JobSpec | undefined, old: JobSpec | undefined) {
  const indexed = spec?.completionMode === 'Indexed';
  const mayScale = indexed && spec?.completions === spec?.parallelism;
  return [
    ...(mayScale ? [] : immutable('spec.completions', spec?.completions, old?.completions)),
    ...immutable('spec.selector', spec?.selector, old?.selector),
    ...(templateMayChange(spec, old) ? [] : immutable('spec.template', spec?.template, old?.template)),
    ...immutable('spec.completionMode', spec?.completionMode, old?.completionMode),
    ...immutable('spec.podFailurePolicy', spec?.podFailurePolicy, old?.podFailurePolicy),
    ...immutable('spec.backoffLimitPerIndex', spec?.backoffLimitPerIndex, old?.backoffLimitPerIndex),
    ...immutable('spec.managedBy', spec?.managedBy, old?.managedBy),
    ...immutable('spec.successPolicy', spec?.successPolicy, old?.successPolicy),
  ];
}

/** Where pods go may still change while the job is suspended. */
function templateMayChange(spec: JobSpec | undefined, old: JobSpec | undefined): boolean {
  if (old?.suspend !== true || spec?.template === undefined) {
    return false;
  }
  const strip = (template: JobSpec['template']): unknown => {
    const {
      nodeSelector: _n,
      affinity: _a,
      tolerations: _t,
      schedulingGates: _g,
      ...rest
    } = template.spec ?? {
      containers: [],
    };
    return { spec: rest };
  };
  return same(strip(spec.template), strip(old.template));
}

function hasCondition(job: Job, wanted: string): boolean {
  return job.status?.conditions?.some(({ type, status }) => type === wanted && status === 'True') === true;
}

function statusText(job: Job): string {
  if (hasCondition(job, 'Complete')) {
    return 'Complete';
  }
  if (hasCondition(job, 'Failed')) {
    return 'Failed';
  }
  if (job.metadata.deletionTimestamp !== undefined) {
    return 'Terminating';
  }
  return ['Suspended', 'FailureTarget', 'SuccessCriteriaMet'].find((type) => hasCondition(job, type)) ?? 'Running';
}

function completions({ spec, status }: Job): string {
  const succeeded = status?.succeeded ?? 0;
  if (spec?.completions !== undefined) {
    return `${succeeded}/${spec.completions}`;
  }
  const parallelism = spec?.parallelism ?? 0;
  return parallelism > 1 ? `${succeeded}/1 of ${parallelism}` : `${succeeded}/1`;
}

function duration({ status }: Job, now: number): string {
  if (status?.startTime === undefined) {
    return '';
  }
  return status.completionTime === undefined
    ? since(status.startTime, now)
    : humanDuration(Date.parse(status.completionTime) - Date.parse(status.startTime));
}
