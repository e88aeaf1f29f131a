// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';

import { cidrFinalizer, planCidr } from './controller.ts';
import type { IPAddress, ObjectMeta, ServiceCIDR } from '../../machinery/api-types.ts';

const deleted = { deletionTimestamp: '2026-11-21T00:00:00Z', finalizers: ['example.com/mine', cidrFinalizer] };

describe('ServiceCIDRs', () => {
  const cidr = (cidrs: string[], metadata: ObjectMeta = {}): ServiceCIDR => ({ metadata, spec: { cidrs } });
  const used = (...names: string[]): IPAddress[] => names.map((name) => ({ metadata: { name } }));

  it('are ready, and guarded beside the finalizers of others', () => {
    const plan = planCidr(cidr(['10.1.0.0/16'], { finalizers: ['example.com/mine'] }), [], used('10.1.0.1'));
    expect(plan.finalizers).to.deep.equal(['example.com/mine', cidrFinalizer]);
    expect(plan.ready).to.include({ type: 'Ready', status: 'True' });
  });

  it('stay while one of their addresses is in use that no other range has', () => {
    const going = cidr(['10.1.0.0/16', 'fd00:1::/112'], deleted);
    const left = (others: ServiceCIDR[], ...names: string[]) => planCidr(going, others, used(...names)).finalizers;
    expect(left([], 'fd00:1::7')).to.include(cidrFinalizer);
    expect(left([], '10.2.0.1', 'fd00:2::7')).to.deep.equal(['example.com/mine']);
    expect(left([cidr(['10.0.0.0/8'])], '10.1.0.1')).not.to.include(cidrFinalizer);
    expect(left([cidr(['10.1.1.0/24'])], '10.1.1.1')).not.to.include(cidrFinalizer);
    expect(left([cidr(['10.1.1.0/24'])], '10.1.2.1')).to.include(cidrFinalizer);
    expect(left([cidr(['10.0.0.0/8'], deleted)], '10.1.0.1')).to.include(cidrFinalizer);
    expect(planCidr(going, [], used('10.1.0.1')).ready).to.include({ status: 'False', reason: 'Terminating' });
  });
});
