// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import * as fc from 'fast-check';
import { StatusError } from '../status.ts';
import { negotiate, requirePlain } from './negotiation.ts';

describe('negotiate', () => {
  it('takes the first form that the server has', () => {
    const kubectl =
      'application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json';
    expect(negotiate(kubectl)).to.deep.equal({ kind: 'table', version: 'v1' });
    expect(negotiate('application/vnd.kubernetes.protobuf,application/json')).to.deep.equal({ kind: 'object' });
    expect(
      negotiate(
        'application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1, application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1',
      ),
    ).to.deep.equal({ kind: 'metadata', version: 'v1' });
    expect(negotiate(undefined)).to.deep.equal({ kind: 'object' });
    expect(negotiate('*/*')).to.deep.equal({ kind: 'object' });
  });

  it('goes by quality', () => {
    expect(negotiate('application/json;q=0.5, application/json;as=Table;v=v1;g=meta.k8s.io')).to.have.property(
      'kind',
      'table',
    );
  });

  it('has no table of a review', () => {
    const table = 'application/json;as=Table;v=v1;g=meta.k8s.io';
    expect(() => requirePlain(table)).to.throw(StatusError, 'only the following media types are accepted');
    for (const accept of [undefined, '*/*', `${table},application/json`])
      expect(() => requirePlain(accept)).to.not.throw();
  });

  it('refuses what it cannot make, whatever the header', () => {
    expect(() => negotiate('text/csv')).to.throw(StatusError, 'only the following media types are accepted');
    fc.assert(
      fc.property(fc.string(), (header) => {
        try {
          negotiate(header);
        } catch (error) {
          expect(error).to.be.instanceOf(StatusError);
        }
      }),
      { numRuns: 500 },
    );
  });
});
