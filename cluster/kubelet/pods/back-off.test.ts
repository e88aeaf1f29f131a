// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { BackOff, goDuration } from './back-off.ts';

describe('crash back-off', () => {
  it('lets the first restart through, then doubles to its ceiling, and forgets after a quiet spell', () => {
    const backOff = new BackOff({ initialMs: 10_000, maxMs: 300_000 });
    let now = 0;
    const waits: number[] = [];
    for (let crash = 0; crash < 8; crash++) {
      const wait = backOff.remaining('k', now, now);
      waits.push(wait / 1000);
      now += wait;
      backOff.raise('k', now);
    }
    expect(waits).to.deep.equal([0, 10, 20, 40, 80, 160, 300, 300]);
    expect(backOff.remaining('k', now + 600_001, now + 600_001)).to.equal(0);
    backOff.raise('k', now + 600_001);
    expect(backOff.delay('k')).to.equal(10_000);
    backOff.forget('k');
    expect(backOff.remaining('k', now, now)).to.equal(0);
  });

  it('prints delays as Go does', () => {
    expect([10_000, 80_000, 300_000, 3_661_000].map(goDuration)).to.deep.equal(['10s', '1m20s', '5m0s', '1h1m1s']);
  });
});
