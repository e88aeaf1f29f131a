// SPDX-License-Identifier: Apache-2.0
/** `e2e.log`: the run as a text to read from top to bottom, in the manner of a ginkgo log, with a line per case and the failures in full. */
import { countCases, verdictOf } from '../../runner/results/run-record.ts';
import { failureText, reasonOf, reportedName, seconds, statusOf } from '../case-outcome.ts';
import { explanationsOf } from '../explanations.ts';
import type { ReportInput } from '../report.ts';

const words = { passed: 'PASSED', failed: 'FAILED', skipped: 'SKIPPED', inconclusive: 'INCONCLUSIVE' } as const;

export function e2eLog({ record, files }: ReportInput): string {
  const cases = [...record.cases.values()];
  const counts = countCases(cases);
  const { verdict, reason } = verdictOf(record);
  const carriedOut = cases.filter((one) => statusOf(one) !== 'skipped').length;
  const inOrder = cases.toSorted((a, b) => ((a.finished?.time ?? '~') < (b.finished?.time ?? '~') ? -1 : 1));
  return [
    `${record.run?.time ?? ''} Plumbline ${record.run?.toolVersion ?? ''}, run ${record.run?.runId ?? ''}, mode ${record.run?.mode ?? ''}`,
    `${record.run?.time ?? ''} kube-apiserver version: ${record.cluster?.serverVersion ?? 'unknown'} (${record.run?.target.server ?? ''})`,
    ...(record.cluster?.nodes ?? []).map(
      (node) =>
        `${record.cluster?.time} node ${node.name}: kubelet ${node.kubeletVersion}, ${node.containerRuntime}, ${node.osImage}, ${node.kernel}`,
    ),
    ...record.preflight.map((check) => `${check.time} preflight ${check.name}: ${check.status}: ${check.message}`),
    '',
    ...inOrder.flatMap((one) => {
      const status = statusOf(one);
      const line = `${one.finished?.time ?? ''} ${words[status]} ${reportedName(one)} [${seconds(one.finished?.durationMs ?? 0)} seconds]`;
      if (status === 'passed') return [line];
      const text = status === 'skipped' ? reasonOf(one) : failureText(one, explanationsOf(one, files));
      return [line, ...text.split('\n').map((part) => `    ${part}`)];
    }),
    ...record.disturbances.map((one) => `${one.time} DISTURBANCE ${one.message}`),
    ...record.snapshot
      .filter((one) => one.error !== undefined)
      .map((one) => `${one.time} snapshot section ${one.name}: ${one.error}`),
    '',
    `Ran ${carriedOut} of ${cases.length} Specs in ${seconds(record.finished?.durationMs ?? 0)} seconds`,
    `${verdict === 'passed' ? 'SUCCESS!' : 'FAIL!'} -- ${counts.passed} Passed | ${counts.failed} Failed | ${counts.inconclusive + counts.unfinished} Inconclusive | ${counts.skipped} Skipped`,
    ...(reason === undefined ? [] : [`Verdict: ${verdict}: ${reason}`]),
    '',
  ].join('\n');
}
