// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { reaches } from '../attempts.ts';
import { defineCase } from '../case.ts';
import { expose, namesOf, startBackends } from './fixture.ts';

export const bothFamilies = defineCase(
  {
    id: 'services.dual-stack.both-families',
    area: 'services',
    title: 'A dual-stack Service answers on an address of each family',
    description:
      'With ipFamilyPolicy RequireDualStack a Service MUST get a cluster address of each family, in the order of ipFamilies, and pods MUST reach it on both and on its node port by both.',
    requirements: ['003 Services'],
    modes: ['network'],
    needs: ['ipv6'],
  },
  async (t) => {
    const { namespace, servers, client } = await startBackends(t, 1);
    if (new Set(client.ips.map((ip) => ip.includes(':'))).size < 2) t.skip('pods have addresses of one family only');
    const service = await expose(t, namespace, {
      type: 'NodePort',
      ipFamilyPolicy: 'RequireDualStack',
      ipFamilies: ['IPv6', 'IPv4'],
    });
    const addresses = service.spec?.clusterIPs ?? [];
    expect(addresses.map((ip) => (ip.includes(':') ? 'IPv6' : 'IPv4'))).to.deep.equal(['IPv6', 'IPv4']);
    for (const host of addresses) {
      for (const protocol of ['tcp', 'http'] as const) {
        await reaches(t, client, { protocol, host, port: 80 }, namesOf(servers));
      }
    }
    const node = t.cluster.nodes.find(({ metadata }) => metadata?.name === client.node);
    const port = service.spec?.ports?.[0]?.nodePort ?? 0;
    for (const { type, address } of node?.status?.addresses ?? []) {
      if (type !== 'InternalIP') continue;
      await reaches(t, client, { protocol: 'tcp', host: address, port }, namesOf(servers));
    }
  },
);
