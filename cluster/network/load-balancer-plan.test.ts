// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';

import { planAnnouncements } from './load-balancer-plan.ts';
import type { EndpointSlice, Node, Service, ServiceSpec } from '../machinery/api-types.ts';

describe('announcement of load balancer addresses', () => {
  const three = ['a', 'b', 'c'].map((name) => node(name));

  it('falls to one ready node, spread over nodes, and moves only when that node fails', () => {
    const services = Array.from({ length: 20 }, (_, index) => balanced(`172.28.7.${200 + index}`));
    const before = planAnnouncements({ services, nodes: three, slices: () => [] });
    expect(before.size).to.equal(20);
    expect(new Set(before.values()).size).to.equal(3);
    const after = planAnnouncements({ services, nodes: [node('a', false), ...three.slice(1)], slices: () => [] });
    for (const [address, name] of before) {
      if (name === 'a') expect(after.get(address)).to.be.oneOf(['b', 'c']);
      else expect(after.get(address)).to.equal(name);
    }
  });

  it('under externalTrafficPolicy Local falls to a node with a ready endpoint, or to none', () => {
    const services = [balanced('172.28.7.200', { externalTrafficPolicy: 'Local' })];
    const at = (nodeName: string, ready: boolean): EndpointSlice => ({
      metadata: {},
      addressType: 'IPv4',
      endpoints: [{ addresses: ['10.244.0.5'], nodeName, conditions: { ready } }],
    });
    const plan = (...slices: EndpointSlice[]) => planAnnouncements({ services, nodes: three, slices: () => slices });
    for (const name of ['a', 'b', 'c']) expect(plan(at(name, true)).get('172.28.7.200')).to.equal(name);
    expect(plan(at('a', false)).size).to.equal(0);
  });

  it('leaves out other classes, other types, excluded nodes, and addresses that a proxy answers', () => {
    const plan = (service: Service, nodes = three) =>
      planAnnouncements({ services: [service], nodes, slices: () => [] });
    expect(plan(balanced('172.28.7.200', { loadBalancerClass: 'example.com/x' })).size).to.equal(0);
    expect(plan(balanced('172.28.7.200', { type: 'ClusterIP' })).size).to.equal(0);
    expect(plan(balanced('172.28.7.200', {}, 'Proxy')).size).to.equal(0);
    const excluded = node('a');
    excluded.metadata.labels = { 'node.kubernetes.io/exclude-from-external-load-balancers': '' };
    expect(plan(balanced('172.28.7.200'), [excluded]).size).to.equal(0);
  });
});

function node(name: string, ready = true): Node {
  return { metadata: { name }, status: { conditions: [{ type: 'Ready', status: ready ? 'True' : 'Unknown' }] } };
}

function balanced(ip: string, spec: Partial<ServiceSpec> = {}, ipMode = 'VIP'): Service {
  return {
    metadata: { namespace: 'x', name: ip },
    spec: { type: 'LoadBalancer', ...spec },
    status: { loadBalancer: { ingress: [{ ip, ipMode }] } },
  };
}
