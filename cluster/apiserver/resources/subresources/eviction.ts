// SPDX-License-Identifier: Apache-2.0
// Eviction: a delete that asks the pod's disruption budget first.
import type { Eviction, Pod, PodDisruptionBudget } from '../../../machinery/api-types.ts';
import { matchesLabelSelector } from '../../../machinery/selectors.ts';
import { badRequest, forbidden, internalError, isReason, tooManyRequests } from '../../status.ts';
import { typed } from '../define.ts';
import type { KubeObject, RequestContext, SubresourceDefinition } from '../definition.ts';
import { timestamp } from './timestamps.ts';

const budgets = 'poddisruptionbudgets.policy';
const mostDisruptedPods = 2000;
const retryAfterSeconds = 10;

export const evictionSubresource: SubresourceDefinition = {
  kind: 'Eviction',
  group: 'policy',
  version: 'v1',
  verbs: ['create'],
  async handle({ context, parent, body }) {
    const eviction = body as unknown as Eviction | undefined;
    const pod = parent as unknown as Pod;
    const named = eviction?.metadata?.name ?? '';
    if (named !== '' && named !== pod.metadata.name) {
      throw badRequest('name in URL does not match name in Eviction object');
    }
    const dryRun = context.dryRun || (eviction?.deleteOptions?.dryRun ?? []).includes('All');
    if (!ignoresBudget(pod)) {
      await askBudget(pod, context, dryRun);
    }
    if (!dryRun) {
      await evict(pod, eviction, context);
    }
    return { status: 201, object: { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', code: 201 } };
  },
};

/** Pods that do not run, or go already, count for no budget. */
function ignoresBudget(pod: Pod): boolean {
  const phase = pod.status?.phase;
  return (
    phase === 'Succeeded' || phase === 'Failed' || phase === 'Pending' || pod.metadata.deletionTimestamp !== undefined
  );
}

async function askBudget(pod: Pod, context: RequestContext, dryRun: boolean): Promise<void> {
  const all = typed<PodDisruptionBudget>(context.registry.list(budgets, pod.metadata.namespace));
  const [budget, second] = all.filter(({ spec }) => matchesLabelSelector(spec?.selector, pod.metadata.labels ?? {}));
  if (budget === undefined) {
    return;
  }
  if (second !== undefined) {
    throw internalError(
      'This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.',
    );
  }
  if (!isReady(pod) && letsUnhealthyGo(budget)) {
    return;
  }
  if (dryRun) {
    checkBudget(budget);
    return;
  }
  await context.registry.update(
    budgets,
    pod.metadata.namespace,
    budget.metadata.name ?? '',
    (stored) => takeDisruption(stored, pod.metadata.name ?? ''),
    { subresource: 'status' },
  );
}

function letsUnhealthyGo(budget: PodDisruptionBudget): boolean {
  const { currentHealthy = 0, desiredHealthy = 0 } = budget.status ?? {};
  return (
    budget.spec?.unhealthyPodEvictionPolicy === 'AlwaysAllow' ||
    (currentHealthy >= desiredHealthy && desiredHealthy > 0)
  );
}

/** Refuses unless the budget has a disruption left. */
function checkBudget(budget: PodDisruptionBudget): void {
  const name = budget.metadata.name ?? '';
  const status = budget.status ?? {};
  if ((status.observedGeneration ?? 0) < (budget.metadata.generation ?? 0)) {
    throw refusal(`The disruption budget ${name} is still being processed by the server.`);
  }
  if ((status.disruptionsAllowed ?? 0) < 0) {
    throw forbidden({ group: 'policy', plural: 'poddisruptionbudgets' }, name, 'pdb disruptions allowed is negative');
  }
  if (Object.keys(status.disruptedPods ?? {}).length > mostDisruptedPods) {
    throw forbidden(
      { group: 'policy', plural: 'poddisruptionbudgets' },
      name,
      'DisruptedPods map too big - too many evictions not confirmed by PDB controller',
    );
  }
  if ((status.disruptionsAllowed ?? 0) === 0) {
    const failed = status.conditions?.find(
      ({ type, reason }) => type === 'DisruptionAllowed' && reason === 'SyncFailed',
    );
    throw refusal(
      failed === undefined
        ? `The disruption budget ${name} needs ${status.desiredHealthy ?? 0} healthy pods and has ${status.currentHealthy ?? 0} currently`
        : `The disruption budget ${name} does not allow evicting pods currently because it failed sync: ${failed.message}`,
    );
  }
}

function takeDisruption(stored: KubeObject, podName: string): KubeObject {
  const budget = stored as unknown as PodDisruptionBudget;
  checkBudget(budget);
  const left = (budget.status?.disruptionsAllowed ?? 0) - 1;
  const now = timestamp();
  const conditions = budget.status?.conditions ?? [];
  budget.status = {
    ...budget.status,
    disruptionsAllowed: left,
    disruptedPods: { ...budget.status?.disruptedPods, [podName]: now },
    conditions:
      left > 0
        ? conditions
        : [
            ...conditions.filter(({ type }) => type !== 'DisruptionAllowed'),
            {
              type: 'DisruptionAllowed',
              status: 'False',
              reason: 'InsufficientPods',
              message: '',
              lastTransitionTime: now,
              ...(budget.status?.observedGeneration !== undefined && {
                observedGeneration: budget.status.observedGeneration,
              }),
            },
          ],
  };
  return stored;
}

/** Tells why on the pod itself, then deletes it. */
async function evict(pod: Pod, eviction: Eviction | undefined, context: RequestContext): Promise<void> {
  const { name = '', namespace } = pod.metadata;
  const options = eviction?.deleteOptions;
  const uid = options?.preconditions?.uid ?? pod.metadata.uid;
  if (!ignoresBudget(pod)) {
    try {
      await context.registry.update('pods', namespace, name, markDisrupted, { subresource: 'status' });
    } catch (error) {
      if (!isReason(error, 'NotFound')) {
        throw error;
      }
    }
  }
  await context.registry.delete('pods', namespace, name, {
    ...(uid !== undefined && { uid }),
    ...(options?.preconditions?.resourceVersion !== undefined && {
      resourceVersion: options.preconditions.resourceVersion,
    }),
    ...(options?.gracePeriodSeconds !== undefined && { gracePeriodSeconds: options.gracePeriodSeconds }),
    ...(options?.propagationPolicy !== undefined && { propagationPolicy: options.propagationPolicy }),
  });
}

function markDisrupted(stored: KubeObject): KubeObject {
  const pod = stored as unknown as Pod;
  pod.status = {
    ...pod.status,
    conditions: [
      ...(pod.status?.conditions ?? []).filter(({ type }) => type !== 'DisruptionTarget'),
      {
        type: 'DisruptionTarget',
        status: 'True',
        reason: 'EvictionByEvictionAPI',
        message: 'Eviction API: evicting',
        lastTransitionTime: timestamp(),
      },
    ],
  };
  return stored;
}

function refusal(message: string): Error {
  return tooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", retryAfterSeconds, [
    { reason: 'DisruptionBudget', message },
  ]);
}

function isReady(pod: Pod): boolean {
  return pod.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') === true;
}
