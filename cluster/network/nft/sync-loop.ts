// SPDX-License-Identifier: Apache-2.0
// Turns a stream of "something changed" into runs of one function: soon after the first change, never two at a time,
// once more if changes came meanwhile, and again after a delay when it failed.

export interface SyncLoopOptions {
  /** One pass. Resolves with milliseconds after which it wants to run again unasked, if any. */
  readonly run: () => Promise<number | undefined>;
  readonly onError: (error: unknown) => void;
  /** Changes within this many milliseconds share a run. */
  readonly settleMs: number;
  /** Pause before another try after a failure. */
  readonly retryMs: number;
}

export class SyncLoop {
  readonly #options: SyncLoopOptions;
  #timer: NodeJS.Timeout | undefined;
  #dueAt = Infinity;
  #running: Promise<void> | undefined;
  #again = false;
  #stopped = false;

  constructor(options: SyncLoopOptions) {
    this.#options = options;
  }

  /** Something changed. Cheap; call it for every event. */
  request(): void {
    if (this.#running !== undefined) this.#again = true;
    else this.#schedule(this.#options.settleMs);
  }

  /** No further run is started; resolves when the current one has ended. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#running;
  }

  #schedule(delayMs: number): void {
    const dueAt = performance.now() + delayMs;
    if (this.#stopped || dueAt >= this.#dueAt) return;
    clearTimeout(this.#timer);
    this.#dueAt = dueAt;
    this.#timer = setTimeout(() => {
      this.#dueAt = Infinity;
      this.#running = this.#runOnce();
    }, delayMs);
  }

  async #runOnce(): Promise<void> {
    let next: number | undefined;
    try {
      next = await this.#options.run();
    } catch (error) {
      this.#options.onError(error);
      next = this.#options.retryMs;
    }
    this.#running = undefined;
    if (this.#again) {
      this.#again = false;
      this.#schedule(this.#options.settleMs);
    } else if (next !== undefined) {
      this.#schedule(next);
    }
  }
}
