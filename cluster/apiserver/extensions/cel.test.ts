// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { compileCel, toCel } from './cel.ts';
import { patternOf } from './patterns.ts';

describe('CEL with the Kubernetes libraries', () => {
  const self = { list: ['a', 'b'], text: 'abc 123', size: '1Mi', rules: [{ path: '/x' }, {}], count: 3, ratio: 2 };
  const schema = { type: 'object', properties: { ratio: { type: 'number' } } };
  const holds = [
    'quantity(self.size).isLessThan(quantity("1Gi")) && quantity("1500m").compareTo(quantity("1.5")) == 0',
    'url("https://a.b:80/c?d=e").getHost() == "a.b:80" && !isURL("a b")',
    'cidr("10.0.0.0/8").containsIP("10.2.3.4") && !cidr("10.0.0.0/8").containsCIDR("11.0.0.0/16") && ip("::1").family() == 6',
    'sets.equivalent([1, 2], [2, 1]) && !sets.intersects([1], [2])',
    'self.list.isSorted() && [1, 2].sum() == 3 && ["b", "a"].min() == "a" && self.list.indexOf("b") == 1',
    'self.text.find("[0-9]+") == "123" && self.text.findAll("[a-c]").size() == 3',
    '"%s has %d, %.2f".format([self.text, self.count, 1.5]) == "abc 123 has 3, 1.50"',
    'self.count / 2 == 1 && self.ratio / 4.0 == 0.5',
    'has(self.rules[0].path) && !has(self.rules[1].path) && self.rules.exists(r, has(r.path))',
    '"ABC".matches("^(?i)abc$") && !"ABC".matches("^abc$") && matches(self.text, "^(?i)ABC")',
    'self.?missing.orValue(1) == 1',
    '!format.dns1123Label().validate("web-1").hasValue() && format.named("uuid").value().validate("x").hasValue()',
  ];
  for (const expression of holds) {
    it(expression, () => expect(compileCel(expression)({ self: toCel(schema, self) })).to.equal(true));
  }

  it('escapes field names that CEL cannot say', () => {
    const properties = { 'x-y': { type: 'string' }, namespace: { type: 'string' }, 'a.b': { type: 'string' } };
    const value = toCel({ type: 'object', properties }, { 'x-y': '1', namespace: '2', 'a.b': '3' });
    const program = compileCel('self.x__dash__y + self.__namespace__ + self.a__dot__b');
    expect(program({ self: value })).to.equal('123');
  });

  it('says in one line what is wrong', () => {
    expect(() => compileCel('self.')).to.throw(/^[^\n]+$/);
    expect(() => compileCel('"a" + 1 > 2')).to.throw(/^[^\n]+$/);
    expect(() => compileCel('size(self.list) > 3')({})).to.throw();
  });
});

describe('patternOf', () => {
  const cases: [string, string, boolean][] = [
    ['^(?i)ab$', 'AB', true],
    ['^(?:a(?i)b)c$', 'aBc', true],
    ['^(?:a(?i)b)c$', 'aBC', false],
    ['^[[:alpha:]_]+$', 'aZ_', true],
    ['(?P<year>\\d{4})\\z', 'in 2024', true],
    ['^[]a]+$', ']a', true],
    ['^[\\w\\-.]+$', 'a-b.c', true],
    ['^\\(x\\)$', '(x)', true],
  ];
  for (const [pattern, text, matches] of cases) {
    it(`${pattern} on ${text}`, () => expect(patternOf(pattern).test(text)).to.equal(matches));
  }
});
