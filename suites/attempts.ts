// SPDX-License-Identifier: Apache-2.0
/** Judging attempts: an assertion that fails carries its attempt, so that the failing flow can be captured again. */
import { AssertionError } from 'chai';
import type { AttemptRequest, Prober } from '../probes/agent/prober.ts';
import type { AttemptOutcome, AttemptResult } from '../probes/agent/protocol.ts';
import { done, pending, type CaseContext, type WaitOptions } from './case.ts';

/** How long new rules may take to reach every node, before a wrong answer counts. */
const settleMs = 15_000;

/** Fails, naming both ends and both outcomes, unless the attempt ended in one of `expected`. */
export function expectOutcome(
  result: AttemptResult,
  expected: AttemptOutcome | readonly AttemptOutcome[],
  context: string,
): void {
  const wanted = typeof expected === 'string' ? [expected] : expected;
  if (wanted.includes(result.outcome)) return;
  const detail = result.error === undefined ? '' : ` (${result.error})`;
  const error = new AssertionError(`${context}: expected ${wanted.join(' or ')}, got ${result.outcome}${detail}`);
  throw Object.assign(error, { attempt: result });
}

/**
 * Repeats the attempt until `good` accepts its result, at most 15 s, and resolves to that result. Rules are programmed after the API
 * has answered; what is judged is that they come, and `time` measures when.
 */
export async function eventually(
  t: CaseContext,
  from: Prober,
  request: AttemptRequest,
  options: { readonly until: (result: AttemptResult) => boolean; readonly what: string } & WaitOptions,
): Promise<AttemptResult> {
  let last: AttemptResult | undefined;
  try {
    return await t.waitFor(
      options.what,
      async () => {
        last = await from.attempt({ timeoutMs: 1_000, ...request });
        return options.until(last)
          ? done(last)
          : pending(`${last.outcome} ${last.error ?? last.server?.hostname ?? ''}`);
      },
      { timeoutMs: options.timeoutMs ?? settleMs, intervalMs: options.intervalMs ?? 50 },
    );
  } catch (error) {
    throw error instanceof Error && last !== undefined ? Object.assign(error, { attempt: last }) : error;
  }
}

/** The target answers, from one of these pods where they are given. */
export function reaches(
  t: CaseContext,
  from: Prober,
  request: AttemptRequest,
  servers?: readonly string[],
): Promise<AttemptResult> {
  return eventually(t, from, request, {
    what: `${from.description} to reach ${request.protocol} ${request.host}:${request.port}`,
    until: ({ outcome, server }) =>
      outcome === 'allowed' && (servers === undefined || servers.includes(server?.hostname ?? '')),
  });
}
