// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import fc from 'fast-check';
import { canonicalQuantity, parseNano } from './quantity.ts';

describe('canonicalQuantity', () => {
  const forms: [string, string][] = [
    ['0.5', '500m'],
    ['1000m', '1'],
    ['1024Mi', '1Gi'],
    ['1.5Gi', '1536Mi'],
    ['100000', '100k'],
    ['1e3', '1e3'],
    ['12e2', '1200'],
    ['1E', '1E'],
    ['0.0000000001', '1n'],
    ['0Mi', '0'],
    ['512Ki', '512Ki'],
    ['0.5Ki', '512'],
    ['-1500m', '-1500m'],
    ['+1', '1'],
    ['.5', '500m'],
    ['99999999999999999999', '9223372036854775807'],
  ];
  for (const [text, canonical] of forms) {
    it(`${text} -> ${canonical}`, () => expect(canonicalQuantity(text)).to.equal(canonical));
  }

  it('keeps the value and is its own canonical form', () => {
    const suffix = fc.constantFrom('', 'n', 'u', 'm', 'k', 'M', 'G', 'Ki', 'Mi', 'Gi', 'e3', 'E-2');
    fc.assert(
      fc.property(fc.nat(99_999), suffix, (digits, end) => {
        const canonical = canonicalQuantity(`${digits}${end}`);
        expect(parseNano(canonical).nano).to.equal(parseNano(`${digits}${end}`).nano);
        expect(canonicalQuantity(canonical)).to.equal(canonical);
      }),
    );
  });

  it('refuses what is none', () => {
    for (const text of ['', 'x', '1Xi', '1.2.3', '1 Gi', '--1']) {
      expect(() => canonicalQuantity(text), text).to.throw(/quantities must match|unable to parse/);
    }
  });
});
