// SPDX-License-Identifier: Apache-2.0
// Removes pods that nobody else will: on nodes that are gone or out of service, and finished ones beyond a number.
import type { Node, Pod } from '../../machinery/api-types.ts';
import { isNotFound } from '../../machinery/client.ts';
import { resources } from '../../machinery/resources.ts';
import { timestamp } from '../conditions.ts';
import { every } from '../controller.ts';
import type { Controller, ControllerContext, Running } from '../controller.ts';
import { isFinished, isTerminating } from '../pod-state.ts';

export const podGcController: Controller = {
  name: 'pod-garbage-collector-controller',
  serviceAccount: 'pod-garbage-collector',
  setup,
};

const periodMs = 5000;
const quarantineMs = 40_000;
const finishedLimit = 12_500;
const outOfService = 'node.kubernetes.io/out-of-service';

export interface Doomed {
  readonly pod: Pod;
  /** Set when the pod was still counted on: what to write to its status before it goes. */
  readonly message?: string;
}

/** `missingSince`: when a node that pods name was first seen to be absent; updated in place. */
export function planPodGc(
  pods: readonly Pod[],
  nodes: ReadonlyMap<string, Node>,
  state: { missingSince: Map<string, number>; now: number },
): Doomed[] {
  const { missingSince, now } = state;
  const doomed: Doomed[] = [];
  const named = new Set(pods.map((pod) => pod.spec?.nodeName).filter((name) => name !== undefined && name !== ''));
  for (const name of missingSince.keys()) if (nodes.has(name) || !named.has(name)) missingSince.delete(name);
  for (const name of named) if (name && !nodes.has(name) && !missingSince.has(name)) missingSince.set(name, now);
  for (const pod of pods) {
    const nodeName = pod.spec?.nodeName ?? '';
    if (nodeName === '') {
      if (isTerminating(pod)) doomed.push({ pod });
      continue;
    }
    const node = nodes.get(nodeName);
    if (!node && now - (missingSince.get(nodeName) ?? now) >= quarantineMs) {
      doomed.push({ pod, message: 'PodGC: node no longer exists' });
    } else if (node && isTerminating(pod) && node.spec?.taints?.some(({ key }) => key === outOfService)) {
      doomed.push({ pod, message: 'PodGC: node is out of service' });
    }
  }
  const finished = pods.filter((pod) => isFinished(pod) && !isTerminating(pod));
  const age = ({ metadata }: Pod): string => metadata.creationTimestamp ?? '';
  const surplus = finished
    .toSorted((a, b) => (age(a) < age(b) ? -1 : 1))
    .slice(0, Math.max(0, finished.length - finishedLimit));
  return [...doomed, ...surplus.map((pod) => ({ pod }))];
}

function setup({ client, informers, now }: ControllerContext): Running {
  const pods = informers.get<Pod>(resources.pods);
  const nodes = informers.get<Node>(resources.nodes);
  const missingSince = new Map<string, number>();

  async function remove({ pod, message }: Doomed): Promise<void> {
    const { name = '', namespace, uid } = pod.metadata;
    try {
      if (message && !isFinished(pod)) {
        const condition = {
          type: 'DisruptionTarget',
          status: 'True',
          reason: 'DeletionByPodGC',
          message,
          lastTransitionTime: timestamp(now()),
        };
        const body = { metadata: { uid }, status: { phase: 'Failed', conditions: [condition] } };
        await client.patch(resources.pods, name, { namespace, type: 'strategic', subresource: 'status', body });
      }
      await client.delete(resources.pods, name, { namespace, uid, gracePeriodSeconds: 0 });
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  return {
    run: (signal) =>
      every(periodMs, signal, async () => {
        const known = new Map(nodes.list().map((node) => [node.metadata.name ?? '', node]));
        for (const doomed of planPodGc(pods.list(), known, { missingSince, now: now() })) await remove(doomed);
      }),
  };
}
