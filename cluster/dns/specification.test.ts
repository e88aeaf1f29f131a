// SPDX-License-Identifier: Apache-2.0
// Kubernetes DNS-Based Service Discovery 1.1.0, section by section: objects of a cluster, a question, and every record
// of the reply, asked of the real server over UDP and TCP, in random letter case. Written from the specification's
// text, not from the server.
import { expect } from 'chai';
import type { DecodedPacket } from 'dns-packet';

import { ask, dataText, otherServer, startDns } from './testing.ts';
import type { EndpointSlice, Service, ServiceSpec } from '../machinery/api-types.ts';
import type { Asking, ClusterObjects, OtherServer, RunningDns } from './testing.ts';

type Endpoint = NonNullable<EndpointSlice['endpoints']>[number];

const service = (name: string, spec: ServiceSpec): Service => ({ metadata: { name, namespace: 'ns1' }, spec });

const slice = (
  of: string,
  addressType: string,
  endpoints: Endpoint[],
  ports: EndpointSlice['ports'] = web,
): EndpointSlice => ({
  metadata: {
    name: `${of}-${addressType}-${endpoints[0]?.addresses[0]}`,
    namespace: 'ns1',
    labels: { 'kubernetes.io/service-name': of },
  },
  addressType,
  endpoints,
  ports,
});

const web: NonNullable<EndpointSlice['ports']> = [
  { name: 'web', port: 8080, protocol: 'TCP' },
  { name: 'log', port: 514, protocol: 'UDP' },
];
const ready = { conditions: { ready: true, serving: true, terminating: false } };
const notReady = { conditions: { ready: false, serving: false, terminating: false } };
const leaving = { conditions: { ready: false, serving: true, terminating: true } };

const objects: ClusterObjects = {
  namespaces: ['ns1', 'empty', 'kube-system'],
  services: [
    {
      metadata: { name: 'kube-dns', namespace: 'kube-system' },
      spec: { clusterIP: '10.96.0.10', clusterIPs: ['10.96.0.10'] },
    },
    service('single', {
      clusterIP: '10.96.1.1',
      clusterIPs: ['10.96.1.1'],
      ports: [
        { name: 'http', port: 80 },
        { name: 'dns', port: 53, protocol: 'UDP' },
        { name: 'dns', port: 5353, protocol: 'TCP' },
      ],
    }),
    service('unnamed', { clusterIP: '10.96.1.2', clusterIPs: ['10.96.1.2'], ports: [{ port: 80 }] }),
    service('dual', {
      clusterIP: '10.96.1.3',
      clusterIPs: ['10.96.1.3', 'fd00:10:96::3'],
      ports: [{ name: 'http', port: 80 }],
    }),
    service('six', { clusterIP: 'fd00:10:96::6', clusterIPs: ['fd00:10:96::6'], ports: [{ name: 'http', port: 80 }] }),
    service('set', { clusterIP: 'None', clusterIPs: ['None'], ports: [{ name: 'web', port: 80 }] }),
    service('none', { clusterIP: 'None', ports: [{ name: 'web', port: 80 }] }),
    service('early', { clusterIP: 'None', publishNotReadyAddresses: true, ports: [{ name: 'web', port: 80 }] }),
    service('portless', { clusterIP: 'None' }),
    service('shared', { clusterIP: 'None' }),
    service('outside', { type: 'ExternalName', externalName: 'WWW.Example.com.' }),
    service('gone', { type: 'ExternalName', externalName: 'gone.example.com' }),
    service('inside', { type: 'ExternalName', externalName: 'single.ns1.svc.cluster.local' }),
    service('twice', { type: 'ExternalName', externalName: 'inside.ns1.svc.cluster.local' }),
    service('broken', { type: 'ExternalName', externalName: 'nobody.ns1.svc.cluster.local' }),
    service('circle', { type: 'ExternalName', externalName: 'circle.ns1.svc.cluster.local' }),
  ],
  slices: [
    slice('set', 'IPv4', [
      { addresses: ['10.244.1.1'], hostname: 'set-0', ...ready },
      { addresses: ['10.244.1.2'], ...ready },
      { addresses: ['10.244.1.3'], hostname: 'set-2', ...notReady },
      { addresses: ['10.244.1.4'], hostname: 'set-3', ...leaving },
    ]),
    slice('set', 'IPv6', [
      { addresses: ['fd00:10:244::1'], hostname: 'set-0', ...ready },
      { addresses: ['fd00:10:244::3'], hostname: 'set-2', ...notReady },
    ]),
    slice('none', 'IPv4', [{ addresses: ['10.244.2.1'], hostname: 'none-0', ...notReady }]),
    slice('early', 'IPv4', [{ addresses: ['10.244.3.1'], hostname: 'early-0', ...notReady }]),
    slice('portless', 'IPv4', [{ addresses: ['10.244.4.1'], hostname: 'portless-0' }], []),
    slice('shared', 'IPv4', [
      { addresses: ['10.244.5.1'], hostname: 'one', ...ready },
      { addresses: ['10.244.5.2'], hostname: 'one', ...ready },
    ]),
    // Endpoints of a Service with a ClusterIP have no names of their own.
    slice('single', 'IPv4', [{ addresses: ['10.244.6.1'], hostname: 'hidden', ...ready }]),
  ],
};

