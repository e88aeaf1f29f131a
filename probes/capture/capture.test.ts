// SPDX-License-Identifier: Apache-2.0
/** Merging by time, knowing a packet again behind translation and tunnels, filters of each place, names in lines, and frames of sessions. */
import { expect } from 'chai';
import fc from 'fast-check';
import { frameHead, frameKind, FrameReader } from '../node-session/protocol.ts';
import type { Packet } from '../pcap-parser/read/packet.ts';
import type { CapturePoint } from './capture-points.ts';
import { correctionOf } from './capture.ts';
import { filterFor } from './filters.ts';
import { InnermostPacket } from './innermost-packet.ts';
import { withNames } from './live-lines.ts';
import { SamePackets } from './same-packet.ts';
import { TimeMerge } from './time-merge.ts';

const ipHeader = (from: string, to: string, { id = 7, ttl = 64, protocol = 6, length = 60 } = {}): Buffer =>
  Buffer.from([
    0x45,
    0,
    length >> 8,
    length & 255,
    id >> 8,
    id & 255,
    0x40,
    0,
    ttl,
    protocol,
    0,
    0,
    ...from.split('.').map(Number),
    ...to.split('.').map(Number),
  ]);

function tcp(ports: readonly [number, number], sequence = 1000, stamp = 5): Buffer {
  const segment = Buffer.alloc(40);
  segment.writeUInt16BE(ports[0], 0);
  segment.writeUInt16BE(ports[1], 2);
  segment.writeUInt32BE(sequence, 4);
  segment[12] = 10 << 4;
  segment[13] = 2;
  segment.writeUInt32BE(stamp, 30);
  return segment;
}

const ethernet = (content: Buffer): Buffer => Buffer.concat([Buffer.alloc(12), Buffer.from([8, 0]), content]);

function packetOf(data: Buffer): Packet {
  return {
    data,
    start: 0,
    end: data.length,
    wireLength: data.length,
    seconds: 0,
    nanoseconds: 0,
    captureInterface: { linkType: 1, name: 'x', snapLength: 0 },
    comment: undefined,
  };
}

const plain = ethernet(Buffer.concat([ipHeader('10.0.0.1', '10.96.0.1'), tcp([4000, 80])]));
const translated = ethernet(Buffer.concat([ipHeader('192.0.2.1', '10.0.1.2', { ttl: 62 }), tcp([51_000, 8080])]));
const vxlan = ((): Buffer => {
  const udp = Buffer.alloc(16);
  udp.writeUInt16BE(40_000, 0);
  udp.writeUInt16BE(8472, 2);
  udp.writeUInt16BE(16 + translated.length, 4);
  udp[8] = 8;
  return ethernet(
    Buffer.concat([
      ipHeader('192.0.2.1', '192.0.2.2', { protocol: 17, id: 99, length: 36 + translated.length }),
      udp,
      translated,
    ]),
  );
})();

describe('capture: one packet at several places', () => {
  const decoder = new InnermostPacket();
  const see = (same: SamePackets, data: Buffer, place: number, seconds: number) =>
    same.see(decoder.decode(packetOf(data)), place, seconds);

  it('is known again behind translation of both addresses, and within a tunnel', () => {
    const same = new SamePackets();
    expect(see(same, plain, 0, 1)).to.deep.equal({ number: 1, turn: 1, firstSeconds: 1 });
    expect(see(same, plain, 1, 1.1)).to.include({ number: 1, turn: 2 });
    expect(see(same, translated, 2, 1.2)).to.include({ number: 1, turn: 3 });
    expect(see(same, vxlan, 3, 1.3)).to.include({ number: 1, turn: 4 });
    expect(decoder.tunnel).to.equal('vxlan');
  });

  it('is another one when it is sent again, comes by the same place as it was, or much later', () => {
    const same = new SamePackets();
    see(same, plain, 0, 1);
    const again = ethernet(Buffer.concat([ipHeader('10.0.0.1', '10.96.0.1', { id: 8 }), tcp([4000, 80], 1000, 6)]));
    expect(see(same, again, 0, 2).number).to.equal(2);
    expect(see(same, plain, 0, 2.1).number).to.equal(3);
    expect(see(same, plain, 1, 9).number).to.equal(4);
  });

  it('of a pod that reaches itself passes the same place twice, translated', () => {
    const same = new SamePackets();
    see(same, plain, 0, 1);
    expect(see(same, translated, 0, 1.1)).to.include({ number: 1, turn: 2 });
  });
});

