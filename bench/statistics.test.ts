// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import * as fc from 'fast-check';
import { summarise } from './statistics.ts';

describe('bench statistics', () => {
  it('takes percentiles by nearest rank', () => {
    const hundred = Array.from({ length: 100 }, (_, index) => 100 - index);
    expect(summarise(hundred)).to.deep.equal({
      samples: 100,
      p50: 50,
      p90: 90,
      p99: 99,
      min: 1,
      max: 100,
      mean: 50.5,
    });
    expect(summarise([7])).to.include({ p50: 7, p99: 7, min: 7, max: 7 });
    expect(summarise([1, 2, 3])).to.include({ p50: 2, p90: 3, p99: 3 });
    expect(() => summarise([])).to.throw(RangeError);
  });

  it('names only values that were measured, in order', () => {
    const samples = fc.array(fc.double({ min: 0, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 200 });
    fc.assert(
      fc.property(samples, (values) => {
        const { min, p50, p90, p99, max } = summarise(values);
        expect([min, p50, p90, p99, max].every((value) => values.includes(value))).to.equal(true);
        expect(min <= p50 && p50 <= p90 && p90 <= p99 && p99 <= max).to.equal(true);
      }),
    );
  });
});
