// SPDX-License-Identifier: Apache-2.0
/**
 * JUnit XML as CI systems and Sonobuoy read it: one `testsuite`, one `testcase` per case. `failed` is a `failure`, `inconclusive` an `error`, `skipped`
 * has its reason. Inconclusive cases must not be green.
 */
import type { CaseRecord } from '../../runner/results/run-record.ts';
import { failureText, reasonOf, reportedName, seconds, statusOf, transcript } from '../case-outcome.ts';
import { explanationsOf } from '../explanations.ts';
import type { Reporter, ReportInput } from '../report.ts';

export const junitReporter: Reporter = (input) => [{ path: 'junit_01.xml', content: junitXml(input) }];

export function junitXml(input: ReportInput): string {
  const { record } = input;
  const cases = [...record.cases.values()];
  const count = (status: string): number => cases.filter((one) => statusOf(one) === status).length;
  const properties = {
    'run-id': record.run?.runId,
    mode: record.run?.mode,
    'tool-version': record.run?.toolVersion,
    server: record.run?.target.server,
    'server-version': record.cluster?.serverVersion,
    'cluster-uid': record.cluster?.uid,
  };
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuite${attributes({
      name: 'Plumbline',
      tests: cases.length,
      failures: count('failed'),
      errors: count('inconclusive'),
      skipped: count('skipped'),
      time: seconds(record.finished?.durationMs ?? 0),
      timestamp: record.run?.time ?? '',
    })}>`,
    '  <properties>',
    ...Object.entries(properties)
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => `    <property${attributes({ name, value: value ?? '' })}/>`),
    '  </properties>',
    ...cases.map((one) => testCase(one, explanationsOf(one, input.files))),
    '</testsuite>',
    '',
  ].join('\n');
}

function testCase(one: CaseRecord, explanations: readonly string[]): string {
  const open = `  <testcase${attributes({ name: reportedName(one), classname: one.description.id, time: seconds(one.finished?.durationMs ?? 0) })}`;
  const output = transcript(one);
  const inner = [
    ...outcomeElement(one, explanations),
    ...(output === '' ? [] : [`    <system-out>${escapeXml(output)}</system-out>`]),
  ];
  return inner.length === 0 ? `${open}/>` : [`${open}>`, ...inner, '  </testcase>'].join('\n');
}

function outcomeElement(one: CaseRecord, explanations: readonly string[]): string[] {
  const element = (tag: string): string => {
    const message = one.finished?.error?.message ?? reasonOf(one);
    const type = one.finished?.error?.name ?? 'Error';
    const text = failureText(one, explanations);
    return `    <${tag}${attributes({ message: message.split('\n')[0] ?? '', type })}>${escapeXml(text)}</${tag}>`;
  };
  switch (statusOf(one)) {
    case 'passed':
      return [];
    case 'skipped':
      return [`    <skipped${attributes({ message: reasonOf(one) })}/>`];
    case 'failed':
      return [element('failure')];
    case 'inconclusive':
      return [element('error')];
  }
}

function attributes(values: Readonly<Record<string, string | number>>): string {
  return Object.entries(values)
    .map(
      ([name, value]) => ` ${name}="${escapeXml(String(value)).replaceAll('"', '&quot;').replaceAll('\n', '&#10;')}"`,
    )
    .join('');
}

/** XML 1.0 knows no control characters but tab, newline and carriage return: others become a visible replacement. */
export function escapeXml(text: string): string {
  return (
    text
      .toWellFormed()
      // oxlint-disable-next-line no-control-regex -- exactly the characters that XML forbids
      .replaceAll(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, '\ufffd')
      .replaceAll('&', '&amp;')
      .replaceAll('<', '&lt;')
      .replaceAll('>', '&gt;')
  );
}
