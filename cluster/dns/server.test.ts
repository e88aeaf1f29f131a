// SPDX-License-Identifier: Apache-2.0
// The server over real sockets on loopback, configured by Corefiles as users write them.
import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';
import { writeFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';
import dnsPacket from 'dns-packet';
import type { Answer } from 'dns-packet';

import { metrics } from '../machinery/metrics.ts';
import { ask, encodeQuestion, otherServer, overTcp, overUdp, short, startDns } from './testing.ts';
import type { ClusterObjects, OtherServer, RunningDns } from './testing.ts';

const objects: ClusterObjects = {
  namespaces: ['default', 'shop', 'kube-system'],
  services: [
    { metadata: { name: 'web', namespace: 'default' }, spec: { clusterIP: '10.96.0.5' } },
    { metadata: { name: 'cart', namespace: 'shop' }, spec: { clusterIP: '10.96.0.6' } },
    {
      metadata: { name: 'alias', namespace: 'default' },
      spec: { type: 'ExternalName', externalName: 'www.example.com' },
    },
    { metadata: { name: 'many', namespace: 'default' }, spec: { clusterIP: 'None' } },
  ],
  slices: [
    {
      metadata: { name: 'many-1', namespace: 'default', labels: { 'kubernetes.io/service-name': 'many' } },
      addressType: 'IPv4',
      endpoints: Array.from({ length: 60 }, (_, index) => ({ addresses: [`10.244.0.${index + 1}`] })),
      ports: [],
    },
  ],
  pods: [
    {
      metadata: { name: 'client', namespace: 'shop' },
      spec: { containers: [] },
      status: { phase: 'Running', podIPs: [{ ip: '127.0.0.9' }] },
    },
  ],
};

const soa = (name: string): Answer => ({
  type: 'SOA',
  name,
  ttl: 60,
  data: { mname: `ns.${name}`, rname: `root.${name}`, serial: 1, refresh: 1, retry: 1, expire: 1, minimum: 20 },
});

/** Knows www.example.com and big.example.com, denies the rest. */
function exampleCom(name: string, type: string): ReturnType<OtherServer['behave']> {
  if (name === '.' || name === '') return {};
  if (name.toLowerCase() === 'www.example.com' && type === 'A') {
    return { answers: [{ type: 'A', name, ttl: 60, data: '192.0.2.1' }] };
  }
  return { rcode: 3, authorities: [soa('example.com')] };
}

describe('DNS server', () => {
  const closers: (() => void)[] = [];
  const start = async (corefile: string, hostSearch: readonly string[] = []): Promise<RunningDns> => {
    const dns = await startDns(corefile, { objects, hostSearch });
    closers.push(dns.close);
    return dns;
  };
  const upstream = async (behave: OtherServer['behave']): Promise<OtherServer> => {
    const other = await otherServer(behave);
    closers.push(() => other.close());
    return other;
  };
  afterEach(() => {
    for (const close of closers.splice(0)) close();
  });

  it('answers cluster names and forwarded names over UDP and TCP, in the spelling asked', async () => {
    const other = await upstream(exampleCom);
    const { port } = await start(`. {\n kubernetes cluster.local\n forward . 127.0.0.1:${other.port}\n cache\n}`);
    for (const transport of ['udp', 'tcp'] as const) {
      expect(await short(port, 'web.default.svc.cluster.local', 'A', { transport })).to.equal('10.96.0.5');
      const reply = await ask(port, 'wWw.eXample.cOm', 'A', { transport });
      expect(reply.questions?.[0]?.name).to.equal('wWw.eXample.cOm');
      expect(reply.answers).to.have.length(1);
    }
    expect(other.asked).to.deep.equal(['wWw.eXample.cOm']);
    expect(await short(port, 'alias.default.svc.cluster.local')).to.equal('www.example.com 192.0.2.1');
  });

  it('sees changes of the cluster at once, also in answers that it has ready', async () => {
    const { port, cluster } = await start('. {\n kubernetes cluster.local\n}');
    const name = 'web.default.svc.cluster.local';
    for (let turn = 0; turn < 3; turn++) expect(await short(port, name)).to.equal('10.96.0.5');
    cluster.change('services', 'MODIFIED', {
      metadata: { name: 'web', namespace: 'default' },
      spec: { clusterIP: '10.96.0.50' },
    });
    expect(await short(port, name)).to.equal('10.96.0.50');
    cluster.change('services', 'DELETED', { metadata: { name: 'web', namespace: 'default' }, spec: {} });
    expect(await short(port, name)).to.equal('NXDOMAIN');
  });

  it('fails rather than denies before it knows the cluster', async () => {
    const dns = await startDns('. {\n kubernetes cluster.local\n}', { objects, synced: false });
    closers.push(dns.close);
    expect(await short(dns.port, 'web.default.svc.cluster.local')).to.equal('SERVFAIL');
  });

  it('keeps to the size that the client takes, and gives everything over TCP', async () => {
    const { port } = await start('. {\n kubernetes cluster.local\n loadbalance\n}');
    const name = 'many.default.svc.cluster.local';
    const small = await ask(port, name);
    expect(small).to.include({ flag_tc: true });
    expect(small.answers?.length).to.be.within(20, 32);
    const large = await ask(port, name, 'A', { udpSize: 4096 });
    expect([large.flag_tc, large.answers?.length]).to.deep.equal([false, 60]);
    expect((await ask(port, name, 'A', { transport: 'tcp' })).answers).to.have.length(60);
  });

  it('gives addresses in changing order', async () => {
    const { port } = await start('. {\n kubernetes cluster.local\n loadbalance\n}');
    const firsts = new Set<string>();
    for (let turn = 0; turn < 20; turn++) {
      const all = (await short(port, 'many.default.svc.cluster.local', 'A', { udpSize: 4096 })).split(' ');
      expect(new Set(all).size).to.equal(60);
      firsts.add(all[0] ?? '');
    }
    expect(firsts.size).to.be.greaterThan(5);
  });

  it('answers many queries of one TCP connection', async () => {
    const other = await upstream(exampleCom);
    const { port } = await start(`. {\n kubernetes cluster.local\n forward . 127.0.0.1:${other.port}\n}`);
    const questions = Array.from({ length: 500 }, (_, index) =>
      encodeQuestion(index % 2 === 0 ? 'web.default.svc.cluster.local' : `n${index}.example.com`, 'A'),
    );
    const replies = (await overTcp(port, questions)).map((reply) => dnsPacket.decode(reply));
    expect(replies).to.have.length(500);
    expect(replies.filter(({ answers }) => answers?.length === 1)).to.have.length(250);
  });

  it('closes a TCP connection that sends what is no message', async () => {
    const { port } = await start('. {\n kubernetes cluster.local\n}');
    const error: unknown = await overTcp(port, [Buffer.alloc(3)]).catch((thrown: unknown) => thrown);
    expect(String(error)).to.match(/closed|reset/i);
  });

  it('takes each name to the block with the longest zone: stub domains', async () => {
    const [corp, rest] = [await upstream(() => ({ rcode: 3 })), await upstream(exampleCom)];
    const { port } = await start(`
      (shared) {
        errors
        cache 30
      }
      . {
        import shared
        kubernetes cluster.local
        forward . 127.0.0.1:${rest.port}
      }
      corp.example, intern {
        import shared
        forward . 127.0.0.1:${corp.port}
      }
      10.9.0.0/16 {
        forward . 127.0.0.1:${corp.port}
      }`);
    await short(port, 'a.corp.example');
    await short(port, 'b.intern');
    await short(port, '1.2.9.10.in-addr.arpa', 'PTR');
    await short(port, 'notcorp.example');
    expect(corp.asked).to.deep.equal(['a.corp.example', 'b.intern', '1.2.9.10.in-addr.arpa']);
    expect(rest.asked).to.deep.equal(['notcorp.example']);
  });

  it('refuses names of no block', async () => {
    const { port } = await start('cluster.local {\n kubernetes\n}');
    expect(await short(port, 'web.default.svc.cluster.local')).to.equal('10.96.0.5');
    expect(await short(port, 'www.example.com')).to.equal('REFUSED');
  });

  it('asks the first forward that fits, without its exceptions, and the next one by response code', async () => {
    const [one, two] = [await upstream(() => ({ rcode: 3 })), await upstream(exampleCom)];
    const { port } = await start(`. {
      forward example.com 127.0.0.1:${one.port} {
        except private.example.com
        next NXDOMAIN
      }
      forward . 127.0.0.1:${two.port}
    }`);
    expect(await short(port, 'www.example.com')).to.equal('192.0.2.1');
    await short(port, 'x.private.example.com');
    expect(one.asked).to.deep.equal(['www.example.com']);
    expect(two.asked).to.deep.equal(['www.example.com', 'x.private.example.com']);
  });

  it('denies addresses of the cluster that nobody has, and passes others on', async () => {
    const other = await upstream(exampleCom);
    const { port } = await start(`. {
      kubernetes cluster.local 10.96.0.0/16 in-addr.arpa ip6.arpa {
        fallthrough in-addr.arpa ip6.arpa
      }
      forward . 127.0.0.1:${other.port}
    }`);
    const denied = await ask(port, '9.9.96.10.in-addr.arpa', 'PTR');
    expect(denied).to.have.property('rcode', 'NXDOMAIN');
    expect(denied.authorities?.map(({ name, type }) => `${name} ${type}`)).to.deep.equal(['96.10.in-addr.arpa SOA']);
    await short(port, '1.2.0.192.in-addr.arpa', 'PTR');
    expect(other.asked).to.deep.equal(['1.2.0.192.in-addr.arpa']);
  });

  it('walks the search list of the asking pod in its place', async () => {
    const other = await upstream(exampleCom);
    const { port } = await start(
      `. {
        autopath @kubernetes
        kubernetes cluster.local {
          pods verified
        }
        forward . 127.0.0.1:${other.port}
      }`,
      ['corp.example'],
    );
    const from = '127.0.0.9';
    const asked = 'www.example.com.shop.svc.cluster.local';
    for (let turn = 0; turn < 2; turn++) {
      expect(await short(port, asked, 'A', { from })).to.equal('www.example.com 192.0.2.1');
      // Another client, which is no pod, has no search list here.
      expect(await short(port, asked)).to.equal('NXDOMAIN');
    }
    expect(await short(port, 'web.default.shop.svc.cluster.local', 'A', { from })).to.equal(
      'web.default.svc.cluster.local 10.96.0.5',
    );
    expect(await short(port, 'cart.shop.svc.cluster.local', 'A', { from })).to.equal('10.96.0.6');
    expect(await short(port, 'nobody.nowhere.shop.svc.cluster.local', 'A', { from })).to.equal('NXDOMAIN');
    expect(other.asked.filter((name) => name === 'www.example.com.corp.example')).to.have.length(2);
  });

  it('rewrites names and turns the answers back', async () => {
    const { port } = await start(`. {
      rewrite name exact shop.example web.default.svc.cluster.local
      rewrite name suffix .svc.old.example .svc.cluster.local answer auto
      rewrite name regex (.*)-(.*)\\.short {1}.{2}.svc.cluster.local answer name (.*)\\.(.*)\\.svc\\.cluster\\.local {1}-{2}.short
      kubernetes cluster.local
    }`);
    for (const [name, address] of [
      ['shop.example', '10.96.0.5'],
      ['cart.shop.svc.old.example', '10.96.0.6'],
      ['cart-shop.short', '10.96.0.6'],
    ] as const) {
      const { questions, answers } = await ask(port, name);
      expect(questions?.[0]?.name).to.equal(name);
      expect(answers?.map((one) => [one.name, 'data' in one ? one.data : ''])).to.deep.equal([[name, address]]);
    }
  });

  it('knows hosts of the file and of the configuration, both ways, and follows the file', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'dns-hosts-'));
    closers.push(() => rmSync(directory, { recursive: true }));
    const file = join(directory, 'hosts');
    writeFileSync(file, '192.0.2.7 seven.example sieben # a comment\nfd00::7 seven.example\n');
    const { port } = await start(`. {
      hosts ${file} {
        192.0.2.8 eight.example
        ttl 60
        reload 100ms
        fallthrough
      }
      kubernetes cluster.local
    }`);
    expect(await short(port, 'seven.example')).to.equal('192.0.2.7');
    expect(await short(port, 'SEVEN.example', 'AAAA')).to.equal('fd00::7');
    expect(await short(port, 'eight.example')).to.equal('192.0.2.8');
    expect(await short(port, '7.2.0.192.in-addr.arpa', 'PTR')).to.equal('seven.example sieben');
    expect(await short(port, 'web.default.svc.cluster.local')).to.equal('10.96.0.5');
    writeFileSync(file, '192.0.2.70 seven.example\n');
    await new Promise((resolve) => setTimeout(resolve, 120));
    expect(await short(port, 'seven.example')).to.equal('192.0.2.70');
  });

  it('notices that it forwards to itself', async () => {
    const dns = await start('. {\n kubernetes cluster.local\n}');
    await dns.use(`. {\n loop\n forward . 127.0.0.1:${dns.port}\n}`);
    for (let turn = 0; turn < 40 && dns.loops.length === 0; turn++) await new Promise((done) => setTimeout(done, 50));
    expect(dns.loops[0]).to.match(/came back to dns:\/\/:0: line 1/);
  });

  it('changes its configuration while it answers, and keeps the old one when the new one cannot be had', async () => {
    const dns = await start('. {\n kubernetes cluster.local\n}');
    expect(await short(dns.port, 'x.example')).to.equal('REFUSED');
    await dns.use('. {\n kubernetes cluster.local\n hosts {\n 192.0.2.9 x.example\n fallthrough\n}\n}');
    expect(await short(dns.port, 'x.example')).to.equal('192.0.2.9');
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, resolve));
    closers.push(() => taken.close());
    const address = taken.address();
    const port = typeof address === 'object' ? (address?.port ?? 0) : 0;
    const error: unknown = await dns.use(`. {\n}\n.:${port} {\n}`).catch((thrown: unknown) => thrown);
    expect(String(error)).to.contain(`cannot listen on TCP 0.0.0.0:${port}`);
    expect(await short(dns.port, 'x.example')).to.equal('192.0.2.9');
  });

  it('logs queries in the configured form', async () => {
    const dns = await start(
      '. {\n log . "{type} {name} {rcode} {>rflags}" {\n class denial\n}\n kubernetes cluster.local\n}',
    );
    await short(dns.port, 'web.default.svc.cluster.local');
    await short(dns.port, 'no.default.svc.cluster.local');
    expect(dns.logged).to.deep.equal(['A no.default.svc.cluster.local. NXDOMAIN qr,aa,rd']);
  });

  it("counts under CoreDNS' names, over both families", async () => {
    const other = await upstream(exampleCom);
    const { port } = await start(
      `. {\n kubernetes cluster.local\n cache\n forward . 127.0.0.1:${other.port}\n prometheus\n}`,
    );
    for (let turn = 0; turn < 2; turn++) {
      await short(port, 'web.default.svc.cluster.local');
      await short(port, 'www.example.com');
    }
    const ipv6 = await overUdp6(port, encodeQuestion('web.default.svc.cluster.local', 'A'));
    expect(dnsPacket.decode(ipv6).answers).to.have.length(1);
    const lines = metrics.render().split('\n');
    const common = 'server="dns://:0",zone=".",view=""';
    for (const start of [
      `coredns_dns_requests_total{${common},proto="udp",family="1",type="A"} `,
      `coredns_dns_requests_total{${common},proto="udp",family="2",type="A"} `,
      `coredns_dns_responses_total{${common},rcode="NOERROR",plugin="kubernetes"} `,
      `coredns_dns_responses_total{${common},rcode="NOERROR",plugin="cache"} `,
      `coredns_dns_request_duration_seconds_bucket{${common},le="0.00025"} `,
      `coredns_dns_response_size_bytes_count{${common},proto="udp"} `,
      `coredns_cache_hits_total{server="dns://:0",zones=".",view="",type="success"} `,
      `coredns_cache_misses_total{server="dns://:0",zones=".",view=""} `,
      `coredns_proxy_request_duration_seconds_count{proxy_name="forward",to="127.0.0.1:${other.port}",rcode="NOERROR"} 1`,
      `coredns_plugin_enabled{server="dns://:0",zone=".",view="",name="kubernetes"} 1`,
    ]) {
      expect(
        lines.some((line) => line.startsWith(start)),
        start,
      ).to.equal(true);
    }
  });

  it('answers EDNS versions and classes that it does not know as the standards say', async () => {
    const { port } = await start('. {\n kubernetes cluster.local\n}');
    const version = encodeQuestion('web.default.svc.cluster.local', 'A', 1232);
    version[version.length - 5] = 7;
    const reply = await overUdp(port, version);
    // BADVERS is 16: its upper bits are in the OPT record.
    expect([reply.readUInt16BE(2) & 0x0f, reply[reply.length - 6]]).to.deep.equal([0, 1]);
    const chaos = encodeQuestion('version.bind', 'TXT');
    chaos.writeUInt16BE(3, chaos.length - 2);
    expect((await overUdp(port, chaos)).readUInt16BE(2) & 0x0f).to.equal(5);
  });
});

function overUdp6(port: number, packet: Buffer): Promise<Buffer> {
  const socket = createSocket('udp6');
  return new Promise((resolve, reject) => {
    socket.on('error', reject);
    socket.on('message', (message) => {
      socket.close();
      resolve(message);
    });
    socket.send(packet, port, '::1');
  });
}
