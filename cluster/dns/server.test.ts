// SPDX-License-Identifier: Apache-2.0
// The server over real sockets on loopback: both transports, forwarding with cache and failover, bad configurations.
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';

import { expect } from 'chai';
import dnsPacket from 'dns-packet';
import * as fc from 'fast-check';

import { parseCorefile } from './corefile.ts';
import { Listeners } from './listeners.ts';
import { resolve } from './resolver.ts';
import { Upstream } from './upstream.ts';
import type { Socket } from 'node:dgram';
import type { ResolverDependencies } from './resolver.ts';
import type { ClusterState } from './zone.ts';

const state: ClusterState = {
  service: (namespace, name) =>
    namespace === 'default' && name === 'web'
      ? { metadata: { name, namespace }, spec: { clusterIP: '10.96.0.5' } }
      : namespace === 'default' && name === 'alias'
        ? { metadata: { name, namespace }, spec: { type: 'ExternalName', externalName: 'www.example.com' } }
        : undefined,
  slices: () => [],
  hasNamespace: (name) => name === 'default',
  servicesWithAddress: () => [],
  slicesWithAddress: () => [],
  hasPod: () => false,
};
const quiet = {
  cacheHit: () => undefined,
  cacheMiss: () => undefined,
  cacheEntries: () => undefined,
  asked: () => undefined,
};

describe('DNS server', () => {
  let listeners: Listeners;
  let upstream: Socket;
  let synced = true;
  const asked: string[] = [];

  before(async () => {
    upstream = createSocket('udp4');
    upstream.on('message', (packet, from) => {
      const query = dnsPacket.decode(packet);
      const name = query.questions?.[0]?.name ?? '';
      asked.push(name);
      const known = name.toLowerCase() === 'www.example.com';
      const soa = { mname: 'ns', rname: 'root', serial: 1, refresh: 1, retry: 1, expire: 1, minimum: 20 };
      const reply = dnsPacket.encode({
        type: 'response',
        id: query.id ?? 0,
        flags: known ? 0 : 3,
        questions: query.questions ?? [],
        answers: known ? [{ type: 'A', name, ttl: 60, data: '192.0.2.1' }] : [],
        authorities: known ? [] : [{ type: 'SOA', name: 'example.com', ttl: 60, data: soa }],
      });
      upstream.send(reply, from.port, from.address);
    });
    await new Promise<void>((done) => upstream.bind(0, '127.0.0.1', done));
    const port = upstream.address().port;
    const config = parseCorefile(`.:53 {
      kubernetes cluster.local 10.96.0.0/16 in-addr.arpa {
        ttl 30
      }
      forward . 127.0.0.1:1 127.0.0.1:${port} {
        policy sequential
      }
      cache 30
    }`);
    const dependencies: ResolverDependencies = {
      config,
      state,
      synced: () => synced,
      upstream: config.forward && new Upstream(config.forward, config.cache, quiet),
      serial: () => 1,
      nameServers: () => [],
      random: () => 0,
    };
    listeners = new Listeners((packet, transport) => resolve(packet, transport, dependencies));
    await listeners.listen(0);
  });

  after(() => {
    listeners.close();
    upstream.close();
  });

  beforeEach(() => {
    asked.length = 0;
    synced = true;
  });

  it('answers from the zone over UDP and TCP', async () => {
    for (const ask of [askUdp, askTcp]) {
      const reply = await ask(listeners.port, 'web.default.svc.cluster.local');
      expect(reply.answers).to.have.length(1);
      expect(reply.flag_aa).to.equal(true);
    }
  });

  it('answers several queries on one TCP connection', async () => {
    const replies = await tcp(listeners.port, ['web.default.svc.cluster.local', 'no.default.svc.cluster.local']);
    expect(replies.map(({ rcode }) => rcode)).to.deep.equal(['NOERROR', 'NXDOMAIN']);
    expect(replies[1]?.authorities?.[0]?.type).to.equal('SOA');
  });

  it('fails rather than denies before it knows the cluster', async () => {
    synced = false;
    expect((await askUdp(listeners.port, 'web.default.svc.cluster.local')).rcode).to.equal('SERVFAIL');
  });

  it('forwards to the next server when one is dead, then answers from its cache, in the spelling asked', async () => {
    const first = await askUdp(listeners.port, 'www.example.com');
    expect(first.answers?.map((one) => ('data' in one ? one.data : ''))).to.deep.equal(['192.0.2.1']);
    const second = await askUdp(listeners.port, 'WWW.example.COM');
    expect(second.questions?.[0]?.name).to.equal('WWW.example.COM');
    expect(second.answers?.[0]).to.have.property('ttl').that.is.at.most(30);
    expect(asked).to.deep.equal(['www.example.com']);
  });

  it('remembers that a name does not exist', async () => {
    for (let attempt = 0; attempt < 2; attempt++) {
      expect((await askUdp(listeners.port, 'no.example.com')).rcode).to.equal('NXDOMAIN');
    }
    expect(asked).to.deep.equal(['no.example.com']);
  });

  it('follows an ExternalName out of the cluster', async () => {
    const reply = await askUdp(listeners.port, 'alias.default.svc.cluster.local');
    expect(reply.answers?.map((one) => ('data' in one ? one.data : ''))).to.deep.equal([
      'www.example.com',
      '192.0.2.1',
    ]);
  });

  it('denies addresses of the cluster that nobody has, without asking others', async () => {
    expect((await askUdp(listeners.port, '9.9.96.10.in-addr.arpa', 'PTR')).rcode).to.equal('NXDOMAIN');
    expect(asked).to.deep.equal([]);
  });
});

