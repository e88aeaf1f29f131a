// SPDX-License-Identifier: Apache-2.0
// The scheduler as a running thing: informers feed the cache and the queue, one loop takes pods from the queue, decides
// synchronously, and binds in the background.
import type {
  Binding,
  CSINode,
  Namespace,
  Node,
  PersistentVolume,
  PersistentVolumeClaim,
  Pod,
  PodDisruptionBudget,
  StorageClass,
} from '../machinery/api-types.ts';
import { isNotFound } from '../machinery/client.ts';
import type { Client } from '../machinery/client.ts';
import type { EventRecorder } from '../machinery/events.ts';
import { Informer } from '../machinery/informer.ts';
import type { Logger } from '../machinery/log.ts';
import { resources } from '../machinery/resources.ts';
import { SchedulerCache } from './cache.ts';
import type { ClusterEvent, FilterPlugin, NodeInfo, PodInfo, ScorePlugin } from './framework.ts';
import type { SchedulerMetrics } from './metrics.ts';
import { podInfo } from './pod-info.ts';
import { interPodAffinity, interPodAffinityScore } from './plugins/inter-pod-affinity.ts';
import {
  nodeAffinity,
  nodeAffinityScore,
  nodeName,
  nodePorts,
  nodeUnschedulable,
  taintToleration,
  taintTolerationScore,
} from './plugins/node-filters.ts';
import { balancedAllocation, imageLocality, leastAllocated, nodeResourcesFit } from './plugins/node-resources.ts';
import { podTopologySpread, podTopologySpreadScore } from './plugins/pod-topology-spread.ts';
import { bindingsFor, nodeVolumeLimits, volumeBinding, volumeRestrictions, volumeZone } from './plugins/volumes.ts';
import type { ClaimBinding, StorageReader } from './plugins/volumes.ts';
import { planPreemption } from './preemption.ts';
import { SchedulingQueue } from './scheduling-queue.ts';
import type { QueuedPod } from './scheduling-queue.ts';
import { formatDiagnosis, selectNode } from './select-node.ts';
import type { Diagnosis } from './select-node.ts';
import { VolumeBinder } from './volume-binder.ts';

export interface SchedulerOptions {
  readonly client: Client;
  readonly events: EventRecorder;
  readonly log: Logger;
  readonly metrics: SchedulerMetrics;
  /** Pods whose spec.schedulerName is one of these are ours. */
  readonly schedulerName: string;
}

export class Scheduler {
  readonly #options: SchedulerOptions;
  readonly #cache = new SchedulerCache();
  readonly #queue: SchedulingQueue;
  /** Node promised to a pod by preemption, until the pod is bound or gone. */
  readonly #nominations = new Map<string, { readonly pod: PodInfo; readonly nodeName: string }>();
  readonly #informers;
  readonly #binder: VolumeBinder;
  readonly #filters: readonly FilterPlugin[];
  readonly #scores: readonly ScorePlugin[];
  #startIndex = 0;
  #loopRuns = false;
  #started = false;

