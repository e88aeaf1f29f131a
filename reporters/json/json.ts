// SPDX-License-Identifier: Apache-2.0
/**
 * One JSON document with the outcome of a run, for scripts: `plumb-results.json`. Fields are added, never renamed, within one `schema`.
 * The full story, event by event, is `events.jsonl`.
 */
import { countCases, isFlaky, verdictOf, type CaseRecord } from '../../runner/results/run-record.ts';
import { reasonOf, statusOf } from '../case-outcome.ts';
import { explanationsOf } from '../explanations.ts';
import type { Reporter, ResultFiles } from '../report.ts';

export const jsonReporter: Reporter = ({ record, files }) => {
  const { verdict, reason } = verdictOf(record);
  const { unfinished, ...counts } = countCases(record.cases.values());
  const document = {
    schema: 1,
    verdict,
    reason,
    counts: { ...counts, inconclusive: counts.inconclusive + unfinished },
    flaky: [...record.cases.values()].filter(isFlaky).length,
    run: record.run && { ...record.run, type: undefined, schema: undefined },
    durationMs: record.finished?.durationMs,
    interrupted: record.finished?.interrupted,
    cluster: record.cluster && { ...record.cluster, type: undefined, time: undefined },
    preflight: record.preflight.map(({ name, status, message, remedy }) => ({ name, status, message, remedy })),
    cases: [...record.cases.values()].map((one) => caseDocument(one, files)),
    disturbances: record.disturbances.map((one) => ({ ...one, type: undefined })),
    snapshot: record.snapshot.map(({ name, files: number, error }) => ({ name, files: number, error })),
    cleanup: record.cleanup && { deleted: record.cleanup.deleted, left: record.cleanup.left },
  };
  return [{ path: 'plumb-results.json', content: `${JSON.stringify(document, undefined, 2)}\n` }];
};

function caseDocument(one: CaseRecord, files: ResultFiles): object {
  const { id, area, title, description, requirements, serial } = one.description;
  const reason = reasonOf(one);
  const explanation = explanationsOf(one, files).join('\n\n');
  return {
    id,
    area,
    title,
    description,
    requirements,
    serial,
    status: statusOf(one),
    reason: reason === '' ? undefined : reason,
    startedAt: one.finished?.startedAt,
    durationMs: one.finished?.durationMs,
    attempts: one.finished?.attempts,
    retries:
      one.retries.length === 0 ? undefined : one.retries.map(({ attempt, reason: why }) => ({ attempt, reason: why })),
    flakes: one.flakes.length === 0 ? undefined : one.flakes.map(({ what }) => what),
    error: one.finished?.error,
    explanation: explanation === '' ? undefined : explanation,
    troubles: one.finished?.troubles,
    steps: one.steps.map(({ name, passed, durationMs }) => ({ name, passed, durationMs })),
    figures: one.figures.map(({ name, value, unit, limit }) => ({ name, value, unit, limit })),
    evidence: one.evidence.map(({ file, mediaType, bytes, summary }) => ({ file, mediaType, bytes, summary })),
  };
}
