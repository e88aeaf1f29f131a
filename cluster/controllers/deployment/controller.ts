// SPDX-License-Identifier: Apache-2.0
// Carries out a Deployment's plan one step at a time; every change of one of its sets leads to the next step.
import type { Deployment, DeploymentStatus, Pod, ReplicaSet } from '../../machinery/api-types.ts';
import { isAlreadyExists, isNotFound } from '../../machinery/client.ts';
import { keyOf, splitKey } from '../../machinery/informer.ts';
import { describeError } from '../../machinery/log.ts';
import { resources } from '../../machinery/resources.ts';
import { matchesLabelSelector } from '../../machinery/selectors.ts';
import { WorkQueue } from '../../machinery/work-queue.ts';
import { sameJson } from '../canonical-json.ts';
import type { Controller, ControllerContext, Running } from '../controller.ts';
import { claim, controllerOf } from '../ownership.ts';
import { planRollout } from './plan.ts';
import type { Plan } from './plan.ts';
import { revisionAnnotation, sameTemplate, sizeOf } from './replica-sets.ts';
import { deadlineInMs, deploymentStatus } from './status.ts';

export const deploymentController: Controller = {
  name: 'deployment-controller',
  serviceAccount: 'deployment-controller',
  setup,
};

function setup(context: ControllerContext): Running {
  const { client, informers, now } = context;
  const deployments = informers.get<Deployment>(resources.deployments);
  const sets = informers.ownedBy<ReplicaSet>(resources.replicaSets);
  const pods = informers.ownedBy<Pod>(resources.pods);
  const events = context.recorder('deployment-controller');
  const queue = new WorkQueue({ name: 'deployment-controller', reconcile });

  deployments.onChange(({ object }) => queue.add(keyOf(object)));
  sets.onChange(({ type, object, old }) => {
    for (const set of old ? [object, old] : [object]) {
      const owner = controllerOf(set);
      if (owner?.kind === 'Deployment') queue.add(`${set.metadata.namespace}/${owner.name}`);
    }
    if (controllerOf(object) || type === 'deleted') return;
    for (const deployment of deployments.list(object.metadata.namespace)) {
      if (matchesLabelSelector(deployment.spec?.selector, object.metadata.labels)) queue.add(keyOf(deployment));
    }
  });
  pods.onChange(({ type, object }) => {
    // Recreate goes on when the last old pod is gone.
    const owner = type === 'deleted' ? controllerOf(object) : undefined;
    const set = owner?.kind === 'ReplicaSet' ? sets.get(owner.name, object.metadata.namespace) : undefined;
    const deployment = set && controllerOf(set);
    if (deployment) queue.add(`${object.metadata.namespace}/${deployment.name}`);
  });

  async function reconcile(key: string): Promise<void | { requeueAfterMs: number }> {
    const { name, namespace } = splitKey(key);
    const deployment = deployments.get(name, namespace);
    if (!deployment) return;
    const owned = await claim({
      client,
      owner: deployment,
      ownerResource: resources.deployments,
      resource: resources.replicaSets,
      selector: deployment.spec?.selector,
      candidates: sets.list(namespace),
    });
    const plan = planRollout(deployment, owned, (set) => pods.byIndex('controller', set.metadata.uid ?? ''));
    const status = await carryOut(deployment, plan);
    const requeueAfterMs = deadlineInMs(deployment, status, now());
    if (requeueAfterMs !== undefined) return { requeueAfterMs };
  }

  async function carryOut(deployment: Deployment, plan: Plan): Promise<DeploymentStatus> {
    const marked = await markRevision(deployment, plan.revision);
    let created: ReplicaSet | undefined;
    if (plan.create) {
      try {
        created = await createSet(marked, plan.create);
      } catch (error) {
        const collided = isAlreadyExists(error);
        const collisionCount = (deployment.status?.collisionCount ?? 0) + 1;
        const report = collided ? { collisionCount } : { createError: describeError(error) };
        await writeStatus(
          marked,
          deploymentStatus({ deployment: marked, current: undefined, others: plan.others, now: now(), ...report }),
        );
        throw error;
      }
      scaled(
        deployment,
        `Scaled up replica set ${created.metadata.name} from 0 to ${sizeOf(created)}`,
        sizeOf(created) > 0,
      );
    }
    const latest = new Map<ReplicaSet, ReplicaSet>();
    if (plan.refresh) {
      const { set, annotations } = plan.refresh;
      latest.set(set, await writeSet(set, annotations, sizeOf(set), deployment.spec?.minReadySeconds ?? 0));
    }
    for (const { set, replicas, annotations } of plan.scale) {
      const before = latest.get(set) ?? set;
      const merged = { ...before.metadata.annotations, ...annotations };
      latest.set(set, await writeSet(before, merged, replicas));
      const direction = replicas > sizeOf(set) ? 'up' : 'down';
      scaled(
        deployment,
        `Scaled ${direction} replica set ${set.metadata.name} from ${sizeOf(set)} to ${replicas}`,
        replicas !== sizeOf(set),
      );
    }
    for (const set of plan.remove) {
      const { name = '', namespace, uid } = set.metadata;
      await client
        .delete(resources.replicaSets, name, { namespace, uid, propagationPolicy: 'Background' })
        .catch(ignoreGone);
    }
    const current = created ?? plan.current;
    const status = deploymentStatus({
      deployment: marked,
      current: current && (latest.get(current) ?? current),
      others: plan.others.map((set) => latest.get(set) ?? set),
      created: created?.metadata.name,
      now: now(),
    });
    await writeStatus(marked, status);
    return status;
  }

  function scaled(deployment: Deployment, message: string, changed: boolean): void {
    if (changed) events.event(deployment, 'Normal', 'ScalingReplicaSet', message);
  }

  async function markRevision(deployment: Deployment, revision: bigint | undefined): Promise<Deployment> {
    const { annotations } = deployment.metadata;
    if (revision === undefined || annotations?.[revisionAnnotation] === String(revision)) return deployment;
    const metadata = {
      ...deployment.metadata,
      annotations: { ...annotations, [revisionAnnotation]: String(revision) },
    };
    return client.update<Deployment>(resources.deployments, { ...deployment, metadata });
  }

  /** A set of that name which is ours and has our template was made by an earlier attempt. */
  async function createSet(deployment: Deployment, wanted: ReplicaSet): Promise<ReplicaSet> {
    try {
      return await client.create<ReplicaSet>(resources.replicaSets, wanted);
    } catch (error) {
      if (!isAlreadyExists(error)) throw error;
      const { name = '', namespace } = wanted.metadata;
      const existing = await client.get<ReplicaSet>(resources.replicaSets, name, namespace);
      const ours = controllerOf(existing)?.uid === deployment.metadata.uid;
      if (ours && sameTemplate(existing.spec?.template, deployment.spec?.template)) return existing;
      throw error;
    }
  }

  async function writeSet(
    set: ReplicaSet,
    annotations: Record<string, string>,
    replicas: number,
    minReadySeconds = set.spec?.minReadySeconds ?? 0,
  ): Promise<ReplicaSet> {
    return client.update<ReplicaSet>(resources.replicaSets, {
      ...set,
      metadata: { ...set.metadata, annotations },
      spec: { ...set.spec, replicas, minReadySeconds },
    });
  }

  async function writeStatus(deployment: Deployment, status: DeploymentStatus): Promise<void> {
    if (sameJson(status, deployment.status)) return;
    await client.update(resources.deployments, { ...deployment, status }, { subresource: 'status' }).catch(ignoreGone);
  }

  return { queues: [queue] };
}

function ignoreGone(error: unknown): void {
  if (!isNotFound(error)) throw error;
}
