// SPDX-License-Identifier: Apache-2.0
// Notices what happens to containers without anyone's doing: wakes on the runtime's events, lists what it holds, and names the pods whose
// containers changed. Lists at intervals too, so that a lost event costs a second at most.
import { setTimeout as pause } from 'node:timers/promises';
import { logger } from '../../machinery/log.ts';
import type { Runtime } from '../cri/runtime.ts';
import type { PodRuntimeReader } from './pod-runtime.ts';

export interface PodWatchOptions {
  readonly runtime: Runtime;
  readonly reader: PodRuntimeReader;
  readonly onChange: (podUid: string) => void;
  /** The runtime answers again after it didn't. */
  readonly onRecovered: () => void;
  readonly signal: AbortSignal;
}

const log = logger('pod-watch');
const idleMs = 1_000;
const idleWithEventsMs = 3_000;
/** An event may come a little before the runtime's own list shows it. */
const settleMs = [5, 60, 250];

export class PodWatch {
  readonly #options: PodWatchOptions;
  readonly #known = new Map<string, string>();
  #wake = new AbortController();
  #streaming = false;
  #listedAt = Date.now();
  #pendingLooks = 0;

  constructor(options: PodWatchOptions) {
    this.#options = options;
  }

  /** Milliseconds since the runtime was last listed with success. */
  get ageMs(): number {
    return Date.now() - this.#listedAt;
  }

  async run(): Promise<void> {
    const { signal } = this.#options;
    void this.#follow();
    let failing = false;
    while (!signal.aborted) {
      const wake = this.#wake.signal;
      try {
        await this.#relist();
        if (failing) this.#options.onRecovered();
        failing = false;
      } catch (error) {
        if (!failing) log.warn('cannot list pods of the container runtime', { error });
        failing = true;
      }
      const period = this.#streaming ? idleWithEventsMs : idleMs;
      await pause(period, undefined, { signal: AbortSignal.any([signal, wake]) }).catch(() => undefined);
    }
  }

  async #follow(): Promise<void> {
    const { runtime, signal } = this.#options;
    while (!signal.aborted) {
      this.#streaming = true;
      const exists = await runtime.watch(() => this.#onEvent(), signal).catch(() => true);
      this.#streaming = false;
      if (!exists) return;
      await pause(500, undefined, { signal }).catch(() => undefined);
    }
  }

  #onEvent(): void {
    if (this.#pendingLooks > 0) return;
    for (const delay of settleMs) {
      this.#pendingLooks++;
      setTimeout(() => {
        this.#pendingLooks--;
        const wake = this.#wake;
        this.#wake = new AbortController();
        wake.abort();
      }, delay);
    }
  }

  async #relist(): Promise<void> {
    const pods = await this.#options.reader.list();
    this.#listedAt = Date.now();
    for (const [uid, pod] of pods) {
      const state = [...pod.sandboxes, ...pod.containers]
        .map(({ id, state }) => `${id.slice(0, 16)}${state}`)
        .toSorted()
        .join();
      if (this.#known.get(uid) === state) continue;
      this.#known.set(uid, state);
      this.#options.onChange(uid);
    }
    for (const uid of this.#known.keys()) {
      if (pods.has(uid)) continue;
      this.#known.delete(uid);
      this.#options.onChange(uid);
    }
  }
}
