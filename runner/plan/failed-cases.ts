// SPDX-License-Identifier: Apache-2.0
/** Names of the cases of an earlier run that are worth another one: failed, inconclusive, or never reached. */
import { leavesOf, pluginsOf, readItemTree } from '../results/item-tree.ts';
import { ownRecord } from '../results/own-record.ts';
import type { ResultSource } from '../results/result-source.ts';
import { Problem } from '../problem.ts';

export function failedCases(source: ResultSource): Set<string> {
  const own = ownRecord(source);
  if (own !== undefined) {
    const again = [...own.record.cases.values()].filter(
      ({ finished }) =>
        finished === undefined ||
        finished.status === 'failed' ||
        finished.status === 'inconclusive' ||
        finished.reason === 'interrupted',
    );
    return new Set(again.map((one) => one.description.id));
  }
  const plugins = pluginsOf(source);
  if (plugins.length === 0) {
    throw new Problem(
      `${source.path} holds neither a record of a run nor Sonobuoy results`,
      'Name a results directory (results/<run-id>) or a Sonobuoy tarball.',
    );
  }
  const failed = plugins.flatMap((plugin) =>
    [...leavesOf(readItemTree(source, plugin))].filter(
      ({ item }) => item.status === 'failed' || item.status === 'timeout',
    ),
  );
  return new Set(failed.map(({ item }) => item.name));
}
