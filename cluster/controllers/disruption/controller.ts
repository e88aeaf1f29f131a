// SPDX-License-Identifier: Apache-2.0
// Keeps the status of PodDisruptionBudgets, which the eviction subresource goes by.
import type { Deployment, ObjectMeta, Pod, PodDisruptionBudget, ReplicaSet } from '../../machinery/api-types.ts';
import { isNotFound } from '../../machinery/client.ts';
import { keyOf, splitKey } from '../../machinery/informer.ts';
import { resources } from '../../machinery/resources.ts';
import { matchesLabelSelector } from '../../machinery/selectors.ts';
import { WorkQueue } from '../../machinery/work-queue.ts';
import { sameJson } from '../canonical-json.ts';
import type { Controller, ControllerContext, Running } from '../controller.ts';
import { controllerOf } from '../ownership.ts';
import { isFinished } from '../pod-state.ts';
import { budgetStatus } from './plan.ts';

export const disruptionController: Controller = {
  name: 'disruption-controller',
  serviceAccount: 'disruption-controller',
  setup,
};

interface Scalable {
  metadata: ObjectMeta;
  spec?: { replicas?: number };
}

function setup({ client, informers, now, recorder }: ControllerContext): Running {
  const budgets = informers.get<PodDisruptionBudget>(resources.podDisruptionBudgets);
  const pods = informers.get<Pod>(resources.pods);
  const replicaSets = informers.get<ReplicaSet>(resources.replicaSets);
  const deployments = informers.get<Deployment>(resources.deployments);
  const scalables = {
    ReplicaSet: replicaSets,
    StatefulSet: informers.get<Scalable>(resources.statefulSets),
    ReplicationController: informers.get<Scalable>(resources.replicationControllers),
  } as const;
  const events = recorder('controllermanager');
  const queue = new WorkQueue({ name: 'disruption', reconcile });
  budgets.onChange(({ object }) => queue.add(keyOf(object)));
  pods.onChange(({ object, old }) => {
    for (const budget of budgets.list(object.metadata.namespace)) {
      const selector = budget.spec?.selector;
      if (
        matchesLabelSelector(selector, object.metadata.labels) ||
        (old && matchesLabelSelector(selector, old.metadata.labels))
      )
        queue.add(keyOf(budget));
    }
  });
  for (const informer of [deployments, ...Object.values(scalables)]) {
    (informer as typeof scalables.StatefulSet).onChange(({ object, old }) => {
      if (old && old.spec?.replicas === object.spec?.replicas) return;
      for (const budget of budgets.list(object.metadata.namespace)) queue.add(keyOf(budget));
    });
  }

  /** What the owners of the pods want together. */
  function expectedScale(selected: readonly Pod[]): { expected: number } | { problem: string } {
    const owners = new Map<string, number>();
    for (const pod of selected) {
      const owner = controllerOf(pod);
      const { name, namespace } = pod.metadata;
      if (!owner) return { problem: `found no controllers for pod "${name}"` };
      const informer = scalables[owner.kind as keyof typeof scalables];
      const set = (informer as typeof scalables.StatefulSet | undefined)?.get(owner.name, namespace);
      if (!informer)
        return { problem: `${owner.kind}.${owner.apiVersion.split('/')[0]} does not implement the scale subresource` };
      if (!set || set.metadata.uid !== owner.uid) continue;
      const parent = controllerOf(set);
      const deployment = parent?.kind === 'Deployment' ? deployments.get(parent.name, namespace) : undefined;
      const scaled: Scalable = deployment && deployment.metadata.uid === parent?.uid ? deployment : set;
      owners.set(scaled.metadata.uid ?? '', scaled.spec?.replicas ?? 1);
    }
    return { expected: [...owners.values()].reduce((sum, replicas) => sum + replicas, 0) };
  }

  async function reconcile(key: string): Promise<void | { requeueAfterMs: number }> {
    const { name, namespace } = splitKey(key);
    const budget = budgets.get(name, namespace);
    if (!budget) return;
    const selected = pods
      .list(namespace)
      .filter((pod) => matchesLabelSelector(budget.spec?.selector, pod.metadata.labels));
    if (selected.length === 0) events.event(budget, 'Normal', 'NoPods', 'No matching pods found');
    const scale = expectedScale(selected.filter((pod) => !isFinished(pod)));
    const { status, recheckMs } = budgetStatus({ budget, pods: selected, scale, now: now() });
    if (!sameJson(status, budget.status)) {
      try {
        await client.update(resources.podDisruptionBudgets, { ...budget, status }, { subresource: 'status' });
      } catch (error) {
        if (!isNotFound(error)) throw error;
      }
    }
    if (recheckMs !== undefined) return { requeueAfterMs: recheckMs };
  }

  return { queues: [queue] };
}
