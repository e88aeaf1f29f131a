// SPDX-License-Identifier: Apache-2.0
// Knows which pods this node should run (API and static manifests), gives each a worker, keeps mirror pods for static ones, and ends what the
// runtime or the disk still holds of pods that nobody wants any more.
import type { Pod } from '../../machinery/api-types.ts';
import { isAlreadyExists, isConflict, isNotFound } from '../../machinery/client.ts';
import type { Client } from '../../machinery/client.ts';
import type { Informer } from '../../machinery/informer.ts';
import { describeError, logger } from '../../machinery/log.ts';
import { resources } from '../../machinery/resources.ts';
import { podNameLabel, podNamespaceLabel } from '../cri/labels.ts';
import { configHashAnnotation, configMirrorAnnotation, fullName, identityOf, isMirror, isStatic } from './pod-facts.ts';
import type { PodContext } from './pod-context.ts';
import { PodWorker } from './pod-worker.ts';

const log = logger('pods');

export class PodManager {
  readonly #client: Client;
  readonly #nodeName: string;
  readonly #workers = new Map<string, PodWorker>();
  /** Static pods by uid. */
  readonly #static = new Map<string, Pod>();
  /** Mirror pods of the API by full name. */
  readonly #mirrors = new Map<string, Pod>();
  readonly #deferred = new Map<string, Pod>();
  #context: PodContext | undefined;
  #apiSynced = false;
  #nodeUid = '';

  constructor(client: Client, nodeName: string) {
    this.#client = client;
    this.#nodeName = nodeName;
  }

  /** Must be called before anything else; the context refers back to this manager. */
  attach(context: PodContext): void {
    this.#context = context;
  }

  followApi(informer: Informer<Pod>): void {
    informer.onChange(({ type, object }) => {
      if (isMirror(object)) {
        this.#mirrorChanged(type, object);
        return;
      }
      if (type === 'deleted') this.#deleted(object);
      else this.#put(object);
    });
  }

  /** All pods of the API are known now: others may be cleaned up. */
  async apiSynced(): Promise<void> {
    this.#apiSynced = true;
    await this.cleanUp();
  }

