// SPDX-License-Identifier: Apache-2.0
// The DNS specification of Kubernetes, question by question.
import { expect } from 'chai';

import { answerInZone, reverseAddress, reverseNames } from './zone.ts';
import { recordTypes } from './wire.ts';
import type { EndpointSlice, Service, ServiceSpec } from '../machinery/api-types.ts';
import type { ResourceRecord } from './wire.ts';
import type { ClusterState, ZoneOptions } from './zone.ts';

const services: readonly Service[] = [
  service('kubernetes', { clusterIP: '10.96.0.1', ports: [{ name: 'https', port: 443 }] }),
  service('dual', {
    clusterIP: '10.96.0.7',
    clusterIPs: ['10.96.0.7', 'fd00::7'],
    ports: [
      { name: 'a', port: 1 },
      { name: 'b', port: 2, protocol: 'UDP' },
    ],
  }),
  service('db', { clusterIP: 'None', ports: [{ name: 'sql', port: 5432 }] }),
  service('empty', { clusterIP: 'None' }),
  service('unready', { clusterIP: 'None', publishNotReadyAddresses: true }),
  service('outside', { type: 'ExternalName', externalName: 'Example.COM.' }),
  service('inside', { type: 'ExternalName', externalName: 'kubernetes.default.svc.cluster.local' }),
  service('circle', { type: 'ExternalName', externalName: 'circle.default.svc.cluster.local' }),
];
const slices: readonly EndpointSlice[] = [
  slice('db', [
    { addresses: ['10.244.1.2'], hostname: 'db-0', conditions: { ready: true } },
    { addresses: ['10.244.2.2'], conditions: { ready: true } },
    { addresses: ['10.244.2.3'], hostname: 'db-2', conditions: { ready: false } },
  ]),
  slice('empty', [{ addresses: ['10.244.2.9'], conditions: { ready: false } }]),
  slice('unready', [{ addresses: ['10.244.2.9'], hostname: 'u-0', conditions: { ready: false } }]),
];
const state: ClusterState = {
  service: (namespace, name) =>
    services.find(({ metadata }) => metadata.namespace === namespace && metadata.name === name),
  slices: (_namespace, name) =>
    slices.filter(({ metadata }) => metadata.labels?.['kubernetes.io/service-name'] === name),
  hasNamespace: (name) => name === 'default' || name === 'kube-system',
  servicesWithAddress: (address) => services.filter(({ spec }) => spec?.clusterIP === address),
  slicesWithAddress: (address) =>
    slices.filter(({ endpoints }) => endpoints?.some(({ addresses }) => addresses.includes(address))),
  hasPod: (_namespace, address) => address === '10.244.1.2',
};
const options: ZoneOptions = {
  domain: 'cluster.local',
  ttl: 30,
  pods: 'insecure',
  serial: 1,
  nameServers: ['10.96.0.10'],
};

