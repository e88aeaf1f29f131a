// SPDX-License-Identifier: Apache-2.0
/** OpenMetrics text for a textfile collector or a push gateway: what nightly runs are plotted from. */
import { caseStatuses } from '../../runner/results/events.ts';
import { countCases, isFlaky, verdictOf } from '../../runner/results/run-record.ts';
import { statusOf } from '../case-outcome.ts';
import type { Reporter } from '../report.ts';

export const openMetricsReporter: Reporter = ({ record }) => {
  const cases = [...record.cases.values()];
  const counts = countCases(cases);
  const { verdict } = verdictOf(record);
  const cluster = { cluster_uid: record.cluster?.uid ?? '', server_version: record.cluster?.serverVersion ?? '' };
  const endSeconds = Date.parse(record.finished?.time ?? record.run?.time ?? '1970-01-01T00:00:00Z') / 1000;
  const of = (status: (typeof caseStatuses)[number]): number =>
    counts[status] + (status === 'inconclusive' ? counts.unfinished : 0);
  const lines = [
    ...family('plumb_run', 'info', 'The run that these figures are of.'),
    sample('plumb_run_info', { run_id: record.run?.runId ?? '', mode: record.run?.mode ?? '', verdict, ...cluster }, 1),
    ...family('plumb_run_passed', 'gauge', '1 if the verdict of the run is "passed".'),
    sample('plumb_run_passed', {}, verdict === 'passed' ? 1 : 0),
    ...family('plumb_run_end_timestamp_seconds', 'gauge', 'When the run ended, in seconds since 1970.', 'seconds'),
    sample('plumb_run_end_timestamp_seconds', {}, endSeconds),
    ...family('plumb_run_duration_seconds', 'gauge', 'How long the run took.', 'seconds'),
    sample('plumb_run_duration_seconds', {}, (record.finished?.durationMs ?? 0) / 1000),
    ...family('plumb_cases', 'gauge', 'Cases of the run by status.'),
    ...caseStatuses.map((status) => sample('plumb_cases', { status }, of(status))),
    ...family('plumb_flaky_cases', 'gauge', 'Cases that were not right at the first try: tried again, or wavering.'),
    sample('plumb_flaky_cases', {}, cases.filter(isFlaky).length),
    ...family('plumb_case_status', 'stateset', 'Status of each case.'),
    ...cases.flatMap((one) =>
      caseStatuses.map((status) =>
        sample(
          'plumb_case_status',
          { case: one.description.id, area: one.description.area, plumb_case_status: status },
          statusOf(one) === status ? 1 : 0,
        ),
      ),
    ),
    ...family(
      'plumb_case_duration_seconds',
      'gauge',
      'Duration of the last attempt of each case that was carried out.',
      'seconds',
    ),
    ...cases
      .filter((one) => (one.finished?.attempts ?? 0) > 0)
      .map((one) =>
        sample('plumb_case_duration_seconds', { case: one.description.id }, (one.finished?.durationMs ?? 0) / 1000),
      ),
    ...family('plumb_figure', 'gauge', 'Figures that cases measured, in their unit.'),
    ...cases.flatMap((one) =>
      one.figures.map((figure) =>
        sample('plumb_figure', { case: one.description.id, figure: figure.name, unit: figure.unit }, figure.value),
      ),
    ),
    '# EOF',
    '',
  ];
  return [{ path: 'metrics.prom', content: lines.join('\n') }];
};

function family(name: string, type: string, help: string, unit?: string): string[] {
  return [
    `# TYPE ${name} ${type}`,
    ...(unit === undefined ? [] : [`# UNIT ${name} ${unit}`]),
    `# HELP ${name} ${escapeLabel(help)}`,
  ];
}

function sample(name: string, labels: Readonly<Record<string, string>>, value: number): string {
  const text = Object.entries(labels)
    .map(([label, content]) => `${label}="${escapeLabel(content)}"`)
    .join(',');
  return `${name}${text === '' ? '' : `{${text}}`} ${value}`;
}

function escapeLabel(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