  setStatic(pods: readonly Pod[]): void {
    const wanted = new Set(pods.map((pod) => pod.metadata.uid ?? ''));
    for (const [uid, pod] of this.#static) {
      if (wanted.has(uid)) continue;
      this.#static.delete(uid);
      this.#workers.get(uid)?.remove(pod);
    }
    for (const pod of pods) {
      const { uid } = identityOf(pod);
      if (this.#static.has(uid)) continue;
      this.#static.set(uid, pod);
      this.#put(pod);
    }
    for (const mirror of this.#mirrors.values()) void this.#reconcileMirror(fullName(mirror));
    for (const pod of pods) void this.#reconcileMirror(fullName(pod));
  }

  nodeKnown(uid: string): void {
    if (this.#nodeUid === uid) return;
    this.#nodeUid = uid;
    for (const pod of this.#static.values()) void this.#reconcileMirror(fullName(pod));
  }

  worker(uid: string): PodWorker | undefined {
    return this.#workers.get(uid);
  }

  workers(): IterableIterator<PodWorker> {
    return this.#workers.values();
  }

  find(namespace: string, name: string, uid?: string): PodWorker | undefined {
    for (const worker of this.#workers.values()) {
      const { identity } = worker;
      const sameName = identity.name === name && identity.namespace === namespace;
      // A request for a mirror pod carries the mirror's uid: the name decides then.
      if (sameName && (uid === undefined || identity.uid === uid || isStatic(worker.pod))) return worker;
    }
    return undefined;
  }

  pokeAll(): void {
    for (const worker of this.#workers.values()) worker.poke();
  }

  /** The API object that shows the pod. */
  shownAs(pod: Pod): Pod | undefined {
    if (!isStatic(pod)) return pod;
    const mirror = this.#mirrors.get(fullName(pod));
    // The mirror of an earlier version of the manifest says nothing about this one.
    const same =
      mirror?.metadata.annotations?.[configMirrorAnnotation] === pod.metadata.annotations?.[configHashAnnotation];
    return same ? mirror : undefined;
  }

  async deleteFromApi(pod: Pod): Promise<void> {
    const { uid, name, namespace } = identityOf(pod);
    try {
      await this.#client.delete(resources.pods, name, { namespace, gracePeriodSeconds: 0, uid });
    } catch (error) {
      if (!isNotFound(error) && !isConflict(error)) throw error;
    }
  }

  finished(uid: string): void {
    this.#workers.delete(uid);
    for (const [name, pod] of this.#deferred) {
      if (this.#nameTaken(pod)) continue;
      this.#deferred.delete(name);
      this.#put(pod);
    }
  }

  async abandonAll(): Promise<void> {
    await Promise.all([...this.#workers.values()].map((worker) => worker.abandon()));
  }

  /** Ends containers and removes folders of pods that no source knows. */
  async cleanUp(): Promise<void> {
    if (!this.#apiSynced) return;
    const context = this.#mustContext();
    const held = await context.reader.list();
    for (const [uid, pod] of held) {
      if (this.#workers.has(uid)) continue;
      const labels = pod.sandboxes[0]?.labels ?? pod.containers[0]?.labels ?? {};
      log.info('ending a pod that nobody wants', { pod: `${labels[podNamespaceLabel]}/${labels[podNameLabel]}`, uid });
      this.#endOrphan(uid, labels[podNamespaceLabel] ?? '', labels[podNameLabel] ?? '');
    }
    for (const uid of context.volumes.podsOnDisk()) {
      if (this.#workers.has(uid) || held.has(uid)) continue;
      await context.volumes
        .removePod(uid)
        .catch((error: unknown) => log.warn('cannot remove folder of old pod', { uid, error: describeError(error) }));
    }
  }

  #endOrphan(uid: string, namespace: string, name: string): void {
    const pod: Pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { uid, name, namespace },
      spec: { containers: [], terminationGracePeriodSeconds: 1 },
    };
    const worker = new PodWorker(this.#mustContext(), pod);
    this.#workers.set(uid, worker);
    worker.remove(pod);
  }

  #put(pod: Pod): void {
    const { uid } = identityOf(pod);
    const worker = this.#workers.get(uid);
    if (worker) {
      const statusOnly = worker.pod.metadata.generation === pod.metadata.generation && sameButStatus(worker.pod, pod);
      this.#mustContext().statuses.reconcile(uid, pod);
      if (!statusOnly || gatesChanged(worker.pod, pod)) worker.update(pod);
      return;
    }
    if (isStatic(pod) && this.#nameTaken(pod)) {
      // The former version must be gone before this one starts.
      this.#deferred.set(fullName(pod), pod);
      return;
    }
    const fresh = new PodWorker(this.#mustContext(), pod);
    this.#workers.set(uid, fresh);
    fresh.poke();
  }

  #deleted(pod: Pod): void {
    this.#workers.get(identityOf(pod).uid)?.remove(pod);
  }

  #nameTaken(pod: Pod): boolean {
    return [...this.#workers.values()].some((worker) => fullName(worker.pod) === fullName(pod));
  }

  #mirrorChanged(type: string, mirror: Pod): void {
    const name = fullName(mirror);
    if (type === 'deleted') this.#mirrors.delete(name);
    else this.#mirrors.set(name, mirror);
    void this.#reconcileMirror(name);
  }

  /** Makes the mirror of a static pod, replaces an outdated one, deletes one whose pod is gone. */
  async #reconcileMirror(name: string): Promise<void> {
    if (!this.#apiSynced || this.#nodeUid === '') return;
    const mirror = this.#mirrors.get(name);
    const pod = [...this.#static.values()].find((candidate) => fullName(candidate) === name);
    const hash = pod?.metadata.annotations?.[configHashAnnotation] ?? '';
    try {
      if (mirror && mirror.metadata.annotations?.[configMirrorAnnotation] !== hash) {
        await this.deleteFromApi(mirror);
        return;
      }
      if (mirror?.metadata.deletionTimestamp !== undefined) {
        await this.deleteFromApi(mirror);
        return;
      }
      if (pod === undefined) return;
      if (mirror === undefined) {
        await this.#client.create(resources.pods, {
          apiVersion: 'v1',
          kind: 'Pod',
          metadata: {
            name: pod.metadata.name,
            namespace: pod.metadata.namespace,
            ...(pod.metadata.labels && { labels: pod.metadata.labels }),
            annotations: { ...pod.metadata.annotations, [configMirrorAnnotation]: hash },
            ownerReferences: [
              { apiVersion: 'v1', kind: 'Node', name: this.#nodeName, uid: this.#nodeUid, controller: true },
            ],
          },
          spec: pod.spec,
        });
      }
      this.#workers.get(identityOf(pod).uid)?.poke();
    } catch (error) {
      if (isAlreadyExists(error)) return;
      log.warn('cannot keep mirror pod, will try again', { pod: name, error: describeError(error) });
      setTimeout(() => void this.#reconcileMirror(name), 5_000).unref();
    }
  }

  #mustContext(): PodContext {
    if (this.#context === undefined) throw new Error('PodManager is used before attach');
    return this.#context;
  }
}

function sameButStatus(a: Pod, b: Pod): boolean {
  const strip = ({ metadata, spec }: Pod): string =>
    JSON.stringify([
      metadata.labels,
      metadata.annotations,
      metadata.deletionTimestamp,
      metadata.deletionGracePeriodSeconds,
      metadata.finalizers,
      spec,
    ]);
  return strip(a) === strip(b);
}

/** Readiness gates are conditions that others write: a change of theirs must be looked at. */
function gatesChanged(a: Pod, b: Pod): boolean {
  const gates = b.spec?.readinessGates ?? [];
  const values = (pod: Pod): string =>
    JSON.stringify(
      gates.map((gate) => pod.status?.conditions?.find((condition) => condition.type === gate.conditionType)?.status),
    );
  return gates.length > 0 && values(a) !== values(b);
}
