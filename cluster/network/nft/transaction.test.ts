// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';

import { verdict, when } from './ruleset.ts';
import { planTransaction } from './transaction.ts';
import type { Chain, ElementSet, Table } from './ruleset.ts';

describe('nft transactions', () => {
  const table = (chains: Record<string, Chain>, sets: Record<string, ElementSet> = {}): Table => ({
    family: 'inet',
    name: 't',
    chains: new Map(Object.entries(chains)),
    sets: new Map(Object.entries(sets)),
  });
  const drops = (port: string): Chain => ({ rules: [{ match: [when('tcp dport', port)], action: [verdict('drop')] }] });
  const map = (elements: Record<string, 'goto a' | 'goto b'>): ElementSet => ({
    key: ['ipv4_addr'],
    value: 'verdict',
    elements: new Map(Object.entries(elements)),
  });

  it('says nothing when nothing changed', () => {
    const same = planTransaction(table({ a: drops('1') }), table({ a: drops('1') }));
    expect(same).to.deep.equal({ preparation: '', commands: '', cleanup: '' });
  });

  it('names only what changed, and removes chains once nothing leads to them', () => {
    const before = table(
      { a: drops('1'), b: drops('2'), c: drops('3') },
      { m: map({ '10.0.0.1': 'goto a', '10.0.0.2': 'goto b' }) },
    );
    const after = table({ a: drops('1'), c: drops('4') }, { m: map({ '10.0.0.1': 'goto a', '10.0.0.3': 'goto a' }) });
    const { preparation, commands, cleanup } = planTransaction(before, after);
    expect(preparation).to.equal('');
    expect(commands.trim().split('\n')).to.deep.equal([
      'delete element inet t m { 10.0.0.2 }',
      'flush chain inet t c',
      'add rule inet t c tcp dport 4 drop',
      'add element inet t m { 10.0.0.3 : goto a }',
    ]);
    expect(cleanup).to.equal('flush chain inet t b\ndelete chain inet t b\n');
  });

  it('writes chains before anything leads to them', () => {
    const before = table({ a: drops('1') }, { m: map({ '10.0.0.1': 'goto a' }) });
    const after = table({ a: drops('1'), b: drops('2') }, { m: map({ '10.0.0.1': 'goto b' }) });
    const { preparation, commands } = planTransaction(before, after);
    expect(preparation).to.equal('add chain inet t b\nadd rule inet t b tcp dport 2 drop\n');
    expect(commands).to.equal('delete element inet t m { 10.0.0.1 }\nadd element inet t m { 10.0.0.1 : goto b }\n');
  });

  it('replaces the table as a whole when the present one is unknown', () => {
    const { commands } = planTransaction(undefined, table({ a: drops('1') }));
    expect(commands.split('\n').slice(0, 4)).to.deep.equal([
      'add table inet t',
      'delete table inet t',
      'add table inet t',
      'add chain inet t a',
    ]);
  });
});
