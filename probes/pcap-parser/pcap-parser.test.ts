// SPDX-License-Identifier: Apache-2.0
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import fc from 'fast-check';
import { pcapng } from './capture-writer.ts';
import { compileFilter } from './filter/filter.ts';
import { FilterError } from './filter/tokens.ts';
import { FlowTable } from './flows.ts';
import { Frame } from './frame.ts';
import { packetRecord } from './packet-record.ts';
import { PacketPrinter } from './print/packet-printer.ts';
import { followFile, readStream } from './read/capture-file.ts';
import { CaptureParser } from './read/capture-parser.ts';
import { MergedCapture } from './read/merged-capture.ts';
import type { Packet } from './read/packet.ts';
import { clientHello, dnsQuestion, ethernet, frames, hex, ip4, tcp, udp } from './sample-frames.ts';

const seconds = 1_700_000_000;

function pcap(magic: number, littleEndian: boolean): Buffer {
  const file = Buffer.alloc(24 + 16 + 4);
  const put = (value: number, at: number): unknown =>
    littleEndian ? file.writeUInt32LE(value, at) : file.writeUInt32BE(value, at);
  put(magic, 0);
  if (littleEndian) file.writeUInt16LE(2, 4);
  else file.writeUInt16BE(2, 4);
  put(1, 20);
  put(seconds, 24);
  put(5, 28);
  put(4, 32);
  put(60, 36);
  return file;
}

function parse(file: Buffer, chunk = file.length): { packets: Packet[]; finding: CaptureParser['finding'] } {
  const parser = new CaptureParser();
  const packets: Packet[] = [];
  for (let at = 0; at < file.length; at += chunk) {
    parser.push(file.subarray(at, at + chunk));
    for (let packet = parser.next(); packet !== undefined; packet = parser.next())
      packets.push({ ...packet, data: Buffer.from(packet.data.subarray(packet.start, packet.end)) });
  }
  parser.finish();
  return { packets, finding: parser.finding };
}

const capture = (all: readonly Buffer[], from = seconds): Buffer =>
  Buffer.concat([
    pcapng.section(),
    pcapng.interface({ linkType: 1, name: 'n1/default/web/eth0' }),
    ...all.map((frame, index) =>
      pcapng.packet({ interfaceIndex: 0, seconds: from + index, nanoseconds: 42, frame, comment: `${index}` }),
    ),
    pcapng.names(new Map([['10.244.1.2', 'web.default']])),
  ]);

