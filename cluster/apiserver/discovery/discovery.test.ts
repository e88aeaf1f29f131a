// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import type { ResourceDefinition } from '../resources/definition.ts';
import type { RemoteVersion } from './discovery.ts';
import {
  aggregatedDiscovery,
  apiGroup,
  apiGroupList,
  apiResourceList,
  compareVersions,
  groupsOf,
} from './discovery.ts';

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
    expect(aggregatedDiscovery([widgets], 'v2', { core: false })).to.have.nested.property(
      'items[0].versions[0].resources[0].subresources[0].responseKind.kind',
      'Scale',
    );
    expect(aggregatedDiscovery([widgets], 'v2', { core: true }))
      .to.have.property('items')
      .that.has.length(0);
  });

  it('adds what other servers answer for, own versions first', () => {
    const verbs = ['get', 'list'];
    const remote = (group: string, version: string, groupPriority = 1_000): RemoteVersion => ({
      group,
      version,
      groupPriority,
      versionPriority: 10,
      resources: [
        { name: 'things', singularName: 'thing', namespaced: true, kind: 'Thing', verbs },
        { name: 'things/status', kind: 'Thing', verbs: ['update'] },
      ],
    });
    const all = [remote('low.io', 'v1'), remote('high.io', 'v1', 2_000), remote('e.io', 'v2')];
    const { groups } = apiGroupList([widgets], all) as { groups: { name: string }[] };
    expect(groups.map(({ name }) => name)).to.deep.equal(['e.io', 'high.io', 'low.io']);
    expect(apiGroup([widgets], 'e.io', all)).to.have.nested.property('versions[2].groupVersion', 'e.io/v2');
    expect(apiGroup([widgets], 'e.io', all)).to.have.nested.property('preferredVersion.version', 'v1');
    const document = aggregatedDiscovery([widgets], 'v2', { core: false, remote: all });
    expect(document)
      .to.have.nested.property('items[1].versions[0].resources')
      .that.deep.equals([
        {
          resource: 'things',
          responseKind: { group: 'high.io', version: 'v1', kind: 'Thing' },
          scope: 'Namespaced',
          singularResource: 'thing',
          verbs,
          subresources: [
            {
              subresource: 'status',
              responseKind: { group: 'high.io', version: 'v1', kind: 'Thing' },
              verbs: ['update'],
            },
          ],
        },
      ]);
  });
});
