// SPDX-License-Identifier: Apache-2.0
/** Waits for the same thing on many nodes; when some have it, the others get a while that depends on how long it took. */

export interface Awaited<T> {
  readonly done: ReadonlyMap<string, T>;
  readonly failed: ReadonlyMap<string, unknown>;
  readonly tookMs: number;
}

/** The slower the others were, the longer the last ones get. */
function stragglerMs(othersTookMs: number): number {
  return 3_000 + othersTookMs * 1.5;
}

/** Where only few have it yet, the others get longer by this. */
const fewFactor = 2;

/** Resolves when all have ended, or the stragglers' time is up, or `mostMs` have passed. In the order of the names. Never rejects. */
export async function awaitMost<T>(
  names: readonly string[],
  look: (name: string) => Promise<T>,
  mostMs: number,
): Promise<Awaited<T>> {
  const found = new Map<string, T>();
  const failed = new Map<string, unknown>();
  const started = performance.now();
  let release: () => void = () => undefined;
  const enough = new Promise<void>((resolve) => (release = resolve));
  const timers = [setTimeout(release, mostMs)];
  const given = new Set<boolean>();
  const one = async (name: string): Promise<void> => {
    try {
      found.set(name, await look(name));
    } catch (error) {
      failed.set(name, error);
    }
    const isMost = found.size * 2 >= names.length;
    if (found.size > 0 && !given.has(isMost)) {
      given.add(isMost);
      timers.push(setTimeout(release, stragglerMs(performance.now() - started) * (isMost ? 1 : fewFactor)));
    }
  };
  await Promise.race([Promise.all(names.map(one)), enough]);
  for (const timer of timers) clearTimeout(timer);
  const done = new Map(names.flatMap((name) => (found.has(name) ? [[name, found.get(name) as T] as const] : [])));
  return { done, failed: new Map(failed), tookMs: performance.now() - started };
}
