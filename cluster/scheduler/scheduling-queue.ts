// SPDX-License-Identifier: Apache-2.0
// Pods that wait for a node. A pod is in exactly one place:
//
//            add/update                pop
//   (new) ─────────────▶ active ─────────────▶ in flight ──▶ bound (leaves)
//                          ▲  ▲                    │ no node fits
//       back-off is over   │  │ event that may     ▼
//                       backoff ◀──────────── unschedulable   (left there at most 5 minutes)
//
// An event that arrives while a pod is in flight is remembered, so that the pod is not parked with its cure already past.
import type { ClusterEvent, PodInfo } from './framework.ts';

const BACKOFF_MS_INITIAL = 1_000;
const BACKOFF_MS_MAX = 10_000;
/** A safety net against a missed event: nothing stays unschedulable longer than this without another try. */
const UNSCHEDULABLE_MS_MAX = 300_000;

export interface QueuedPod {
  readonly info: PodInfo;
  /** Counts up in the order in which pods were first seen; keeps that order among equal priorities. */
  readonly sequence: number;
  attempts: number;
  /** Events that can help, from the plugins that rejected it last. */
  curedBy: ReadonlySet<ClusterEvent>;
  lastTriedAt: number;
}

export interface SchedulingQueueOptions {
  readonly now: () => number;
  /** Called when a pod may be popped; the owner then calls `pop`. */
  readonly onReady: () => void;
}

export class SchedulingQueue {
  readonly #active = new Map<string, QueuedPod>();
  readonly #backoff = new Map<string, QueuedPod>();
  readonly #unschedulable = new Map<string, QueuedPod>();
  readonly #inFlight = new Map<string, { pod: QueuedPod; events: Set<ClusterEvent> }>();
  readonly #heap: QueuedPod[] = [];
  readonly #options: SchedulingQueueOptions;
  #sequence = 0;
  #timer: NodeJS.Timeout | undefined;
  #wakeAt = Number.POSITIVE_INFINITY;

  constructor(options: SchedulingQueueOptions) {
    this.#options = options;
  }

  /** Adds a pod, or replaces what is known of it. A changed pod that was parked gets another try. */
  add(info: PodInfo): void {
    const flying = this.#inFlight.get(info.uid);
    if (flying !== undefined) {
      flying.pod = { ...flying.pod, info };
      return;
    }
    const known = this.#active.get(info.uid) ?? this.#backoff.get(info.uid) ?? this.#unschedulable.get(info.uid);
    const pod: QueuedPod = {
      info,
      sequence: known?.sequence ?? this.#sequence++,
      attempts: known?.attempts ?? 0,
      curedBy: known?.curedBy ?? new Set(),
      lastTriedAt: known?.lastTriedAt ?? 0,
    };
    const inBackoff = this.#backoff.has(info.uid);
    this.#forget(info.uid);
    if (inBackoff) this.#backoff.set(info.uid, pod);
    else this.#activate(pod);
  }

  delete(uid: string): void {
    this.#forget(uid);
    this.#inFlight.delete(uid);
  }

