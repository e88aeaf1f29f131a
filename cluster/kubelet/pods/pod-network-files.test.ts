// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import type { Pod, PodSpec } from '../../machinery/api-types.ts';
import { dnsSettingsOf, hostsFile, kernelHostname, parseResolvConf } from './pod-network-files.ts';

const podOf = (spec: Partial<PodSpec>): Pod => ({
  metadata: { name: 'pod-1', namespace: 'n' },
  spec: { containers: [], ...spec },
});
const cluster = { clusterDNS: ['10.96.0.10'], clusterDomain: 'cluster.local' };
const host = parseResolvConf('# comment\nnameserver 192.0.2.53\nsearch example.com corp.\noptions edns0\n');

describe("a pod's names", () => {
  const policies: [string, Partial<PodSpec>, string, string, string][] = [
    [
      'ClusterFirst',
      {},
      '10.96.0.10',
      'n.svc.cluster.local svc.cluster.local cluster.local example.com corp',
      'ndots:5',
    ],
    ['ClusterFirst on the host network', { hostNetwork: true }, '192.0.2.53', 'example.com corp', 'edns0'],
    [
      'ClusterFirstWithHostNet',
      { hostNetwork: true, dnsPolicy: 'ClusterFirstWithHostNet' },
      '10.96.0.10',
      'n.svc.cluster.local svc.cluster.local cluster.local example.com corp',
      'ndots:5',
    ],
    ['Default', { dnsPolicy: 'Default' }, '192.0.2.53', 'example.com corp', 'edns0'],
    [
      'None',
      {
        dnsPolicy: 'None',
        dnsConfig: { nameservers: ['1.1.1.1'], searches: ['x'], options: [{ name: 'ndots', value: '2' }] },
      },
      '1.1.1.1',
      'x',
      'ndots:2',
    ],
    [
      'merged options',
      { dnsConfig: { options: [{ name: 'ndots', value: '1' }, { name: 'rotate' }] } },
      '10.96.0.10',
      'n.svc.cluster.local svc.cluster.local cluster.local example.com corp',
      'ndots:1 rotate',
    ],
  ];
  for (const [title, spec, servers, searches, options] of policies) {
    it(`resolv.conf: ${title}`, () => {
      const dns = dnsSettingsOf(podOf(spec), cluster, host);
      expect([dns.servers.join(' '), dns.searches.join(' '), dns.options.join(' ')]).to.deep.equal([
        servers,
        searches,
        options,
      ]);
    });
  }

  it('has a hosts file with the pod, its domain and aliases', () => {
    const spec = { hostname: 'h', subdomain: 'sub', hostAliases: [{ ip: '1.2.3.4', hostnames: ['foo', 'bar'] }] };
    const text = hostsFile(podOf(spec), { podIPs: ['10.0.0.1'], clusterDomain: 'cluster.local', nodeHosts: '' });
    expect(text)
      .to.include('10.0.0.1\th.sub.n.svc.cluster.local\th\n')
      .and.include('# Entries added by HostAliases.\n1.2.3.4\tfoo\tbar\n');
  });

  it('has a hostname from its name, its spec, or its full domain name', () => {
    expect(kernelHostname(podOf({}), 'd')).to.equal('pod-1');
    expect(kernelHostname(podOf({ hostname: 'h', subdomain: 's', setHostnameAsFQDN: true }), 'd')).to.equal(
      'h.s.n.svc.d',
    );
    expect(() =>
      kernelHostname(podOf({ hostname: 'h', subdomain: 's'.repeat(60), setHostnameAsFQDN: true }), 'd'),
    ).to.throw('too long');
  });
});
