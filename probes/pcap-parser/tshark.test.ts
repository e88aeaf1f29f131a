// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { pcapng } from './capture-writer.ts';
import { Frame } from './frame.ts';
import { packetRecord } from './packet-record.ts';
import { CaptureFile } from './read/capture-file.ts';
import { clientHello, ethernet, frames, ip4, tcp } from './sample-frames.ts';

const fields = [
  'frame.number',
  'frame.protocols',
  'eth.type',
  'vlan.id',
  'ip.src',
  'ip.dst',
  'ipv6.src',
  'ipv6.dst',
  'tcp.srcport',
  'tcp.dstport',
  'tcp.seq_raw',
  'tcp.ack_raw',
  'tcp.flags',
  'udp.srcport',
  'udp.dstport',
  'sctp.srcport',
  'sctp.dstport',
  'dns.qry.name',
  'tls.handshake.extensions_server_name',
  'http.request.method',
  'http.request.uri',
] as const;

type Fields = Readonly<Record<(typeof fields)[number], string>>;

/** Each packet by itself: no reassembly. */
const wholePacketsOnly = ['ip.defragment', 'ipv6.defragment', 'tcp.desegment_tcp_streams'].flatMap((name) => [
  '-o',
  `${name}:FALSE`,
]);

/** Not within a tunnel that is no transport itself, and not quoted by ICMP. */
const hasOwnTransport =
  /^eth:ethertype:(?:(?:vlan|ieee8021ad):(?:ethertype:)?)*(?:ip|ipv6(?::ipv6\.\w+)*):(?:tcp|udp|sctp)/;

/** What tshark says that a record has to say too. Of encapsulated packets a record describes the outermost; so the first occurrence counts. */
function expected(said: Fields): Record<string, unknown> {
  const source = first(said['ip.src'], said['ipv6.src']);
  const port = (side: 'src' | 'dst'): string =>
    first(said[`tcp.${side}port`], said[`udp.${side}port`], said[`sctp.${side}port`]);
  const addresses = source === '' ? {} : { source, destination: first(said['ip.dst'], said['ipv6.dst']) };
  if (!hasOwnTransport.test(said['frame.protocols'])) return addresses;
  return {
    ...addresses,
    ...(port('src') === '' ? {} : { sourcePort: Number(port('src')), destinationPort: Number(port('dst')) }),
    ...(said['tcp.seq_raw'] === ''
      ? {}
      : {
          sequence: Number(said['tcp.seq_raw']),
          acknowledgement: Number(said['tcp.ack_raw']),
          tcpFlags: Number(said['tcp.flags']) & 0xff,
        }),
    ...(said['dns.qry.name'] === '' ? {} : { dns: said['dns.qry.name'] }),
    ...(said['tls.handshake.extensions_server_name'] === ''
      ? {}
      : { serverName: said['tls.handshake.extensions_server_name'] }),
    ...(said['http.request.method'] === ''
      ? {}
      : { http: `${said['http.request.method']} ${said['http.request.uri']} HTTP/1.1` }),
  };
}

function first(...values: readonly string[]): string {
  return values.find((value) => value !== '') ?? '';
}

it('fields are those of the installed tshark', function () {
  this.timeout(60_000);
  if (spawnSync('tshark', ['--version']).error !== undefined) {
    process.stderr.write('skipped: tshark is not installed, and nothing else can judge fields\n');
    this.skip();
  }
  const directory = mkdtempSync(join(tmpdir(), 'plumb-pcap-'));
  try {
    const path = join(directory, 'fields.pcapng');
    const hello = ethernet(
      0x0800,
      ip4(tcp(clientHello('web.example'), { flags: 24, acknowledgement: 1, to: 443 }), { protocol: 6 }),
    );
    const all = [...frames.map(([, frame]) => frame), hello];
    const packets = all.map((frame, index) =>
      pcapng.packet({ interfaceIndex: 0, seconds: 1_700_000_000 + index, nanoseconds: 0, frame }),
    );
    writeFileSync(path, Buffer.concat([pcapng.section(), pcapng.interface({ linkType: 1 }), ...packets]));
    const args = [
      '-n',
      ...wholePacketsOnly,
      '-r',
      path,
      '-T',
      'fields',
      '-E',
      'occurrence=f',
      ...fields.flatMap((field) => ['-e', field]),
    ];
    const lines = spawnSync('tshark', args, { encoding: 'utf8' }).stdout.trimEnd().split('\n');
    expect(lines).to.have.length(all.length);
    const file = new CaptureFile(path);
    const frame = new Frame();
    let judged = 0;
    for (const [index, line] of lines.entries()) {
      const packet = file.next();
      if (packet === undefined) throw new Error(`packet ${index + 1} is missing`);
      const record = packetRecord(packet, frame.decode(packet));
      const values = line.split('\t');
      const want = expected(Object.fromEntries(fields.map((field, at) => [field, values[at] ?? ''])) as Fields);
      const have = { ...record, serverName: record.tls?.serverName };
      expect(have, `packet ${index + 1}, ${frames[index]?.[0] ?? 'ClientHello'}`).to.include(want);
      judged += Object.keys(want).length;
    }
    expect(judged).to.be.greaterThan(250);
    file.close();
  } finally {
    rmSync(directory, { recursive: true });
  }
});
