// SPDX-License-Identifier: Apache-2.0
import { setTimeout } from 'node:timers/promises';
import type { CoreV1Api, CoreV1Event, KubernetesObject } from '@kubernetes/client-node';

const patienceMs = 3_000;

/**
 * `; REASON: message` of the newest Warning that the cluster's components have about an object, as `kubectl describe` shows it: why a pod
 * does not start stands there and not in its status. Empty where there is none, or where events may not be read: it only adds to an error.
 */
export async function lastWarning(core: CoreV1Api, { metadata }: KubernetesObject): Promise<string> {
  const { namespace = 'default', uid } = metadata ?? {};
  const fieldSelector = `involvedObject.uid=${uid},type=Warning`;
  const { items } = await Promise.race([
    core.listNamespacedEvent({ namespace, fieldSelector }),
    // An API server that went silent must not keep the error back.
    setTimeout(patienceMs, { items: [] }, { ref: false }),
  ]).catch(() => ({ items: [] }));
  const [newest] = items.toSorted((a, b) => seenAt(b) - seenAt(a));
  return newest === undefined ? '' : `; ${newest.reason}: ${newest.message}`;
}

function seenAt(event: CoreV1Event): number {
  return (event.series?.lastObservedTime ?? event.lastTimestamp ?? event.eventTime ?? new Date(0)).getTime();
}
