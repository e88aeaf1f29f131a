// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { sampleState } from '../../probes/node-state/sample-states.ts';
import { sharedStates } from './shared-states.ts';

describe('shared states', () => {
  it('reads once for all who ask while another reading goes on, and never hands out an older one', async () => {
    let readings = 0;
    let begun = Promise.withResolvers<() => void>();
    const { state } = sharedStates({
      session: () => Promise.reject(new Error('not asked for')),
      state: async (node) => {
        const takenAt = ++readings;
        await new Promise<void>((resolve) => begun.resolve(resolve));
        return { ...sampleState({ node }), takenAt };
      },
    });
    const first = [state('a'), state('a')];
    const endFirst = await begun.promise;
    begun = Promise.withResolvers();
    const later = [state('a'), state('a')];
    endFirst();
    expect((await Promise.all(first)).map(({ takenAt }) => takenAt)).to.deep.equal([1, 1]);
    const endLater = await begun.promise;
    endLater();
    expect((await Promise.all(later)).map(({ takenAt }) => takenAt)).to.deep.equal([2, 2]);
  });
});