describe('cluster zone', () => {
  const cases: readonly (readonly [string, keyof typeof recordTypes, string])[] = [
    ['cluster.local', 'A', 'NODATA'],
    ['cluster.local', 'SOA', 'SOA'],
    ['cluster.local', 'NS', 'ns.dns.cluster.local'],
    ['ns.dns.cluster.local', 'A', '10.96.0.10'],
    ['dns-version.cluster.local', 'TXT', '1.1.0'],
    ['svc.cluster.local', 'A', 'NODATA'],
    ['default.svc.cluster.local', 'A', 'NODATA'],
    ['nowhere.svc.cluster.local', 'A', 'NXDOMAIN'],
    ['nonsense.cluster.local', 'A', 'NXDOMAIN'],
    ['kubernetes.default.svc.cluster.local', 'A', '10.96.0.1'],
    ['kubernetes.default.svc.cluster.local', 'AAAA', 'NODATA'],
    ['kubernetes.kube-system.svc.cluster.local', 'A', 'NXDOMAIN'],
    ['sub.kubernetes.default.svc.cluster.local', 'A', 'NXDOMAIN'],
    ['kubernetes.default.svc.cluster.local', 'SRV', '0 100 443 kubernetes.default.svc.cluster.local'],
    ['_https._tcp.kubernetes.default.svc.cluster.local', 'SRV', '0 100 443 kubernetes.default.svc.cluster.local'],
    ['_https._udp.kubernetes.default.svc.cluster.local', 'SRV', 'NXDOMAIN'],
    ['_http._tcp.kubernetes.default.svc.cluster.local', 'SRV', 'NXDOMAIN'],
    ['_tcp.kubernetes.default.svc.cluster.local', 'SRV', 'NODATA'],
    ['_https._tcp.kubernetes.default.svc.cluster.local', 'A', 'NODATA'],
    ['dual.default.svc.cluster.local', 'A', '10.96.0.7'],
    ['dual.default.svc.cluster.local', 'AAAA', 'fd00::7'],
    ['_b._udp.dual.default.svc.cluster.local', 'SRV', '0 100 2 dual.default.svc.cluster.local'],
    ['db.default.svc.cluster.local', 'A', '10.244.1.2 10.244.2.2'],
    ['db-0.db.default.svc.cluster.local', 'A', '10.244.1.2'],
    ['10-244-2-2.db.default.svc.cluster.local', 'A', '10.244.2.2'],
    ['10-244-1-2.db.default.svc.cluster.local', 'A', 'NXDOMAIN'],
    ['db-2.db.default.svc.cluster.local', 'A', 'NXDOMAIN'],
    ['db-0.db.default.svc.cluster.local', 'AAAA', 'NODATA'],
    [
      '_sql._tcp.db.default.svc.cluster.local',
      'SRV',
      '0 50 5432 db-0.db.default.svc.cluster.local 0 50 5432 10-244-2-2.db.default.svc.cluster.local',
    ],
    ['empty.default.svc.cluster.local', 'A', 'NXDOMAIN'],
    ['unready.default.svc.cluster.local', 'A', '10.244.2.9'],
    ['outside.default.svc.cluster.local', 'A', 'example.com -> example.com'],
    ['outside.default.svc.cluster.local', 'CNAME', 'example.com'],
    ['inside.default.svc.cluster.local', 'A', 'kubernetes.default.svc.cluster.local 10.96.0.1'],
    ['10-244-1-2.default.pod.cluster.local', 'A', '10.244.1.2'],
    ['fd00--1.default.pod.cluster.local', 'AAAA', 'fd00::1'],
    ['10-244-1-2.nowhere.pod.cluster.local', 'A', 'NXDOMAIN'],
    ['10-244-1-256.default.pod.cluster.local', 'A', 'NXDOMAIN'],
    ['kubernetes.default.svc.cluster.local', 'AXFR', 'REFUSED'],
    ['db.default.svc.cluster.local', 'ANY', 'RFC8482'],
  ];
  for (const [name, type, expected] of cases) {
    it(`${name} ${type} is ${expected}`, () => expect(ask(name, type)).to.equal(expected));
  }

  it('ends circles of ExternalName Services', () => {
    expect(ask('circle.default.svc.cluster.local', 'A').split(' ').length).to.be.lessThan(20);
  });

  it('gives the addresses of SRV targets along', () => {
    const { additional } = answerInZone('_sql._tcp.db.default.svc.cluster.local', recordTypes.SRV, state, options);
    expect(additional.map(text)).to.deep.equal(['10.244.1.2', '10.244.2.2']);
  });

  it('verifies or refuses pod names where it is told to', () => {
    const verified = (label: string) =>
      answerInZone(`${label}.default.pod.cluster.local`, recordTypes.A, state, { ...options, pods: 'verified' }).rcode;
    expect(verified('10-244-1-2')).to.equal('NOERROR');
    expect(verified('10-244-1-3')).to.equal('NXDOMAIN');
    const disabled = answerInZone('10-244-1-2.default.pod.cluster.local', recordTypes.A, state, {
      ...options,
      pods: 'disabled',
    });
    expect(disabled.rcode).to.equal('NXDOMAIN');
  });

  it('finds names by address', () => {
    expect(reverseAddress('1.0.96.10.in-addr.arpa')).to.equal('10.96.0.1');
    expect(reverseAddress('0.96.10.in-addr.arpa')).to.equal(undefined);
    expect(reverseAddress(`${'7.'.padEnd(48, '0.')}0.0.0.0.0.0.d.f.ip6.arpa`.split('.').slice(-34).join('.'))).to.be.a(
      'string',
    );
    expect(reverseNames('10.96.0.1', state, 'cluster.local')).to.deep.equal(['kubernetes.default.svc.cluster.local']);
    expect(reverseNames('10.244.1.2', state, 'cluster.local')).to.deep.equal(['db-0.db.default.svc.cluster.local']);
    expect(reverseNames('10.244.2.3', state, 'cluster.local')).to.deep.equal([]);
  });
});

function ask(name: string, type: keyof typeof recordTypes): string {
  const { rcode, answers, chase } = answerInZone(name, recordTypes[type], state, options);
  if (rcode !== 'NOERROR') return rcode;
  if (answers.length === 0) return 'NODATA';
  return `${answers.map(text).join(' ')}${chase === undefined ? '' : ` -> ${chase}`}`;
}

function text(record: ResourceRecord): string {
  switch (record.type) {
    case 'A':
    case 'AAAA':
      return record.address;
    case 'SRV':
      return `${record.priority} ${record.weight} ${record.port} ${record.target}`;
    case 'TXT':
      return record.text;
    case 'HINFO':
      return record.cpu;
    case 'SOA':
      return 'SOA';
    default:
      return record.target;
  }
}

function service(name: string, spec: ServiceSpec): Service {
  return { metadata: { name, namespace: 'default' }, spec };
}

function slice(name: string, endpoints: NonNullable<EndpointSlice['endpoints']>): EndpointSlice {
  return {
    metadata: { name: `${name}-1`, namespace: 'default', labels: { 'kubernetes.io/service-name': name } },
    addressType: 'IPv4',
    endpoints,
    ports: [{ name: 'sql', port: 5432, protocol: 'TCP' }],
  };
}
