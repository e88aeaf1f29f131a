// SPDX-License-Identifier: Apache-2.0
import { Problem, messageOf } from '../problem.ts';

/** To stderr: what is wrong and what to do; a stack only for faults of plumb itself. */
export function printProblem(error: unknown): void {
  if (error instanceof Problem) process.stderr.write(`error: ${error.message}\n  -> ${error.remedy}\n`);
  else process.stderr.write(`error: ${error instanceof Error ? (error.stack ?? messageOf(error)) : String(error)}\n`);
}
