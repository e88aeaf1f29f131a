// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import * as fc from 'fast-check';
import { StatusError } from '../status.ts';
import { decodeToken, encodeToken } from './reads.ts';

describe('continue tokens', () => {
  it('carry a revision and a key there and back', () => {
    fc.assert(
      fc.property(fc.nat(), fc.string(), (rv, start) => {
        expect(decodeToken(encodeToken({ rv, start }))).to.deep.equal({ rv, start });
      }),
    );
  });

  it('of others are refused', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        expect(() => decodeToken(text)).to.throw(StatusError, 'continue key is not valid');
      }),
    );
  });
});
