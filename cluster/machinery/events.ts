// SPDX-License-Identifier: Apache-2.0
// Events about objects (core/v1, as kubectl describe shows them). Recording never blocks and never fails its caller.
// Repeats raise `count` on the first Event; one object is spared a flood (a burst of 25, then one in five minutes).
import type { Event, ObjectMeta } from './api-types.ts';
import { isNotFound } from './client.ts';
import type { Client } from './client.ts';
import { logger } from './log.ts';
import { resources } from './resources.ts';

export interface EventSubject {
  readonly kind?: string;
  readonly apiVersion?: string;
  readonly metadata: ObjectMeta;
  /** A part of the object, such as `spec.containers{web}`. */
  readonly fieldPath?: string;
}

interface Known {
  readonly name: string;
  readonly namespace: string;
  count: number;
  lastSeen: number;
}

const log = logger('events');
const burst = 25;
const refillMs = 300_000;
const forgetMs = 600_000;

export class EventRecorder {
  readonly #client: Pick<Client, 'create' | 'patch'>;
  readonly #component: string;
  readonly #host: string;
  readonly #known = new Map<string, Known>();
  readonly #budgets = new Map<string, { tokens: number; at: number }>();
  #last: Promise<void> = Promise.resolve();

  constructor(client: Pick<Client, 'create' | 'patch'>, component: string, host = '') {
    this.#client = client;
    this.#component = component;
    this.#host = host;
  }

  /** `object` needs `kind` and `apiVersion`; informers fill them in. */
  event(object: EventSubject, type: 'Normal' | 'Warning', reason: string, message: string): void {
    const now = Date.now();
    const subject = `${object.metadata.uid ?? object.metadata.name}`;
    if (!this.#spend(subject, now)) return;
    this.#forget(now);
    this.#last = this.#last
      .then(() => this.#record({ object, type, reason, message: message.slice(0, 1024), now }))
      .catch((error: unknown) => log.debug('an event was lost', { object: object.metadata.name, reason, error }));
  }

  /** Resolves when everything recorded so far has been sent or given up. */
  flush(): Promise<void> {
    return this.#last;
  }

  async #record(event: {
    object: EventSubject;
    type: string;
    reason: string;
    message: string;
    now: number;
  }): Promise<void> {
    const { object, type, reason, message, now } = event;
    const { fieldPath } = object;
    const { name, namespace, uid, resourceVersion } = object.metadata;
    const key = JSON.stringify([uid, name, namespace, type, reason, message, fieldPath]);
    const time = new Date(now).toISOString().replace(/\.\d+Z$/, 'Z');
    const known = this.#known.get(key);
    if (known) {
      known.count++;
      known.lastSeen = now;
      try {
        await this.#client.patch(resources.coreEvents, known.name, {
          namespace: known.namespace,
          type: 'merge',
          body: { count: known.count, lastTimestamp: time },
        });
        return;
      } catch (error) {
        if (!isNotFound(error)) throw error;
        this.#known.delete(key);
      }
    }
    const body: Event = {
      kind: 'Event',
      apiVersion: 'v1',
      metadata: {
        name: `${name}.${(BigInt(now) * 1_000_000n + BigInt(Math.floor(Math.random() * 1e6))).toString(16)}`,
        namespace: namespace || 'default',
      },
      involvedObject: {
        ...(object.kind && { kind: object.kind }),
        ...(object.apiVersion && { apiVersion: object.apiVersion }),
        ...(name && { name }),
        ...(namespace && { namespace }),
        ...(uid && { uid }),
        ...(resourceVersion && { resourceVersion }),
        ...(fieldPath && { fieldPath }),
      },
      type,
      reason,
      message,
      source: { component: this.#component, ...(this.#host && { host: this.#host }) },
      reportingComponent: this.#component,
      reportingInstance: this.#host,
      firstTimestamp: time,
      lastTimestamp: time,
      count: 1,
    };
    await this.#client.create(resources.coreEvents, body);
    this.#known.set(key, {
      name: body.metadata.name ?? '',
      namespace: namespace || 'default',
      count: 1,
      lastSeen: now,
    });
  }

  #spend(subject: string, now: number): boolean {
    const budget = this.#budgets.get(subject) ?? { tokens: burst, at: now };
    budget.tokens = Math.min(burst, budget.tokens + (now - budget.at) / refillMs);
    budget.at = now;
    this.#budgets.set(subject, budget);
    if (budget.tokens < 1) return false;
    budget.tokens--;
    return true;
  }

  #forget(now: number): void {
    if (this.#known.size > 500) {
      for (const [key, { lastSeen }] of this.#known) if (now - lastSeen > forgetMs) this.#known.delete(key);
    }
    if (this.#budgets.size > 2000) {
      for (const [key, { at }] of this.#budgets) if (now - at > refillMs) this.#budgets.delete(key);
    }
  }
}
