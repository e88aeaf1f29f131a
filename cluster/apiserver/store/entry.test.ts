// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import * as fc from 'fast-check';
import type { KubeObject } from '../resources/definition.ts';
import { encodeStored, replaceRevision, spliceRevision } from './entry.ts';

describe('stored bytes', () => {
  it('become the object with its revision, whatever is in it', () => {
    const awkward = fc.constantFrom('"metadata":{', '"resourceVersion":"1"', '\u{1f600}\u0000', '__proto__', '\\');
    const text = fc.oneof(fc.string(), awkward);
    fc.assert(
      fc.property(fc.dictionary(text, text), text, fc.nat(), (labels, name, revision) => {
        const object: KubeObject = {
          spec: { metadata: { name } },
          kind: 'Thing',
          apiVersion: 'e.io/v1',
          metadata: { name, labels, resourceVersion: 'old' },
        };
        const bytes = spliceRevision(encodeStored(object), revision);
        const wanted = JSON.parse(JSON.stringify(object)) as KubeObject;
        wanted.metadata.resourceVersion = String(revision);
        expect(JSON.parse(bytes.toString())).to.deep.equal(wanted);
        wanted.metadata.resourceVersion = '7';
        expect(JSON.parse(replaceRevision(bytes, 7).toString())).to.deep.equal(wanted);
      }),
      { numRuns: 200 },
    );
  });

  it('take an object without any metadata', () => {
    const bytes = spliceRevision(encodeStored({ apiVersion: 'v1', kind: 'X', metadata: {} }), 3);
    expect(JSON.parse(bytes.toString())).to.deep.equal({
      apiVersion: 'v1',
      kind: 'X',
      metadata: { resourceVersion: '3' },
    });
  });
});
