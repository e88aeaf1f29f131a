// SPDX-License-Identifier: Apache-2.0
/**
 * Carries out one case as a mocha `it` with an `afterEach` that takes apart what the body built:
 *
 * ```text
 *   case-started -> body -+-> passed ------------------------------------> teardown -> case-finished
 *                         +-> failed -> failure hooks (evidence) --------> teardown -> case-finished
 *                         +-> inconclusive, first time -> hooks ---------> teardown -> case-retried -> case-started ...
 *                         +-> interrupted or t.skip ---------------------> teardown -> case-finished (skipped)
 * ```
 *
 * Each case has a mocha Runner of its own, so that as many run beside each other as the plan allows, whichever ends first making room for the next.
 * Retries are mocha's, allowed by the body only when nothing could be concluded.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import Mocha from 'mocha';
import type { Case } from '../../suites/case.ts';
import { timeoutOf } from '../plan/plan.ts';
import type { CaseFinished, CaseStatus } from '../results/events.ts';
import { pause } from '../target/pause.ts';
import { beginAttempt, type Attempt, type RunEnvironment } from './case-context.ts';
import { DeadlineExceeded, describeError, Interrupted, isInconclusive, readableMessage, SkipCase } from './failure.ts';

/** Time for a body to notice that its signal was aborted, before it is left to itself. */
const abortGraceMs = 10_000;
const attemptsMax = 2;

export interface CaseConditions {
  /** Aborted when the run is interrupted; the reason becomes the reason of the skip. */
  readonly interrupt: AbortSignal;
  /**
   * Called when a case failed or could not find out: resolves, once the API answers again, to what was wrong with the cluster since `since` (a
   * `performance.now()`), or undefined. What failed while the cluster was away is tried again.
   */
  readonly disturbanceSince: (since: number) => Promise<string | undefined>;
}

interface Judgement {
  readonly status: CaseStatus;
  readonly reason?: string;
  readonly error?: unknown;
}

/** The case in whose asynchronous context an error came up that nobody caught. */
export const runningCase = new AsyncLocalStorage<{
  readonly caseId: string;
  readonly crash: (error: unknown) => void;
}>();

export async function runCase(
  one: Case,
  environment: RunEnvironment,
  conditions: CaseConditions,
): Promise<CaseFinished> {
  const { recorder } = environment;
  let attempts = 0;
  let startedAt = '';
  let started = 0;
  let attempt: Attempt | undefined;
  let judgement: Judgement = { status: 'inconclusive', reason: 'the case was not carried out' };
  let troubles: string[] = [];

  const root = new Mocha.Suite('', new Mocha.Context());
  const suite = Mocha.Suite.create(root, one.area);
  // Deadlines are kept by `carryOut`, which aborts the body instead of only looking away.
  suite.timeout(0);
  suite.addTest(
    new Mocha.Test(one.title, async function body(this: Mocha.Context) {
      attempts++;
      started = performance.now();
      startedAt = recorder.record({ type: 'case-started', caseId: one.id, attempt: attempts }).time;
      troubles = [];
      const outcome = await carryOut(one, environment, { number: attempts, interrupt: conditions.interrupt });
      attempt = outcome.attempt;
      judgement = outcome.judgement;
      if (judgement.status === 'passed') return;
      if (judgement.status === 'skipped') this.skip();
      const disturbance = await conditions.disturbanceSince(started);
      if (
        attempts < attemptsMax &&
        !conditions.interrupt.aborted &&
        (disturbance !== undefined || judgement.status === 'inconclusive')
      ) {
        const reason = [judgement.reason, disturbance].filter((text) => text !== undefined).join('; ');
        recorder.record({ type: 'case-retried', caseId: one.id, attempt: attempts, reason });
        this.test?.retries(attemptsMax - 1);
      } else if (disturbance !== undefined) {
        judgement = { ...judgement, status: 'inconclusive', reason: `${judgement.reason ?? 'failed'}; ${disturbance}` };
      }
      throw judgement.error;
    }),
  );
  suite.afterEach('teardown', async () => {
    if (attempt === undefined) return;
    const failed = judgement.status === 'failed' || judgement.status === 'inconclusive';
    if (failed && judgement.error instanceof Error) troubles.push(...(await attempt.afterFailure(judgement.error)));
    troubles.push(...(await attempt.tearDown({ failed })));
  });

  const runner = new Mocha.Runner(root);
  let verdict = 'inconclusive' as CaseStatus;
  runner.on('pass', () => (verdict = 'passed'));
  runner.on('pending', () => (verdict = 'skipped'));
  runner.on('fail', () => (verdict = judgement.status === 'inconclusive' ? 'inconclusive' : 'failed'));
  await new Promise<void>((resolve) => {
    runner.run(() => resolve());
    stopListeningToProcess(runner);
  });
  runner.dispose();

  const { reason, error } = judgement;
  return recorder.record({
    type: 'case-finished',
    caseId: one.id,
    status: verdict,
    attempts,
    startedAt,
    durationMs: Math.round(performance.now() - started),
    ...(reason === undefined ? {} : { reason }),
    ...(error === undefined || verdict === 'skipped' ? {} : { error: describeError(error, attempt?.stepOf(error)) }),
    ...(troubles.length === 0 ? {} : { troubles }),
  }) as CaseFinished;
}

