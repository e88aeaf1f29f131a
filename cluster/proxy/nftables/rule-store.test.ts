// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import * as fc from 'fast-check';

import { planTransaction } from '../../network/nft/transaction.ts';
import { randomChanges, ruleOptions as options } from '../testing.ts';
import { planServicePort } from './plan.ts';
import { RuleStore } from './rule-store.ts';
import type { ElementSet, Table } from '../../network/nft/ruleset.ts';

describe('rule store', () => {
  it('gives the same transactions by its notes as a comparison of whole tables does, and ends empty', () => {
    fc.assert(
      fc.property(randomChanges({ maxEndpoints: 36 }), (changes) => {
        const store = new RuleStore();
        const empty = snapshot(store.take(options).table);
        let before = store.take(options).table;
        for (const { name, port, backends } of changes) {
          const copy = snapshot(before);
          store.replace(name, backends === undefined ? [] : [planServicePort(port, backends, options)]);
          const { table, former } = store.take(options);
          const noted = planTransaction(before, table, former);
          const compared = planTransaction(copy, table);
          expect(pieces(noted.commands)).to.deep.equal(pieces(compared.commands));
          expect(pieces(noted.preparation)).to.deep.equal(pieces(compared.preparation));
          expect(noted.cleanup).to.equal(compared.cleanup);
          before = table;
        }
        const { table } = store.take(options, { tidy: true });
        expect(planTransaction(empty, table)).to.deep.equal({ preparation: '', commands: '', cleanup: '' });
        expect(store.untidy).to.equal(false);
      }),
      { numRuns: 150 },
    );
  }).timeout(20_000);
});

/** One element per piece, in a fixed order: the order within a command has no meaning. */
function pieces(commands: string): string[] {
  return commands
    .split('\n')
    .flatMap((line) => {
      const [, head, list] = /^((?:add|delete) element \S+ \S+ \S+) \{ (.*) \}$/.exec(line) ?? [];
      return head === undefined || list === undefined ? [line] : list.split(', ').map((one) => `${head} ${one}`);
    })
    .toSorted();
}

function snapshot(table: Table): Table {
  const sets = [...table.sets].map(([name, set]): [string, ElementSet] => [
    name,
    { ...set, elements: new Map(set.elements), ...(set.comments && { comments: new Map(set.comments) }) },
  ]);
  return { ...table, sets: new Map(sets) };
}
