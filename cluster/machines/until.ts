// SPDX-License-Identifier: Apache-2.0
// Waits for a fact of the machine that nothing announces (a process gone, a socket there), by looking often for a
// bounded time. What the API server announces is watched instead.

import { setTimeout as delay } from 'node:timers/promises';

export interface UntilOptions {
  /** Completes the sentence "timed out waiting for ...". */
  readonly what: string;
  readonly timeoutMs: number;
  readonly intervalMs?: number;
  readonly signal?: AbortSignal;
}

/** Resolves once `condition` holds; an error that it throws counts as "not yet" and ends the message on time-out. */
export async function until(condition: () => boolean | Promise<boolean>, options: UntilOptions): Promise<void> {
  const deadline = performance.now() + options.timeoutMs;
  let last: unknown;
  for (;;) {
    options.signal?.throwIfAborted();
    try {
      if (await condition()) return;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (performance.now() > deadline) {
      const reason = last instanceof Error ? `; last error: ${last.message}` : '';
      throw new Error(`timed out after ${options.timeoutMs / 1000} s waiting for ${options.what}${reason}`);
    }
    await delay(options.intervalMs ?? 10);
  }
}
