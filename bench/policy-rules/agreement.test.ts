// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';

import { PolicyCompiler } from '../../cluster/network/policy/compile.ts';
import { compare, compileAll } from './agreement.ts';
import { randomModel, type RandomModel } from './random-model.ts';

describe('compiled policies and the oracles', function () {
  this.timeout(60_000);

  it('agree on every cell of random clusters that change step by step, and on who dropped it', () => {
    const compilers = new Map(['node-1', 'node-2'].map((name) => [name, new PolicyCompiler()] as const));
    let model: RandomModel | undefined;
    let dropped = 0;
    for (let seed = 1; seed <= 25; seed += 1) {
      model = randomModel(seed, model);
      const result = compare(model, compileAll(model, compilers));
      if (result.difference !== undefined) expect.fail(`seed ${seed}: ${result.difference}`);
      dropped += result.dropped;
    }
    expect(dropped).to.be.greaterThan(500);
  });

  it('differ visibly where a policy is kept from the compiler', () => {
    const compilers = new Map(['node-1', 'node-2'].map((name) => [name, new PolicyCompiler()] as const));
    const model = randomModel(1, undefined);
    const tables = compileAll({ ...model, policies: [], clusterPolicies: [] }, compilers);
    expect(compare(model, tables).difference).to.contain('the rules passed');
  });
});