describe('Corefile', () => {
  const mistakes: readonly (readonly [string, string])[] = [
    ['', 'no server block'],
    ['.:53 {', 'no closing'],
    ['.:53 {\n etcd\n}', 'Corefile:2: unknown plugin "etcd"'],
    ['example.org {\n}', 'server key "example.org"'],
    ['.:53 {\n kubernetes\n}', 'needs the cluster domain'],
    ['.:53 {\n kubernetes cluster.local {\n  pods some\n }\n}', 'pods "some"'],
    ['.:53 {\n cache lots\n}', '"lots" is not a whole number'],
    ['.:53 {\n forward . nowhere\n}', 'is not an address or a file'],
  ];
  for (const [text, message] of mistakes) {
    it(`names the mistake: ${message}`, () => expect(() => parseCorefile(text)).to.throw(message));
  }

  it("reads kubeadm's file", () => {
    const config = parseCorefile(`.:53 {
      errors
      health {
         lameduck 5s
      }
      ready
      kubernetes cluster.local in-addr.arpa ip6.arpa {
         pods insecure
         fallthrough in-addr.arpa ip6.arpa
         ttl 30
      }
      prometheus :9153
      forward . /etc/resolv.conf {
         max_concurrent 1000
      }
      cache 30 {
         disable success cluster.local
         disable denial cluster.local
      }
      loop
      reload
      loadbalance
    }`);
    expect(config).to.include({
      lameduckMs: 5000,
      readyPort: 8181,
      healthPort: 8080,
      metricsPort: 9153,
      reloadMs: 30_000,
    });
    expect(config.kubernetes).to.include({ domain: 'cluster.local', pods: 'insecure', ttl: 30, anyReverse: true });
    expect(config.cache?.uncached).to.deep.equal({ success: ['cluster.local'], denial: ['cluster.local'] });
  });

  it('never fails but with its own error', () => {
    const words = fc.constantFrom(
      '.:53',
      '{',
      '}',
      '\n',
      'kubernetes',
      'cluster.local',
      'cache',
      '30',
      'forward',
      '.',
      '/x',
      'health',
      'lameduck',
      '5s',
      '10.0.0.0/8',
    );
    fc.assert(
      fc.property(fc.array(words, { maxLength: 20 }), (parts) => {
        try {
          parseCorefile(parts.join(' '));
        } catch (error) {
          expect(error).to.have.property('name', 'CorefileError');
        }
      }),
      { numRuns: 3000 },
    );
  });
});

type Answer = dnsPacket.DecodedPacket & { rcode?: string };

function encode(name: string, type: dnsPacket.RecordType = 'A'): Buffer {
  return dnsPacket.encode({ type: 'query', id: 7, flags: dnsPacket.RECURSION_DESIRED, questions: [{ type, name }] });
}

function askUdp(port: number, name: string, type?: dnsPacket.RecordType): Promise<Answer> {
  return new Promise((done, fail) => {
    const socket = createSocket('udp4');
    socket.on('error', fail);
    socket.on('message', (reply) => {
      socket.close();
      done(dnsPacket.decode(reply));
    });
    socket.send(encode(name, type), port, '127.0.0.1');
  });
}

async function askTcp(port: number, name: string): Promise<Answer> {
  const [reply] = await tcp(port, [name]);
  if (reply === undefined) throw new Error('no reply');
  return reply;
}

function tcp(port: number, names: readonly string[]): Promise<Answer[]> {
  return new Promise((done, fail) => {
    const socket = connect(port, '127.0.0.1');
    const replies: Answer[] = [];
    let received = Buffer.alloc(0);
    socket.on('error', fail);
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk]);
      while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
        const end = 2 + received.readUInt16BE(0);
        replies.push(dnsPacket.decode(received.subarray(2, end)));
        received = received.subarray(end);
      }
      if (replies.length < names.length) return;
      socket.destroy();
      done(replies);
    });
    for (const name of names) {
      const packet = encode(name);
      const length = Buffer.alloc(2);
      length.writeUInt16BE(packet.length);
      socket.write(length);
      socket.write(packet);
    }
  });
}
