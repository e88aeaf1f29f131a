// SPDX-License-Identifier: Apache-2.0
// Starts Jobs on schedule and keeps their history short.
import type { CronJob, CronJobStatus, Job } from '../../machinery/api-types.ts';
import { isAlreadyExists, isNotFound } from '../../machinery/client.ts';
import { keyOf, splitKey } from '../../machinery/informer.ts';
import { describeError } from '../../machinery/log.ts';
import { resources } from '../../machinery/resources.ts';
import { WorkQueue } from '../../machinery/work-queue.ts';
import { sameJson } from '../canonical-json.ts';
import { timestamp } from '../conditions.ts';
import type { Controller, ControllerContext, Running } from '../controller.ts';
import { isJobFinished } from '../job/plan.ts';
import { controllerOf, ownerReferenceTo } from '../ownership.ts';
import { expiredJobs, planCronJob } from './plan.ts';
import { parseSchedule } from './schedule.ts';
import type { Schedule } from './schedule.ts';

export const cronJobController: Controller = {
  name: 'cronjob-controller',
  serviceAccount: 'cronjob-controller',
  setup,
};

function setup({ client, informers, now, recorder }: ControllerContext): Running {
  const cronJobs = informers.get<CronJob>(resources.cronJobs);
  const jobs = informers.ownedBy<Job>(resources.jobs);
  const events = recorder('cronjob-controller');
  const queue = new WorkQueue({ name: 'cronjob-controller', reconcile });
  cronJobs.onChange(({ object }) => queue.add(keyOf(object)));
  jobs.onChange(({ object }) => {
    const owner = controllerOf(object);
    if (owner?.kind === 'CronJob') queue.add(`${object.metadata.namespace}/${owner.name}`);
  });

  async function reconcile(key: string): Promise<void | { requeueAfterMs: number }> {
    const { name, namespace } = splitKey(key);
    const cronJob = cronJobs.get(name, namespace);
    if (!cronJob || cronJob.metadata.deletionTimestamp) return;
    const owned = jobs.byIndex('controller', cronJob.metadata.uid ?? '');
    for (const job of expiredJobs(cronJob, owned)) await removeJob(cronJob, job);
    let status = observe(cronJob, owned);
    let schedule: Schedule;
    try {
      schedule = parseSchedule(cronJob.spec?.schedule ?? '', cronJob.spec?.timeZone);
    } catch (error) {
      events.event(cronJob, 'Warning', 'UnparseableSchedule', `unparseable schedule: ${describeError(error)}`);
      return;
    }
    const active = owned.filter((job) => !isJobFinished(job));
    const plan = planCronJob(cronJob, schedule, { active, now: now() });
    if (plan.tooMany)
      events.event(
        cronJob,
        'Warning',
        'TooManyMissedTimes',
        'too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew',
      );
    if (plan.skipped === 'missed')
      events.event(cronJob, 'Warning', 'MissSchedule', 'Missed scheduled time to start a job');
    if (plan.skipped === 'active')
      events.event(
        cronJob,
        'Normal',
        'JobAlreadyActive',
        'Not starting job because prior execution is running and concurrency policy is Forbid',
      );
    for (const job of plan.replace) await removeJob(cronJob, job);
    if (plan.start !== undefined) {
      const job = await startJob(cronJob, plan.start);
      const reference = {
        kind: 'Job',
        apiVersion: 'batch/v1',
        name: job.metadata.name ?? '',
        namespace: job.metadata.namespace ?? '',
        uid: job.metadata.uid ?? '',
        resourceVersion: job.metadata.resourceVersion ?? '',
      };
      const kept = (status.active ?? []).filter(
        ({ uid }) => uid !== reference.uid && !plan.replace.some((one) => one.metadata.uid === uid),
      );
      status = { ...status, active: [...kept, reference], lastScheduleTime: timestamp(plan.start) };
    }
    if (!sameJson(status, cronJob.status ?? {})) {
      await client.update(resources.cronJobs, { ...cronJob, status }, { subresource: 'status' }).catch(ignoreGone);
    }
    if (plan.nextMs !== undefined) return { requeueAfterMs: plan.nextMs };
  }

  /** Brings the list of active Jobs up to date and tells of those that ended. */
  function observe(cronJob: CronJob, owned: readonly Job[]): CronJobStatus {
    const byUid = new Map(owned.map((job) => [job.metadata.uid ?? '', job]));
    let { lastSuccessfulTime } = cronJob.status ?? {};
    const active = (cronJob.status?.active ?? []).filter(({ uid = '', name }) => {
      const job = byUid.get(uid);
      if (!job) {
        events.event(cronJob, 'Normal', 'MissingJob', `Active job went missing: ${name}`);
        return false;
      }
      const ending = isJobFinished(job);
      if (ending)
        events.event(cronJob, 'Normal', 'SawCompletedJob', `Saw completed job: ${name}, condition: ${ending}`);
      return !ending;
    });
    for (const job of owned) {
      const { completionTime } = job.status ?? {};
      if (isJobFinished(job) === 'Complete' && completionTime && completionTime > (lastSuccessfulTime ?? ''))
        lastSuccessfulTime = completionTime;
    }
    const { active: _, ...old } = cronJob.status ?? {};
    return { ...old, ...(active.length > 0 && { active }), ...(lastSuccessfulTime && { lastSuccessfulTime }) };
  }

  /** The name comes from the scheduled minute, so that one moment never starts two Jobs. */
  async function startJob(cronJob: CronJob, at: number): Promise<Job> {
    const template = cronJob.spec?.jobTemplate;
    const name = `${cronJob.metadata.name}-${Math.floor(at / 60_000)}`;
    const namespace = cronJob.metadata.namespace ?? '';
    const wanted = {
      metadata: {
        name,
        namespace,
        labels: { ...template?.metadata?.labels },
        annotations: {
          ...template?.metadata?.annotations,
          'batch.kubernetes.io/cronjob-scheduled-timestamp': timestamp(at),
        },
        ownerReferences: [ownerReferenceTo(cronJob, resources.cronJobs)],
      },
      spec: template?.spec,
    };
    try {
      const job = await client.create<Job>(resources.jobs, wanted);
      events.event(cronJob, 'Normal', 'SuccessfulCreate', `Created job ${name}`);
      return job;
    } catch (error) {
      if (isAlreadyExists(error)) return client.get<Job>(resources.jobs, name, namespace);
      events.event(cronJob, 'Warning', 'FailedCreate', `Error creating job: ${describeError(error)}`);
      throw error;
    }
  }

  async function removeJob(cronJob: CronJob, job: Job): Promise<void> {
    const { name = '', namespace, uid } = job.metadata;
    await client.delete(resources.jobs, name, { namespace, uid, propagationPolicy: 'Background' }).catch(ignoreGone);
    events.event(cronJob, 'Normal', 'SuccessfulDelete', `Deleted job ${name}`);
  }

  return { queues: [queue] };
}

function ignoreGone(error: unknown): void {
  if (!isNotFound(error)) throw error;
}
