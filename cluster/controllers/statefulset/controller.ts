// SPDX-License-Identifier: Apache-2.0
// Carries out what a StatefulSet's plan says: claims before pods, one step per round.
import type { ControllerRevision, PersistentVolumeClaim, Pod, StatefulSet } from '../../machinery/api-types.ts';
import { isAlreadyExists, isNotFound } from '../../machinery/client.ts';
import { keyOf, splitKey } from '../../machinery/informer.ts';
import { describeError } from '../../machinery/log.ts';
import { resources } from '../../machinery/resources.ts';
import { isEmptySelector, matchesLabelSelector } from '../../machinery/selectors.ts';
import { WorkQueue } from '../../machinery/work-queue.ts';
import { sameJson } from '../canonical-json.ts';
import type { Controller, ControllerContext, Running } from '../controller.ts';
import { claim, controllerOf } from '../ownership.ts';
import { nextAvailability } from '../pod-state.ts';
import { hashOf, revisionLabel, syncHistory, templateOf, trimHistory } from '../revisions.ts';
import type { History } from '../revisions.ts';
import { planStatefulSet, statefulSetStatus } from './plan.ts';
import type { SetPlan } from './plan.ts';
import { claimOwners, claimsFor, ordinalOf, podFor } from './pods.ts';

export const statefulSetController: Controller = {
  name: 'statefulset-controller',
  serviceAccount: 'statefulset-controller',
  setup,
};

