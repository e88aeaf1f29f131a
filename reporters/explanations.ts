// SPDX-License-Identifier: Apache-2.0
/** The paragraphs that say why a case failed, read from its evidence. */
import type { CaseRecord } from '../runner/results/run-record.ts';
import type { ResultFiles } from './report.ts';

const charactersMax = 16_000;

export function explanationsOf(one: CaseRecord, files: ResultFiles): string[] {
  return one.evidence
    .filter((item) => item.role === 'explanation')
    .map((item) => textOf(files.read(item.file)))
    .filter((text) => text !== '');
}

export function textOf(content: Uint8Array | undefined, limit: number = charactersMax): string {
  if (content === undefined) return '';
  const text = new TextDecoder().decode(content).trimEnd();
  return text.length <= limit ? text : `${text.slice(0, limit)}\n... (${text.length} characters)`;
}
