// SPDX-License-Identifier: Apache-2.0
// Forwarding to servers that fail, are slow, cut answers short, or come back.
import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';
import type { Server } from 'node:net';

import { expect } from 'chai';
import dnsPacket from 'dns-packet';

import { ask, encodeQuestion, otherServer, overTcp, short, startDns } from './testing.ts';
import type { OtherReply, OtherServer, RunningDns } from './testing.ts';

const address = (name: string, data: string, ttl = 60): OtherReply => ({ answers: [{ type: 'A', name, ttl, data }] });

describe('DNS forwarding', () => {
  const closers: (() => void)[] = [];
  const start = async (corefile: string): Promise<RunningDns> => {
    const dns = await startDns(corefile);
    closers.push(dns.close);
    return dns;
  };
  const upstream = async (behave: OtherServer['behave'], port?: number): Promise<OtherServer> => {
    const other = await otherServer(behave, port);
    closers.push(() => other.close());
    return other;
  };
  afterEach(() => {
    for (const close of closers.splice(0)) close();
  });

  it('asks the next server when one is dead, marks the dead one by health checks, and takes it back', async () => {
    const dead = await upstream((name) => (name === '.' || name === '' ? {} : address(name, '192.0.2.1')));
    const { port } = dead;
    dead.close();
    closers.pop();
    const alive = await upstream((name) => address(name, '192.0.2.2'));
    const dns = await start(
      `. {\n forward . 127.0.0.1:${port} 127.0.0.1:${alive.port} {\n policy sequential\n health_check 20ms\n max_fails 2\n}\n}`,
    );
    expect(await short(dns.port, 'a.example')).to.equal('192.0.2.2');
    await new Promise((resolve) => setTimeout(resolve, 150));
    const began = performance.now();
    expect(await short(dns.port, 'b.example')).to.equal('192.0.2.2');
    expect(performance.now() - began).to.be.lessThan(1500);
    const back = await upstream((name) => (name === '.' || name === '' ? {} : address(name, '192.0.2.1')), port);
    const until = Date.now() + 5000;
    while (Date.now() < until && !back.asked.some((name) => name === '.' || name === '')) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(await short(dns.port, 'c.example')).to.equal('192.0.2.1');
  });

  it('tries a server all the same when all are down, or fails at once where it is told to', async () => {
    for (const [option, expected] of [
      ['', '192.0.2.1'],
      ['failfast_all_unhealthy_upstreams', 'SERVFAIL'],
    ] as const) {
      const gone = await otherServer(() => undefined);
      gone.close();
      const dns = await start(
        `. {\n forward . 127.0.0.1:${gone.port} {\n health_check 10ms\n max_fails 1\n ${option}\n}\n}`,
      );
      expect(await short(dns.port, 'a.example')).to.equal('SERVFAIL');
      await new Promise((resolve) => setTimeout(resolve, 100));
      // Now it answers clients, but no health checks.
      await upstream((name) => (name === '.' || name === '' ? undefined : address(name, '192.0.2.1')), gone.port);
      expect(await short(dns.port, 'b.example')).to.equal(expected);
    }
  });

  it('spreads by policy, and goes on by response code', async () => {
    const one = await upstream((name) => (name.startsWith('bad') ? { rcode: 2 } : address(name, '192.0.2.1')));
    const two = await upstream((name) => address(name, '192.0.2.2'));
    const to = `127.0.0.1:${one.port} 127.0.0.1:${two.port}`;
    const turns = await start(`. {\n forward . ${to} {\n policy round_robin\n}\n}`);
    const seen: string[] = [];
    for (let turn = 0; turn < 4; turn++) seen.push(await short(turns.port, `r${turn}.example`));
    expect(seen).to.deep.equal(['192.0.2.1', '192.0.2.2', '192.0.2.1', '192.0.2.2']);
    const failover = await start(`. {\n forward . ${to} {\n policy sequential\n failover SERVFAIL REFUSED\n}\n}`);
    expect(await short(failover.port, 'bad.example')).to.equal('192.0.2.2');
    const plain = await start(`. {\n forward . ${to} {\n policy sequential\n}\n}`);
    expect(await short(plain.port, 'bad.example')).to.equal('SERVFAIL');
  });

  it('fetches over TCP what was cut short, and gives each client what it can take', async () => {
    const other = await upstream((name) => ({ ...address(name, '192.0.2.1'), truncated: true }));
    const tcp = tcpServer((name) => Array.from({ length: 60 }, (_, index) => ({ name, data: `192.0.2.${index + 1}` })));
    closers.push(() => tcp.close());
    await new Promise<void>((resolve) => tcp.listen(other.port, '127.0.0.1', resolve));
    const dns = await start(`. {\n forward . 127.0.0.1:${other.port}\n cache\n}`);
    const small = await ask(dns.port, 'big.example');
    expect([small.flag_tc, small.answers?.length]).to.deep.equal([true, 0]);
    expect((await ask(dns.port, 'big.example', 'A', { transport: 'tcp' })).answers).to.have.length(60);
    expect((await ask(dns.port, 'big.example', 'A', { udpSize: 4096 })).answers).to.have.length(60);
    const forced = await start(`. {\n forward . 127.0.0.1:${other.port} {\n force_tcp\n}\n}`);
    const questions = Array.from({ length: 50 }, (_, index) => encodeQuestion(`n${index}.example`, 'A'));
    const replies = (await overTcp(forced.port, questions)).map((reply) => dnsPacket.decode(reply));
    expect(replies.every(({ answers }) => answers?.length === 60)).to.equal(true);
    expect(other.asked.filter((name) => name.startsWith('n'))).to.deep.equal([]);
  });

  it('refuses what is more than max_concurrent, and asks equal questions once', async () => {
    let answer = false;
    const other = await upstream((name) => (answer ? address(name, '192.0.2.1') : undefined));
    const dns = await start(`. {\n forward . 127.0.0.1:${other.port} {\n max_concurrent 2\n max_fails 0\n}\n cache\n}`);
    const waiting = [short(dns.port, 'a.example'), short(dns.port, 'a.example'), short(dns.port, 'b.example')];
    while (other.asked.length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(await short(dns.port, 'c.example')).to.equal('REFUSED');
    expect(other.asked.toSorted()).to.deep.equal(['a.example', 'b.example']);
    answer = true;
    await Promise.all(waiting);
  }).timeout(10_000);

  it('gives stale answers while servers fail, and fresh ones afterwards', async () => {
    let mode: 'first' | 'dead' | 'second' = 'first';
    const other = await upstream((name) => {
      if (mode === 'dead') return { rcode: 2 };
      return address(name, mode === 'first' ? '192.0.2.1' : '192.0.2.2', 1);
    });
    const dns = await start(
      `. {\n forward . 127.0.0.1:${other.port}\n cache {\n success 100 1 0\n serve_stale 1h\n servfail 0\n}\n}`,
    );
    expect(await short(dns.port, 'a.example')).to.equal('192.0.2.1');
    mode = 'dead';
    await new Promise((resolve) => setTimeout(resolve, 1100));
    expect(await short(dns.port, 'a.example')).to.equal('192.0.2.1');
    mode = 'second';
    const until = Date.now() + 3000;
    let found = '';
    while (Date.now() < until && found !== '192.0.2.2') found = await short(dns.port, 'a.example');
    expect(found).to.equal('192.0.2.2');
  });

  it('verifies stale answers before it gives them, where it is told to', async () => {
    let dead = false;
    let last = 0;
    const other = await upstream((name) => (dead ? { rcode: 2 } : address(name, `192.0.2.${++last}`, 1)));
    const dns = await start(
      `. {\n forward . 127.0.0.1:${other.port}\n cache {\n success 100 1 0\n serve_stale 1h verify\n servfail 0\n}\n}`,
    );
    expect(await short(dns.port, 'a.example')).to.equal('192.0.2.1');
    await new Promise((resolve) => setTimeout(resolve, 1050));
    expect(await short(dns.port, 'a.example'), 'the server answers').to.equal('192.0.2.2');
    dead = true;
    await new Promise((resolve) => setTimeout(resolve, 1050));
    expect(await short(dns.port, 'a.example'), 'the server fails').to.equal('192.0.2.2');
  });

  it('fetches popular names before they end, while clients are answered from the cache', async () => {
    const other = await upstream((name) => address(name, '192.0.2.1', 4));
    const dns = await start(
      `. {\n forward . 127.0.0.1:${other.port}\n cache {\n success 100 4 0\n prefetch 2 1m 90%\n}\n}`,
    );
    for (let turn = 0; turn < 4; turn++) await short(dns.port, 'popular.example');
    await short(dns.port, 'rare.example');
    await new Promise((resolve) => setTimeout(resolve, 500));
    await short(dns.port, 'popular.example');
    await short(dns.port, 'rare.example');
    const until = Date.now() + 2000;
    while (Date.now() < until && other.asked.length < 3) await new Promise((resolve) => setTimeout(resolve, 10));
    expect(other.asked).to.deep.equal(['popular.example', 'rare.example', 'popular.example']);
    const { answers } = await ask(dns.port, 'popular.example');
    expect(answers?.[0]).to.have.property('ttl').that.is.at.least(3);
  });

  it('believes only replies with the id and to the question that it sent', async () => {
    const socket = createSocket('udp4');
    closers.push(() => socket.close());
    socket.on('message', (packet, from) => {
      const { id = 0, questions = [] } = dnsPacket.decode(packet);
      const reply = (data: string, as: { id: number; name: string }): void => {
        const answers = [{ type: 'A' as const, name: as.name, ttl: 60, data }];
        const asked = questions.map((question) => ({ ...question, name: as.name }));
        socket.send(
          dnsPacket.encode({ type: 'response', id: as.id, questions: asked, answers }),
          from.port,
          from.address,
        );
      };
      const name = questions[0]?.name ?? '';
      reply('192.0.2.66', { id: id ^ 1, name });
      reply('192.0.2.67', { id, name: 'b.example' });
      reply('192.0.2.1', { id, name });
    });
    await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
    const dns = await start(`. {\n forward . 127.0.0.1:${socket.address().port}\n}`);
    expect(await short(dns.port, 'a.example')).to.equal('192.0.2.1');
  });
});

function tcpServer(answer: (name: string) => { name: string; data: string }[]): Server {
  return createServer((socket) => {
    let received = Buffer.alloc(0);
    socket.on('error', () => undefined);
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk]);
      while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
        const query = dnsPacket.decode(received.subarray(2, 2 + received.readUInt16BE(0)));
        received = received.subarray(2 + received.readUInt16BE(0));
        const name = query.questions?.[0]?.name ?? '';
        const bytes = dnsPacket.encode({
          type: 'response',
          id: query.id ?? 0,
          questions: query.questions ?? [],
          answers: answer(name).map(({ data }) => ({ type: 'A', name, ttl: 60, data })),
        });
        const length = Buffer.alloc(2);
        length.writeUInt16BE(bytes.length);
        // Later questions may be answered first.
        setTimeout(() => socket.write(Buffer.concat([length, bytes])), Math.random() * 10);
      }
    });
  });
}
