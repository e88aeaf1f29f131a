// SPDX-License-Identifier: Apache-2.0
// What a controller has asked for and not yet seen in its cache. While something is outstanding the controller must not
// count its objects, or it would create or delete twice.

const expiryMs = 300_000;

interface Outstanding {
  creations: number;
  readonly deletions: Set<string>;
  since: number;
}

export class Expectations {
  readonly #outstanding = new Map<string, Outstanding>();

  /** True when everything asked for has been seen, or has been waited for too long. */
  satisfied(key: string): boolean {
    const entry = this.#outstanding.get(key);
    if (!entry) return true;
    return (entry.creations <= 0 && entry.deletions.size === 0) || Date.now() - entry.since > expiryMs;
  }

  expect(key: string, creations: number, deletions: readonly string[] = []): void {
    this.#outstanding.set(key, { creations, deletions: new Set(deletions), since: Date.now() });
  }

  /** A creation was seen, or failed. */
  created(key: string, count = 1): void {
    const entry = this.#outstanding.get(key);
    if (entry) entry.creations -= count;
  }

  /** A deletion of the object with this uid was seen, or failed. */
  deleted(key: string, uid: string): void {
    this.#outstanding.get(key)?.deletions.delete(uid);
  }

  forget(key: string): void {
    this.#outstanding.delete(key);
  }
}
