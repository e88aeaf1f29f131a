// SPDX-License-Identifier: Apache-2.0
// One informer per resource for all controllers of the process.
import type { ObjectMeta } from '../machinery/api-types.ts';
import type { Client } from '../machinery/client.ts';
import { Informer } from '../machinery/informer.ts';
import type { Resource } from '../machinery/resources.ts';
import { controllerOf } from './ownership.ts';

type AnyObject = { metadata: ObjectMeta };

export class InformerSet {
  readonly #client: Client;
  readonly #informers = new Map<string, Informer<AnyObject>>();

  constructor(client: Client) {
    this.#client = client;
  }

  get<T extends AnyObject>(resource: Resource): Informer<T> {
    const key = `${resource.plural}.${resource.group}`;
    let informer = this.#informers.get(key);
    if (!informer) {
      informer = new Informer<AnyObject>(this.#client, resource);
      this.#informers.set(key, informer);
    }
    // The caller names the type that the resource has; the set itself looks only at metadata.
    return informer as unknown as Informer<T>;
  }

  /** An informer with the index `controller`: the uid of the owner that is marked as controller. */
  ownedBy<T extends AnyObject>(resource: Resource): Informer<T> {
    const informer = this.get<T>(resource);
    informer.addIndex('controller', (object) => [controllerOf(object)?.uid ?? '']);
    return informer;
  }

  /** The informer of a resource if some controller uses it. */
  find(group: string, plural: string): Informer<AnyObject> | undefined {
    return this.#informers.get(`${plural}.${group}`);
  }

  async start(signal: AbortSignal): Promise<void> {
    await Promise.all([...this.#informers.values()].map((informer) => informer.start(signal)));
  }
}
