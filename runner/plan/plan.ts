// SPDX-License-Identifier: Apache-2.0
/** Decides which cases run, which are skipped and why, and in which order. Pure: knows neither a cluster nor a clock. */
import { modes, needs, type Area, type CaseMetadata, type Mode, type Need } from '../../suites/case.ts';
import { Problem } from '../problem.ts';
import type { CaseDescription } from '../results/events.ts';

const caseTimeoutMs = 120_000;

export interface Selection {
  readonly mode: Mode;
  /** Regular expressions, tried on id, on title, and on every tag with `#` before it. */
  readonly focus?: string | undefined;
  readonly skip?: string | undefined;
  /** Names (ids or titles) of the cases that failed in an earlier run. */
  readonly rerun?: ReadonlySet<string> | undefined;
}

/** Needs that the cluster does not meet, with the reason. */
export type Unmet = ReadonlyMap<Need, string>;

export interface PlannedCase<C extends CaseMetadata> {
  readonly case: C;
  readonly skipReason?: string;
}

export interface Plan<C extends CaseMetadata> {
  /** Run beside each other. Long ones first, so that the end is not waited for alone. */
  readonly parallel: readonly PlannedCase<C>[];
  /** Run one after the other, afterwards. */
  readonly serial: readonly PlannedCase<C>[];
}

export function parseMode(text: string): Mode {
  const found = modes.find((mode) => mode === text);
  if (found === undefined)
    throw new Problem(`--mode ${text}: there is no such mode`, `Choose one of: ${modes.join(', ')}.`);
  return found;
}

/** The cases that the user asked for, in the order given. Throws a Problem if that is none. */
export function selectCases<C extends CaseMetadata>(cases: readonly C[], selection: Selection): C[] {
  const focus = compile('--focus', selection.focus);
  const skip = compile('--skip', selection.skip);
  const { rerun } = selection;
  if (rerun !== undefined) {
    const again = cases.filter((one) => rerun.has(one.id) || rerun.has(one.title) || rerun.has(reportedName(one)));
    if (again.length === 0) {
      throw new Problem(
        `--rerun-failed: none of the ${rerun.size} failed cases of that run exists here (such as "${[...rerun][0] ?? 'none'}")`,
        rerun.size === 0
          ? 'Nothing failed in that run; there is nothing to run again.'
          : 'Run `plumb list` to see the names.',
      );
    }
    return again.filter((one) => !matches(skip, one));
  }
  // A focus names what is wanted, so that the mode no longer limits.
  const inMode = focus === undefined ? cases.filter((one) => isInMode(one, selection.mode)) : cases;
  const selected = inMode.filter((one) => (focus === undefined || matches(focus, one)) && !matches(skip, one));
  if (selected.length === 0) {
    const what = [
      ...(selection.focus === undefined ? [`--mode ${selection.mode}`] : [`--focus ${selection.focus}`]),
      ...(selection.skip === undefined ? [] : [`--skip ${selection.skip}`]),
    ].join(' ');
    throw new Problem(`${what} matches none of the ${cases.length} cases`, 'Run `plumb list` to see ids and titles.');
  }
  return selected;
}

/** Orders the selected cases and marks what the cluster cannot carry. */
export function makePlan<C extends CaseMetadata>(selected: readonly C[], unmet: Unmet): Plan<C> {
  const planned = selected.map((one): PlannedCase<C> => {
    const missing = (one.needs ?? []).filter((need) => unmet.has(need));
    if (missing.length === 0) return { case: one };
    return { case: one, skipReason: missing.map((need) => `needs ${needs[need]}: ${unmet.get(need)}`).join('; ') };
  });
  const byLength = (a: PlannedCase<C>, b: PlannedCase<C>): number => timeoutOf(b.case) - timeoutOf(a.case);
  return {
    parallel: planned.filter((one) => one.case.serial !== true).toSorted(byLength),
    serial: planned.filter((one) => one.case.serial === true),
  };
}

export function describeCase(one: CaseMetadata): CaseDescription {
  return {
    id: one.id,
    area: one.area,
    title: one.title,
    description: one.description,
    requirements: one.requirements,
    modes: one.modes,
    needs: one.needs ?? [],
    serial: one.serial === true,
    timeoutMs: timeoutOf(one),
  };
}

/** The name in JUnit and in the Sonobuoy tarball. */
export function reportedName(one: { readonly area: Area | string; readonly title: string }): string {
  return `[${one.area}] ${one.title}`;
}

export function timeoutOf(one: CaseMetadata): number {
  return one.timeoutMs ?? caseTimeoutMs;
}

function isInMode({ modes: included }: CaseMetadata, mode: Mode): boolean {
  return mode === 'full' ? included.some((one) => one !== 'policy') : included.includes(mode);
}

function matches(expression: RegExp | undefined, one: CaseMetadata): boolean {
  return (
    expression !== undefined &&
    [one.id, one.title, reportedName(one), ...(one.tags ?? []).map((tag) => `#${tag}`)].some((text) =>
      expression.test(text),
    )
  );
}

function compile(flag: string, text: string | undefined): RegExp | undefined {
  if (text === undefined) return undefined;
  try {
    return new RegExp(text);
  } catch (error) {
    throw new Problem(
      `${flag} ${text}: ${(error as Error).message}`,
      `Give a regular expression, such as ${flag} '^dns\\.'.`,
    );
  }
}
