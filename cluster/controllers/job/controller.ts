// SPDX-License-Identifier: Apache-2.0
// Runs Jobs to their end: creates and counts pods, backs off after failures, and ends with Complete or Failed.
import type { Job, JobCondition, JobStatus, Pod } from '../../machinery/api-types.ts';
import { isNotFound } from '../../machinery/client.ts';
import { keyOf, splitKey } from '../../machinery/informer.ts';
import { resources } from '../../machinery/resources.ts';
import { matchesLabelSelector } from '../../machinery/selectors.ts';
import { WorkQueue } from '../../machinery/work-queue.ts';
import { sameJson } from '../canonical-json.ts';
import { findCondition, setCondition, timestamp } from '../conditions.ts';
import type { Controller, ControllerContext, Running } from '../controller.ts';
import { Expectations } from '../expectations.ts';
import { claim, controllerOf } from '../ownership.ts';
import { PodControl, podFromTemplate, slowStart } from '../pod-control.ts';
import { failureCountAnnotation, indexAnnotation, isJobFinished, planJob, trackingFinalizer } from './plan.ts';
import type { JobPlan } from './plan.ts';

export const jobController: Controller = { name: 'job-controller', serviceAccount: 'job-controller', setup };

const backoffBaseMs = 10_000;
const backoffMaxMs = 600_000;