describe('capture: TimeMerge', () => {
  it('gives everything once and in order, whatever the order of arrival', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 1000 }), { maxLength: 200 }), (times) => {
        const out: number[] = [];
        const merge = new TimeMerge<{ seconds: number; size: number }>({
          holdSeconds: 1e6,
          mostOctets: 1e9,
          take: ({ seconds }) => out.push(seconds),
        });
        for (const seconds of times) merge.add({ seconds, size: 1 });
        merge.finish();
        expect(out).to.deep.equal(times.toSorted((a, b) => a - b));
      }),
    );
  });

  it('holds back for a while, hands on the oldest when there is no room, and counts what comes too late', () => {
    const out: number[] = [];
    const merge = new TimeMerge<{ seconds: number; size: number }>({
      holdSeconds: 1,
      mostOctets: 10,
      take: ({ seconds }) => out.push(seconds),
    });
    for (const seconds of [5, 4, 6]) merge.add({ seconds, size: 3 });
    merge.advance(5.5);
    expect(out).to.deep.equal([4]);
    for (const seconds of [8, 7]) merge.add({ seconds, size: 3 });
    expect(out, 'more than ten octets').to.deep.equal([4, 5]);
    merge.add({ seconds: 1, size: 3 });
    expect(merge.late).to.equal(1);
  });
});

describe('capture: the rest', () => {
  const at = (kind: CapturePoint['kind']): CapturePoint => ({ node: 'n', kind, interface: 'i', name: 'n/i' });

  it('narrows uplinks to the pods, lets tunnels pass, and leaves its own streams out', () => {
    const input = { wanted: 'tcp port 80', addresses: ['10.0.0.1'], ownStreams: 'tcp port 10250' };
    expect(filterFor(at('pod'), input)).to.equal('tcp port 80');
    expect(filterFor(at('tunnel'), input)).to.equal('(tcp port 80) and (host 10.0.0.1)');
    expect(filterFor(at('uplink'), input)).to.match(
      /^\(\(\(tcp port 80\) and \(host 10\.0\.0\.1\)\) or udp port 4789 .*\) and not \(tcp port 10250\)$/,
    );
    expect(filterFor(at('uplink'), { wanted: '', addresses: [] })).to.equal('');
  });

  it('corrects clocks only where they are surely wrong', () => {
    expect(correctionOf({ aheadMs: 2, uncertaintyMs: 3 })).to.equal(0);
    expect(correctionOf({ aheadMs: -500, uncertaintyMs: 3 })).to.equal(500);
  });

  it('writes names for addresses with and without ports, and for no parts of others', () => {
    const names = new Map([
      ['10.0.0.1', 'shop/a'],
      ['fd00::1', 'shop/b'],
    ]);
    expect(withNames('IP 10.0.0.1.4000 > 10.0.0.10.80: Flags [S]', names)).to.equal(
      'IP shop/a.4000 > 10.0.0.10.80: Flags [S]',
    );
    expect(withNames('IP6 fd00::1.53 > fd00::12.99: UDP', names)).to.equal('IP6 shop/b.53 > fd00::12.99: UDP');
  });

  it('takes frames of a session apart, however they are cut', () => {
    const whole = Buffer.concat([
      frameHead(frameKind.stdout, 1, 3),
      Buffer.from('abc'),
      frameHead(frameKind.exit, 2, 0),
    ]);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 8 }), { minLength: 1, maxLength: 30 }), (sizes) => {
        const got: string[] = [];
        const reader = new FrameReader((kind, id, content) => got.push(`${kind} ${id} ${content.toString()}`));
        let from = 0;
        for (const size of [...sizes, whole.length]) {
          reader.push(whole.subarray(from, from + size));
          from += size;
        }
        expect(got).to.deep.equal(['1 1 abc', '3 2 ']);
      }),
    );
  });
});
