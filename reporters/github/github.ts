// SPDX-License-Identifier: Apache-2.0
/**
 * For GitHub Actions: workflow commands that annotate the job with each failure (to be printed), and Markdown for the step summary (to be
 * appended to $GITHUB_STEP_SUMMARY).
 */
import { countCases, isFlaky, verdictOf, type CaseRecord } from '../../runner/results/run-record.ts';
import { failureText, flakyText, reasonOf, reportedName, statusOf } from '../case-outcome.ts';
import { explanationsOf } from '../explanations.ts';
import type { Reporter, ReportInput } from '../report.ts';

export const githubReporter: Reporter = (input) => [{ path: 'summary.md', content: stepSummary(input) }];

const annotationsMax = 20;

export function annotations({ record, files }: ReportInput): string[] {
  const of = (status: string): CaseRecord[] => [...record.cases.values()].filter((one) => statusOf(one) === status);
  return [
    ...of('failed').map((one) => command('error', reportedName(one), failureText(one, explanationsOf(one, files)))),
    ...of('inconclusive').map((one) => command('warning', `${reportedName(one)} (inconclusive)`, failureText(one, []))),
  ].slice(0, annotationsMax);
}

function command(level: 'error' | 'warning', title: string, message: string): string {
  const property = (text: string): string => data(text).replaceAll(':', '%3A').replaceAll(',', '%2C');
  return `::${level} title=${property(title)}::${data(message)}`;
}

function data(text: string): string {
  return text.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A');
}

export function stepSummary({ record, files }: ReportInput): string {
  const { verdict, reason } = verdictOf(record);
  const counts = countCases(record.cases.values());
  const cases = [...record.cases.values()];
  const areas = [...new Set(cases.map((one) => one.description.area))];
  const telling = cases.filter((one) => ['failed', 'inconclusive'].includes(statusOf(one)));
  const skipped = cases.filter((one) => statusOf(one) === 'skipped');
  return [
    `## Plumbline: ${verdict}`,
    '',
    `${reason === undefined ? '' : `${cell(reason)}. `}Kubernetes ${record.cluster?.serverVersion ?? 'unknown'}, ${record.cluster?.nodes.length ?? 0} nodes, mode ${record.run?.mode ?? 'unknown'}, ` +
      `${Math.round((record.finished?.durationMs ?? 0) / 1000)} s.`,
    '',
    '| area | passed | failed | inconclusive | skipped |',
    '| --- | ---: | ---: | ---: | ---: |',
    ...areas.map((area) => {
      const of = countCases(cases.filter((one) => one.description.area === area));
      return `| ${area} | ${of.passed} | ${of.failed} | ${of.inconclusive + of.unfinished} | ${of.skipped} |`;
    }),
    `| **all** | **${counts.passed}** | **${counts.failed}** | **${counts.inconclusive + counts.unfinished}** | **${counts.skipped}** |`,
    '',
    ...(cases.some(isFlaky) ? [`${flakyText(record)}.`, ''] : []),
    ...telling.flatMap((one) => [
      `<details><summary>${statusOf(one)}: ${html(reportedName(one))}</summary>`,
      '',
      fenced(failureText(one, explanationsOf(one, files))),
      '',
      '</details>',
      '',
    ]),
    ...(skipped.length === 0
      ? []
      : [
          `<details><summary>${skipped.length} skipped</summary>`,
          '',
          ...skipped.map((one) => `- ${html(reportedName(one))}: ${html(reasonOf(one))}`),
          '',
          '</details>',
          '',
        ]),
  ].join('\n');
}

function cell(text: string): string {
  return html(text).replaceAll('|', '\\|').replaceAll('\n', ' ');
}

function html(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

/** A fence longer than any run of backticks inside. */
function fenced(text: string): string {
  const longest = Math.max(2, ...[...text.matchAll(/`+/g)].map((match) => match[0].length));
  const fence = '`'.repeat(longest + 1);
  return `${fence}text\n${text}\n${fence}`;
}
