// SPDX-License-Identifier: Apache-2.0
// When a CronJob is due, and what its concurrency policy makes of that.
import type { CronJob, Job } from '../../machinery/api-types.ts';
import { isJobFinished } from '../job/plan.ts';
import type { Schedule } from './schedule.ts';

export interface CronPlan {
  /** The moment to start a Job for. */
  readonly start: number | undefined;
  /** Running Jobs to replace before that. */
  readonly replace: readonly Job[];
  readonly skipped: 'missed' | 'active' | undefined;
  /** True when so many starts were missed that they cannot be told one by one. */
  readonly tooMany: boolean;
  readonly nextMs: number | undefined;
}

const tooManyMissed = 100;

export function planCronJob(
  cronJob: CronJob,
  schedule: Schedule,
  options: { active: readonly Job[]; now: number },
): CronPlan {
  const { active, now } = options;
  const nextAt = schedule.next(now);
  const nextMs = nextAt === undefined ? undefined : nextAt - now + 100;
  const idle: CronPlan = { start: undefined, replace: [], skipped: undefined, tooMany: false, nextMs };
  if (cronJob.spec?.suspend) return idle;
  const { due, missed } = lastDue(cronJob, schedule, now);
  if (due === undefined) return idle;
  const deadline = cronJob.spec?.startingDeadlineSeconds;
  const tooMany = missed > tooManyMissed;
  if (deadline !== undefined && due + deadline * 1000 < now) return { ...idle, skipped: 'missed', tooMany };
  if (active.length > 0 && cronJob.spec?.concurrencyPolicy === 'Forbid') return { ...idle, skipped: 'active', tooMany };
  const replace = cronJob.spec?.concurrencyPolicy === 'Replace' ? active : [];
  return { ...idle, start: due, replace, tooMany };
}

/** The most recent moment at which the schedule fired since the last start. */
function lastDue(cronJob: CronJob, schedule: Schedule, now: number): { due: number | undefined; missed: number } {
  const { startingDeadlineSeconds: deadline } = cronJob.spec ?? {};
  let since = Date.parse(cronJob.status?.lastScheduleTime ?? cronJob.metadata.creationTimestamp ?? '');
  if (Number.isNaN(since)) since = now;
  if (deadline !== undefined) since = Math.max(since, now - deadline * 1000);
  let due: number | undefined;
  let missed = 0;
  let at = schedule.next(since);
  if (at === undefined || at > now) return { due, missed };
  // A long sleep is not walked through minute by minute: far from now, only the number matters.
  const second = schedule.next(at);
  const period = second === undefined ? Infinity : second - at;
  const skipTo = now - period * (tooManyMissed + 1);
  if (at < skipTo) {
    missed = Math.floor((skipTo - at) / period);
    at = schedule.next(skipTo) ?? at;
  }
  while (at !== undefined && at <= now) {
    due = at;
    missed++;
    at = schedule.next(at);
  }
  return { due, missed };
}

/** Finished Jobs beyond the history limits, oldest first. */
export function expiredJobs(cronJob: CronJob, jobs: readonly Job[]): Job[] {
  const { successfulJobsHistoryLimit = 3, failedJobsHistoryLimit = 1 } = cronJob.spec ?? {};
  const begun = ({ metadata, status }: Job): string =>
    `${status?.startTime ?? metadata.creationTimestamp} ${metadata.name}`;
  const surplus = (ending: 'Complete' | 'Failed', limit: number): Job[] => {
    const ended = jobs
      .filter((job) => isJobFinished(job) === ending)
      .toSorted((a, b) => (begun(a) < begun(b) ? -1 : 1));
    return ended.slice(0, Math.max(0, ended.length - limit));
  };
  return [...surplus('Complete', successfulJobsHistoryLimit), ...surplus('Failed', failedJobsHistoryLimit)];
}