function setup(context: ControllerContext): Running {
  const { client, informers, now } = context;
  const jobs = informers.get<Job>(resources.jobs);
  const pods = informers.ownedBy<Pod>(resources.pods);
  const events = context.recorder('job-controller');
  const control = new PodControl(client, events);
  const expectations = new Expectations();
  const backoff = new Map<string, { failures: number; since: number }>();
  const queue = new WorkQueue({ name: 'job-controller', reconcile });
  const orphans = new WorkQueue({ name: 'job-orphan-pods', reconcile: releaseOrphan });

  jobs.onChange(({ type, object }) => {
    const key = keyOf(object);
    if (type === 'deleted') {
      expectations.forget(key);
      backoff.delete(key);
      for (const pod of pods.byIndex('controller', object.metadata.uid ?? '')) orphans.add(keyOf(pod));
    }
    queue.add(key);
  });
  pods.onChange(({ type, object, old }) => {
    const owner = controllerOf(object);
    const before = old && controllerOf(old);
    if (before?.kind === 'Job' && before.uid !== owner?.uid) queue.add(`${object.metadata.namespace}/${before.name}`);
    if (owner?.kind !== 'Job') {
      if (type === 'deleted') return;
      for (const adopter of adoptersOf(object)) queue.add(keyOf(adopter));
      if (object.metadata.finalizers?.includes(trackingFinalizer)) orphans.add(keyOf(object));
      return;
    }
    const key = `${object.metadata.namespace}/${owner.name}`;
    if (type === 'added') expectations.created(key);
    if (type === 'deleted' || object.metadata.deletionTimestamp) expectations.deleted(key, object.metadata.uid ?? '');
    if (
      type !== 'deleted' &&
      jobs.synced &&
      jobs.get(owner.name, object.metadata.namespace)?.metadata.uid !== owner.uid
    )
      orphans.add(keyOf(object));
    queue.add(key);
  });

  /** Jobs that will take the pod, which has no controller. */
  function adoptersOf(pod: Pod): Job[] {
    if (controllerOf(pod)) return [];
    return jobs
      .list(pod.metadata.namespace)
      .filter(
        (job) => !job.metadata.deletionTimestamp && matchesLabelSelector(job.spec?.selector, pod.metadata.labels),
      );
  }

  /** A pod whose Job is gone would otherwise never go itself. */
  async function releaseOrphan(key: string): Promise<void> {
    const { name, namespace } = splitKey(key);
    const pod = pods.get(name, namespace);
    if (!pod?.metadata.finalizers?.includes(trackingFinalizer)) return;
    const owner = controllerOf(pod);
    if (owner?.kind === 'Job' && jobs.get(owner.name, namespace)?.metadata.uid === owner.uid) return;
    if (adoptersOf(pod).length > 0) return;
    await release(pod);
  }

  async function release(pod: Pod): Promise<void> {
    const { name = '', namespace, uid, resourceVersion } = pod.metadata;
    const finalizers = (pod.metadata.finalizers ?? []).filter((finalizer) => finalizer !== trackingFinalizer);
    try {
      const body = { metadata: { uid, resourceVersion, finalizers } };
      await client.patch(resources.pods, name, { namespace, type: 'merge', body });
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  async function reconcile(key: string): Promise<void | { requeueAfterMs: number }> {
    const { name, namespace } = splitKey(key);
    const job = jobs.get(name, namespace);
    if (!job || (job.spec?.managedBy && job.spec.managedBy !== 'kubernetes.io/job-controller')) return;
    const owned = await claim({
      client,
      owner: job,
      ownerResource: resources.jobs,
      resource: resources.pods,
      selector: job.spec?.selector,
      candidates: pods.list(namespace),
      finalizer: trackingFinalizer,
    });
    if (isJobFinished(job)) {
      await Promise.all(owned.filter(({ metadata }) => metadata.finalizers?.includes(trackingFinalizer)).map(release));
      return;
    }
    const settled = expectations.satisfied(key);
    const plan = planJob({ job, pods: owned, now: now() });
    noteOutcome(key, plan);
    const status = withConditions(job, plan);
    const stored = await writeStatus(job, status);
    // Only what is written down may be let go: a crash in between loses no count.
    await Promise.all(plan.release.map(release));
    if (isJobFinished(stored)) {
      backoff.delete(key);
      return;
    }
    if (settled && !job.metadata.deletionTimestamp) await managePods(key, stored, plan);
    return { requeueAfterMs: nextLook(key, stored, plan) };
  }

  function noteOutcome(key: string, plan: JobPlan): void {
    if (plan.newSuccesses > 0) backoff.delete(key);
    if (plan.newFailures === 0) return;
    const known = backoff.get(key) ?? { failures: 0, since: 0 };
    backoff.set(key, { failures: known.failures + plan.newFailures, since: now() });
  }

  function backoffLeft(key: string): number {
    const known = backoff.get(key);
    if (!known) return 0;
    return Math.max(0, known.since + Math.min(backoffBaseMs * 2 ** (known.failures - 1), backoffMaxMs) - now());
  }

  function nextLook(key: string, job: Job, plan: JobPlan): number {
    const { activeDeadlineSeconds } = job.spec ?? {};
    const started = Date.parse(job.status?.startTime ?? '');
    const deadline =
      activeDeadlineSeconds === undefined || Number.isNaN(started)
        ? Infinity
        : started + activeDeadlineSeconds * 1000 - now();
    const wait = plan.create > 0 ? backoffLeft(key) : 0;
    return Math.max(10, Math.min(deadline, wait > 0 ? wait : Infinity, 600_000));
  }

  async function managePods(key: string, job: Job, plan: JobPlan): Promise<void> {
    const owner = { object: job, resource: resources.jobs };
    const create = backoffLeft(key) > 0 ? 0 : Math.min(plan.create, 500);
    if (create === 0 && plan.remove.length === 0) return;
    expectations.expect(
      key,
      create,
      plan.remove.map(({ metadata }) => metadata.uid ?? ''),
    );
    for (const pod of plan.remove) {
      try {
        await control.delete(owner, pod);
      } catch (error) {
        expectations.deleted(key, pod.metadata.uid ?? '');
        throw error;
      }
    }
    const { succeeded, error } = await slowStart(create, (number) =>
      control.create(owner, podOf(job, plan.indexes[number])),
    );
    expectations.created(key, create - succeeded);
    if (error) throw error;
  }

  async function writeStatus(job: Job, status: JobStatus): Promise<Job> {
    if (sameJson(status, job.status)) return job;
    const stored = await client.update<Job>(resources.jobs, { ...job, status }, { subresource: 'status' });
    tellOf(job, status);
    return stored;
  }

  function tellOf(job: Job, status: JobStatus): void {
    for (const { type, reason = '', message = '', status: value } of status.conditions ?? []) {
      if (value !== 'True' || findCondition(job.status?.conditions, type)?.status === 'True') continue;
      if (type === 'Complete') events.event(job, 'Normal', 'Completed', 'Job completed');
      if (type === 'Failed') events.event(job, 'Warning', reason, message);
      if (type === 'Suspended') events.event(job, 'Normal', 'Suspended', 'Job suspended');
    }
  }

  /** The plan's counters together with the conditions that follow from it. */
  function withConditions(job: Job, plan: JobPlan): JobStatus {
    const { status, ending } = plan;
    const at = now();
    let conditions: JobCondition[] = job.status?.conditions ?? [];
    const say = (type: string, value: 'True' | 'False', reason: string, message: string): void => {
      conditions = setCondition(conditions, { type, status: value, reason, message, lastProbeTime: timestamp(at) }, at);
    };
    if (!status.startTime && !job.spec?.suspend) status.startTime = timestamp(at);
    if (ending) {
      const target = ending.type === 'Failed' ? 'FailureTarget' : 'SuccessCriteriaMet';
      say(target, 'True', ending.reason, ending.message);
      const uncounted = status.uncountedTerminatedPods;
      const counted = !uncounted?.succeeded && !uncounted?.failed && plan.release.length === 0;
      if (plan.active.length === 0 && plan.terminating === 0 && counted) {
        say(ending.type, 'True', ending.reason, ending.message);
        if (ending.type === 'Complete') status.completionTime = timestamp(at);
        status.ready = 0;
      }
    } else if (job.spec?.suspend) {
      say('Suspended', 'True', 'JobSuspended', 'Job suspended');
      delete status.startTime;
    } else if (findCondition(conditions, 'Suspended')?.status === 'True') {
      say('Suspended', 'False', 'JobResumed', 'Job resumed');
      status.startTime = timestamp(at);
      events.event(job, 'Normal', 'Resumed', 'Job resumed');
    }
    for (const key of ['active', 'succeeded', 'failed'] as const) if (status[key] === 0) delete status[key];
    return { ...status, ...(conditions.length > 0 && { conditions }) };
  }

  function podOf(job: Job, slot: { index: number; failures: number } | undefined): Pod {
    const name = job.metadata.name ?? '';
    const pod = podFromTemplate(job.spec?.template ?? {}, { object: job, resource: resources.jobs });
    pod.metadata.finalizers = [
      ...(pod.metadata.finalizers ?? []).filter((one) => one !== trackingFinalizer),
      trackingFinalizer,
    ];
    if (!slot) return pod;
    const index = String(slot.index);
    pod.metadata.generateName = `${name}-${index}-`;
    pod.metadata.annotations = { ...pod.metadata.annotations, [indexAnnotation]: index };
    if (job.spec?.backoffLimitPerIndex !== undefined)
      pod.metadata.annotations[failureCountAnnotation] = String(slot.failures);
    pod.metadata.labels = { ...pod.metadata.labels, [indexAnnotation]: index };
    if (!pod.spec) return pod;
    pod.spec.hostname ??= `${name}-${index}`;
    const variable = {
      name: 'JOB_COMPLETION_INDEX',
      valueFrom: { fieldRef: { fieldPath: `metadata.labels['${indexAnnotation}']` } },
    };
    for (const container of [...pod.spec.containers, ...(pod.spec.initContainers ?? [])]) {
      if (!container.env?.some((one) => one.name === variable.name))
        container.env = [...(container.env ?? []), variable];
    }
    return pod;
  }

  return { queues: [queue, orphans] };
}
