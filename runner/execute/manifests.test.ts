// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { objectsOf, withLabels } from './manifests.ts';

describe('objectsOf', () => {
  it('reads objects, lists and YAML of several documents', () => {
    const object = { apiVersion: 'v1', kind: 'ConfigMap' };
    expect(objectsOf(object)).to.deep.equal([object]);
    expect(objectsOf([object, object])).to.have.length(2);
    expect(
      objectsOf('---\napiVersion: v1\nkind: ConfigMap\n---\n# nothing\n---\napiVersion: v1\nkind: Secret\n').map(
        ({ kind }) => kind,
      ),
    ).to.deep.equal(['ConfigMap', 'Secret']);
  });
  it('refuses what is not YAML, or no object', () => {
    expect(() => objectsOf('{[')).to.throw('not valid YAML');
    expect(() => objectsOf('kind: ConfigMap')).to.throw('without apiVersion and kind');
  });
});

it('withLabels labels the object and its pod templates, not what was given', () => {
  const job = {
    apiVersion: 'batch/v1',
    kind: 'CronJob',
    metadata: { name: 'a', labels: { x: 'y' } },
    spec: { jobTemplate: { spec: { template: { spec: {} } } } },
  };
  const labelled = withLabels(job, { run: '1' });
  expect(labelled.metadata.labels).to.deep.equal({ x: 'y', run: '1' });
  expect(labelled.spec.jobTemplate.spec.template).to.deep.equal({ spec: {}, metadata: { labels: { run: '1' } } });
  expect(job.metadata.labels).to.deep.equal({ x: 'y' });
});
