// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';

import { defaultLoadBalancerRange, ipPlan, lanAddresses, lanGateways, lanNetworks } from './ip-plan.ts';

describe('boot/ip-plan', () => {
  it('has the ranges of each family, IPv4 first where there are two', () => {
    expect(ipPlan('dual')).to.deep.include({
      podNetworks: ['10.244.0.0/16', 'fd00:10:244::/56'],
      nodeMaskSizes: [24, 64],
      dnsServiceAddresses: ['10.96.0.10', 'fd00:10:96::a'],
      wildcard: '::',
    });
    expect(ipPlan('ipv6').apiServiceAddresses).to.deep.equal(['fd00:10:96::1']);
    expect(ipPlan('ipv4').wildcard).to.equal('0.0.0.0');
  });

  it('tells the LAN by the same numbers in both families', () => {
    expect(lanNetworks('172.28.7', 'dual')).to.deep.equal(['172.28.7.0/24', 'fd00:172:28:7::/64']);
    expect(lanAddresses('172.28.7', 10, 'ipv6')).to.deep.equal(['fd00:172:28:7::10']);
    expect(lanGateways('172.28.7', 'ipv6')).to.deep.equal(['172.28.7.1/24', 'fd00:172:28:7::1/64']);
    expect(defaultLoadBalancerRange('172.28.7', 'dual')).to.equal(
      '172.28.7.200-172.28.7.239,fd00:172:28:7::200-fd00:172:28:7::239',
    );
  });
});
