// SPDX-License-Identifier: Apache-2.0
// Deletes finished Jobs when their ttlSecondsAfterFinished has passed.
import type { Job } from '../../machinery/api-types.ts';
import { isNotFound } from '../../machinery/client.ts';
import { keyOf, splitKey } from '../../machinery/informer.ts';
import { resources } from '../../machinery/resources.ts';
import { WorkQueue } from '../../machinery/work-queue.ts';
import type { Controller, ControllerContext, Running } from '../controller.ts';

export const ttlAfterFinishedController: Controller = {
  name: 'ttl-after-finished-controller',
  serviceAccount: 'ttl-after-finished-controller',
  setup,
};

/** Milliseconds since the epoch at which the Job may go; undefined when it has no such time. */
export function expiryOf(job: Job): number | undefined {
  const ttl = job.spec?.ttlSecondsAfterFinished;
  if (ttl === undefined) return undefined;
  const ended = job.status?.conditions?.find(
    ({ type, status }) => (type === 'Complete' || type === 'Failed') && status === 'True',
  );
  const finishedAt = Date.parse(ended?.lastTransitionTime ?? '');
  return Number.isNaN(finishedAt) ? undefined : finishedAt + ttl * 1000;
}

function setup({ client, informers, now }: ControllerContext): Running {
  const jobs = informers.get<Job>(resources.jobs);
  const queue = new WorkQueue({ name: 'ttl-after-finished', reconcile });
  jobs.onChange(({ type, object }) => {
    if (type !== 'deleted' && expiryOf(object) !== undefined) queue.add(keyOf(object));
  });

  async function reconcile(key: string): Promise<void | { requeueAfterMs: number }> {
    const { name, namespace } = splitKey(key);
    const job = jobs.get(name, namespace);
    const expiry = job && expiryOf(job);
    if (!job || expiry === undefined || job.metadata.deletionTimestamp) return;
    if (expiry > now()) return { requeueAfterMs: expiry - now() };
    try {
      // The ttl may have been raised since the cache saw the Job.
      const live = await client.get<Job>(resources.jobs, name, namespace);
      const due = expiryOf(live);
      if (live.metadata.uid !== job.metadata.uid || due === undefined) return;
      if (due > now()) return { requeueAfterMs: due - now() };
      const { uid } = live.metadata;
      await client.delete(resources.jobs, name, { namespace, uid, propagationPolicy: 'Foreground' });
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  return { queues: [queue] };
}
