// SPDX-License-Identifier: Apache-2.0
// Removes pods from nodes with NoExecute taints that they do not tolerate, or no longer tolerate.
import type { Node, Pod, Taint } from '../../machinery/api-types.ts';
import { isNotFound } from '../../machinery/client.ts';
import { keyOf, splitKey } from '../../machinery/informer.ts';
import { resources } from '../../machinery/resources.ts';
import { WorkQueue } from '../../machinery/work-queue.ts';
import { timestamp } from '../conditions.ts';
import type { Controller, ControllerContext, Running } from '../controller.ts';
import { isFinished, isTerminating } from '../pod-state.ts';
import { evictionTime } from './taints.ts';

export const taintEvictionController: Controller = {
  name: 'taint-eviction-controller',
  serviceAccount: 'node-controller',
  setup,
};

function setup(context: ControllerContext): Running {
  const { client, informers, now } = context;
  const nodes = informers.get<Node>(resources.nodes);
  const pods = informers.get<Pod>(resources.pods);
  pods.addIndex('node', (pod) => [pod.spec?.nodeName ?? '']);
  const events = context.recorder('taint-eviction-controller');
  const startedAt = now();
  const queue = new WorkQueue({ name: 'taint-eviction-controller', reconcile, backoff: { baseMs: 20, maxMs: 5000 } });

  nodes.onChange(({ type, object }) => {
    if (type === 'deleted') return;
    if (!object.spec?.taints?.some(({ effect }) => effect === 'NoExecute')) return;
    for (const pod of pods.byIndex('node', object.metadata.name ?? '')) queue.add(keyOf(pod));
  });
  pods.onChange(({ type, object, old }) => {
    if (type === 'deleted' || !object.spec?.nodeName) return;
    const changed =
      old?.spec?.nodeName !== object.spec.nodeName || old.spec.tolerations?.length !== object.spec.tolerations?.length;
    if (changed) queue.add(keyOf(object));
  });

  const since = (taint: Taint): number => {
    const added = Date.parse(taint.timeAdded ?? '');
    return Number.isNaN(added) ? startedAt : added;
  };

  async function reconcile(key: string): Promise<void | { requeueAfterMs: number }> {
    const { name, namespace } = splitKey(key);
    const pod = pods.get(name, namespace);
    if (!pod || isTerminating(pod) || isFinished(pod)) return;
    const taints = nodes.get(pod.spec?.nodeName ?? '')?.spec?.taints ?? [];
    const at = evictionTime(pod, taints, since);
    if (at === undefined) return;
    if (at > now()) return { requeueAfterMs: at - now() };
    const { uid } = pod.metadata;
    const condition = {
      type: 'DisruptionTarget',
      status: 'True',
      reason: 'DeletionByTaintManager',
      message: 'Taint manager: deleting due to NoExecute taint',
      lastTransitionTime: timestamp(now()),
    };
    try {
      await client.patch(resources.pods, name, {
        namespace,
        type: 'strategic',
        subresource: 'status',
        body: { metadata: { uid }, status: { conditions: [condition] } },
      });
      await client.delete(resources.pods, name, { namespace, uid });
      events.event(pod, 'Normal', 'TaintManagerEviction', `Marking for deletion Pod ${key}`);
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  return { queues: [queue] };
}
