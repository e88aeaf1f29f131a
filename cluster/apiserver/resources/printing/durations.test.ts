// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { humanDuration, since } from './durations.ts';

describe('human durations', () => {
  const table: readonly (readonly [seconds: number, text: string])[] = [
    [-5, '<invalid>'],
    [0, '0s'],
    [119, '119s'],
    [120, '2m'],
    [190, '3m10s'],
    [600, '10m'],
    [3 * 3600, '3h'],
    [3 * 3600 + 300, '3h5m'],
    [47 * 3600, '47h'],
    [50 * 3600, '2d2h'],
    [9 * 86_400, '9d'],
    [800 * 86_400, '2y70d'],
    [3000 * 86_400, '8y'],
  ];
  for (const [seconds, text] of table) {
    it(`prints ${seconds} s as ${text}`, () => {
      expect(humanDuration(seconds * 1000)).to.equal(text);
    });
  }

  it('says so when there is no time', () => {
    expect(since(undefined, 0)).to.equal('<unknown>');
  });
});
