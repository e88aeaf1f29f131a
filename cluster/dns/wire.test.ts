// SPDX-License-Identifier: Apache-2.0
// The codec against dns-packet, an implementation that shares nothing with it, and against noise.
import { expect } from 'chai';
import dnsPacket from 'dns-packet';
import * as fc from 'fast-check';

import { encodeReply, parseQuery, udpLimit } from './wire.ts';
import type { ParsedQuery, Query, Reply, ResourceRecord } from './wire.ts';

const nothing: Reply = {
  rcode: 'NOERROR',
  authoritative: true,
  recursionAvailable: true,
  answers: [],
  authority: [],
  additional: [],
};

describe('DNS messages', () => {
  it('reads a query as other implementations write it', () => {
    const query = parsed(
      dnsPacket.encode({
        type: 'query',
        id: 4711,
        flags: dnsPacket.RECURSION_DESIRED,
        questions: [{ type: 'A', name: 'WeB.Default.svc.cluster.local' }],
        additionals: [
          {
            type: 'OPT',
            name: '.',
            udpPayloadSize: 1400,
            flags: dnsPacket.DNSSEC_OK,
            extendedRcode: 0,
            ednsVersion: 0,
            flag_do: true,
            options: [],
          },
        ],
      }),
    );
    expect(query).to.include({
      id: 4711,
      name: 'web.default.svc.cluster.local',
      type: 1,
      class: 1,
      recursionDesired: true,
    });
    expect(query.edns).to.deep.equal({ udpSize: 1400, version: 0, dnssecOk: true });
  });

  it('writes every record type so that other implementations read it, and keeps the letter case of the question', () => {
    const name = 'wEb.default.svc.cluster.local';
    const answers: ResourceRecord[] = [
      { type: 'A', name: name.toLowerCase(), ttl: 30, address: '10.96.0.1' },
      { type: 'AAAA', name: name.toLowerCase(), ttl: 30, address: 'fd00::1:2' },
      { type: 'CNAME', name: 'other.example', ttl: 5, target: name.toLowerCase() },
      {
        type: 'SRV',
        name: name.toLowerCase(),
        ttl: 30,
        priority: 0,
        weight: 50,
        port: 80,
        target: 'a.web.default.svc.cluster.local',
      },
      { type: 'TXT', name: name.toLowerCase(), ttl: 30, text: '1.1.0' },
      { type: 'PTR', name: '1.0.96.10.in-addr.arpa', ttl: 30, target: 'web.default.svc.cluster.local' },
    ];
    const query = parsed(question(name));
    const bytes = encodeReply(query, { ...nothing, answers }, 4096);
    const read = dnsPacket.decode(bytes);
    expect(read.questions?.[0]?.name).to.equal(name);
    expect(read.answers?.map((one) => [one.type, 'data' in one ? one.data : undefined])).to.deep.equal([
      ['A', '10.96.0.1'],
      ['AAAA', 'fd00::1:2'],
      ['CNAME', name],
      ['SRV', { priority: 0, weight: 50, port: 80, target: `a.${name}` }],
      ['TXT', [Buffer.from('1.1.0')]],
      ['PTR', name],
    ]);
  });

  it('says that it is truncated instead of exceeding what the client takes', () => {
    const answers = Array.from({ length: 100 }, (_, index): ResourceRecord => ({
      type: 'A',
      name: 'a.b',
      ttl: 1,
      address: `10.0.0.${index}`,
    }));
    const plain = parsed(question('a.b'));
    const short = encodeReply(plain, { ...nothing, answers }, udpLimit(plain));
    expect(short.length).to.be.at.most(512);
    const read = dnsPacket.decode(short);
    expect(read.flag_tc).to.equal(true);
    expect(read.answers?.length).to.be.greaterThan(20);
    expect(dnsPacket.decode(encodeReply(plain, { ...nothing, answers }, 65_535)).answers).to.have.length(100);
  });

  it('stays silent to answers, and answers other mistakes with no more bytes than it got', () => {
    const answer = Buffer.from(question('a.b'));
    answer.writeUInt16BE(0x8000, 2);
    expect(parseQuery(answer)).to.deep.equal({ ok: false, reply: undefined });
    expect(parseQuery(Buffer.alloc(11))).to.deep.equal({ ok: false, reply: undefined });
    const notify = Buffer.from(question('a.b'));
    notify.writeUInt16BE(0x2000, 2);
    expect(rcodeOf(parseQuery(notify))).to.equal(4);
    expect(rcodeOf(parseQuery(question('a.b').subarray(0, 14)))).to.equal(1);
  });

  it('survives noise: no exception, no endless loop, no amplification of what it cannot read', () => {
    const header = fc.tuple(
      fc.uint8Array({ minLength: 2, maxLength: 2 }),
      fc.constantFrom([1, 0], [0, 0], [129, 128], [41, 0]),
    );
    const counts = fc.constantFrom(
      [0, 1, 0, 0, 0, 0, 0, 0],
      [0, 1, 0, 0, 0, 0, 0, 1],
      [0, 2, 0, 0, 0, 0, 0, 0],
      [255, 255, 255, 255, 255, 255, 255, 255],
    );
    const body = fc.oneof(
      fc.uint8Array({ maxLength: 80 }),
      fc
        .array(fc.constantFrom(0, 1, 3, 63, 64, 97, 192, 12, 13, 255), { maxLength: 60 })
        .map((bytes) => Uint8Array.from(bytes)),
    );
    fc.assert(
      fc.property(header, counts, body, ([id, flags], numbers, rest) => {
        const packet = Buffer.from([...id, ...flags, ...numbers, ...rest]);
        const result = parseQuery(packet);
        if (!result.ok) {
          if (result.reply !== undefined) expect(result.reply.length).to.be.at.most(packet.length);
          return;
        }
        const reply = encodeReply(result.query, nothing, udpLimit(result.query));
        expect(reply.length).to.be.at.most(packet.length + 11);
      }),
      { numRuns: 20_000 },
    );
  }).timeout(20_000);
});

function question(name: string): Buffer {
  return dnsPacket.encode({ type: 'query', id: 1, questions: [{ type: 'A', name }] });
}

function parsed(packet: Buffer): Query {
  const result = parseQuery(packet);
  if (!result.ok) throw new Error('the packet was not understood');
  return result.query;
}

function rcodeOf(result: ParsedQuery): number | undefined {
  return result.ok ? undefined : (result.reply?.readUInt16BE(2) ?? 0) & 0x0f;
}
