// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import * as fc from 'fast-check';
import { add, canonical, compare, format, isQuantity, parseQuantity, toBytes, toMilli } from './quantities.ts';

describe('machinery/quantities', () => {
  const canonicalForms: [string, string][] = [
    ['0', '0'],
    ['0.5', '500m'],
    ['1000m', '1'],
    ['1500m', '1500m'],
    ['1024Mi', '1Gi'],
    ['1.5Gi', '1536Mi'],
    ['0.5Ki', '512'],
    ['1000Ki', '1000Ki'],
    ['2e3', '2e3'],
    ['1E', '1E'],
    ['1Ei', '1Ei'],
    ['100000', '100k'],
    ['128974848', '128974848'],
    ['0.1n', '1n'],
    ['-1.1m', '-1100u'],
    ['.5', '500m'],
    ['5.', '5'],
    ['+3', '3'],
  ];
  for (const [text, expected] of canonicalForms) {
    it(`writes ${text} as ${expected}`, () => expect(canonical(text)).to.equal(expected));
  }

  it('rounds up to the unit asked for', () => {
    expect(toMilli('0.1001')).to.equal(101);
    expect(toMilli(2)).to.equal(2000);
    expect(toBytes('1.1')).to.equal(2);
    expect(toBytes('64Mi')).to.equal(67108864);
    expect(toBytes(undefined)).to.equal(0);
  });

  it('compares and adds over formats', () => {
    expect(compare('1Gi', '1G')).to.equal(1);
    expect(compare('1', '1000m')).to.equal(0);
    expect(add('100m', '1')).to.equal('1100m');
    expect(add('1Gi', '512Mi')).to.equal('1536Mi');
    expect(add('1Gi', '500m')).to.equal('1073741824500m');
  });

  it('refuses what is no quantity', () => {
    for (const text of ['', '.', '1 ', 'x', '1mi', '1e', 'e3', '--1', '1KiB', '1_0', 'Infinity', '0x1']) {
      expect(isQuantity(text), text).to.equal(false);
      expect(() => parseQuantity(text), text).to.throw('is not a quantity');
    }
  });

  it('keeps every value through its canonical text', () => {
    fc.assert(
      fc.property(
        fc.bigInt({ min: -(2n ** 90n), max: 2n ** 90n }),
        fc.constantFrom('DecimalSI' as const, 'BinarySI' as const, 'DecimalExponent' as const),
        (value, style) => void expect(parseQuantity(format(value, style))).to.equal(value),
      ),
    );
  });

  it('agrees with floating point where that is exact, and never hangs on any text', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1e6 }), fc.integer({ min: 0, max: 999 }), (whole, thousandths) => {
        expect(toMilli(`${whole}.${String(thousandths).padStart(3, '0')}`)).to.equal(whole * 1000 + thousandths);
      }),
    );
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'0123456789.+-eEinumkKMGTP'), maxLength: 30 }), (text) => {
        if (isQuantity(text)) expect(canonical(canonical(text))).to.equal(canonical(text));
        else expect(() => parseQuantity(text)).to.throw();
      }),
    );
  });
});
