// SPDX-License-Identifier: Apache-2.0
// Runs a list of steps, each as soon as those that it needs are done, and tells an observer what happens and how long
// it takes. The first failure stops what has not begun; steps under way are told by the signal and waited for.

export interface Step {
  readonly id: string;
  readonly title: string;
  readonly needs: readonly string[];
  /** May resolve to a few words about what was found or done. */
  readonly run: (signal: AbortSignal) => Promise<string | void>;
}

export interface StepObserver {
  /** All steps, before the first begins. */
  planned?(steps: readonly Step[]): void;
  /** Awaited after the last step. */
  settled?(): Promise<void>;
  started(step: Step): void;
  /** `note` is what `run` resolved to; times are in milliseconds, `at` counted from the start of all. */
  done(step: Step, result: { readonly note: string | undefined; readonly tookMs: number; readonly atMs: number }): void;
  failed(step: Step, error: unknown): void;
}

/** A failure that a person can act on. */
export class StepError extends Error {
  override readonly name = 'StepError';
  readonly remedy: string;
  /** The tail of the log concerned, or nothing. */
  readonly log: string;

  constructor(message: string, options: { remedy: string; log?: string; cause?: unknown }) {
    super(message, { cause: options.cause });
    this.remedy = options.remedy;
    this.log = options.log ?? '';
  }
}

export async function runSteps(steps: readonly Step[], observer: StepObserver): Promise<void> {
  const start = performance.now();
  const abort = new AbortController();
  const results = new Map<string, Promise<void>>();
  let failure: { error: unknown } | undefined;
  const runOne = async (step: Step): Promise<void> => {
    await Promise.all(step.needs.map((id) => results.get(id)));
    if (failure !== undefined) return;
    const begin = performance.now();
    observer.started(step);
    try {
      const note = await step.run(abort.signal);
      const now = performance.now();
      observer.done(step, { note: note ?? undefined, tookMs: now - begin, atMs: now - start });
    } catch (error) {
      if (failure !== undefined) return;
      failure = { error };
      observer.failed(step, error);
      abort.abort(error);
    }
  };
  observer.planned?.(steps);
  for (const step of steps) {
    const unknown = step.needs.find((id) => !results.has(id));
    if (unknown !== undefined) throw new TypeError(`step ${step.id} needs ${unknown}, which does not come before it`);
    results.set(step.id, runOne(step));
  }
  await Promise.all(results.values());
  await observer.settled?.();
  if (failure !== undefined) throw failure.error;
}
