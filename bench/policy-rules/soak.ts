// SPDX-License-Identifier: Apache-2.0
/** Random policies through everything: compiled for each node, walked by virtual packets, asked of the oracles, written into a kernel and read back. */
import { PolicyCompiler } from '../../cluster/network/policy/compile.ts';
import { LiveTable } from '../../cluster/network/nft/live-table.ts';
import { planTransaction } from '../../cluster/network/nft/transaction.ts';
import { compare, compileAll } from './agreement.ts';
import { differenceToValue, firstDifference, type Kernel } from './kernel.ts';
import { randomModel, type RandomModel } from './random-model.ts';

export interface SoakTotals {
  sets: number;
  policies: number;
  cells: number;
  /** Transactions of a difference, and of a whole table; all but the first should be of the former kind. */
  differences: number;
  wholes: number;
}

/** Every so many sets the table as it grew is held against one that is loaded from nothing. */
const freshEvery = 10;

/** Errors: the first disagreement, with the seed at which it appears. */
export async function soak(
  steps: { readonly first: number; readonly last: number },
  kernels: { readonly grown: Kernel; readonly fresh: Kernel },
  onStep: (totals: SoakTotals) => void,
): Promise<SoakTotals> {
  const compilers = new Map(['node-1', 'node-2'].map((name) => [name, new PolicyCompiler()] as const));
  const totals: SoakTotals = { sets: 0, policies: 0, cells: 0, differences: 0, wholes: 0 };
  const live = new LiveTable((commands) => kernels.grown.apply(commands));
  const seen = new Set<unknown>();
  let model: RandomModel | undefined;
  for (let seed = steps.first; seed <= steps.last; seed += 1) {
    model = randomModel(seed, model);
    const tables = compileAll(model, compilers);
    const { cells, difference } = compare(model, tables);
    const table = tables.get('node-1');
    if (table === undefined) throw new Error('node-1 has no table');
    const problem = difference ?? (await inKernel());
    if (problem !== undefined) throw new Error(`seed ${seed} (from ${steps.first} on): ${problem}`);
    totals.sets += 1;
    totals.cells += cells;
    for (const policy of [...model.policies, ...model.clusterPolicies]) {
      if (!seen.has(policy)) totals.policies += 1;
      seen.add(policy);
    }
    onStep(totals);

    async function inKernel(): Promise<string | undefined> {
      if (table === undefined) return 'node-1 has no table';
      const { kind, refused } = await live.apply(table);
      if (refused !== undefined) return `a difference was refused: ${refused}`;
      if (kind === 'difference') totals.differences += 1;
      if (kind === 'whole') totals.wholes += 1;
      // What nothing leads to goes with the next transaction.
      while (live.untidy) await live.apply(table);
      const listed = await kernels.grown.list(table);
      const wrong = differenceToValue(table, listed);
      if (wrong !== undefined) return `the kernel has something else: ${wrong}`;
      if (seed % freshEvery !== 0) return undefined;
      await kernels.fresh.apply(planTransaction(undefined, table).commands);
      const drift = firstDifference(await kernels.fresh.list(table), listed);
      return drift === undefined ? undefined : `grown and loaded tables differ: ${drift}`;
    }
  }
  return totals;
}
