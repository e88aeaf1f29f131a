// SPDX-License-Identifier: Apache-2.0
// Packets that are no proper queries, by the hundred thousand: handled as the sockets hand them over, and a part of them
// over real sockets. No crash, no reply larger than its packet, few replies in all, no memory kept.
import { createSocket } from 'node:dgram';
import { once } from 'node:events';

import { expect } from 'chai';

import { encodeQuestion, short, startDns } from './testing.ts';
import { parseQuery } from './wire.ts';

/** Repeatable: xorshift. */
function randomNumbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** Noise, and proper queries with something broken: cut, with bits flipped, with wild counts, with pointers and long labels. */
function malformed(random: (below: number) => number): Buffer {
  const query = encodeQuestion(
    'web.default.svc.cluster.local',
    random(2) === 0 ? 'A' : 'SRV',
    random(2) === 0 ? 1232 : undefined,
  );
  switch (random(6)) {
    case 0:
      return Buffer.from(Array.from({ length: random(80) }, () => random(256)));
    case 1:
      return query.subarray(0, random(query.length));
    case 2:
      for (let flips = 1 + random(4); flips > 0; flips--) {
        const at = random(query.length);
        query[at] = (query[at] ?? 0) ^ (1 << random(8));
      }
      return query;
    case 3:
      query.writeUInt16BE(random(0x10000), 4 + 2 * random(4));
      return query;
    case 4:
      query.writeUInt16BE(0xc000 | random(64), 12 + random(query.length - 14));
      return query;
    default:
      return Buffer.concat([
        query.subarray(0, 12),
        ...Array.from({ length: 8 }, () => Buffer.from([63, ...Array(63).fill(97)])),
        query.subarray(12),
      ]);
  }
}

describe('DNS under malformed packets', () => {
  it('answers 150,000 of them without exception, amplification or growth', async () => {
    const dns = await startDns('. {\n kubernetes cluster.local\n loadbalance\n}');
    const [frontend] = dns.server.frontends;
    if (frontend === undefined) throw new Error('no frontend');
    const random = randomNumbers(20_261_121);
    let unreadable = 0;
    let refusals = 0;
    const began = performance.now();
    let heapBefore = 0;
    for (let count = 0; count < 150_000; count++) {
      const packet = malformed(random);
      const reply = frontend.handle(packet, {
        address: '192.0.2.1',
        port: 1234,
        transport: count % 5 === 0 ? 'tcp' : 'udp',
      });
      if (count === 50_000) heapBefore = process.memoryUsage().heapUsed;
      if (parseQuery(packet).ok) continue;
      unreadable++;
      if (reply === undefined) continue;
      refusals++;
      expect(reply).to.be.instanceOf(Buffer);
      expect((reply as Buffer).length).to.be.at.most(packet.length);
    }
    const seconds = (performance.now() - began) / 1000;
    dns.close();
    expect(dns.logged, 'exceptions').to.deep.equal([]);
    expect(unreadable).to.be.greaterThan(75_000);
    expect(refusals).to.be.at.most(200 * Math.ceil(seconds + 1));
    expect((process.memoryUsage().heapUsed - heapBefore) / 1e6, 'MB').to.be.lessThan(60);
  }).timeout(60_000);

  it('goes on answering clients on a real socket meanwhile', async () => {
    const service = { metadata: { name: 'web', namespace: 'default' }, spec: { clusterIP: '10.96.0.5' } };
    const dns = await startDns('. {\n kubernetes cluster.local\n}', { objects: { services: [service] } });
    const random = randomNumbers(7);
    const socket = createSocket('udp4');
    let received = 0;
    socket.on('message', () => received++);
    socket.bind(0, '127.0.0.1');
    await once(socket, 'listening');
    for (let burst = 0; burst < 50; burst++) {
      for (let count = 0; count < 200; count++) socket.send(malformed(random), dns.port, '127.0.0.1');
      await new Promise((resolve) => setImmediate(resolve));
      if (burst % 10 === 0) expect(await short(dns.port, 'web.default.svc.cluster.local')).to.equal('10.96.0.5');
    }
    expect(await short(dns.port, 'web.default.svc.cluster.local')).to.equal('10.96.0.5');
    expect(received).to.be.lessThan(10_000);
    socket.close();
    dns.close();
  }).timeout(30_000);
});