  /** Takes the most urgent pod: highest priority first, then the longest waiting. */
  pop(): QueuedPod | undefined {
    for (;;) {
      const pod = heapPop(this.#heap);
      if (pod === undefined) return undefined;
      // The heap keeps entries that were deleted or replaced meanwhile; the map knows the valid one.
      if (this.#active.get(pod.info.uid) !== pod) continue;
      this.#active.delete(pod.info.uid);
      pod.attempts += 1;
      pod.lastTriedAt = this.#options.now();
      this.#inFlight.set(pod.info.uid, { pod, events: new Set() });
      return pod;
    }
  }

  /** The pod has its node: nothing more to do with it. */
  done(uid: string): void {
    this.#inFlight.delete(uid);
  }

  /** Nothing fits: parks the pod until one of `curedBy` happens. */
  parkUnschedulable(uid: string, curedBy: ReadonlySet<ClusterEvent>): void {
    const flying = this.#inFlight.get(uid);
    if (flying === undefined) return;
    this.#inFlight.delete(uid);
    flying.pod.curedBy = curedBy;
    if ([...flying.events].some((event) => curedBy.has(event))) this.#backOff(flying.pod);
    else {
      this.#unschedulable.set(uid, flying.pod);
      this.#wake(flying.pod.lastTriedAt + UNSCHEDULABLE_MS_MAX);
    }
  }

  /** The try failed for another reason (a write failed): try again after back-off. */
  retry(uid: string): void {
    const flying = this.#inFlight.get(uid);
    if (flying === undefined) return;
    this.#inFlight.delete(uid);
    this.#backOff(flying.pod);
  }

  /** Moves every parked pod that the event may help. */
  onEvent(event: ClusterEvent): void {
    for (const { events } of this.#inFlight.values()) events.add(event);
    for (const [uid, pod] of this.#unschedulable) {
      if (!pod.curedBy.has(event)) continue;
      this.#unschedulable.delete(uid);
      this.#backOff(pod);
    }
  }

  /** Pods per place, for metrics. */
  get sizes(): { readonly active: number; readonly backoff: number; readonly unschedulable: number } {
    return { active: this.#active.size, backoff: this.#backoff.size, unschedulable: this.#unschedulable.size };
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #forget(uid: string): void {
    this.#active.delete(uid);
    this.#backoff.delete(uid);
    this.#unschedulable.delete(uid);
  }

  #activate(pod: QueuedPod): void {
    this.#active.set(pod.info.uid, pod);
    heapPush(this.#heap, pod);
    this.#options.onReady();
  }

  #backOff(pod: QueuedPod): void {
    if (this.#backoffEndsAt(pod) <= this.#options.now()) {
      this.#activate(pod);
      return;
    }
    this.#backoff.set(pod.info.uid, pod);
    this.#wake(this.#backoffEndsAt(pod));
  }

  #backoffEndsAt(pod: QueuedPod): number {
    return pod.lastTriedAt + Math.min(BACKOFF_MS_INITIAL * 2 ** Math.max(0, pod.attempts - 1), BACKOFF_MS_MAX);
  }

  /** One timer, for the earliest deadline asked for since it last rang. */
  #wake(at: number): void {
    if (at >= this.#wakeAt) return;
    this.#wakeAt = at;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#flush(), Math.max(1, at - this.#options.now()));
  }

  #flush(): void {
    const now = this.#options.now();
    this.#wakeAt = Number.POSITIVE_INFINITY;
    for (const [places, deadlineOf] of [
      [this.#backoff, (pod: QueuedPod) => this.#backoffEndsAt(pod)],
      [this.#unschedulable, (pod: QueuedPod) => pod.lastTriedAt + UNSCHEDULABLE_MS_MAX],
    ] as const) {
      for (const [uid, pod] of places) {
        const deadline = deadlineOf(pod);
        if (deadline > now) {
          this.#wake(deadline);
          continue;
        }
        places.delete(uid);
        this.#activate(pod);
      }
    }
  }
}

function before(a: QueuedPod, b: QueuedPod): boolean {
  return a.info.priority === b.info.priority ? a.sequence < b.sequence : a.info.priority > b.info.priority;
}

function heapPush(heap: QueuedPod[], pod: QueuedPod): void {
  let index = heap.push(pod) - 1;
  while (index > 0) {
    const parent = (index - 1) >> 1;
    const above = heap[parent];
    if (above === undefined || !before(pod, above)) break;
    heap[index] = above;
    index = parent;
  }
  heap[index] = pod;
}

function heapPop(heap: QueuedPod[]): QueuedPod | undefined {
  const top = heap[0];
  const last = heap.pop();
  if (top === undefined || last === undefined || heap.length === 0) return top;
  let index = 0;
  for (;;) {
    let child = 2 * index + 1;
    let below = heap[child];
    if (below === undefined) break;
    const right = heap[child + 1];
    if (right !== undefined && before(right, below)) {
      child += 1;
      below = right;
    }
    if (!before(below, last)) break;
    heap[index] = below;
    index = child;
  }
  heap[index] = last;
  return top;
}
