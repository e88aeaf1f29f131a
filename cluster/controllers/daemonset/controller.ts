// SPDX-License-Identifier: Apache-2.0
// Runs one pod of each DaemonSet on every node where it belongs, and rolls template changes out.
import type { ControllerRevision, DaemonSet, Node, Pod, PodTemplateSpec } from '../../machinery/api-types.ts';
import { isNotFound } from '../../machinery/client.ts';
import { keyOf, splitKey } from '../../machinery/informer.ts';
import { resources } from '../../machinery/resources.ts';
import { isEmptySelector, matchesLabelSelector } from '../../machinery/selectors.ts';
import { WorkQueue } from '../../machinery/work-queue.ts';
import { sameJson } from '../canonical-json.ts';
import type { Controller, ControllerContext, Running } from '../controller.ts';
import { Expectations } from '../expectations.ts';
import { claim, controllerOf } from '../ownership.ts';
import { PodControl, podFromTemplate, slowStart } from '../pod-control.ts';
import type { PodOwner } from '../pod-control.ts';
import { nextAvailability } from '../pod-state.ts';
import { hashOf, revisionLabel, syncHistory, trimHistory } from '../revisions.ts';
import { affinityTo, placement, tolerationsOf } from './nodes.ts';
import { daemonSetStatus, planDaemonSet, planUpdate } from './plan.ts';

export const daemonSetController: Controller = {
  name: 'daemonset-controller',
  serviceAccount: 'daemon-set-controller',
  setup,
};

const burst = 250;

