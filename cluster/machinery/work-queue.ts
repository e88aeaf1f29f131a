// SPDX-License-Identifier: Apache-2.0
// Keys to reconcile. It guarantees that a key is never reconciled twice at the same time, that a key added during its
// own reconciliation is reconciled once more afterwards, and that a failure is tried again after a delay that doubles.
import { logger } from './log.ts';
import { metrics } from './metrics.ts';

export interface WorkQueueOptions {
  /** Named in logs and metrics. */
  name: string;
  /** A rejection means: try again later. `requeueAfterMs` means: done, look again then. */
  reconcile: (key: string) => Promise<void | { requeueAfterMs: number }>;
  /** How many keys are reconciled at a time; 5 when absent. */
  concurrency?: number;
  backoff?: { baseMs?: number; maxMs?: number };
}

const depth = metrics.gauge('workqueue_depth', 'Current depth of workqueue');
const adds = metrics.counter('workqueue_adds_total', 'Total number of adds handled by workqueue');
const retries = metrics.counter('workqueue_retries_total', 'Total number of retries handled by workqueue');
const duration = metrics.histogram(
  'workqueue_work_duration_seconds',
  'How long in seconds processing an item from workqueue takes.',
  [0.001, 0.01, 0.1, 1, 10],
);

export class WorkQueue {
  readonly #options: WorkQueueOptions;
  readonly #log;
  readonly #waiting = new Set<string>();
  readonly #processing = new Set<string>();
  readonly #dirty = new Set<string>();
  readonly #failures = new Map<string, number>();
  readonly #timers = new Map<string, { timer: NodeJS.Timeout; due: number }>();
  #signal: AbortSignal | undefined;

  constructor(options: WorkQueueOptions) {
    this.#options = options;
    this.#log = logger(options.name);
  }

  add(key: string): void {
    if (this.#signal?.aborted) return;
    adds.add(1, { name: this.#options.name });
    if (this.#processing.has(key)) {
      this.#dirty.add(key);
      return;
    }
    this.#waiting.add(key);
    this.#fill();
  }

  /** Adds the key after the delay; of several delays for one key the earliest holds. */
  addAfter(key: string, delayMs: number): void {
    if (this.#signal?.aborted) return;
    if (delayMs <= 0) {
      this.add(key);
      return;
    }
    const due = Date.now() + delayMs;
    const earlier = this.#timers.get(key);
    if (earlier) {
      if (earlier.due <= due) return;
      clearTimeout(earlier.timer);
    }
    // A longer delay than a timer can hold fires early, and the reconciler asks again.
    const timer = setTimeout(
      () => {
        this.#timers.delete(key);
        this.add(key);
      },
      Math.min(delayMs, 2 ** 31 - 1),
    );
    this.#timers.set(key, { timer, due });
  }

  /** Begins to work; stops taking keys and drops delayed ones when `signal` aborts. */
  start(signal: AbortSignal): void {
    this.#signal = signal;
    signal.addEventListener(
      'abort',
      () => {
        for (const { timer } of this.#timers.values()) clearTimeout(timer);
        this.#timers.clear();
        this.#waiting.clear();
      },
      { once: true },
    );
    this.#fill();
  }

  #fill(): void {
    if (!this.#signal || this.#signal.aborted) return;
    for (const key of this.#waiting) {
      if (this.#processing.size >= (this.#options.concurrency ?? 5)) break;
      this.#waiting.delete(key);
      this.#processing.add(key);
      void this.#work(key);
    }
    depth.set(this.#waiting.size, { name: this.#options.name });
  }

  async #work(key: string): Promise<void> {
    const startedAt = performance.now();
    try {
      const result = await this.#options.reconcile(key);
      this.#failures.delete(key);
      if (result) this.addAfter(key, result.requeueAfterMs);
    } catch (error) {
      this.#retry(key, error);
    }
    duration.observe((performance.now() - startedAt) / 1000, { name: this.#options.name });
    this.#processing.delete(key);
    if (this.#dirty.delete(key) && !this.#signal?.aborted) this.#waiting.add(key);
    this.#fill();
  }

  #retry(key: string, error: unknown): void {
    if (this.#signal?.aborted) return;
    const { baseMs = 5, maxMs = 60_000 } = this.#options.backoff ?? {};
    const failures = this.#failures.get(key) ?? 0;
    this.#failures.set(key, failures + 1);
    retries.add(1, { name: this.#options.name });
    const delay = Math.min(baseMs * 2 ** failures, maxMs);
    // The first failures are mostly conflicts that the next attempt settles.
    if (failures < 5) this.#log.debug('reconcile failed, will retry', { key, error, delayMs: delay });
    else this.#log.error('reconcile keeps failing', error, { key, failures: failures + 1, delayMs: delay });
    this.addAfter(key, delay);
  }
}
