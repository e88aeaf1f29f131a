// SPDX-License-Identifier: Apache-2.0
/** How a case is told in every report: its name, its seconds, its failure as text. Pure. */
import { isFlaky, type CaseRecord, type RunRecord } from '../runner/results/run-record.ts';

/** The name in JUnit and in the Sonobuoy tarball. */
export function reportedName(one: CaseRecord): string {
  return `[${one.description.area}] ${one.description.title}`;
}

/** Status, or `inconclusive` for a case that has none because the run was cut off. */
export function statusOf(one: CaseRecord): 'passed' | 'failed' | 'skipped' | 'inconclusive' {
  return one.finished?.status ?? 'inconclusive';
}

export function reasonOf(one: CaseRecord): string {
  if (one.finished === undefined) return 'the run was cut off before the case had a result';
  return one.finished.reason ?? '';
}

/** Seconds with milliseconds, as JUnit writes them. */
export function seconds(ms: number): string {
  return (ms / 1000).toFixed(3);
}

/** Everything that is known about why a case did not pass, for a reader without the other files. */
export function failureText(one: CaseRecord, explanations: readonly string[]): string {
  const error = one.finished?.error;
  const parts = [
    error === undefined ? reasonOf(one) : `${error.name}: ${error.message}`,
    ...(error?.step === undefined ? [] : [`Step: ${error.step}`]),
    ...(error?.expected === undefined ? [] : [`Expected: ${error.expected}`]),
    ...(error?.actual === undefined ? [] : [`Actual:   ${error.actual}`]),
    ...explanations,
    ...(error?.stack === undefined ? [] : [error.stack]),
    ...(one.finished?.troubles ?? []).map((trouble) => `Also: ${trouble}`),
    ...(one.evidence.length === 0 ? [] : [`Evidence:\n${one.evidence.map((item) => `  ${item.file}`).join('\n')}`]),
  ];
  return parts.join('\n');
}

/** What the case printed, step by step and line by line, in order. */
export function transcript(one: CaseRecord): string {
  const lines = [
    ...one.retries.map((retry) => ({
      time: retry.time,
      text: `attempt ${retry.attempt} thrown away: ${retry.reason}`,
    })),
    ...one.flakes.map(({ time, what }) => ({ time, text: `wavered: ${what}` })),
    ...one.steps.map((step) => ({
      time: step.time,
      text: `${step.passed ? 'done' : 'FAILED'}: ${step.name} (${step.durationMs} ms)`,
    })),
    ...one.messages.map((message) => ({ time: message.time, text: message.message })),
    ...one.figures.map((figure) => ({
      time: figure.time,
      text: `${figure.name} = ${figure.value} ${figure.unit}${figure.limit === undefined ? '' : ` (limit ${figure.limit})`}`,
    })),
  ];
  return lines
    .toSorted((a, b) => (a.time < b.time ? -1 : a.time > b.time ? 1 : 0))
    .map((line) => `${line.time} ${line.text}`)
    .join('\n');
}

/** How many cases were not right at the first try, and what the run allows. */
export function flakyText({ cases, run }: RunRecord): string {
  const flaky = [...cases.values()].filter(isFlaky).length;
  const budget = run?.flakeBudget === undefined ? '' : ` (flake budget ${run.flakeBudget})`;
  return `${flaky} ${flaky === 1 ? 'case was' : 'cases were'} not right at the first try${budget}`;
}
