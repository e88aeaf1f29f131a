// SPDX-License-Identifier: Apache-2.0
import { BlockList } from 'node:net';

import { expect } from 'chai';
import * as fc from 'fast-check';

import { addressToBigint, containsAddress, formatPrefix, parsePrefix, withoutContained } from './addresses.ts';
import { cniConfig } from './cni-config.ts';
import { desiredRoutes, routeChanges } from './routes.ts';
import type { Node } from '../machinery/api-types.ts';

describe('pod routes', () => {
  const nodes = [
    node('a', '10.244.0.0/24', '172.18.0.1'),
    node('b', '10.244.1.0/24', '172.18.0.2'),
    node('new', undefined, '172.18.0.3'),
    node('lost', '10.244.3.0/24', undefined),
  ];

  it('lead to every node that has a podCIDR and an address, and nowhere for the rest of the own block', () => {
    expect(desiredRoutes(nodes, 'a', 'routed')).to.deep.equal([
      { destination: '10.244.0.0/24', via: undefined },
      { destination: '10.244.1.0/24', via: '172.18.0.2' },
    ]);
  });

  it('change only where they differ', () => {
    const present = [
      { destination: '10.244.0.0/24', via: undefined },
      { destination: '10.244.1.0/24', via: '172.18.0.9' },
      { destination: '10.244.7.0/24', via: '172.18.0.7' },
    ];
    const desired = desiredRoutes(nodes, 'a', 'routed');
    expect(routeChanges(present, desired).map(({ verb, route }) => `${verb} ${route.destination}`)).to.deep.equal([
      'delete 10.244.7.0/24',
      'replace 10.244.1.0/24',
    ]);
    expect(routeChanges(desired, desired)).to.deep.equal([]);
  });
});

describe('CNI configuration', () => {
  it('gives pods routed links with addresses of the node and host ports', () => {
    expect(cniConfig({ podCIDRs: ['10.244.0.0/24'], mtu: 1450 })).to.deep.include({
      plugins: [
        {
          type: 'ptp',
          mtu: 1450,
          ipMasq: false,
          ipam: { type: 'host-local', ranges: [[{ subnet: '10.244.0.0/24' }]], routes: [{ dst: '0.0.0.0/0' }] },
        },
        { type: 'portmap', capabilities: { portMappings: true } },
        { type: 'bandwidth', capabilities: { bandwidth: true } },
      ],
    });
    const dual = cniConfig({ podCIDRs: ['10.244.0.0/24', 'fd00:10:244::/64'], mtu: 1450 }) as {
      plugins: { type: string; ipam?: object }[];
    };
    expect(dual.plugins.map(({ type }) => type)).to.deep.equal(['loopback', 'tuning', 'ptp', 'portmap', 'bandwidth']);
    expect(dual.plugins[2]?.ipam).to.deep.include({
      ranges: [[{ subnet: '10.244.0.0/24' }], [{ subnet: 'fd00:10:244::/64' }]],
      routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
    });
  });
});

describe('address arithmetic', () => {
  it("agrees with Node's block lists", () => {
    const addresses = fc.oneof(fc.ipV4(), fc.ipV6());
    fc.assert(
      fc.property(addresses, addresses, fc.nat(128), (base, probe, bits) => {
        const type = base.includes(':') ? 'ipv6' : 'ipv4';
        const length = Math.min(bits, type === 'ipv6' ? 128 : 32);
        const list = new BlockList();
        list.addSubnet(base, length, type);
        const prefix = parsePrefix(`${base}/${length}`);
        const probeType = probe.includes(':') ? 'ipv6' : 'ipv4';
        if (probeType === type) expect(containsAddress(prefix, probe)).to.equal(list.check(probe, probeType));
        expect(parsePrefix(formatPrefix(prefix))).to.deep.equal(prefix);
        expect(containsAddress(prefix, base)).to.equal(true);
      }),
    );
  });

  it('reads embedded IPv4 and refuses what is no block', () => {
    expect(addressToBigint('::ffff:10.0.0.1')).to.equal(0xffff0a000001n);
    for (const text of ['10.0.0.0/33', '10.0.0/8', 'x', '::/129', '10.0.0.0/-1']) {
      expect(() => parsePrefix(text), text).to.throw('is not a CIDR block');
    }
  });

  it('leaves out blocks within others', () => {
    const kept = withoutContained(['10.1.2.0/24', '10.1.0.0/16', '10.2.0.0/16'].map(parsePrefix));
    expect(kept.map(formatPrefix)).to.deep.equal(['10.1.0.0/16', '10.2.0.0/16']);
  });
});

function node(name: string, podCIDR: string | undefined, address: string | undefined): Node {
  return {
    metadata: { name },
    spec: podCIDR === undefined ? {} : { podCIDR },
    status: address === undefined ? {} : { addresses: [{ type: 'InternalIP', address }] },
  };
}
