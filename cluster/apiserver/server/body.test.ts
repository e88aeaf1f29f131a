// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { parseYamlDocument } from './body.ts';

describe('YAML bodies', () => {
  it('take the last of a key that comes twice, and say where it is', () => {
    const text = '\nspec:\n  foo: one\n  foo: two\n  "x y": 1\n  "x y": 2\n';
    expect(parseYamlDocument(text)).to.deep.equal({
      value: { spec: { foo: 'two', 'x y': 2 } },
      duplicates: ['line 4: key "foo" already set in map', 'line 6: key "x y" already set in map'],
    });
  });

  it('are refused when they are none', () => {
    expect(() => parseYamlDocument('a: [1')).to.throw('error converting YAML to JSON');
  });
});
