// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { controllers, selectControllers } from './registry.ts';

describe('controllers/registry', () => {
  const names = (flags: string[]): string[] => selectControllers(flags).map(({ name }) => name);

  it('selects all, some, and all but some', () => {
    expect(names(['*'])).to.have.length(controllers.length);
    expect(names(['deployment', 'job-controller'])).to.deep.equal(['deployment-controller', 'job-controller']);
    expect(names(['*', '-garbage-collector'])).to.have.length(controllers.length - 1);
    expect(new Set(controllers.map(({ name }) => name)).size).to.equal(controllers.length);
  });

  it('says which names there are', () => {
    expect(() => names(['deploy'])).to.throw('there is no "deploy"; there are namespace-controller');
  });
});