interface Expected {
  readonly rcode?: string;
  readonly answers?: readonly string[];
  readonly additional?: readonly string[];
  readonly authority?: readonly string[];
}

const z = 'cluster.local';
const soa = (zone: string): string => `${zone} 30 SOA ns.dns.${z} hostmaster.${z} 30`;
const nxdomain = (zone = z): Expected => ({ rcode: 'NXDOMAIN', authority: [soa(zone)] });
const nodata = (zone = z): Expected => ({ authority: [soa(zone)] });
const just = (...answers: readonly string[]): Expected => ({ answers });

/** Section of the specification, question, and all of the reply. */
const table: readonly (readonly [string, string, string, Expected])[] = [
  ['2.2', `dns-version.${z}`, 'TXT', just(`dns-version.${z} 30 TXT 1.1.0`)],
  ['2.2', `dns-version.${z}`, 'A', nodata()],

  ['2.3.1', `single.ns1.svc.${z}`, 'A', just(`single.ns1.svc.${z} 30 A 10.96.1.1`)],
  ['2.3.1', `single.ns1.svc.${z}`, 'AAAA', nodata()],
  ['2.3.1', `dual.ns1.svc.${z}`, 'A', just(`dual.ns1.svc.${z} 30 A 10.96.1.3`)],
  ['2.3.1', `dual.ns1.svc.${z}`, 'AAAA', just(`dual.ns1.svc.${z} 30 AAAA fd00:10:96::3`)],
  ['2.3.1', `six.ns1.svc.${z}`, 'AAAA', just(`six.ns1.svc.${z} 30 AAAA fd00:10:96::6`)],
  ['2.3.1', `six.ns1.svc.${z}`, 'A', nodata()],
  ['2.3.1', `nobody.ns1.svc.${z}`, 'A', nxdomain()],
  ['2.3.1', `single.empty.svc.${z}`, 'A', nxdomain()],
  ['2.3.1', `single.nowhere.svc.${z}`, 'A', nxdomain()],
  ['2.3.1', `hidden.single.ns1.svc.${z}`, 'A', nxdomain()],

  [
    '2.3.2',
    `_http._tcp.single.ns1.svc.${z}`,
    'SRV',
    {
      answers: [`_http._tcp.single.ns1.svc.${z} 30 SRV 0 100 80 single.ns1.svc.${z}`],
      additional: [`single.ns1.svc.${z} 30 A 10.96.1.1`],
    },
  ],
  [
    '2.3.2',
    `_dns._udp.single.ns1.svc.${z}`,
    'SRV',
    {
      answers: [`_dns._udp.single.ns1.svc.${z} 30 SRV 0 100 53 single.ns1.svc.${z}`],
      additional: [`single.ns1.svc.${z} 30 A 10.96.1.1`],
    },
  ],
  [
    '2.3.2',
    `_dns._tcp.single.ns1.svc.${z}`,
    'SRV',
    {
      answers: [`_dns._tcp.single.ns1.svc.${z} 30 SRV 0 100 5353 single.ns1.svc.${z}`],
      additional: [`single.ns1.svc.${z} 30 A 10.96.1.1`],
    },
  ],
  [
    '2.3.2',
    `_http._tcp.dual.ns1.svc.${z}`,
    'SRV',
    {
      answers: [`_http._tcp.dual.ns1.svc.${z} 30 SRV 0 100 80 dual.ns1.svc.${z}`],
      additional: [`dual.ns1.svc.${z} 30 A 10.96.1.3`, `dual.ns1.svc.${z} 30 AAAA fd00:10:96::3`],
    },
  ],
  ['2.3.2', `_http._udp.single.ns1.svc.${z}`, 'SRV', nxdomain()],
  ['2.3.2', `_ftp._tcp.single.ns1.svc.${z}`, 'SRV', nxdomain()],
  ['2.3.2 unnamed ports have none', `_._tcp.unnamed.ns1.svc.${z}`, 'SRV', nxdomain()],

  ['2.3.3', '1.1.96.10.in-addr.arpa', 'PTR', just(`1.1.96.10.in-addr.arpa 30 PTR single.ns1.svc.${z}`)],
  [
    '2.3.3',
    `3.${'0.'.repeat(19)}6.9.0.0.0.1.0.0.0.0.d.f.ip6.arpa`,
    'PTR',
    just(`3.${'0.'.repeat(19)}6.9.0.0.0.1.0.0.0.0.d.f.ip6.arpa 30 PTR dual.ns1.svc.${z}`),
  ],
  ['2.3.3', '9.1.96.10.in-addr.arpa', 'PTR', nxdomain('96.10.in-addr.arpa')],
  ['2.3.3', '1.1.96.10.in-addr.arpa', 'A', nodata('96.10.in-addr.arpa')],
  ['RFC 8020', '1.96.10.in-addr.arpa', 'PTR', nodata('96.10.in-addr.arpa')],

  ['2.4.1', `set.ns1.svc.${z}`, 'A', just(`set.ns1.svc.${z} 30 A 10.244.1.1`, `set.ns1.svc.${z} 30 A 10.244.1.2`)],
  ['2.4.1', `set.ns1.svc.${z}`, 'AAAA', just(`set.ns1.svc.${z} 30 AAAA fd00:10:244::1`)],
  ['2.4.1 hostname', `set-0.set.ns1.svc.${z}`, 'A', just(`set-0.set.ns1.svc.${z} 30 A 10.244.1.1`)],
  ['2.4.1 hostname', `set-0.set.ns1.svc.${z}`, 'AAAA', just(`set-0.set.ns1.svc.${z} 30 AAAA fd00:10:244::1`)],
  ['2.4.1 system-assigned', `10-244-1-2.set.ns1.svc.${z}`, 'A', just(`10-244-1-2.set.ns1.svc.${z} 30 A 10.244.1.2`)],
  ['2.4.1 system-assigned', `10-244-1-2.set.ns1.svc.${z}`, 'AAAA', nodata()],
  ['2.4.1 hostname has precedence', `10-244-1-1.set.ns1.svc.${z}`, 'A', nxdomain()],
  ['2.4.1 not ready', `set-2.set.ns1.svc.${z}`, 'A', nxdomain()],
  ['2.4.1 terminating', `set-3.set.ns1.svc.${z}`, 'A', nxdomain()],
  ['2.4.1 none ready', `none.ns1.svc.${z}`, 'A', nxdomain()],
  ['2.4.1 none ready', `none-0.none.ns1.svc.${z}`, 'A', nxdomain()],
  ['2.4.1 publishNotReadyAddresses', `early.ns1.svc.${z}`, 'A', just(`early.ns1.svc.${z} 30 A 10.244.3.1`)],
  [
    '2.4.1 publishNotReadyAddresses',
    `early-0.early.ns1.svc.${z}`,
    'A',
    just(`early-0.early.ns1.svc.${z} 30 A 10.244.3.1`),
  ],
  [
    '2.4.1 several addresses of a hostname',
    `one.shared.ns1.svc.${z}`,
    'A',
    just(`one.shared.ns1.svc.${z} 30 A 10.244.5.1`, `one.shared.ns1.svc.${z} 30 A 10.244.5.2`),
  ],
  ['2.4.1 unknown readiness is ready', `portless.ns1.svc.${z}`, 'A', just(`portless.ns1.svc.${z} 30 A 10.244.4.1`)],

  [
    '2.4.2',
    `_web._tcp.set.ns1.svc.${z}`,
    'SRV',
    {
      answers: [
        `_web._tcp.set.ns1.svc.${z} 30 SRV 0 50 8080 10-244-1-2.set.ns1.svc.${z}`,
        `_web._tcp.set.ns1.svc.${z} 30 SRV 0 50 8080 set-0.set.ns1.svc.${z}`,
      ],
      additional: [
        `10-244-1-2.set.ns1.svc.${z} 30 A 10.244.1.2`,
        `set-0.set.ns1.svc.${z} 30 A 10.244.1.1`,
        `set-0.set.ns1.svc.${z} 30 AAAA fd00:10:244::1`,
      ],
    },
  ],
  [
    '2.4.2',
    `_log._udp.early.ns1.svc.${z}`,
    'SRV',
    {
      answers: [`_log._udp.early.ns1.svc.${z} 30 SRV 0 100 514 early-0.early.ns1.svc.${z}`],
      additional: [`early-0.early.ns1.svc.${z} 30 A 10.244.3.1`],
    },
  ],
  ['2.4.2', `_web._tcp.none.ns1.svc.${z}`, 'SRV', nxdomain()],
  ['2.4.2', `_web._tcp.portless.ns1.svc.${z}`, 'SRV', nxdomain()],

  ['2.4.3', '1.1.244.10.in-addr.arpa', 'PTR', just(`1.1.244.10.in-addr.arpa 30 PTR set-0.set.ns1.svc.${z}`)],
  ['2.4.3', '2.1.244.10.in-addr.arpa', 'PTR', just(`2.1.244.10.in-addr.arpa 30 PTR 10-244-1-2.set.ns1.svc.${z}`)],
  ['2.4.3 not ready', '3.1.244.10.in-addr.arpa', 'PTR', nxdomain('244.10.in-addr.arpa')],
  ['2.4.3 of a ClusterIP Service', '1.6.244.10.in-addr.arpa', 'PTR', nxdomain('244.10.in-addr.arpa')],
  [
    '2.4.3',
    `1.${'0.'.repeat(19)}4.4.2.0.0.1.0.0.0.0.d.f.ip6.arpa`,
    'PTR',
    just(`1.${'0.'.repeat(19)}4.4.2.0.0.1.0.0.0.0.d.f.ip6.arpa 30 PTR set-0.set.ns1.svc.${z}`),
  ],

  [
    '2.5',
    `outside.ns1.svc.${z}`,
    'A',
    just(`outside.ns1.svc.${z} 30 CNAME www.example.com`, 'www.example.com 30 A 192.0.2.53'),
  ],
  ['2.5', `outside.ns1.svc.${z}`, 'CNAME', just(`outside.ns1.svc.${z} 30 CNAME www.example.com`)],
  [
    '2.5 NODATA at the target',
    `outside.ns1.svc.${z}`,
    'AAAA',
    {
      answers: [`outside.ns1.svc.${z} 30 CNAME www.example.com`],
      authority: ['example.com 20 SOA ns.example.com root.example.com 20'],
    },
  ],
  [
    '2.5, RFC 6604',
    `gone.ns1.svc.${z}`,
    'A',
    {
      rcode: 'NXDOMAIN',
      answers: [`gone.ns1.svc.${z} 30 CNAME gone.example.com`],
      authority: ['example.com 20 SOA ns.example.com root.example.com 20'],
    },
  ],
  [
    '2.5 within the cluster',
    `inside.ns1.svc.${z}`,
    'A',
    just(`inside.ns1.svc.${z} 30 CNAME single.ns1.svc.${z}`, `single.ns1.svc.${z} 30 A 10.96.1.1`),
  ],
  [
    '2.5 chain',
    `twice.ns1.svc.${z}`,
    'A',
    just(
      `inside.ns1.svc.${z} 30 CNAME single.ns1.svc.${z}`,
      `single.ns1.svc.${z} 30 A 10.96.1.1`,
      `twice.ns1.svc.${z} 30 CNAME inside.ns1.svc.${z}`,
    ),
  ],
  [
    '2.5 chain, NODATA at its end',
    `inside.ns1.svc.${z}`,
    'AAAA',
    { answers: [`inside.ns1.svc.${z} 30 CNAME single.ns1.svc.${z}`], authority: [soa(z)] },
  ],
  [
    '2.5 chain to nothing',
    `broken.ns1.svc.${z}`,
    'A',
    { rcode: 'NXDOMAIN', answers: [`broken.ns1.svc.${z} 30 CNAME nobody.ns1.svc.${z}`], authority: [soa(z)] },
  ],
  ['2.5', `sub.outside.ns1.svc.${z}`, 'A', nxdomain()],

  ['pods', `10-244-1-1.ns1.pod.${z}`, 'A', just(`10-244-1-1.ns1.pod.${z} 30 A 10.244.1.1`)],
  ['pods', `10-244-1-1.ns1.pod.${z}`, 'AAAA', nodata()],
  ['pods', `fd00-10-244--1.ns1.pod.${z}`, 'AAAA', just(`fd00-10-244--1.ns1.pod.${z} 30 AAAA fd00:10:244::1`)],
  ['pods', `10-244-1-256.ns1.pod.${z}`, 'A', nxdomain()],
  ['pods', `10-244-1.ns1.pod.${z}`, 'A', nxdomain()],
  ['pods', `10-244-1-1.nowhere.pod.${z}`, 'A', nxdomain()],

  ['zone', z, 'SOA', just(soa(z))],
  ['zone', z, 'A', nodata()],
  ['zone', z, 'NS', { answers: [`${z} 30 NS ns.dns.${z}`], additional: [`ns.dns.${z} 30 A 10.96.0.10`] }],
  ['zone', `ns.dns.${z}`, 'A', just(`ns.dns.${z} 30 A 10.96.0.10`)],
  ['zone', '96.10.in-addr.arpa', 'SOA', just(soa('96.10.in-addr.arpa'))],
  ['names with names below them exist', `svc.${z}`, 'A', nodata()],
  ['names with names below them exist', `ns1.svc.${z}`, 'A', nodata()],
  ['names with names below them exist', `empty.svc.${z}`, 'A', nodata()],
  ['names with names below them exist', `_tcp.single.ns1.svc.${z}`, 'SRV', nodata()],
  ['names with names below them exist', `_http._tcp.single.ns1.svc.${z}`, 'A', nodata()],
  ['the rest does not', `nonsense.${z}`, 'A', nxdomain()],
  ['the rest does not', `single.ns1.nonsense.${z}`, 'A', nxdomain()],
  ['RFC 8482', `single.ns1.svc.${z}`, 'ANY', just(`single.ns1.svc.${z} 30 HINFO RFC8482`)],
  ['no transfers', z, 'AXFR', { rcode: 'REFUSED' }],
];

