// SPDX-License-Identifier: Apache-2.0
// Creating and deleting the pods of an owner, with the events that tell of it.
import type { ObjectMeta, Pod, PodTemplateSpec } from '../machinery/api-types.ts';
import { isNotFound } from '../machinery/client.ts';
import type { Client } from '../machinery/client.ts';
import type { EventRecorder } from '../machinery/events.ts';
import { describeError } from '../machinery/log.ts';
import { resources } from '../machinery/resources.ts';
import type { Resource } from '../machinery/resources.ts';
import { ownerReferenceTo } from './ownership.ts';

export interface PodOwner {
  readonly object: { kind?: string; apiVersion?: string; metadata: ObjectMeta };
  readonly resource: Resource;
}

/** A pod made from a template, owned by `owner`; it gets a generated name unless `name` is given. */
export function podFromTemplate(template: PodTemplateSpec, owner: PodOwner, name?: string): Pod {
  const { metadata } = owner.object;
  const prefix = `${metadata.name}-`;
  return {
    metadata: {
      ...(name ? { name } : { generateName: prefix }),
      namespace: metadata.namespace ?? '',
      labels: { ...template.metadata?.labels },
      annotations: { ...template.metadata?.annotations },
      ...(template.metadata?.finalizers && { finalizers: [...template.metadata.finalizers] }),
      ownerReferences: [ownerReferenceTo(owner.object, owner.resource)],
    },
    ...(template.spec && { spec: structuredClone(template.spec) }),
  };
}

export class PodControl {
  readonly #client: Client;
  readonly #events: EventRecorder;

  constructor(client: Client, events: EventRecorder) {
    this.#client = client;
    this.#events = events;
  }

  async create(owner: PodOwner, pod: Pod): Promise<Pod> {
    try {
      const created = await this.#client.create<Pod>(resources.pods, pod);
      this.#events.event(owner.object, 'Normal', 'SuccessfulCreate', `Created pod: ${created.metadata.name}`);
      return created;
    } catch (error) {
      this.#events.event(owner.object, 'Warning', 'FailedCreate', `Error creating: ${describeError(error)}`);
      throw error;
    }
  }

  /** A pod that is gone already counts as deleted. */
  async delete(owner: PodOwner, pod: Pod): Promise<void> {
    const { name = '', namespace, uid } = pod.metadata;
    try {
      await this.#client.delete(resources.pods, name, { namespace, uid });
      this.#events.event(owner.object, 'Normal', 'SuccessfulDelete', `Deleted pod: ${name}`);
    } catch (error) {
      if (isNotFound(error)) return;
      this.#events.event(owner.object, 'Warning', 'FailedDelete', `Error deleting: ${describeError(error)}`);
      throw error;
    }
  }
}

/**
 * Runs `work` `count` times in batches of 1, 2, 4..., and stops after the first batch with a failure: a quota or a
 * webhook that refuses one refuses all, and must not be asked a thousand times. Returns how many succeeded.
 */
export async function slowStart(
  count: number,
  work: (index: number) => Promise<unknown>,
): Promise<{ succeeded: number; error?: unknown }> {
  let succeeded = 0;
  let started = 0;
  for (let size = 1; started < count; size *= 2) {
    const batch = Math.min(size, count - started);
    const results = await Promise.allSettled(Array.from({ length: batch }, (_, index) => work(started + index)));
    started += batch;
    succeeded += results.filter(({ status }) => status === 'fulfilled').length;
    const failure = results.find((result) => result.status === 'rejected');
    if (failure) return { succeeded, error: failure.reason };
  }
  return { succeeded };
}
