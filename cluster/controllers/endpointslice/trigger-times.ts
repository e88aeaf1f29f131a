// SPDX-License-Identifier: Apache-2.0
// When the change happened that a slice is written for: proxies measure from there how long programming took.
import type { EndpointSlice, Pod, Service } from '../../machinery/api-types.ts';

export const triggerTimeAnnotation = 'endpoints.kubernetes.io/last-change-trigger-time';

interface Known {
  readonly service: number;
  readonly pods: ReadonlyMap<string, number>;
}

export class TriggerTimes {
  readonly #known = new Map<string, Known>();

  /**
   * The earliest change among those since the last call: a Service made, a pod that became ready or ceased to be.
   * Undefined when nothing has a time, as with pods that went.
   */
  observe(key: string, service: Service, pods: readonly Pod[]): string | undefined {
    const before = this.#known.get(key);
    const now: Known = { service: timeOf(service.metadata.creationTimestamp), pods: podTimes(pods) };
    this.#known.set(key, now);
    const changes = [...now.pods].filter(([uid, time]) => time > (before?.pods.get(uid) ?? 0)).map(([, time]) => time);
    if (now.service > (before?.service ?? 0)) changes.push(now.service);
    return changes.length === 0 ? undefined : new Date(Math.min(...changes)).toISOString();
  }

  forget(key: string): void {
    this.#known.delete(key);
  }
}

/** The slice with this time, or without any. */
export function withTriggerTime(slice: EndpointSlice, time: string | undefined): EndpointSlice {
  const { [triggerTimeAnnotation]: _former, ...annotations } = slice.metadata.annotations ?? {};
  const { annotations: _all, ...metadata } = slice.metadata;
  if (time !== undefined) annotations[triggerTimeAnnotation] = time;
  return { ...slice, metadata: { ...metadata, ...(Object.keys(annotations).length > 0 && { annotations }) } };
}

function podTimes(pods: readonly Pod[]): Map<string, number> {
  return new Map(
    pods.flatMap(({ metadata, status }): [string, number][] => {
      const ready = status?.conditions?.find(({ type }) => type === 'Ready');
      const time = timeOf(ready?.lastTransitionTime);
      return time === 0 ? [] : [[metadata.uid ?? '', time]];
    }),
  );
}

function timeOf(text: string | undefined): number {
  const time = Date.parse(text ?? '');
  return Number.isNaN(time) ? 0 : time;
}
