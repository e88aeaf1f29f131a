// SPDX-License-Identifier: Apache-2.0
// Keeps the wanted number of pods of each ReplicaSet and, by the same rules, of each ReplicationController.
import type { LabelSelector, ObjectMeta, Pod, ReplicaSetStatus } from '../../machinery/api-types.ts';
import { isNotFound } from '../../machinery/client.ts';
import { keyOf, splitKey } from '../../machinery/informer.ts';
import { describeError } from '../../machinery/log.ts';
import { resources } from '../../machinery/resources.ts';
import type { Resource } from '../../machinery/resources.ts';
import { matchesLabelSelector } from '../../machinery/selectors.ts';
import { WorkQueue } from '../../machinery/work-queue.ts';
import { sameJson } from '../canonical-json.ts';
import type { Controller, ControllerContext, Running } from '../controller.ts';
import { Expectations } from '../expectations.ts';
import { claim, controllerOf } from '../ownership.ts';
import { PodControl, podFromTemplate, slowStart } from '../pod-control.ts';
import { isActive, isFinished, nextAvailability } from '../pod-state.ts';
import { podsToDelete } from './deletion-order.ts';
import { replicaSetStatus } from './status.ts';
import type { ReplicatedSpec } from './status.ts';

/** No more creations or deletions than this in one round, so that one large set does not starve the others. */
const burst = 500;

interface Replicated {
  kind?: string;
  apiVersion?: string;
  metadata: ObjectMeta;
  spec?: ReplicatedSpec & { selector?: unknown };
  status?: ReplicaSetStatus;
}

interface Variant {
  readonly name: string;
  readonly component: string;
  readonly resource: Resource;
  readonly selectorOf: (object: Replicated) => LabelSelector | undefined;
}

export const replicaSetController: Controller = variant({
  name: 'replicaset-controller',
  component: 'replicaset-controller',
  resource: resources.replicaSets,
  selectorOf: ({ spec }) => spec?.selector as LabelSelector | undefined,
});

export const replicationControllerController: Controller = variant({
  name: 'replicationcontroller-controller',
  component: 'replication-controller',
  resource: resources.replicationControllers,
  selectorOf: ({ spec }) => (spec?.selector ? { matchLabels: spec.selector as Record<string, string> } : undefined),
});

function variant(kind: Variant): Controller {
  return { name: kind.name, serviceAccount: kind.component, setup: (context) => setup(kind, context) };
}

function setup(kind: Variant, context: ControllerContext): Running {
  const { client, now } = context;
  const sets = context.informers.ownedBy<Replicated>(kind.resource);
  const pods = context.informers.ownedBy<Pod>(resources.pods);
  const control = new PodControl(client, context.recorder(kind.component));
  const expectations = new Expectations();
  const queue = new WorkQueue({ name: kind.name, reconcile });

  sets.onChange(({ type, object }) => {
    if (type === 'deleted') expectations.forget(keyOf(object));
    queue.add(keyOf(object));
  });
  pods.onChange(({ type, object, old }) => {
    const key = ownerKey(object);
    if (key && type === 'added') expectations.created(key);
    if (key && (type === 'deleted' || object.metadata.deletionTimestamp)) {
      expectations.deleted(key, object.metadata.uid ?? '');
    }
    if (key) queue.add(key);
    const before = old && ownerKey(old);
    if (before && before !== key) queue.add(before);
    if (!controllerOf(object) && type !== 'deleted') wakeAdopters(object);
  });

  function ownerKey(pod: Pod): string | undefined {
    const owner = controllerOf(pod);
    if (owner?.kind !== kind.resource.kind) return undefined;
    const set = sets.get(owner.name, pod.metadata.namespace);
    return set?.metadata.uid === owner.uid ? keyOf(set) : undefined;
  }

  function wakeAdopters(pod: Pod): void {
    for (const set of sets.list(pod.metadata.namespace)) {
      if (matchesLabelSelector(kind.selectorOf(set), pod.metadata.labels)) queue.add(keyOf(set));
    }
  }

  /** Pods of all sets of the same Deployment: their spread over nodes decides who goes first. */
  function relatedPods(set: Replicated): Pod[] {
    const owner = controllerOf(set);
    const siblings = owner ? sets.byIndex('controller', owner.uid) : [set];
    return siblings.flatMap(({ metadata }) => pods.byIndex('controller', metadata.uid ?? '')).filter(isActive);
  }

  async function reconcile(key: string): Promise<void | { requeueAfterMs: number }> {
    const { name, namespace } = splitKey(key);
    const set = sets.get(name, namespace);
    if (!set) return;
    const settled = expectations.satisfied(key);
    const claimed = await claim({
      client,
      owner: set,
      ownerResource: kind.resource,
      resource: resources.pods,
      selector: kind.selectorOf(set),
      candidates: pods.list(namespace).filter((pod) => !isFinished(pod)),
    });
    const failed = settled && !set.metadata.deletionTimestamp ? await manage(key, set, claimed) : undefined;
    await writeStatus(set, claimed, failed?.failure);
    if (failed) throw failed.error;
    const minReadySeconds = set.spec?.minReadySeconds ?? 0;
    const requeueAfterMs = minReadySeconds > 0 ? nextAvailability(claimed, minReadySeconds, now()) : undefined;
    if (requeueAfterMs !== undefined) return { requeueAfterMs };
  }

  async function manage(key: string, set: Replicated, claimed: readonly Pod[]): Promise<Failed | undefined> {
    const owner = { object: set, resource: kind.resource };
    const active = claimed.filter(isActive);
    const surplus = active.length - (set.spec?.replicas ?? 1);
    const template = set.spec?.template;
    if (surplus < 0 && template) {
      const count = Math.min(-surplus, burst);
      expectations.expect(key, count);
      const { succeeded, error } = await slowStart(count, () =>
        control.create(owner, podFromTemplate(template, owner)),
      );
      expectations.created(key, count - succeeded);
      return error === undefined
        ? undefined
        : { error, failure: { reason: 'FailedCreate', message: describeError(error) } };
    }
    if (surplus > 0) {
      const count = Math.min(surplus, burst);
      const victims = podsToDelete({ pods: active, related: relatedPods(set), count, now: now() });
      expectations.expect(
        key,
        0,
        victims.map(({ metadata }) => metadata.uid ?? ''),
      );
      const results = await Promise.allSettled(
        victims.map(async (pod) => {
          try {
            await control.delete(owner, pod);
          } catch (error) {
            expectations.deleted(key, pod.metadata.uid ?? '');
            throw error;
          }
        }),
      );
      const failure = results.find((result) => result.status === 'rejected');
      if (failure) {
        return { error: failure.reason, failure: { reason: 'FailedDelete', message: describeError(failure.reason) } };
      }
    }
    return undefined;
  }

  async function writeStatus(
    set: Replicated,
    claimed: readonly Pod[],
    failure: Failed['failure'] | undefined,
  ): Promise<void> {
    const status = replicaSetStatus({
      spec: set.spec ?? {},
      generation: set.metadata.generation ?? 0,
      old: set.status,
      pods: claimed,
      failure,
      now: now(),
    });
    if (sameJson(status, set.status)) return;
    try {
      await client.update(kind.resource, { ...set, status }, { subresource: 'status' });
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  return { queues: [queue] };
}

interface Failed {
  readonly error: unknown;
  readonly failure: { readonly reason: 'FailedCreate' | 'FailedDelete'; readonly message: string };
}
