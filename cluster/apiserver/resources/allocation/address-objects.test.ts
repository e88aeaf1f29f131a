// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';

import type { KubeObject } from '../definition.ts';
import { memoryRegistry } from '../testing.ts';
import { repairAddresses } from './address-objects.ts';

const resource = 'ipaddresses.networking.k8s.io';

describe('IPAddress objects', () => {
  it('are made for Services without, and removed when no Service has had the address twice in a row', async () => {
    const service = (name: string, clusterIP: string): KubeObject => ({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name, namespace: 'default' },
      spec: { type: 'ClusterIP', clusterIP },
    });
    const address = (name: string, labels = {}): KubeObject => ({
      apiVersion: 'networking.k8s.io/v1',
      kind: 'IPAddress',
      metadata: { name, labels },
    });
    const ours = { 'ipaddress.kubernetes.io/managed-by': 'ipallocator.k8s.io' };
    const registry = memoryRegistry({
      services: [service('a', '10.96.0.7'), service('b', 'FD00:0::8')],
      [resource]: [address('10.96.0.9', ours), address('10.96.0.10')],
    });
    const names = (): (string | undefined)[] => registry.list(resource).map(({ metadata }) => metadata.name);
    const suspects = await repairAddresses(registry, new Set());
    expect([...suspects]).to.deep.equal(['10.96.0.9']);
    expect(names()).to.have.members(['10.96.0.7', 'fd00::8', '10.96.0.9', '10.96.0.10']);
    expect([...(await repairAddresses(registry, suspects))]).to.deep.equal([]);
    expect(names()).to.have.members(['10.96.0.7', 'fd00::8', '10.96.0.10']);
  });
});
