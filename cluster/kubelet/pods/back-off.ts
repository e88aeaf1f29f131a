// SPDX-License-Identifier: Apache-2.0
// Exponential back-off per key, for crashing containers and failing image pulls: the first attempt is free, each further one waits twice as
// long, and a quiet spell forgets the past. Pure apart from its own table.

export interface BackOffOptions {
  readonly initialMs: number;
  readonly maxMs: number;
}

interface Entry {
  delayMs: number;
  /** When the delay was last raised. */
  raisedAt: number;
}

export class BackOff {
  readonly #options: BackOffOptions;
  readonly #entries = new Map<string, Entry>();

  constructor(options: BackOffOptions) {
    this.#options = options;
  }

  /** Milliseconds still to wait after a failure at `failedAt`; 0 when an attempt is due. */
  remaining(key: string, failedAt: number, now: number): number {
    const entry = this.#entries.get(key);
    if (entry === undefined || this.#expired(entry, failedAt)) return 0;
    return Math.max(0, failedAt + entry.delayMs - now);
  }

  /** Notes that an attempt is made now: the next failure waits longer. */
  raise(key: string, now: number): void {
    const entry = this.#entries.get(key);
    const fresh = entry === undefined || this.#expired(entry, now);
    const delayMs = fresh ? this.#options.initialMs : Math.min(entry.delayMs * 2, this.#options.maxMs);
    this.#entries.set(key, { delayMs, raisedAt: now });
  }

  /** The present delay in milliseconds, for messages. */
  delay(key: string): number {
    return this.#entries.get(key)?.delayMs ?? this.#options.initialMs;
  }

  /** Forgets every key that starts with `prefix`. */
  forget(prefix: string): void {
    for (const key of this.#entries.keys()) if (key.startsWith(prefix)) this.#entries.delete(key);
  }

  #expired(entry: Entry, at: number): boolean {
    return at - entry.raisedAt > 2 * this.#options.maxMs;
  }
}

/** `10s`, `1m20s`, `5m0s`: a delay as Go prints it, which is what people look for in messages. */
export function goDuration(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 1000);
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor((seconds % 3600) / 60);
  if (hours > 0) return `${hours}h${minutes}m${seconds % 60}s`;
  return minutes > 0 ? `${minutes}m${seconds % 60}s` : `${seconds}s`;
}