function setup(context: ControllerContext): Running {
  const { client, informers, now } = context;
  const daemonSets = informers.get<DaemonSet>(resources.daemonSets);
  const nodes = informers.get<Node>(resources.nodes);
  const pods = informers.ownedBy<Pod>(resources.pods);
  const revisions = informers.ownedBy<ControllerRevision>(resources.controllerRevisions);
  const events = context.recorder('daemonset-controller');
  const control = new PodControl(client, events);
  const expectations = new Expectations();
  /** Failed pods per set and node: each further one is replaced more slowly. */
  const failures = new Map<string, { count: number; until: number }>();
  const queue = new WorkQueue({ name: 'daemonset-controller', reconcile });

  daemonSets.onChange(({ type, object }) => {
    if (type === 'deleted') expectations.forget(keyOf(object));
    queue.add(keyOf(object));
  });
  nodes.onChange(({ type, object, old }) => {
    for (const daemonSet of daemonSets.list()) {
      const changed = !old || type === 'deleted' || !sameJson(placement(daemonSet, old), placement(daemonSet, object));
      if (changed) queue.add(keyOf(daemonSet));
    }
  });
  pods.onChange(({ type, object }) => {
    const owner = controllerOf(object);
    if (!owner && type !== 'deleted') {
      for (const daemonSet of daemonSets.list(object.metadata.namespace)) {
        if (matchesLabelSelector(daemonSet.spec?.selector, object.metadata.labels)) queue.add(keyOf(daemonSet));
      }
    }
    if (owner?.kind !== 'DaemonSet') return;
    const key = `${object.metadata.namespace}/${owner.name}`;
    if (type === 'added') expectations.created(key);
    if (type === 'deleted' || object.metadata.deletionTimestamp) expectations.deleted(key, object.metadata.uid ?? '');
    queue.add(key);
  });

  async function reconcile(key: string): Promise<void | { requeueAfterMs: number }> {
    const { name, namespace } = splitKey(key);
    const daemonSet = daemonSets.get(name, namespace);
    if (!daemonSet || daemonSet.metadata.deletionTimestamp || isEmptySelector(daemonSet.spec?.selector)) return;
    const history = await syncHistory({
      client,
      owner: daemonSet,
      resource: resources.daemonSets,
      owned: revisions.byIndex('controller', daemonSet.metadata.uid ?? ''),
      collisionCount: daemonSet.status?.collisionCount ?? 0,
    });
    const settled = expectations.satisfied(key);
    const claimed = await claim({
      client,
      owner: daemonSet,
      ownerResource: resources.daemonSets,
      resource: resources.pods,
      selector: daemonSet.spec?.selector,
      candidates: pods.list(namespace),
    });
    const input = { daemonSet, nodes: nodes.list(), pods: claimed, hash: hashOf(history.current), now: now() };
    let error: unknown;
    if (settled) {
      const plan = planDaemonSet(input);
      const retired = plan.failed.filter((pod) => mayReplace(key, pod));
      for (const pod of retired) {
        const message = `Found failed daemon pod ${keyOf(pod)} on node ${pod.spec?.nodeName}, will try to kill it`;
        events.event(daemonSet, 'Warning', 'FailedDaemonPod', message);
      }
      const idle = plan.create.length === 0 && plan.remove.length === 0 && retired.length === 0;
      const steps = idle ? planUpdate(input) : { create: plan.create, remove: [...plan.remove, ...retired] };
      error = await carryOut(key, daemonSet, { ...steps, hash: input.hash });
    }
    await trimHistory(client, history.all, {
      limit: daemonSet.spec?.revisionHistoryLimit ?? 10,
      live: liveRevisions(history.all, history.current, claimed),
    });
    const status = daemonSetStatus(input, history.collisionCount);
    if (!sameJson(status, daemonSet.status)) {
      await client
        .update(resources.daemonSets, { ...daemonSet, status }, { subresource: 'status' })
        .catch((failure: unknown) => {
          if (!isNotFound(failure)) throw failure;
        });
    }
    if (error) throw error;
    const wait = nextAvailability(claimed, daemonSet.spec?.minReadySeconds ?? 0, now());
    if (wait !== undefined) return { requeueAfterMs: wait };
  }

  /** A pod that fails again and again is replaced after 1, 2, 4... seconds, at most 15 minutes. */
  function mayReplace(key: string, pod: Pod): boolean {
    const id = `${key} ${pod.spec?.nodeName}`;
    const known = failures.get(id) ?? { count: 0, until: 0 };
    if (known.until > now()) {
      queue.addAfter(key, known.until - now());
      return false;
    }
    const count = now() - known.until > 1_800_000 ? 0 : known.count;
    failures.set(id, { count: count + 1, until: now() + Math.min(1000 * 2 ** count, 900_000) });
    return true;
  }

  async function carryOut(
    key: string,
    daemonSet: DaemonSet,
    steps: { create: readonly string[]; remove: readonly Pod[]; hash: string },
  ): Promise<unknown> {
    const owner: PodOwner = { object: daemonSet, resource: resources.daemonSets };
    const create = steps.create.slice(0, burst);
    const remove = steps.remove.slice(0, burst);
    if (create.length === 0 && remove.length === 0) return undefined;
    expectations.expect(
      key,
      create.length,
      remove.map(({ metadata }) => metadata.uid ?? ''),
    );
    const template = daemonSet.spec?.template ?? {};
    const { succeeded, error } = await slowStart(create.length, (index) =>
      control.create(owner, daemonPod(template, owner, { node: create[index] ?? '', hash: steps.hash })),
    );
    expectations.created(key, create.length - succeeded);
    let failure = error;
    for (const pod of remove) {
      try {
        await control.delete(owner, pod);
      } catch (caught) {
        expectations.deleted(key, pod.metadata.uid ?? '');
        failure ??= caught;
      }
    }
    return failure;
  }

  return { queues: [queue] };
}

function daemonPod(template: PodTemplateSpec, owner: PodOwner, place: { node: string; hash: string }): Pod {
  const pod = podFromTemplate(template, owner);
  return {
    ...pod,
    metadata: { ...pod.metadata, labels: { ...pod.metadata.labels, [revisionLabel]: place.hash } },
    ...(pod.spec && {
      spec: { ...pod.spec, affinity: affinityTo(place.node, pod.spec.affinity), tolerations: tolerationsOf(template) },
    }),
  };
}

function liveRevisions(
  all: readonly ControllerRevision[],
  current: ControllerRevision,
  pods: readonly Pod[],
): Set<string> {
  const hashes = new Set(pods.map(({ metadata }) => metadata.labels?.[revisionLabel]));
  const live = all.filter((revision) => revision === current || hashes.has(hashOf(revision)));
  return new Set(live.map(({ metadata }) => metadata.name ?? ''));
}
