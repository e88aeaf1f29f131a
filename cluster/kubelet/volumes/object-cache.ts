// SPDX-License-Identifier: Apache-2.0
// ConfigMaps and Secrets that pods of this node refer to, each followed by a watch of its own for as long as some pod needs it, because a
// kubelet may read no others. Guarantees that `get` has seen the API server at least once.
import type { ConfigMap, ObjectMeta, Pod, Secret } from '../../machinery/api-types.ts';
import { isNotFound } from '../../machinery/client.ts';
import type { Client } from '../../machinery/client.ts';
import { Informer } from '../../machinery/informer.ts';
import { resources } from '../../machinery/resources.ts';
import { identityOf, specOf } from '../pods/pod-facts.ts';

type Kind = 'configMaps' | 'secrets';

interface Followed {
  readonly informer: Informer<{ metadata: ObjectMeta }>;
  readonly stop: AbortController;
  readonly synced: Promise<void>;
  readonly users: Set<string>;
}

export class ObjectCache {
  readonly #client: Client;
  readonly #onChange: (podUids: Iterable<string>) => void;
  readonly #followed = new Map<string, Followed>();

  /** `onChange` gets the pods that refer to an object that changed. */
  constructor(client: Client, onChange: (podUids: Iterable<string>) => void) {
    this.#client = client;
    this.#onChange = onChange;
  }

  /** Follows what this pod refers to, and nothing that it no longer does. */
  follow(pod: Pod): void {
    const { uid, namespace } = identityOf(pod);
    const wanted = new Set(references(pod).map(({ kind, name }) => `${kind}/${namespace}/${name}`));
    for (const key of wanted) this.#open(key).users.add(uid);
    this.#release(uid, wanted);
  }

  forgetPod(uid: string): void {
    this.#release(uid, new Set());
  }

  configMap(namespace: string, name: string): Promise<ConfigMap | undefined> {
    return this.#get<ConfigMap>('configMaps', namespace, name);
  }

  secret(namespace: string, name: string): Promise<Secret | undefined> {
    return this.#get<Secret>('secrets', namespace, name);
  }

  async #get<T extends { metadata: ObjectMeta }>(kind: Kind, namespace: string, name: string): Promise<T | undefined> {
    const followed = this.#followed.get(`${kind}/${namespace}/${name}`);
    if (followed) {
      // A watch that can't start must not hold the pod for ever: fall through to a plain read.
      await Promise.race([followed.synced, new Promise((resolve) => setTimeout(resolve, 1000).unref())]);
      if (followed.informer.synced) {
        const cached = followed.informer.get(name, namespace);
        if (cached !== undefined) return cached as T;
      }
    }
    try {
      return await this.#client.get<T>(resources[kind], name, namespace);
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  #open(key: string): Followed {
    let followed = this.#followed.get(key);
    if (followed === undefined) {
      const [kind, namespace = '', name = ''] = key.split('/');
      const informer = new Informer<{ metadata: ObjectMeta }>(this.#client, resources[kind as Kind], {
        namespace,
        fieldSelector: `metadata.name=${name}`,
      });
      const stop = new AbortController();
      const users = new Set<string>();
      followed = { informer, stop, users, synced: informer.start(stop.signal) };
      informer.onChange((change) => {
        if (informer.synced || change.type !== 'added') this.#onChange(users);
      });
      this.#followed.set(key, followed);
    }
    return followed;
  }

  #release(uid: string, except: ReadonlySet<string>): void {
    for (const [key, followed] of this.#followed) {
      if (except.has(key) || !followed.users.delete(uid) || followed.users.size > 0) continue;
      followed.stop.abort();
      this.#followed.delete(key);
    }
  }
}

function references(pod: Pod): { kind: Kind; name: string }[] {
  const spec = specOf(pod);
  const found: { kind: Kind; name: string | undefined }[] = [];
  for (const { name } of spec.imagePullSecrets ?? []) found.push({ kind: 'secrets', name });
  for (const container of [...spec.containers, ...(spec.initContainers ?? []), ...(spec.ephemeralContainers ?? [])]) {
    for (const source of container.envFrom ?? []) {
      found.push(
        { kind: 'configMaps', name: source.configMapRef?.name },
        { kind: 'secrets', name: source.secretRef?.name },
      );
    }
    for (const { valueFrom } of container.env ?? []) {
      found.push({ kind: 'configMaps', name: valueFrom?.configMapKeyRef?.name });
      found.push({ kind: 'secrets', name: valueFrom?.secretKeyRef?.name });
    }
  }
  for (const volume of spec.volumes ?? []) {
    found.push(
      { kind: 'configMaps', name: volume.configMap?.name },
      { kind: 'secrets', name: volume.secret?.secretName },
    );
    for (const source of volume.projected?.sources ?? []) {
      found.push({ kind: 'configMaps', name: source.configMap?.name }, { kind: 'secrets', name: source.secret?.name });
    }
  }
  return found.flatMap(({ kind, name }) => (name ? [{ kind, name }] : []));
}
