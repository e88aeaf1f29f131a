// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { alreadyExists, conflict, forbidden, invalid, notFound, tooManyRequests } from './status.ts';

describe('Status errors', () => {
  const deployments = { group: 'apps', plural: 'deployments' };

  it('say what kubectl expects to read', () => {
    expect(notFound({ group: '', plural: 'pods' }, 'x').message).to.equal('pods "x" not found');
    expect(alreadyExists(deployments, 'x').message).to.equal('deployments.apps "x" already exists');
    expect(conflict(deployments, 'x').message).to.match(
      /^Operation cannot be fulfilled on deployments\.apps "x": the object/,
    );
    expect(forbidden({ group: '', plural: 'pods' }, '', 'no').message).to.equal('pods is forbidden: no');
    expect(notFound(deployments, 'x').status).to.deep.include({
      code: 404,
      reason: 'NotFound',
      details: { name: 'x', group: 'apps', kind: 'deployments' },
    });
    expect(tooManyRequests('later', 10).status.details).to.deep.equal({ retryAfterSeconds: 10 });
  });

  it('list every broken field with its cause', () => {
    const error = invalid({ group: 'apps', kind: 'Deployment' }, 'x', [
      { type: 'Required value', field: 'spec.selector', detail: '' },
      { type: 'Invalid value', field: 'spec.replicas', value: -1, detail: 'must be positive' },
    ]);
    expect(error.message).to.equal(
      'Deployment.apps "x" is invalid: [spec.selector: Required value, spec.replicas: Invalid value: -1: must be positive]',
    );
    expect(error.status.details?.causes).to.deep.equal([
      { reason: 'FieldValueRequired', message: 'Required value', field: 'spec.selector' },
      { reason: 'FieldValueInvalid', message: 'Invalid value: -1: must be positive', field: 'spec.replicas' },
    ]);
  });
});