/** Runs the body under its deadline and says what its end means. Never rejects. */
async function carryOut(
  one: Case,
  environment: RunEnvironment,
  options: { readonly number: number; readonly interrupt: AbortSignal },
): Promise<{ attempt: Attempt; judgement: Judgement }> {
  const stop = new AbortController();
  const attempt = beginAttempt(one, environment, { number: options.number, signal: stop.signal });
  const timeoutMs = timeoutOf(one);
  const clock = setTimeout(() => {
    const step = attempt.currentStep();
    stop.abort(
      new DeadlineExceeded(
        `not done within its ${timeoutMs} ms${step === undefined ? '' : `; it was at the step "${step}"`}`,
      ),
    );
  }, timeoutMs);
  const interrupted = (): void => stop.abort(new Interrupted('interrupted'));
  options.interrupt.addEventListener('abort', interrupted, { once: true });
  if (options.interrupt.aborted) interrupted();

  const over = new AbortController();
  let crash: (error: unknown) => void = () => {};
  const crashed = new Promise<never>((_, reject) => (crash = reject));
  try {
    const body = runningCase.run({ caseId: one.id, crash }, () => one.run(attempt.context));
    await Promise.race([body, crashed, leftToItself(stop.signal, over.signal)]);
    return { attempt, judgement: { status: 'passed' } };
  } catch (error) {
    // What comes up after the abort is a consequence of it: the reason of the abort is the error.
    return {
      attempt,
      judgement: judge(stop.signal.aborted && !(error instanceof SkipCase) ? stop.signal.reason : error),
    };
  } finally {
    clearTimeout(clock);
    options.interrupt.removeEventListener('abort', interrupted);
    over.abort();
    stop.abort(new Interrupted('the case has ended'));
  }
}

/** Rejects when the body has not ended within the grace time after the abort. */
async function leftToItself(signal: AbortSignal, over: AbortSignal): Promise<never> {
  await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  await pause(abortGraceMs, over);
  throw signal.reason;
}

function judge(error: unknown): Judgement {
  if (error instanceof SkipCase) return { status: 'skipped', reason: error.message };
  if (error instanceof Interrupted) return { status: 'skipped', reason: error.message };
  const thrown = error ?? new Error('undefined was thrown');
  if (isInconclusive(thrown)) return { status: 'inconclusive', reason: readableMessage(thrown), error: thrown };
  return { status: 'failed', reason: readableMessage(thrown), error: thrown };
}

/**
 * A mocha Runner takes every uncaught error of the process for its own, which is wrong with several of them side by side. The command
 * line listens instead and finds the right case by its asynchronous context (`runningCase`).
 */
function stopListeningToProcess(runner: Mocha.Runner): void {
  const { uncaught, unhandled } = runner as unknown as Record<'uncaught' | 'unhandled', (...args: unknown[]) => void>;
  process.removeListener('uncaughtException', uncaught);
  process.removeListener('unhandledRejection', unhandled);
}
