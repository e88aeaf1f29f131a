// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { pcapng } from './capture-writer.ts';
import { compileFilter } from './filter/filter.ts';
import { Frame } from './frame.ts';
import { PacketPrinter } from './print/packet-printer.ts';
import { CaptureFile } from './read/capture-file.ts';
import { frames, hex, ip4, ip6, udp } from './sample-frames.ts';

const time = { seconds: 1_700_000_000, nanoseconds: 123_456_789 };

/** tcpdump names interfaces of cooked captures after the machine that reads; everywhere the first is `lo`. */
const links: readonly (readonly [name: string, linkType: number, frames: readonly Buffer[]])[] = [
  ['Ethernet', 1, frames.map(([, frame]) => frame)],
  ['Ethernet, cut', 1, frames.filter(([name]) => name !== 'unknown type').map(([, frame]) => frame.subarray(0, 40))],
  ['raw', 101, [ip4(udp(Buffer.alloc(4), 1, 2), { protocol: 17 }), ip6(udp(Buffer.alloc(4), 1, 2), 17)]],
  [
    'cooked',
    113,
    [Buffer.concat([hex('0004 0001 0006 020000000001 0000 0800'), ip4(udp(Buffer.alloc(4), 1, 2), { protocol: 17 })])],
  ],
  [
    'cooked v2',
    276,
    [
      Buffer.concat([
        hex('0800 0000 00000001 0304 00 06 0000000000000000'),
        ip4(udp(Buffer.alloc(4), 1, 2), { protocol: 17 }),
      ]),
    ],
  ],
  ['loopback', 0, [Buffer.concat([hex('02000000'), ip4(udp(Buffer.alloc(4), 1, 2), { protocol: 17 })])]],
];

describe('lines are those of the installed tcpdump', function () {
  this.timeout(60_000);
  let directory: string;

  before(function () {
    if (spawnSync('tcpdump', ['--version']).error !== undefined) {
      process.stderr.write('skipped: tcpdump is not installed, and nothing else can judge its line format\n');
      this.skip();
    }
    directory = mkdtempSync(join(tmpdir(), 'plumb-pcap-'));
  });
  after(() => {
    if (directory !== undefined) rmSync(directory, { recursive: true });
  });

  const write = (linkType: number, all: readonly Buffer[]): string => {
    const path = join(directory, `${linkType}.pcapng`);
    const packets = all.map((frame) => pcapng.packet({ interfaceIndex: 0, ...time, frame, wireLength: frame.length }));
    writeFileSync(path, Buffer.concat([pcapng.section(), pcapng.interface({ linkType, name: 'lo' }), ...packets]));
    return path;
  };

  for (const [name, linkType, all] of links)
    for (const flags of ['', '-e', '-v', '-vv', '-tttt -#', '-X', '-e -v -X'])
      it(`${name} ${flags}`, () => {
        const path = write(linkType, all);
        const args = flags.split(' ').filter((flag) => flag !== '');
        expect(printed(path, args).split('\n')).to.deep.equal(tcpdump(path, args).split('\n'));
      });

  for (const filter of [
    'tcp',
    'udp port 53',
    'host 10.244.2.3 and not icmp',
    'src host 10.244.2.3',
    'dst net 10.244.2.0/24',
    'tcp[tcpflags] & tcp-syn != 0',
    'tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn',
    'portrange 8000-9000 or arp',
    // Behind a routing header its filters do not look.
    'ip6 and not (udp or tcp) and ip6[6] != 43',
    'vlan 100 and udp',
    'vlan',
    'ether host 02:00:00:00:00:01 and greater 100',
    'icmp[icmptype] = icmp-unreach',
    'ip[6:2] & 0x1fff != 0',
    'port 53 or 8080 and tcp',
    'not tcp[13] != 2',
    'len > 90 and (ip proto 47 or sctp)',
  ])
    it(`filter ${filter}`, () => {
      const path = write(1, links[0]?.[2] ?? []);
      expect(printed(path, [], filter)).to.equal(tcpdump(path, [filter]));
    });
});

function tcpdump(path: string, args: readonly string[]): string {
  return spawnSync('tcpdump', ['-nn', '-r', path, ...args], { encoding: 'latin1' }).stdout;
}

function printed(path: string, args: readonly string[], filter = ''): string {
  let text = '';
  const verbosity = Math.max(0, ...args.map((arg) => (/^-v+$/.test(arg) ? arg.length - 1 : 0)));
  const has = (flag: string): boolean => args.includes(flag);
  const printer = new PacketPrinter(
    { linkHeader: has('-e'), verbosity, date: has('-tttt'), numbers: has('-#'), octets: has('-X') },
    (part) => (text += part.toString('latin1')),
  );
  const wanted = compileFilter(filter);
  const frame = new Frame();
  const file = new CaptureFile(path);
  for (let packet = file.next(); packet !== undefined; packet = file.next())
    if (wanted(frame.decode(packet), packet.wireLength)) printer.print(packet);
  printer.flush();
  return text;
}
