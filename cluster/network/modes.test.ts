// SPDX-License-Identifier: Apache-2.0
// What vxlan and bgp make of the nodes: pure parts.

import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { burstBytes, shapedLinks } from './bandwidth.ts';
import { birdConfiguration } from './bird.ts';
import { grantedBlocksAnnotation, podCIDRsOf, wantedBlocks } from './node-addresses.ts';
import { desiredRoutes } from './routes.ts';
import { entryChanges, macAnnotation, overlayEntries, overlayMac, overlayMtu } from './vxlan.ts';
import type { Node } from '../machinery/api-types.ts';

function node(name: string, number: number, annotations: Record<string, string> = {}): Node {
  const addresses = [`172.28.0.${number}`, `fd00:172:28:0::${number}`];
  return {
    metadata: { name, annotations },
    spec: { podCIDRs: [`10.244.${number}.0/26`, `fd00:10:244:${number}::/64`] },
    status: { addresses: addresses.map((address) => ({ type: 'InternalIP', address })) },
  };
}

describe('network mode vxlan', () => {
  const [a, b, silent] = [node('a', 1), node('b', 2, { [macAnnotation]: '0a:00:00:00:00:02' }), node('c', 3)];

  it('has entries and routes for the nodes that have published a MAC, inside both families', () => {
    expect(overlayEntries([a, b, silent], a)).to.deep.equal({
      neighbours: ['10.244.2.0 0a:00:00:00:00:02', 'fd00:10:244:2:: 0a:00:00:00:00:02'],
      forwarding: ['0a:00:00:00:00:02 172.28.0.2'],
    });
    expect(desiredRoutes([a, b, silent], 'a', 'vxlan')).to.deep.include({
      destination: '10.244.2.0/26',
      via: '10.244.2.0',
      onLink: 'plumb.1',
    });
    expect(desiredRoutes([a, b, silent], 'a', 'vxlan').map(({ destination }) => destination)).to.not.include(
      '10.244.3.0/26',
    );
  });

  it('replaces what has another MAC, removes what is nobody’s', () => {
    expect(entryChanges(['10.0.0.1 m1', '10.0.0.2 m2', '10.0.0.3 m3'], ['10.0.0.1 m1', '10.0.0.2 m9'])).to.deep.equal({
      set: ['10.0.0.2 m9'],
      remove: ['10.0.0.3 m3'],
    });
  });

  it('knows what encapsulation costs, and gives a node one MAC for good', () => {
    expect([overlayMtu(1500, 4), overlayMtu(1500, 6)]).to.deep.equal([1450, 1430]);
    expect(overlayMac('a'))
      .to.equal(overlayMac('a'))
      .and.match(/^0a(:[0-9a-f]{2}){5}$/);
    expect(overlayMac('a')).to.not.equal(overlayMac('b'));
  });
});

describe('network mode bgp', () => {
  it('leaves routes to BIRD, whose configuration has a session per peer and family and a blackhole per block', () => {
    const self = node('a', 1, { [grantedBlocksAnnotation]: '10.244.1.64/26' });
    const text = birdConfiguration([node('b', 2), self], self);
    expect(desiredRoutes([node('b', 2), self], 'a', 'bgp')).to.deep.equal([]);
    for (const part of [
      'router id 172.28.0.1;',
      'route 10.244.1.0/26 blackhole;',
      'route 10.244.1.64/26 blackhole;',
      'route fd00:10:244:1::/64 blackhole;',
      'neighbor 172.28.0.2 as 64512;',
      'neighbor fd00:172:28:0::2 as 64512;',
    ])
      expect(text).to.include(part);
    expect(text).to.not.include('neighbor 172.28.0.1 ');
  });

  it('has a configuration that BIRD accepts', function () {
    if (!existsSync('/usr/sbin/bird')) this.skip();
    const self = node('a', 1);
    const directory = mkdtempSync(join(tmpdir(), 'plumb-bird-'));
    try {
      writeFileSync(join(directory, 'bird.conf'), birdConfiguration([self, node('b', 2), node('c', 3)], self));
      execFileSync('/usr/sbin/bird', ['-p', '-c', join(directory, 'bird.conf')]);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});

describe('bandwidth of a pod', () => {
  const record = (bandwidth: object): string =>
    JSON.stringify({
      capabilityArgs: { bandwidth },
      result: { interfaces: [{ name: 'veth1' }, { name: 'eth0', sandbox: '/run/netns/x' }, { name: 'bwp1' }] },
    });

  it('is read from the record of the CNI library, in either spelling', () => {
    expect(shapedLinks(record({ IngressRate: 1e7, IngressBurst: 4_294_967_295, EgressRate: 2e7 }))).to.deep.equal([
      { link: 'veth1', bitsPerSecond: 1e7 },
      { link: 'bwp1', bitsPerSecond: 2e7 },
    ]);
    expect(shapedLinks(record({ egressRate: 5 }))).to.deep.equal([{ link: 'bwp1', bitsPerSecond: 5 }]);
    for (const text of ['', '{', 'null', '{}', record({})]) expect(shapedLinks(text)).to.deep.equal([]);
  });

  it('lets no more pass at once than a tenth of a second, or one large packet', () => {
    expect([burstBytes(1e9), burstBytes(1e6)]).to.deep.equal([12_500_000, 65_536]);
  });
});

describe('blocks of a node', () => {
  it('are asked for while there is still room, and never given up', () => {
    const one = node('a', 1);
    const two = node('a', 1, { [grantedBlocksAnnotation]: '10.244.9.0/26' });
    expect(podCIDRsOf(two)).to.deep.equal(['10.244.1.0/26', 'fd00:10:244:1::/64', '10.244.9.0/26']);
    expect([0, 30, 38, 61].map((used) => wantedBlocks(one, used))).to.deep.equal([0, 0, 1, 1]);
    expect([0, 61, 110].map((used) => wantedBlocks(two, used))).to.deep.equal([1, 1, 2]);
  });
});