  constructor(options: SchedulerOptions) {
    this.#options = options;
    const { client } = options;
    this.#informers = {
      pods: new Informer<Pod>(client, resources.pods, {
        fieldSelector: 'status.phase!=Succeeded,status.phase!=Failed',
      }),
      nodes: new Informer<Node>(client, resources.nodes),
      namespaces: new Informer<Namespace>(client, resources.namespaces),
      budgets: new Informer<PodDisruptionBudget>(client, resources.podDisruptionBudgets),
      claims: new Informer<PersistentVolumeClaim>(client, resources.persistentVolumeClaims),
      volumes: new Informer<PersistentVolume>(client, resources.persistentVolumes),
      storageClasses: new Informer<StorageClass>(client, resources.storageClasses),
      csiNodes: new Informer<CSINode>(client, resources.csiNodes),
    };
    const { claims, volumes, storageClasses, csiNodes, namespaces } = this.#informers;
    this.#binder = new VolumeBinder({ client, claims, volumes });
    const storage: StorageReader = {
      claim: (namespace, name) => claims.get(name, namespace),
      volume: (name) => volumes.get(name),
      volumes: () => volumes.list(),
      storageClass: (name) => storageClasses.get(name),
      csiNode: (name) => csiNodes.get(name),
      promisedTo: (name) => this.#binder.promisedTo(name),
    };
    this.#storage = storage;
    const namespaceLabels = (name: string) => namespaces.get(name)?.metadata.labels ?? {};
    // Cheap and decisive filters first; the order also decides which reason a user reads.
    this.#filters = [
      nodeUnschedulable,
      nodeName,
      taintToleration,
      nodeAffinity,
      nodePorts,
      nodeResourcesFit,
      volumeRestrictions(storage),
      nodeVolumeLimits(storage),
      volumeBinding(storage),
      volumeZone(storage),
      podTopologySpread,
      interPodAffinity(namespaceLabels),
    ];
    this.#scores = [
      taintTolerationScore,
      nodeAffinityScore,
      podTopologySpreadScore,
      interPodAffinityScore(namespaceLabels),
      leastAllocated,
      balancedAllocation,
      imageLocality,
    ];
    this.#queue = new SchedulingQueue({ now: () => performance.now(), onReady: () => this.#loop() });
  }

  readonly #storage: StorageReader;
  #signal: AbortSignal = new AbortController().signal;

  /** Runs until the signal aborts. Resolves when caches are synced and pods are being scheduled. */
  async start(signal: AbortSignal): Promise<void> {
    this.#signal = signal;
    const { pods, nodes, claims, volumes, storageClasses, csiNodes } = this.#informers;
    nodes.onChange(({ type, object, old }) => this.#onNode(type, object, old));
    pods.onChange(({ type, object, old }) => this.#onPod(type, object, old));
    const onStorage = () => this.#queue.onEvent('storage');
    for (const informer of [claims, volumes, storageClasses, csiNodes]) informer.onChange(onStorage);
    signal.addEventListener('abort', () => this.#queue.stop());
    await Promise.all(Object.values(this.#informers).map((informer) => informer.start(signal)));
    this.#started = true;
    this.#loop();
  }

  #onNode(type: string, node: Node, old: Node | undefined): void {
    if (type === 'deleted') {
      this.#cache.deleteNode(node.metadata.name ?? '');
      return;
    }
    this.#cache.setNode(node);
    for (const event of nodeEvents(node, old)) this.#queue.onEvent(event);
  }

  #onPod(type: string, pod: Pod, old: Pod | undefined): void {
    const uid = pod.metadata.uid ?? '';
    if (type === 'deleted' || isTerminal(pod)) {
      this.#nominations.delete(uid);
      this.#queue.delete(uid);
      if (this.#cache.removePod(uid) !== undefined) this.#queue.onEvent('pod-deleted');
      else if (old !== undefined && (old.spec?.nodeName ?? '') === '') this.#queue.onEvent('pod-deleted');
      return;
    }
    const info = podInfo(pod);
    if (pod.spec?.nodeName !== undefined && pod.spec.nodeName !== '') {
      const isNew = this.#cache.nodeOf(uid) !== pod.spec.nodeName;
      this.#queue.delete(uid);
      this.#nominations.delete(uid);
      this.#cache.placePod(info, pod.spec.nodeName);
      if (isNew) this.#queue.onEvent('pod-added');
      else if (old !== undefined && !sameRecord(old.metadata.labels, pod.metadata.labels))
        this.#queue.onEvent('pod-labels');
      return;
    }
    // Assumed: the binding is on its way, an older version of the pod must not bring it back.
    if (this.#cache.nodeOf(uid) !== undefined) return;
    if (pod.spec?.schedulerName !== this.#options.schedulerName) return;
    if (pod.metadata.deletionTimestamp !== undefined || (pod.spec.schedulingGates?.length ?? 0) > 0) {
      this.#queue.delete(uid);
      if (pod.metadata.deletionTimestamp === undefined) void this.#reportGated(pod);
      return;
    }
    const nominated = pod.status?.nominatedNodeName;
    if (nominated !== undefined && nominated !== '') this.#nominations.set(uid, { pod: info, nodeName: nominated });
    // Our own writes to the status of a parked pod must not wake it up.
    if (old === undefined || !sameForScheduling(old, pod)) this.#queue.add(info);
  }

  #loop(): void {
    if (this.#loopRuns || !this.#started) return;
    this.#loopRuns = true;
    const step = () => {
      if (this.#signal.aborted) return;
      const next = this.#queue.pop();
      this.#options.metrics.queue(this.#queue.sizes);
      if (next === undefined) {
        this.#loopRuns = false;
        return;
      }
      this.#schedule(next);
      // Yields between pods, so that watch events and bindings are not starved by a long queue.
      setImmediate(step);
    };
    setImmediate(step);
  }

  #schedule(queued: QueuedPod): void {
    const { info: pod } = queued;
    const began = performance.now();
    const selection = selectNode({
      pod,
      snapshot: this.#cache,
      filters: this.#filters,
      scores: this.#scores,
      nominated: (name) => this.#nominatedTo(name),
      startIndex: this.#startIndex,
      random: Math.random,
    });
    const elapsed = () => (performance.now() - began) / 1000;
    if ('unschedulable' in selection) {
      this.#options.metrics.attempt('unschedulable', elapsed());
      this.#handleUnschedulable(pod, selection.unschedulable);
      return;
    }
    this.#startIndex = (this.#startIndex + selection.evaluated) % Math.max(1, this.#cache.nodes.length);
    const bindings = bindingsFor(pod, selection.node, this.#storage);
    if (bindings === undefined) {
      this.#queue.retry(pod.uid);
      return;
    }
    this.#cache.placePod(pod, selection.node.name);
    this.#binder.reserve(bindings);
    void this.#bind(pod, selection.node, bindings).then((bound) =>
      this.#options.metrics.attempt(bound ? 'scheduled' : 'error', elapsed()),
    );
  }

  async #bind(pod: PodInfo, node: NodeInfo, bindings: readonly ClaimBinding[]): Promise<boolean> {
    const name = pod.pod.metadata.name ?? '';
    try {
      if (bindings.length > 0) await this.#binder.bind(bindings, node.name, this.#signal);
      const binding: Binding = {
        apiVersion: 'v1',
        kind: 'Binding',
        metadata: { name, namespace: pod.namespace, uid: pod.uid },
        target: { kind: 'Node', name: node.name },
      };
      await this.#options.client.create(resources.pods, binding, {
        namespace: pod.namespace,
        name,
        subresource: 'binding',
      });
    } catch (error) {
      if (this.#signal.aborted) return false;
      this.#binder.unreserve(bindings);
      this.#cache.removePod(pod.uid);
      this.#queue.onEvent('pod-deleted');
      if (isNotFound(error)) {
        this.#queue.delete(pod.uid);
      } else {
        this.#options.log.error(`binding ${pod.key} to ${node.name}`, error);
        this.#options.events.event(pod.pod, 'Warning', 'FailedScheduling', `binding rejected: ${messageOf(error)}`);
        this.#queue.retry(pod.uid);
      }
      return false;
    }
    this.#queue.done(pod.uid);
    this.#nominations.delete(pod.uid);
    this.#options.events.event(pod.pod, 'Normal', 'Scheduled', `Successfully assigned ${pod.key} to ${node.name}`);
    return true;
  }

  #handleUnschedulable(pod: PodInfo, diagnosis: Diagnosis): void {
    const preemption =
      diagnosis.podRejection === undefined
        ? planPreemption({
            pod,
            snapshot: this.#cache,
            filters: this.#filters,
            rejections: diagnosis.rejections,
            budgets: this.#informers.budgets.list(),
          })
        : { message: 'preemption: 0/0 nodes are available: Preemption is not helpful for scheduling.' };
    const message = [formatDiagnosis(diagnosis), ...('message' in preemption ? [preemption.message] : [])].join(' ');
    // A victim's deletion may come before parking otherwise.
    this.#queue.parkUnschedulable(pod.uid, diagnosis.curedBy);
    this.#options.events.event(pod.pod, 'Warning', 'FailedScheduling', message);
    const nominated = 'nodeName' in preemption ? preemption.nodeName : undefined;
    if (nominated === undefined) this.#nominations.delete(pod.uid);
    else this.#nominations.set(pod.uid, { pod, nodeName: nominated });
    void this.#reportUnschedulable(pod, message, nominated).catch((error: unknown) => this.#logWrite(pod, error));
    if ('victims' in preemption) {
      for (const victim of preemption.victims) {
        void this.#evict(victim, pod).catch((error: unknown) => this.#logWrite(victim, error));
      }
    }
  }

  async #evict(victim: PodInfo, preemptor: PodInfo): Promise<void> {
    if (victim.pod.metadata.deletionTimestamp !== undefined) return;
    const name = victim.pod.metadata.name ?? '';
    const namespace = victim.namespace;
    await this.#options.client.patch(resources.pods, name, {
      namespace,
      subresource: 'status',
      type: 'strategic',
      body: {
        status: {
          conditions: [
            {
              type: 'DisruptionTarget',
              status: 'True',
              reason: 'PreemptionByScheduler',
              message: `${this.#options.schedulerName}: preempting to accommodate a higher priority pod`,
              lastTransitionTime: new Date().toISOString(),
            },
          ],
        },
      },
    });
    await this.#options.client.delete(resources.pods, name, { namespace, uid: victim.uid });
    const by = `Preempted by pod ${preemptor.uid} on node ${victim.pod.spec?.nodeName ?? ''}`;
    this.#options.events.event(victim.pod, 'Normal', 'Preempted', by);
  }

  async #reportUnschedulable(pod: PodInfo, message: string, nominated: string | undefined): Promise<void> {
    const known = pod.pod.status?.conditions?.find((condition) => condition.type === 'PodScheduled');
    const sameNomination = (pod.pod.status?.nominatedNodeName ?? '') === (nominated ?? '');
    if (known?.reason === 'Unschedulable' && known.message === message && sameNomination) return;
    await this.#patchScheduledCondition(pod.pod, { reason: 'Unschedulable', message }, nominated);
  }

  async #reportGated(pod: Pod): Promise<void> {
    if (pod.status?.conditions?.some((condition) => condition.reason === 'SchedulingGated') === true) return;
    await this.#patchScheduledCondition(pod, {
      reason: 'SchedulingGated',
      message: 'Scheduling is blocked due to non-empty scheduling gates',
    }).catch((error: unknown) => this.#options.log.error('reporting scheduling gates', error));
  }

  async #patchScheduledCondition(
    pod: Pod,
    { reason, message }: { reason: string; message: string },
    nominated?: string,
  ): Promise<void> {
    const condition = { type: 'PodScheduled', status: 'False', reason, message };
    await this.#options.client.patch(resources.pods, pod.metadata.name ?? '', {
      namespace: pod.metadata.namespace ?? '',
      subresource: 'status',
      type: 'strategic',
      body: {
        metadata: { uid: pod.metadata.uid },
        status: {
          conditions: [{ ...condition, lastTransitionTime: new Date().toISOString() }],
          nominatedNodeName: nominated ?? null,
        },
      },
    });
  }

  #nominatedTo(nodeName: string): PodInfo[] {
    const pods: PodInfo[] = [];
    for (const nomination of this.#nominations.values()) {
      if (nomination.nodeName === nodeName) pods.push(nomination.pod);
    }
    return pods;
  }

  #logWrite(pod: PodInfo, error: unknown): void {
    if (!isNotFound(error)) this.#options.log.error(`writing the status of ${pod.key}`, error);
  }
}

function nodeEvents(node: Node, old: Node | undefined): ClusterEvent[] {
  if (old === undefined) return ['node-added'];
  const events: ClusterEvent[] = [];
  if (!sameRecord(old.status?.allocatable, node.status?.allocatable)) events.push('node-allocatable');
  if (!sameRecord(old.metadata.labels, node.metadata.labels)) events.push('node-labels');
  const taints = (value: Node) => JSON.stringify([value.spec?.taints ?? [], value.spec?.unschedulable ?? false]);
  if (taints(old) !== taints(node)) events.push('node-taints');
  return events;
}

function sameForScheduling(old: Pod, pod: Pod): boolean {
  const relevant = ({ metadata, spec }: Pod) => JSON.stringify([metadata.labels, spec]);
  return relevant(old) === relevant(pod);
}

function sameRecord(a: Record<string, string> = {}, b: Record<string, string> = {}): boolean {
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => a[key] === b[key]);
}

function isTerminal(pod: Pod): boolean {
  return pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed';
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
