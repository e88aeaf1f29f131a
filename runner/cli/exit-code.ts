// SPDX-License-Identifier: Apache-2.0
/** The one place where outcomes become exit codes. */
import type { Verdict } from '../results/events.ts';

/** 0 passed, 1 failures, 2 harness or usage error, 3 inconclusive. */
const exitCodes: Readonly<Record<Verdict, number>> = { passed: 0, failed: 1, error: 2, inconclusive: 3 };

export const usageError = exitCodes.error;

export function exitCodeOf(verdict: Verdict): number {
  return exitCodes[verdict];
}

/** A run that was ended at once says nothing. */
export const exitCodeOfInterrupt = exitCodes.inconclusive;
