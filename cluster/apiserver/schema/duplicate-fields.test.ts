// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import fc from 'fast-check';
import { duplicateFields } from './duplicate-fields.ts';

describe('duplicateFields', () => {
  it('finds repeated keys by path', () => {
    const text =
      '{"a":1,"spec":{"x":[{"n":"{\\"","n":2},{"n":3}],"\\u0061":1,"a":{"b":1,"b":2}},"a":[1,{"c":1,"c":1}]}';
    expect(duplicateFields(text)).to.deep.equal(['spec.x[0].n', 'spec.a', 'spec.a.b', 'a', 'a[1].c']);
  });

  it('finds none in what JSON.stringify wrote', () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        expect(duplicateFields(JSON.stringify(JSON.parse(text)))).to.deep.equal([]);
      }),
    );
  });
});
