// SPDX-License-Identifier: Apache-2.0
/** Carries out a plan: parallel cases in lanes that respect locks and shares, then serial cases one by one. Every planned case gets a result. */
import type { Case } from '../../suites/case.ts';
import type { Plan, PlannedCase } from '../plan/plan.ts';
import type { Recorder } from '../results/recorder.ts';

/** Of so many cases that share a thing, one more may use it at a time: about as many as are through before another one is made. */
const casesPerShare = 8;

export interface PlanConditions {
  readonly parallel: number;
  readonly recorder: Recorder;
  readonly interrupt: AbortSignal;
  readonly runCase: (one: Case) => Promise<unknown>;
  /** Before each serial case: resolves when nothing of earlier cases is left to be disturbed by, or soon enough. */
  readonly settle: () => Promise<void>;
}

export async function runPlan(plan: Plan<Case>, conditions: PlanConditions): Promise<void> {
  for (const one of [...plan.parallel, ...plan.serial]) {
    if (one.skipReason !== undefined) recordSkip(one.case, one.skipReason, conditions.recorder);
  }
  await runLanes(plan.parallel.filter(isRunnable), conditions);
  for (const one of plan.serial.filter(isRunnable)) {
    if (!conditions.interrupt.aborted) await conditions.settle();
    await runUnlessInterrupted(one.case, conditions);
  }
}

function isRunnable(one: PlannedCase<Case>): boolean {
  return one.skipReason === undefined;
}

/** Each lane takes the first waiting case whose locks and shares are free; a lane that finds none waits for another lane to end its case. */
async function runLanes(planned: readonly PlannedCase<Case>[], conditions: PlanConditions): Promise<void> {
  const waiting = planned.map((one) => one.case);
  const places = placesOf(waiting);
  const running = new Set<Promise<void>>();
  while (waiting.length > 0 || running.size > 0) {
    const next =
      running.size < conditions.parallel
        ? waiting.findIndex((one) => thingsOf(one).every((thing) => places.get(thing) !== 0))
        : -1;
    if (next === -1) {
      await Promise.race(running);
      continue;
    }
    const [one] = waiting.splice(next, 1) as [Case];
    const occupy = (count: number): void => {
      for (const thing of thingsOf(one)) places.set(thing, (places.get(thing) ?? 0) - count);
    };
    occupy(1);
    const lane = runUnlessInterrupted(one, conditions).finally(() => {
      occupy(-1);
      running.delete(lane);
    });
    running.add(lane);
  }
}

/** How many cases may use each lock and each share at a time. */
function placesOf(cases: readonly Case[]): Map<string, number> {
  const users = new Map<string, number>();
  for (const thing of cases.flatMap(thingsOf)) users.set(thing, (users.get(thing) ?? 0) + 1);
  const locks = new Set(cases.flatMap((one) => one.locks ?? []));
  return new Map([...users].map(([thing, count]) => [thing, locks.has(thing) ? 1 : Math.ceil(count / casesPerShare)]));
}

function thingsOf({ locks = [], shares = [] }: Case): readonly string[] {
  return [...locks, ...shares];
}

async function runUnlessInterrupted(one: Case, conditions: PlanConditions): Promise<void> {
  if (conditions.interrupt.aborted) recordSkip(one, 'interrupted', conditions.recorder);
  else await conditions.runCase(one);
}

function recordSkip(one: Case, reason: string, recorder: Recorder): void {
  recorder.record({
    type: 'case-finished',
    caseId: one.id,
    status: 'skipped',
    attempts: 0,
    startedAt: '',
    durationMs: 0,
    reason,
  });
}