describe('Kubernetes DNS specification 1.1.0', () => {
  let dns: RunningDns;
  let other: OtherServer;

  before(async () => {
    other = await otherServer((name, type) => {
      const data = {
        mname: 'ns.example.com',
        rname: 'root.example.com',
        serial: 1,
        refresh: 1,
        retry: 1,
        expire: 1,
        minimum: 20,
      };
      const authorities = [{ type: 'SOA' as const, name: 'example.com', ttl: 60, data }];
      if (name.toLowerCase() !== 'www.example.com') return { rcode: 3, authorities };
      return type === 'A' ? { answers: [{ type: 'A', name, ttl: 60, data: '192.0.2.53' }] } : { authorities };
    });
    dns = await startDns(
      `. {
        kubernetes cluster.local 10.96.0.0/16 10.244.0.0/16 in-addr.arpa ip6.arpa {
          pods insecure
          fallthrough in-addr.arpa ip6.arpa
          ttl 30
        }
        forward . 127.0.0.1:${other.port}
        cache
      }`,
      { objects },
    );
  });
  after(() => {
    dns.close();
    other.close();
  });

  for (const [section, name, type, expected] of table) {
    it(`${section}: ${name} ${type}`, async () => {
      const wanted = {
        rcode: expected.rcode ?? 'NOERROR',
        answers: expected.answers ?? [],
        authority: expected.authority ?? [],
        additional: expected.additional ?? [],
      };
      // Twice by UDP: the second answer may come ready.
      const ways: readonly Asking[] = [{}, {}, { udpSize: 1232 }, { transport: 'tcp' }];
      for (const how of ways)
        expect(plain(await ask(dns.port, name, type, how)), JSON.stringify(how)).to.deep.equal(wanted);
      const spelling = name.replaceAll(/[a-z]/g, (letter) => (Math.random() < 0.5 ? letter.toUpperCase() : letter));
      const mixed = await ask(dns.port, spelling, type);
      expect(mixed.questions?.[0]?.name).to.equal(spelling);
      expect(plain(mixed)).to.deep.equal(wanted);
    });
  }

  it('2.5: ends circles', async () => {
    const { answers } = await ask(dns.port, `circle.ns1.svc.${z}`);
    expect(answers?.length).to.be.within(1, 10);
  });

  it('pods: verified ones only, or none, where it is told so', async () => {
    for (const [mode, known, unknown] of [
      ['verified', '10.1.2.3', ''],
      ['disabled', '', ''],
    ] as const) {
      const pod = {
        metadata: { name: 'a', namespace: 'ns1' },
        spec: { containers: [] },
        status: { podIPs: [{ ip: '10.1.2.3' }, { ip: 'fd00::a' }] },
      };
      const own = await startDns(`. {\n kubernetes cluster.local {\n pods ${mode}\n }\n}`, {
        objects: { namespaces: ['ns1'], pods: [pod] },
      });
      try {
        const data = async (label: string, type: string): Promise<string> =>
          ((await ask(own.port, `${label}.ns1.pod.${z}`, type)).answers ?? [])
            .map((one) => ('data' in one ? dataText(one.data) : ''))
            .join();
        expect(await data('10-1-2-3', 'A')).to.equal(known);
        expect(await data('fd00-0-0-0-0-0-0-a', 'AAAA')).to.equal(known === '' ? '' : 'fd00::a');
        expect(await data('10-1-2-4', 'A')).to.equal(unknown);
      } finally {
        own.close();
      }
    }
  });
});

/** Owner names in lower case, because they may point to the question. */
function plain(packet: DecodedPacket): Required<Expected> {
  const lines = (records: DecodedPacket['answers']): string[] =>
    (records ?? [])
      .filter(({ type }) => type !== 'OPT')
      .map((one) => {
        const ttl = 'ttl' in one ? one.ttl : 0;
        const data = one.type === 'HINFO' ? one.data.cpu : 'data' in one ? dataText(one.data).toLowerCase() : '';
        return `${one.name.toLowerCase()} ${ttl} ${one.type} ${data}`;
      })
      .toSorted();
  const { rcode } = packet as DecodedPacket & { rcode: string };
  return {
    rcode,
    answers: lines(packet.answers),
    authority: lines(packet.authorities),
    additional: lines(packet.additionals),
  };
}
