// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';

import { AddressPool, NoAddressError, parseRange } from './address-pool.ts';
import { cleanupFinalizer, ownClass, planFor } from './controller.ts';
import type { Service, ServiceSpec } from '../../machinery/api-types.ts';

describe('load balancer addresses', () => {
  const pool = () => new AddressPool([parseRange('172.28.7.200-172.28.7.201'), parseRange('fd00:7::c8-fd00:7::c9')]);

  it('are given one per family, kept, and given again only when released', () => {
    const addresses = pool();
    expect(addresses.assign('x/a', { families: [4, 6] })).to.deep.equal(['172.28.7.200', 'fd00:7::c8']);
    expect(addresses.assign('x/b', { families: [4] })).to.deep.equal(['172.28.7.201']);
    expect(addresses.assign('x/a', { families: [4, 6] })).to.deep.equal(['172.28.7.200', 'fd00:7::c8']);
    expect(() => addresses.assign('x/c', { families: [4] })).to.throw(NoAddressError, 'no free IPv4 address');
    addresses.release('x/a');
    expect(addresses.assign('x/c', { families: [4] })).to.deep.equal(['172.28.7.200']);
  });

  it('are what spec.loadBalancerIP asks for, unless another has it or it is outside', () => {
    const addresses = pool();
    addresses.assign('x/a', { families: [4] });
    expect(addresses.assign('x/b', { families: [4], wanted: '172.28.7.201' })).to.deep.equal(['172.28.7.201']);
    expect(() => addresses.assign('x/b', { families: [4], wanted: '172.28.7.200' })).to.throw('used by Service x/a');
    expect(() => addresses.assign('x/b', { families: [4], wanted: '10.0.0.1' })).to.throw('not in the load balancer');
    expect(addresses.held('x/b'), 'what it had before').to.deep.equal(['172.28.7.201']);
  });

  it('are taken over from what statuses show, first come first served', () => {
    const addresses = pool();
    expect(addresses.claim('x/a', '172.28.7.200')).to.equal(true);
    expect(addresses.claim('x/b', '172.28.7.200')).to.equal(false);
    expect(addresses.claim('x/b', '192.0.2.1')).to.equal(false);
    expect(addresses.assign('x/b', { families: [4] })).to.deep.equal(['172.28.7.201']);
  });

  it('belong to Services of type LoadBalancer of our class or of none, until these end', () => {
    const plan = (spec: Partial<ServiceSpec>, metadata: Service['metadata'] = {}) => planFor({ metadata, spec }).do;
    expect(plan({ type: 'LoadBalancer' })).to.equal('ensure');
    expect(plan({ type: 'LoadBalancer', loadBalancerClass: ownClass })).to.equal('ensure');
    expect(plan({ type: 'LoadBalancer', loadBalancerClass: 'example.com/other' })).to.equal('nothing');
    expect(plan({ type: 'ClusterIP' })).to.equal('nothing');
    expect(plan({ type: 'ClusterIP' }, { finalizers: [cleanupFinalizer] })).to.equal('release');
    const deleted = { deletionTimestamp: '2026-11-21T00:00:00Z', finalizers: [cleanupFinalizer] };
    expect(plan({ type: 'LoadBalancer' }, deleted)).to.equal('release');
  });

  it('come in ranges that make sense', () => {
    for (const text of ['', '10.0.0.1', '10.0.0.9-10.0.0.1', '10.0.0.1-fd00::1', 'a-b', '10.0.0.1-10.0.0.2-10.0.0.3']) {
      expect(() => parseRange(text), text).to.throw();
    }
  });
});
