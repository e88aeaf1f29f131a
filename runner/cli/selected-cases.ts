// SPDX-License-Identifier: Apache-2.0
import type { Case } from '../../suites/case.ts';
import { failedCases } from '../plan/failed-cases.ts';
import { loadCases } from '../plan/load-cases.ts';
import { selectCases } from '../plan/plan.ts';
import { openResults } from '../results/result-source.ts';
import type { RunOptions } from './run-options.ts';

/** Cases as the user selected them. Throws a Problem where the selection makes no sense. */
export async function selectedCases(options: RunOptions): Promise<Case[]> {
  const rerun = options.rerunFailed === undefined ? undefined : failedCases(await openResults(options.rerunFailed));
  const { mode, focus, skip, seed, random } = options;
  return selectCases(await loadCases(options.suites, { seed, random }), { mode, focus, skip, rerun });
}
