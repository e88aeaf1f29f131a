// SPDX-License-Identifier: Apache-2.0
/**
 * Sonobuoy's `Item` tree: what `sonobuoy_results.yaml` holds and every tool on top of Sonobuoy reads. Built from a record with upstream's
 * roll-up; times, ids and skip reasons go into `details`, which the schema leaves open and old readers pass over.
 */
import type { CaseStatus } from '../../runner/results/events.ts';
import type { CaseRecord, RunRecord } from '../../runner/results/run-record.ts';
import { failureText, reasonOf, reportedName, seconds, statusOf, transcript } from '../case-outcome.ts';
import { explanationsOf } from '../explanations.ts';
import type { ResultFiles } from '../report.ts';

export interface Item {
  readonly name: string;
  readonly status: string;
  readonly meta?: Readonly<Record<string, string>>;
  readonly details?: Readonly<Record<string, unknown>>;
  readonly items?: readonly Item[];
}

/** The plugin name that CNCF tooling and everyone's scripts look for. */
export const pluginName = 'e2e';
export const junitPath = 'results/global/junit_01.xml';
export const suiteName = 'Plumbline';

export function resultTree(record: RunRecord, files: ResultFiles): Item {
  const leaves = [...record.cases.values()].map((one) => leaf(one, files));
  const status = rollUp(leaves);
  return {
    name: pluginName,
    status,
    meta: { type: 'summary' },
    items: [
      {
        name: 'junit_01.xml',
        status,
        meta: { file: junitPath, type: 'file' },
        items: [{ name: suiteName, status, items: leaves }],
      },
    ],
  };
}

/** Failed or timeout wins, then unknown, then passed; nothing at all is unknown. */
export function rollUp(items: readonly Item[]): string {
  if (items.length === 0) return 'unknown';
  if (items.some((item) => item.status === 'failed' || item.status === 'timeout')) return 'failed';
  if (items.some((item) => item.status === 'unknown' || item.status === '')) return 'unknown';
  return 'passed';
}

const statuses: Readonly<Record<CaseStatus, string>> = {
  passed: 'passed',
  failed: 'failed',
  skipped: 'skipped',
  inconclusive: 'unknown',
};

function leaf(one: CaseRecord, files: ResultFiles): Item {
  const status = statusOf(one);
  const output = transcript(one);
  const text = failureText(one, explanationsOf(one, files));
  return {
    name: reportedName(one),
    status: statuses[status],
    details: {
      ...(status === 'failed' ? { failure: text } : {}),
      ...(status === 'inconclusive' ? { error: text } : {}),
      ...(status === 'skipped' ? { skipped: reasonOf(one) } : {}),
      ...(output === '' ? {} : { 'system-out': output }),
      id: one.description.id,
      time: seconds(one.finished?.durationMs ?? 0),
      ...(one.finished?.startedAt ? { started: one.finished.startedAt } : {}),
      ...((one.finished?.attempts ?? 0) > 1 ? { attempts: one.finished?.attempts } : {}),
      ...(one.evidence.length === 0
        ? {}
        : { evidence: one.evidence.map((item) => `results/global/plumbline/${item.file}`) }),
    },
  };
}
