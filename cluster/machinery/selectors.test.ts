// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import * as fc from 'fast-check';
import {
  formatLabelSelector,
  matchesFields,
  matchesLabels,
  matchesLabelSelector,
  parseFieldSelector,
  parseLabelSelector,
} from './selectors.ts';

describe('machinery/selectors', () => {
  const table: [selector: string, labels: Record<string, string>, matches: boolean][] = [
    ['', {}, true],
    ['a=b', { a: 'b' }, true],
    ['a==b', { a: 'c' }, false],
    ['a!=b', {}, true],
    ['a!=b', { a: 'b' }, false],
    ['a', { a: '' }, true],
    ['!a', { b: '' }, true],
    ['! a', { a: '' }, false],
    ['a in (b,c),d notin (e)', { a: 'c', d: 'f' }, true],
    ['a in (b , c)', { a: 'd' }, false],
    ['a in ()', { a: '' }, true],
    ['a in (,b)', { a: '' }, true],
    ['a notin (b)', {}, true],
    ['a>1', { a: '2' }, true],
    ['a<1', { a: '2' }, false],
    ['a>1', { a: 'x' }, false],
    ['a=', { a: '' }, true],
    ['x.io/in=in,notin', { 'x.io/in': 'in', notin: '' }, true],
    ['constructor', {}, false],
  ];
  for (const [selector, labels, matches] of table) {
    it(`${JSON.stringify(selector)} ${matches ? 'selects' : 'does not select'} ${JSON.stringify(labels)}`, () => {
      expect(matchesLabels(parseLabelSelector(selector), labels)).to.equal(matches);
    });
  }

  it('refuses what is no selector, naming it', () => {
    for (const text of [
      'a=b,',
      ',',
      'a in',
      'a in b',
      'a in (b',
      'a=b c',
      '=b',
      '!',
      'a>x',
      '-a=b',
      'a=b=c',
      'a=!b',
      `a=${'x'.repeat(64)}`,
    ]) {
      expect(() => parseLabelSelector(text), text).to.throw(`"${text}"`);
    }
  });

  it('selects nothing without a selector and everything with an empty one', () => {
    expect(matchesLabelSelector(undefined, { a: 'b' })).to.equal(false);
    expect(matchesLabelSelector({}, { a: 'b' })).to.equal(true);
  });

  it('means the same as an object and as its text, for any labels', () => {
    const key = fc.constantFrom('a', 'b', 'x.io/c');
    const value = fc.constantFrom('', '1', 'two', 'T-h.r_ee');
    const selector = fc.record({
      matchLabels: fc.dictionary(key, value, { noNullPrototype: true }),
      matchExpressions: fc.array(
        fc.oneof(
          fc.record({ key, operator: fc.constantFrom('In', 'NotIn'), values: fc.array(value, { minLength: 1 }) }),
          fc.record({ key, operator: fc.constantFrom('Exists', 'DoesNotExist') }),
        ),
      ),
    });
    fc.assert(
      fc.property(selector, fc.dictionary(key, value, { noNullPrototype: true }), (object, labels) => {
        const text = formatLabelSelector(object);
        expect(matchesLabels(parseLabelSelector(text), labels), text).to.equal(matchesLabelSelector(object, labels));
      }),
    );
  });

  it('never fails on any text but with its own error', () => {
    const text = fc.string({
      unit: fc.constantFrom('a', 'in', 'notin', ' ', '=', '!', '(', ')', ',', '<', '>', '\\', '/', '.'),
    });
    fc.assert(
      fc.property(text, (input) => {
        for (const parse of [parseLabelSelector, parseFieldSelector]) {
          try {
            parse(input);
          } catch (error) {
            expect(String(error)).to.match(/unable to parse|invalid (field )?selector/);
          }
        }
      }),
    );
  });

  it('reads field selectors with escapes', () => {
    const requirements = parseFieldSelector(String.raw`metadata.name=a\,b\=c,status.phase!=Running`);
    expect(requirements).to.deep.equal([
      { field: 'metadata.name', operator: '=', value: 'a,b=c' },
      { field: 'status.phase', operator: '!=', value: 'Running' },
    ]);
    expect(matchesFields(requirements, { 'metadata.name': 'a,b=c', 'status.phase': 'Pending' })).to.equal(true);
    expect(matchesFields(requirements, { 'metadata.name': 'a,b=c', 'status.phase': 'Running' })).to.equal(false);
    expect(parseFieldSelector('')).to.deep.equal([]);
    expect(() => parseFieldSelector('a')).to.throw("can't understand 'a'");
  });
});
