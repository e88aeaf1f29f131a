// SPDX-License-Identifier: Apache-2.0
/**
 * A million damaged packets (`--runs` for another number of thousands) through printer, filters, flows and records. Fails if one of them throws;
 * what it records is how many a second, the slowest one, and by how much memory grew.
 */
import { FlowTable } from '../probes/pcap-parser/flows.ts';
import { compileFilter } from '../probes/pcap-parser/filter/filter.ts';
import { Frame } from '../probes/pcap-parser/frame.ts';
import { packetRecord } from '../probes/pcap-parser/packet-record.ts';
import { PacketPrinter } from '../probes/pcap-parser/print/packet-printer.ts';
import type { Packet } from '../probes/pcap-parser/read/packet.ts';
import { frames } from '../probes/pcap-parser/sample-frames.ts';
import { seededDraw, type Draw } from '../suites/network-policy/generator/random.ts';
import { ours, type Benchmark } from './benchmark.ts';

const linkTypes = [0, 1, 1, 1, 1, 1, 1, 12, 101, 108, 113, 228, 229, 276, 999];
const expressions = [
  'tcp[13] & 2 != 0 or vlan 5 and ip6',
  'port 53 or net 10.0.0.0/8',
  'ip[6:2] & 0x1fff != 0 and not portrange 1-1000',
  'ether host 02:00:00:00:00:01 and greater 100 or icmp[icmptype] = icmp-unreach',
];

export const pcapSoak: Benchmark = {
  name: 'pcap-soak',
  about: 'a million damaged packets through printer, filters, flows and records without a crash or growth',
  async run(bench) {
    const thousands = bench.options.runs ?? (bench.options.quick ? 50 : 1000);
    const random = seededDraw(20_261_121);
    const printer = new PacketPrinter(
      { linkHeader: true, verbosity: 2, date: true, numbers: true, octets: true },
      () => {},
    );
    const filters = expressions.map((expression) => compileFilter(expression));
    const frame = new Frame();
    const table = new FlowTable();
    // Processor time: a busy machine stops anybody for longer than any packet takes.
    let slowest = 0;
    let warm = 0;
    const started = performance.now();
    for (let thousand = 0; thousand < thousands; thousand++) {
      for (let index = 0; index < 1000; index++) {
        const packet = damaged(random);
        const before = process.threadCpuUsage().user;
        try {
          printer.print(packet);
          frame.decode(packet);
          for (const filter of filters) filter(frame, packet.wireLength);
          table.add(frame, packet.wireLength, packet.seconds);
          packetRecord(packet, frame);
        } catch (error) {
          const octets = packet.data.subarray(packet.start, packet.end).toString('hex');
          throw new Error(`link type ${packet.captureInterface.linkType}, packet ${octets}`, { cause: error });
        }
        slowest = Math.max(slowest, (process.threadCpuUsage().user - before) / 1000);
      }
      // Flows fill their table first, which is no growth.
      if (thousand === Math.floor(thousands / 2)) warm = process.memoryUsage().rss;
      if (bench.signal.aborted) return;
      await new Promise(setImmediate);
    }
    const seconds = (performance.now() - started) / 1000;
    bench.record({ name: 'damaged packets', unit: '1/s', better: 'higher' }, ours, [(thousands * 1000) / seconds]);
    bench.record({ name: 'slowest packet', unit: 'ms', better: 'lower' }, ours, [slowest]);
    const growth = (process.memoryUsage().rss - warm) / 1e6;
    bench.record({ name: 'growth over the second half', unit: 'MB', better: 'lower' }, ours, [growth]);
    bench.note(`${thousands},000 packets, none of them made anything throw`);
  },
};

/** A frame of every kind with octets changed, cut or doubled, as any link type. */
function damaged(random: Draw): Packet {
  const data = Buffer.from(frames[random(frames.length)]?.[1] ?? []);
  for (let changes = random(8); changes > 0; changes--) data[random(data.length)] = random(256);
  // Lengths and counts are where decoders go wrong.
  if (random(4) === 0) data[random(data.length)] = [0, 1, 0x7f, 0x80, 0xff][random(5)] ?? 0;
  const end = random(3) === 0 ? random(data.length + 1) : data.length;
  return {
    data,
    start: 0,
    end,
    wireLength: random(10) === 0 ? random(70_000) : data.length,
    seconds: 1_700_000_000 + random(1000),
    nanoseconds: random(1_000_000_000),
    captureInterface: { linkType: linkTypes[random(linkTypes.length)] ?? 1, name: undefined, snapLength: 0 },
    comment: undefined,
  };
}