function setup(context: ControllerContext): Running {
  const { client, informers, now } = context;
  const sets = informers.get<StatefulSet>(resources.statefulSets);
  const pods = informers.ownedBy<Pod>(resources.pods);
  const claims = informers.get<PersistentVolumeClaim>(resources.persistentVolumeClaims);
  const revisions = informers.ownedBy<ControllerRevision>(resources.controllerRevisions);
  const events = context.recorder('statefulset-controller');
  const queue = new WorkQueue({ name: 'statefulset-controller', reconcile });
  sets.onChange(({ object }) => queue.add(keyOf(object)));
  pods.onChange(({ type, object }) => {
    const owner = controllerOf(object);
    if (owner?.kind === 'StatefulSet') queue.add(`${object.metadata.namespace}/${owner.name}`);
    if (owner || type === 'deleted') return;
    for (const set of sets.list(object.metadata.namespace)) {
      if (matchesLabelSelector(set.spec?.selector, object.metadata.labels)) queue.add(keyOf(set));
    }
  });

  async function reconcile(key: string): Promise<void | { requeueAfterMs: number }> {
    const { name, namespace } = splitKey(key);
    const set = sets.get(name, namespace);
    if (!set || isEmptySelector(set.spec?.selector)) return;
    const history = await syncHistory({
      client,
      owner: set,
      resource: resources.statefulSets,
      owned: revisions.byIndex('controller', set.metadata.uid ?? ''),
      collisionCount: set.status?.collisionCount ?? 0,
    });
    const candidates = pods.list(namespace).filter((pod) => controllerOf(pod) || ordinalOf(set, pod) !== undefined);
    const claimed = await claim({
      client,
      owner: set,
      ownerResource: resources.statefulSets,
      resource: resources.pods,
      selector: set.spec?.selector,
      candidates,
    });
    const updateRevision = history.current.metadata.name ?? '';
    const recorded = set.status?.currentRevision ?? '';
    const currentRevision = history.all.some(({ metadata }) => metadata.name === recorded) ? recorded : updateRevision;
    const input = { set, pods: claimed, currentRevision, updateRevision, now: now() };
    const plan = planStatefulSet(input);
    const status = statefulSetStatus(input, history.collisionCount);
    let failure: unknown;
    try {
      await tendClaims(set, claimed, plan);
      await carryOut(set, plan, history);
    } catch (error) {
      failure = error;
    }
    if (!sameJson(status, set.status)) {
      await client.update(resources.statefulSets, { ...set, status }, { subresource: 'status' }).catch(ignoreGone);
    }
    if (failure) throw failure;
    const used = new Set(claimed.map(({ metadata }) => metadata.labels?.[revisionLabel] ?? ''));
    const live = new Set([currentRevision, updateRevision, ...used]);
    await trimHistory(client, history.all, { limit: set.spec?.revisionHistoryLimit ?? 10, live });
    const wait = nextAvailability(claimed, set.spec?.minReadySeconds ?? 0, now());
    if (wait !== undefined) return { requeueAfterMs: wait };
  }

  async function carryOut(set: StatefulSet, plan: SetPlan, history: History): Promise<void> {
    for (const { ordinal, revision } of plan.create) {
      const source = history.all.find(({ metadata }) => metadata.name === revision) ?? history.current;
      const template = templateOf(source) ?? set.spec?.template ?? {};
      await createPod(
        set,
        podFor(set, ordinal, { template, hash: hashOf(source), name: source.metadata.name ?? '' }),
        ordinal,
      );
    }
    for (const { pod, reason } of plan.remove) {
      const { name = '', namespace, uid } = pod.metadata;
      if (reason === 'finished') {
        const why = pod.status?.phase === 'Failed' ? 'RecreatingFailedPod' : 'RecreatingTerminatedPod';
        events.event(set, 'Warning', why, `StatefulSet ${keyOf(set)} is recreating ${pod.status?.phase} Pod ${name}`);
      }
      await client.delete(resources.pods, name, { namespace, uid }).catch(ignoreGone);
      events.event(
        set,
        'Normal',
        'SuccessfulDelete',
        `delete Pod ${name} in StatefulSet ${set.metadata.name} successful`,
      );
    }
  }

  async function createPod(set: StatefulSet, pod: Pod, ordinal: number): Promise<void> {
    const { name } = pod.metadata;
    try {
      for (const wanted of claimsFor(set, ordinal)) await ensureClaim(set, wanted);
      await client.create(resources.pods, pod);
      events.event(
        set,
        'Normal',
        'SuccessfulCreate',
        `create Pod ${name} in StatefulSet ${set.metadata.name} successful`,
      );
    } catch (error) {
      // The cache is behind: the pod is there already.
      if (isAlreadyExists(error)) return;
      const message = `create Pod ${name} in StatefulSet ${set.metadata.name} failed error: ${describeError(error)}`;
      events.event(set, 'Warning', 'FailedCreate', message);
      throw error;
    }
  }

  async function ensureClaim(set: StatefulSet, wanted: PersistentVolumeClaim): Promise<void> {
    const { name = '', namespace } = wanted.metadata;
    const existing = claims.get(name, namespace);
    if (existing?.metadata.deletionTimestamp) throw new Error(`pvc ${name} is being deleted`);
    if (existing) return;
    try {
      await client.create(resources.persistentVolumeClaims, wanted);
      events.event(
        set,
        'Normal',
        'SuccessfulCreate',
        `create Claim ${name} Pod ${set.metadata.name} in StatefulSet ${set.metadata.name} success`,
      );
    } catch (error) {
      if (!isAlreadyExists(error)) throw error;
    }
  }

  /** Keeps the owners of claims as the retention policy has them, before any pod goes. */
  async function tendClaims(set: StatefulSet, owned: readonly Pod[], plan: SetPlan): Promise<void> {
    if ((set.spec?.volumeClaimTemplates ?? []).length === 0) return;
    for (const pod of owned) {
      const ordinal = ordinalOf(set, pod);
      if (ordinal === undefined) continue;
      for (const wanted of claimsFor(set, ordinal)) {
        const existing = claims.get(wanted.metadata.name ?? '', wanted.metadata.namespace);
        if (!existing) {
          if (pod.status?.phase === 'Pending' && !pod.metadata.deletionTimestamp && !plan.condemned.has(pod))
            await ensureClaim(set, wanted);
          continue;
        }
        const ownerReferences = claimOwners(set, existing, { object: pod, condemned: plan.condemned.has(pod) });
        if (!ownerReferences) continue;
        const metadata = { ...existing.metadata, ownerReferences };
        await client.update(resources.persistentVolumeClaims, { ...existing, metadata });
      }
    }
  }

  return { queues: [queue] };
}

function ignoreGone(error: unknown): void {
  if (!isNotFound(error)) throw error;
}