describe('reading captures', () => {
  for (const [name, magic, littleEndian, nanoseconds] of [
    ['little endian', 0xa1b2c3d4, true, 5000],
    ['big endian', 0xa1b2c3d4, false, 5000],
    ['little endian, nanoseconds', 0xa1b23c4d, true, 5],
    ['big endian, nanoseconds', 0xa1b23c4d, false, 5],
  ] as const)
    it(`pcap, ${name}`, () => {
      const { packets, finding } = parse(pcap(magic, littleEndian), 7);
      expect(finding).to.equal(undefined);
      expect(packets).to.have.length(1);
      expect(packets[0]).to.include({ seconds, nanoseconds, wireLength: 60 });
    });

  it('pcapng as it was written: interfaces, comments, times, names', () => {
    const parser = new CaptureParser();
    parser.push(capture([hex('0102'), hex('030405')]));
    expect(parser.next()).to.include({ seconds, nanoseconds: 42, comment: '0', wireLength: 2 });
    const second = parser.next();
    expect(second?.captureInterface.name).to.equal('n1/default/web/eth0');
    expect(second?.comment).to.equal('1');
    expect(parser.next()).to.equal(undefined);
    expect([...parser.names]).to.deep.equal([['10.244.1.2', 'web.default']]);
  });

  it('gives the packets before damage, and says where and what', () => {
    const whole = capture([hex('0102'), hex('030405')]);
    const cut = parse(whole.subarray(0, 150));
    expect(cut.packets).to.have.length(1);
    expect(cut.finding?.what).to.match(/the file ends \d+ octets into a record/);
    const file = pcap(0xa1b2c3d4, true);
    file.writeUInt32LE(0x7fff_ffff, 32);
    expect(parse(file).finding).to.deep.equal({
      offset: 24,
      what: 'a packet of 2147483647 octets: its length is damaged',
    });
    expect(parse(Buffer.from('no capture')).finding?.offset).to.equal(0);
    expect(parse(Buffer.alloc(0)).finding?.what).to.contain('ends after 0 octets');
  });

  it('streams, and files that grow', async () => {
    const whole = capture(frames.map(([, frame]) => frame));
    let count = 0;
    const pieces = Array.from({ length: Math.ceil(whole.length / 100) }, (_, at) =>
      whole.subarray(at * 100, at * 100 + 100),
    );
    expect(await readStream(ReadableStream.from(pieces), () => count++)).to.equal(undefined);
    expect(count).to.equal(frames.length);
    const directory = mkdtempSync(join(tmpdir(), 'plumb-pcap-'));
    try {
      const path = join(directory, 'grows.pcapng');
      writeFileSync(path, whole.subarray(0, 1000));
      const stop = new AbortController();
      let followed = 0;
      let extended = false;
      await followFile(
        path,
        () => {
          followed++;
          if (!extended) appendFileSync(path, whole.subarray(1000));
          extended = true;
          if (followed === frames.length) stop.abort();
        },
        stop.signal,
      );
      expect(followed).to.equal(frames.length);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('merges captures in the order of time', () => {
    const source = (from: number): { next: () => Packet | undefined; finding: undefined } => {
      const parser = new CaptureParser();
      parser.push(capture([hex('01'), hex('02')], from));
      return { next: () => parser.next(), finding: undefined };
    };
    const merged = new MergedCapture([source(101), source(100)]);
    const times: number[] = [];
    for (let packet = merged.next(); packet !== undefined; packet = merged.next()) times.push(packet.seconds);
    expect(times).to.deep.equal([100, 101, 101, 102]);
  });
});

describe('filters', () => {
  for (const [expression, column] of [
    ['tcp and', 8],
    ['host example.org', 6],
    ['port 80 port', 9],
    ['tcp[13] &', 10],
    ['port 70000', 6],
    ['(tcp', 5],
    ['net 10.1.2.3/8', 5],
    ['tcp # udp', 5],
  ] as const)
    it(`says where "${expression}" is wrong`, () => {
      expect(() => compileFilter(expression))
        .to.throw(FilterError)
        .with.property('column', column);
    });
});

describe('flows', () => {
  it('tells round trips, retransmissions, resets, closed windows and questions without answer', () => {
    const table = new FlowTable();
    const frame = new Frame();
    const back = { from: '10.244.2.3', to: '10.244.1.2' };
    const there = (segment: Buffer): Buffer => ethernet(0x0800, ip4(segment, { protocol: 6 }));
    const here = (segment: Buffer): Buffer => ethernet(0x0800, ip4(segment, { protocol: 6, ...back }));
    const data = tcp(Buffer.alloc(100), { flags: 24, sequence: 1001, acknowledgement: 5001 });
    const ports = { from: 8080, to: 43_210 };
    const all: readonly (readonly [number, Buffer])[] = [
      [0, there(tcp(Buffer.alloc(0), { flags: 2, options: hex('02040064') }))],
      [0.01, here(tcp(Buffer.alloc(0), { flags: 18, sequence: 5000, ...ports, options: hex('02040050') }))],
      [0.015, there(tcp(Buffer.alloc(0), { flags: 16, sequence: 1001, acknowledgement: 5001 }))],
      [0.02, there(data)],
      [0.5, there(data)],
      [0.6, here(tcp(Buffer.alloc(0), { flags: 16, sequence: 5001, window: 0, ...ports }))],
      [0.7, here(tcp(Buffer.alloc(0), { flags: 4, sequence: 5001, ...ports }))],
      [0.8, ethernet(0x0800, ip4(udp(dnsQuestion(1, 0x0100, 'web.default'), 4000, 53), { protocol: 17 }))],
    ];
    for (const [time, octets] of all) {
      const packet = parse(capture([octets])).packets[0] as Packet;
      table.add(frame.decode({ ...packet, start: 0, end: packet.data.length }), octets.length, time);
    }
    const [flow] = table.flows;
    expect(flow?.serverRttSeconds).to.be.closeTo(0.01, 1e-9);
    expect(flow?.clientRttSeconds).to.be.closeTo(0.005, 1e-9);
    expect(flow?.client).to.include({ packets: 4, retransmissions: 1, overMss: 2, mss: 100 });
    expect(flow?.server).to.include({ packets: 3, resets: 1, zeroWindows: 1, mss: 80 });
    expect(table.dns.failures).to.deep.equal([{ server: '10.244.2.3', name: 'web.default.', reason: 'no answer' }]);
  });
});

it('decodes what the application says: TLS server name and protocols', () => {
  const octets = ethernet(
    0x0800,
    ip4(tcp(clientHello('web.example'), { flags: 24, acknowledgement: 1 }), { protocol: 6 }),
  );
  const packet = parse(capture([octets])).packets[0] as Packet;
  const whole = { ...packet, start: 0, end: packet.data.length };
  expect(packetRecord(whole, new Frame().decode(whole)).tls).to.deep.equal({
    serverName: 'web.example',
    protocols: ['h2'],
  });
});

describe('mutated packets', function () {
  this.timeout(60_000);
  it('are printed, filtered and counted without a crash', () => {
    const printers = [0, 3].map(
      (verbosity) =>
        new PacketPrinter(
          { linkHeader: verbosity > 0, verbosity, date: true, numbers: true, octets: verbosity > 0 },
          () => {},
        ),
    );
    const frame = new Frame();
    const table = new FlowTable();
    const filter = compileFilter('tcp[13] & 2 != 0 or vlan 5 and ip6 or port 53 or net 10.0.0.0/8');
    const linkTypes = [0, 1, 12, 101, 108, 113, 228, 229, 276, 999];
    const mutation = fc.record({
      index: fc.nat(frames.length - 1),
      link: fc.nat(linkTypes.length * 4),
      cut: fc.nat(200),
      changes: fc.array(fc.tuple(fc.nat(200), fc.nat(255)), { maxLength: 6 }),
    });
    fc.assert(
      fc.property(mutation, ({ index, link, cut, changes }) => {
        const data = Buffer.from(frames[index]?.[1] ?? []);
        for (const [at, value] of changes) if (at < data.length) data[at] = value;
        const packet: Packet = {
          data,
          start: 0,
          end: cut < 100 ? Math.min(cut, data.length) : data.length,
          wireLength: data.length,
          seconds,
          nanoseconds: 0,
          captureInterface: { linkType: linkTypes[link] ?? 1, name: undefined, snapLength: 0 },
          comment: undefined,
        };
        for (const printer of printers) printer.print(packet);
        filter(frame.decode(packet), packet.wireLength);
        table.add(frame, packet.wireLength, seconds);
        packetRecord(packet, frame);
      }),
      { numRuns: 20_000 },
    );
  });

  it('and files end in packets or a finding', () => {
    const file = capture(frames.slice(0, 5).map(([, octets]) => octets));
    const changes = fc.array(fc.tuple(fc.nat(file.length - 1), fc.nat(255)), { maxLength: 4 });
    fc.assert(
      fc.property(changes, fc.nat(file.length), (changed, length) => {
        const damaged = Buffer.from(file.subarray(0, length));
        for (const [at, value] of changed) if (at < damaged.length) damaged[at] = value;
        expect(parse(damaged).packets.length).to.be.at.most(50);
      }),
      { numRuns: 2000 },
    );
  });
});
