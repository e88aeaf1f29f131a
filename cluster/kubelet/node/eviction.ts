// SPDX-License-Identifier: Apache-2.0
// Which eviction thresholds are crossed, and who goes first. Pure.
import { toBytes } from '../../machinery/quantities.ts';

/** Signal name to what is left and what there is, in bytes (inodes for inodesFree). */
export type Signals = Readonly<Record<string, { readonly available: number; readonly total: number }>>;

export interface Crossed {
  readonly signal: string;
  readonly threshold: string;
  readonly available: number;
}

/** Thresholds with less left than they ask for. `0%` switches a threshold off. */
export function crossed(thresholds: Readonly<Record<string, string>>, signals: Signals): Crossed[] {
  return Object.entries(thresholds).flatMap(([signal, threshold]) => {
    const state = signals[signal];
    if (state === undefined || state.total === 0) return [];
    const least = threshold.endsWith('%') ? (state.total * Number.parseFloat(threshold)) / 100 : toBytes(threshold);
    return state.available < least ? [{ signal, threshold, available: state.available }] : [];
  });
}

export interface EvictionCandidate {
  readonly uid: string;
  readonly priority: number;
  readonly requestBytes: number;
  readonly usageBytes: number;
}

/** First those that use more than they asked for, then by lower priority, then by how far they are above. */
export function rankForMemory(candidates: readonly EvictionCandidate[]): EvictionCandidate[] {
  const above = (one: EvictionCandidate): number => one.usageBytes - one.requestBytes;
  return candidates.toSorted(
    (a, b) => Number(above(b) > 0) - Number(above(a) > 0) || a.priority - b.priority || above(b) - above(a),
  );
}
