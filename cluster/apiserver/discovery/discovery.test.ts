// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import type { ResourceDefinition } from '../resources/definition.ts';
import { aggregatedDiscovery, apiResourceList, compareVersions, groupsOf } from './discovery.ts';

const widgets: ResourceDefinition = {
  group: 'e.io',
  plural: 'widgets',
  singular: 'widget',
  kind: 'Widget',
  namespaced: true,
  versions: [
    { version: 'v1beta1', schema: 'x' },
    { version: 'v1', schema: 'x' },
  ],
  status: {},
  scale: { specReplicas: '.spec.replicas', statusReplicas: '.status.replicas' },
};

describe('discovery', () => {
  it('prefers stable and newer versions', () => {
    const versions = ['v1alpha1', 'v2', 'foo', 'v1', 'v10beta2', 'v1beta3', 'v1beta10'];
    expect(versions.toSorted(compareVersions)).to.deep.equal([
      'v2',
      'v1',
      'v10beta2',
      'v1beta10',
      'v1beta3',
      'v1alpha1',
      'foo',
    ]);
    expect(groupsOf([widgets])).to.deep.equal([{ group: 'e.io', versions: ['v1', 'v1beta1'] }]);
  });

  it('lists subresources beside their resource', () => {
    const list = apiResourceList([widgets], 'e.io', 'v1') as {
      resources: { name: string; group?: string; kind: string }[];
    };
    expect(list.resources.map(({ name, kind }) => `${name} ${kind}`)).to.deep.equal([
      'widgets Widget',
      'widgets/scale Scale',
      'widgets/status Widget',
    ]);
    expect(list.resources[1]).to.include({ group: 'autoscaling', version: 'v1' });
    expect(apiResourceList([widgets], 'e.io', 'v2')).to.equal(undefined);
  });

  it('says the same in one document', () => {
    expect(aggregatedDiscovery([widgets], 'v2', false)).to.have.nested.property(
      'items[0].versions[0].resources[0].subresources[0].responseKind.kind',
      'Scale',
    );
    expect(aggregatedDiscovery([widgets], 'v2', true))
      .to.have.property('items')
      .that.has.length(0);
  });
});
