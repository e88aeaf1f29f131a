// SPDX-License-Identifier: Apache-2.0
// Cron jobs: make jobs on a schedule.
import type { CronJob } from '../../../machinery/api-types.ts';
import { defaultTemplate } from '../defaults/templates.ts';
import { define } from '../define.ts';
import type { FieldError } from '../definition.ts';
import { boolean, containerColumns, integer, orNone, selectorText, text, wide } from '../printing/columns.ts';
import { since } from '../printing/durations.ts';
import { invalid, nonNegative, oneOf, required } from '../validation/fields.ts';
import { validateJobSpec } from './job-rules.ts';
import { scheduleError } from './schedules.ts';

/** Jobs are named after their cron job with eleven characters more. */
const longestName = 52;

export const cronJobs = define<CronJob>({
  group: 'batch',
  plural: 'cronjobs',
  kind: 'CronJob',
  namespaced: true,
  shortNames: ['cj'],
  categories: ['all'],
  default({ spec }) {
    if (spec === undefined) {
      return;
    }
    spec.concurrencyPolicy ??= 'Allow';
    spec.suspend ??= false;
    spec.successfulJobsHistoryLimit ??= 3;
    spec.failedJobsHistoryLimit ??= 1;
    defaultTemplate(spec.jobTemplate?.spec?.template);
  },
  validate,
  status: true,
  initialStatus: () => ({}),
  columns: [
    text('Schedule', ({ spec }) => spec?.schedule ?? ''),
    text('Timezone', ({ spec }) => orNone(spec?.timeZone)),
    boolean('Suspend', ({ spec }) => spec?.suspend),
    integer('Active', ({ status }) => status?.active?.length),
    text('Last Schedule', ({ status }, now) =>
      status?.lastScheduleTime === undefined ? '<none>' : since(status.lastScheduleTime, now),
    ),
  ],
  wideColumns: [
    ...containerColumns<CronJob>(({ spec }) => spec?.jobTemplate?.spec?.template?.spec?.containers),
    wide(text('Selector', ({ spec }) => selectorText(spec?.jobTemplate?.spec?.selector))),
  ],
});

function validate({ metadata, spec }: CronJob): FieldError[] {
  if (spec === undefined) {
    return [required('spec.schedule')];
  }
  const errors = [
    ...oneOf('spec.concurrencyPolicy', spec.concurrencyPolicy, ['Allow', 'Forbid', 'Replace']),
    ...nonNegative('spec.startingDeadlineSeconds', spec.startingDeadlineSeconds),
    ...nonNegative('spec.successfulJobsHistoryLimit', spec.successfulJobsHistoryLimit),
    ...nonNegative('spec.failedJobsHistoryLimit', spec.failedJobsHistoryLimit),
    ...validateJobSpec(spec.jobTemplate?.spec, 'spec.jobTemplate.spec'),
    ...validateSchedule(spec.schedule ?? ''),
    ...validateTimeZone(spec.timeZone),
  ];
  if ((metadata.name ?? '').length > longestName) {
    errors.push(invalid('metadata.name', metadata.name, `must be no more than ${longestName} characters`));
  }
  return errors;
}

function validateSchedule(schedule: string): FieldError[] {
  if (schedule === '') {
    return [required('spec.schedule')];
  }
  if (schedule.includes('TZ')) {
    return [invalid('spec.schedule', schedule, 'cannot use TZ or CRON_TZ in schedule, use timeZone field instead')];
  }
  const wrong = scheduleError(schedule);
  return wrong === undefined ? [] : [invalid('spec.schedule', schedule, wrong)];
}

function validateTimeZone(zone: string | undefined): FieldError[] {
  if (zone === undefined) {
    return [];
  }
  if (zone === '') {
    return [invalid('spec.timeZone', zone, 'timeZone must be nil or non-empty string')];
  }
  if (zone.toLowerCase() === 'local') {
    return [
      invalid(
        'spec.timeZone',
        zone,
        'timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones',
      ),
    ];
  }
  try {
    Intl.DateTimeFormat('en', { timeZone: zone });
    return [];
  } catch {
    return [invalid('spec.timeZone', zone, `unknown time zone ${zone}`)];
  }
}
