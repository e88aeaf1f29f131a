// SPDX-License-Identifier: Apache-2.0
/** Frames of every kind that the decoder knows, made from nothing, for tests and for the benchmark. */

export const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');

const macs = hex('020000000002 020000000001');

export function ethernet(type: number, payload: Uint8Array): Buffer {
  return Buffer.concat([macs, word(type), payload]);
}

export function vlan(id: number, type: number, payload: Uint8Array): Buffer {
  return Buffer.concat([word(id), word(type), payload]);
}

export interface Ip4Options {
  readonly protocol: number;
  readonly from?: string;
  readonly to?: string;
  /** Flags and offset as in the header. */
  readonly fragment?: number;
  readonly tos?: number;
  readonly options?: Uint8Array;
}

export function ip4(payload: Uint8Array, options: Ip4Options): Buffer {
  const extra = options.options ?? Buffer.alloc(0);
  const header = Buffer.alloc(20);
  header[0] = 0x45 + extra.length / 4;
  header[1] = options.tos ?? 0;
  header.writeUInt16BE(20 + extra.length + payload.length, 2);
  header.writeUInt16BE(0x1234, 4);
  header.writeUInt16BE(options.fragment ?? 0x4000, 6);
  header[8] = 64;
  header[9] = options.protocol;
  address4(options.from ?? '10.244.1.2').copy(header, 12);
  address4(options.to ?? '10.244.2.3').copy(header, 16);
  const whole = Buffer.concat([header, extra]);
  whole.writeUInt16BE(sum(whole), 10);
  return Buffer.concat([whole, payload]);
}

export function ip6(payload: Uint8Array, next: number): Buffer {
  const header = Buffer.alloc(40);
  header.writeUInt32BE(0x6000_0000, 0);
  header.writeUInt16BE(payload.length, 4);
  header[6] = next;
  header[7] = 64;
  hex('fd00000000000000000000000000000a fd000000000000000001000000000b00').copy(header, 8);
  return Buffer.concat([header, payload]);
}

export interface TcpOptions {
  readonly flags: number;
  readonly sequence?: number;
  readonly acknowledgement?: number;
  readonly window?: number;
  readonly options?: Uint8Array;
  readonly from?: number;
  readonly to?: number;
}

export function tcp(payload: Uint8Array, options: TcpOptions): Buffer {
  const extra = options.options ?? Buffer.alloc(0);
  const header = Buffer.alloc(20);
  header.writeUInt16BE(options.from ?? 43_210, 0);
  header.writeUInt16BE(options.to ?? 8080, 2);
  header.writeUInt32BE(options.sequence ?? 1000, 4);
  header.writeUInt32BE(options.acknowledgement ?? 0, 8);
  header[12] = (5 + extra.length / 4) << 4;
  header[13] = options.flags;
  header.writeUInt16BE(options.window ?? 64_240, 14);
  return Buffer.concat([header, extra, payload]);
}

export function udp(payload: Uint8Array, from: number, to: number): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt16BE(from, 0);
  header.writeUInt16BE(to, 2);
  header.writeUInt16BE(8 + payload.length, 4);
  return Buffer.concat([header, payload]);
}

export function icmp(type: number, code: number, rest: Uint8Array): Buffer {
  const message = Buffer.concat([Buffer.from([type, code, 0, 0]), rest]);
  message.writeUInt16BE(sum(message), 2);
  return message;
}

export function dnsName(name: string): Buffer {
  const labels = name.split('.').filter((label) => label !== '');
  return Buffer.concat([
    ...labels.map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)])),
    Buffer.alloc(1),
  ]);
}

export function dnsQuestion(id: number, flags: number, name: string, type = 1): Buffer {
  const header = Buffer.alloc(12);
  header.writeUInt16BE(id, 0);
  header.writeUInt16BE(flags, 2);
  header.writeUInt16BE(1, 4);
  return Buffer.concat([header, dnsName(name), word(type), word(1)]);
}

export function dnsAnswer(question: Buffer, records: readonly Uint8Array[]): Buffer {
  const answer = Buffer.concat([question, ...records]);
  answer.writeUInt16BE(0x8580, 2);
  answer.writeUInt16BE(records.length, 6);
  return answer;
}

/** A record whose name is that of the question. */
export function dnsRecord(type: number, data: Uint8Array): Buffer {
  return Buffer.concat([word(0xc00c), word(type), word(1), hex('0000001e'), word(data.length), data]);
}

/** A TLS record with the beginning of a connection to a server of that name, which offers HTTP/2. */
export function clientHello(server: string): Buffer {
  const name = Buffer.from(server);
  const names = Buffer.concat([
    hex('0000'),
    word(name.length + 5),
    word(name.length + 3),
    hex('00'),
    word(name.length),
    name,
  ]);
  const extensions = Buffer.concat([names, hex('0010 0005 0003 02 6832')]);
  const body = Buffer.concat([
    hex('0303'),
    Buffer.alloc(32),
    hex('00 0002 1301 01 00'),
    word(extensions.length),
    extensions,
  ]);
  return Buffer.concat([hex('16 0301'), word(body.length + 4), hex('01 00'), word(body.length), body]);
}

export function word(value: number): Buffer {
  return Buffer.from([value >> 8, value & 255]);
}

function address4(text: string): Buffer {
  return Buffer.from(text.split('.').map(Number));
}

function sum(octets: Buffer): number {
  let total = 0;
  for (let at = 0; at < octets.length; at += 2) total += (octets[at] as number) * 256 + (octets[at + 1] ?? 0);
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return ~total & 0xffff;
}

const synOptions = hex('020405b4 0402 080a 00000001 00000000 01 030307');
const timestamps = hex('0101 080a 00000002 00000001');
const request = Buffer.from('GET /healthz HTTP/1.1\r\nHost: web.default.svc\r\nAccept: */*\r\n\r\n');
const response = Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
const question = dnsQuestion(4711, 0x0100, 'web.default.svc.cluster.local');
const quoted = ip4(udp(Buffer.alloc(8), 5353, 9999), { protocol: 17 });
const inner = ethernet(0x0800, ip4(icmp(8, 0, hex('0001 0001 6162636465666768')), { protocol: 1 }));

const dhcp = Buffer.concat([
  hex('01 01 06 00 12345678 0000 8000 00000000 00000000 00000000 00000000 020000000001'),
  Buffer.alloc(10 + 64 + 128),
  hex('63825363 35 01 03 32 04 0af40102 36 04 0af40101 3d 07 01 020000000001 33 04 00000e10 37 05 01 03 06 0f 1a'),
  hex('0c 03 776562 ff'),
]);

const overIp4 = (payload: Uint8Array, protocol: number): Buffer => ethernet(0x0800, ip4(payload, { protocol }));
const back = { from: '10.244.2.3', to: '10.244.1.2' };

/** Ethernet frames by what they are. The order matters for relative numbers of TCP. */
export const frames: readonly (readonly [name: string, frame: Buffer])[] = [
  ['SYN', overIp4(tcp(Buffer.alloc(0), { flags: 2, options: synOptions }), 6)],
  [
    'SYN+ACK',
    ethernet(
      0x0800,
      ip4(
        tcp(Buffer.alloc(0), {
          flags: 18,
          sequence: 5000,
          acknowledgement: 1001,
          from: 8080,
          to: 43_210,
          options: synOptions,
        }),
        { protocol: 6, ...back },
      ),
    ),
  ],
  ['ACK', overIp4(tcp(Buffer.alloc(0), { flags: 16, sequence: 1001, acknowledgement: 5001, options: timestamps }), 6)],
  ['request', overIp4(tcp(request, { flags: 24, sequence: 1001, acknowledgement: 5001, options: timestamps }), 6)],
  [
    'answer',
    ethernet(
      0x0800,
      ip4(
        tcp(response, {
          flags: 24,
          sequence: 5001,
          acknowledgement: 1001 + request.length,
          from: 8080,
          to: 43_210,
        }),
        { protocol: 6, ...back },
      ),
    ),
  ],
  [
    'selective acknowledgement',
    overIp4(
      tcp(Buffer.alloc(0), {
        flags: 16,
        sequence: 1100,
        acknowledgement: 5001,
        options: hex('0101 050a 00001400 00001500'),
      }),
      6,
    ),
  ],
  ['FIN', overIp4(tcp(Buffer.alloc(0), { flags: 17, sequence: 1100, acknowledgement: 5050 }), 6)],
  ['RST', overIp4(tcp(Buffer.alloc(0), { flags: 4, sequence: 1101, window: 0 }), 6)],
  ['no flags', overIp4(tcp(Buffer.alloc(0), { flags: 0 }), 6)],
  ['all flags', overIp4(tcp(Buffer.alloc(3), { flags: 255 }), 6)],
  ['UDP', overIp4(udp(Buffer.alloc(32, 0x41), 40_000, 9000), 17)],
  ['empty UDP', overIp4(udp(Buffer.alloc(0), 40_000, 9000), 17)],
  ['UDP with a wrong checksum', overIp4(hex('9c40 2328 000a 1234 4142'), 17)],
  ['DHCP request', overIp4(udp(dhcp, 68, 67), 17)],
  [
    'DNS question with EDNS',
    overIp4(
      udp(
        Buffer.concat([question.subarray(0, 10), word(1), question.subarray(12), hex('00 0029 1000 00000000 0000')]),
        40_001,
        53,
      ),
      17,
    ),
  ],
  ['DNS question', overIp4(udp(question, 40_001, 53), 17)],
  ['DNS AAAA', overIp4(udp(dnsQuestion(4712, 0x0100, 'kubernetes.default', 28), 40_001, 53), 17)],
  [
    'DNS answer',
    ethernet(
      0x0800,
      ip4(udp(dnsAnswer(question, [dnsRecord(1, hex('0a600001')), dnsRecord(5, dnsName('web.example'))]), 53, 40_001), {
        protocol: 17,
        ...back,
      }),
    ),
  ],
  [
    'DNS records',
    overIp4(
      udp(
        dnsAnswer(question, [
          dnsRecord(28, hex('fd000000000000000000000000000001')),
          dnsRecord(33, Buffer.concat([hex('000a 0014 0050'), dnsName('web.default')])),
          dnsRecord(15, Buffer.concat([hex('0005'), dnsName('mail.example')])),
          dnsRecord(16, Buffer.concat([Buffer.from([5]), Buffer.from('hello')])),
          dnsRecord(12, dnsName('host.example')),
        ]),
        53,
        40_001,
      ),
      17,
    ),
  ],
  ['DNS NXDomain', overIp4(udp(Buffer.concat([word(4711), word(0x8583), question.subarray(4)]), 53, 40_001), 17)],
  ['echo request', overIp4(icmp(8, 0, hex('0001 0001 6162636465666768')), 1)],
  ['echo reply', overIp4(icmp(0, 0, hex('0001 0001 6162636465666768')), 1)],
  ...[0, 1, 2, 3, 9, 10, 13].map(
    (code) => [`unreachable ${code}`, overIp4(icmp(3, code, Buffer.concat([Buffer.alloc(4), quoted])), 1)] as const,
  ),
  ['need to fragment', overIp4(icmp(3, 4, Buffer.concat([hex('0000 05aa'), quoted])), 1)],
  ['time exceeded', overIp4(icmp(11, 0, Buffer.concat([Buffer.alloc(4), quoted])), 1)],
  ['redirect', overIp4(icmp(5, 1, Buffer.concat([hex('0a000001'), quoted])), 1)],
  ['first fragment', ethernet(0x0800, ip4(udp(Buffer.alloc(24), 1, 2), { protocol: 17, fragment: 0x2000 }))],
  ['later fragment', ethernet(0x0800, ip4(Buffer.alloc(24), { protocol: 17, fragment: 0x0004 }))],
  ['congestion', ethernet(0x0800, ip4(udp(Buffer.alloc(4), 1, 2), { protocol: 17, tos: 0x03 }))],
  ['router alert', ethernet(0x0800, ip4(udp(Buffer.alloc(4), 1, 2), { protocol: 17, options: hex('94040000') }))],
  ['ARP request', ethernet(0x0806, hex('0001 0800 06 04 0001 020000000001 0af40102 000000000000 0af40203'))],
  ['ARP reply', ethernet(0x0806, hex('0001 0800 06 04 0002 020000000002 0af40203 020000000001 0af40102'))],
  ['VLAN', ethernet(0x8100, vlan(100, 0x0800, ip4(udp(Buffer.alloc(4), 7, 8), { protocol: 17 })))],
  ['QinQ', ethernet(0x88a8, vlan(200, 0x8100, vlan(100, 0x0800, ip4(udp(Buffer.alloc(4), 7, 8), { protocol: 17 }))))],
  ['TCP over IPv6', ethernet(0x86dd, ip6(tcp(Buffer.alloc(10), { flags: 24, acknowledgement: 77 }), 6))],
  ['UDP over IPv6', ethernet(0x86dd, ip6(udp(Buffer.alloc(10), 1000, 2000), 17))],
  ['echo over IPv6', ethernet(0x86dd, ip6(hex('80 00 0000 0001 0002 6162'), 58))],
  [
    'neighbour solicitation',
    ethernet(0x86dd, ip6(hex('87 00 0000 00000000 fd000000000000000001000000000b00 01 01 020000000001'), 58)),
  ],
  [
    'neighbour advertisement',
    ethernet(0x86dd, ip6(hex('88 00 0000 60000000 fd000000000000000001000000000b00 02 01 020000000001'), 58)),
  ],
  ['router solicitation', ethernet(0x86dd, ip6(hex('85 00 0000 00000000'), 58))],
  [
    'packet too big',
    ethernet(0x86dd, ip6(Buffer.concat([hex('02 00 0000 000005aa'), ip6(udp(Buffer.alloc(8), 3, 4), 17)]), 58)),
  ],
  [
    'port unreachable over IPv6',
    ethernet(0x86dd, ip6(Buffer.concat([hex('01 04 0000 00000000'), ip6(udp(Buffer.alloc(8), 3, 4), 17)]), 58)),
  ],
  ['IPv6 fragment', ethernet(0x86dd, ip6(Buffer.concat([hex('11 00 0001 00000009'), udp(Buffer.alloc(8), 3, 4)]), 44))],
  ['SCTP INIT', overIp4(hex('1388 1770 00000000 00000000 01 00 0014 00000005 0001a000 000a 000a 00000007'), 132)],
  ['SCTP DATA', overIp4(hex('1388 1770 00000001 00000000 00 03 0014 00000007 0001 0002 00000000 61626364'), 132)],
  ['VXLAN', overIp4(udp(Buffer.concat([hex('08000000 00002a00'), inner]), 50_000, 4789), 17)],
  ['VXLAN on its old port', overIp4(udp(Buffer.concat([hex('08000000 00000100'), inner]), 50_000, 8472), 17)],
  ['Geneve', overIp4(udp(Buffer.concat([hex('00006558 00002a00'), inner]), 50_000, 6081), 17)],
  [
    'Geneve with an option',
    overIp4(udp(Buffer.concat([hex('02006558 00002a00 01320181 11223344'), inner]), 50_000, 6081), 17),
  ],
  ['GRE', overIp4(Buffer.concat([hex('20000800 00000005'), ip4(udp(Buffer.alloc(4), 7, 8), { protocol: 17 })]), 47)],
  ['IPIP', overIp4(ip4(udp(Buffer.alloc(4), 7, 8), { protocol: 17 }), 4)],
  ['6in4', overIp4(ip6(udp(Buffer.alloc(4), 7, 8), 17), 41)],
  ['SSH', overIp4(tcp(Buffer.from('SSH-2.0-OpenSSH_9.2p1\r\n'), { flags: 24, acknowledgement: 9, from: 22 }), 6)],
  ['multipath TCP', overIp4(tcp(Buffer.alloc(0), { flags: 2, options: hex('1e0c 00 81 0102030405060708') }), 6)],
  ['Fast Open', overIp4(tcp(Buffer.alloc(0), { flags: 2, options: hex('220a 0102030405060708 0101') }), 6)],
  ['experimental Fast Open', overIp4(tcp(Buffer.alloc(0), { flags: 2, options: hex('fe04 f989') }), 6)],
  ['bad TCP options', overIp4(tcp(Buffer.alloc(0), { flags: 2, options: hex('0208 0102 0304 0501') }), 6)],
  ['reset with a reason', overIp4(tcp(Buffer.from('no such connection, and there never was one'), { flags: 4 }), 6)],
  ['UDP longer than its packet', overIp4(hex('9c40 2328 0100 0000 4142'), 17)],
  [
    'DNS with EDNS options',
    overIp4(
      udp(
        Buffer.concat([
          question.subarray(0, 10),
          word(1),
          question.subarray(12),
          hex('00 0029 1000 00008000 001f 000a 0008 0102030405060708 0008 0007 0001 18 00 c00002 000c 0004 00000000'),
        ]),
        40_001,
        53,
      ),
      17,
    ),
  ],
  [
    'DNS extended code',
    overIp4(
      udp(
        Buffer.concat([
          word(4711),
          word(0x8187),
          question.subarray(4, 10),
          word(1),
          question.subarray(12),
          hex('00 0029 1000 01000000 0000'),
        ]),
        53,
        40_001,
      ),
      17,
    ),
  ],
  ['IGMP query', overIp4(hex('11 0a 0df4 e1010103'), 2)],
  ['IGMP report', overIp4(hex('22 00 0000 0000 0002 04 00 0001 e1010103 0a000001 03 00 0000 e1010104'), 2)],
  ['ESP', overIp4(hex('12345678 00000001 00000000 00000000'), 50)],
  [
    'AH',
    overIp4(
      Buffer.concat([hex('01 04 0000 12345678 00000007 0102030405060708090a0b0c'), icmp(8, 0, hex('0001 0001'))]),
      51,
    ),
  ],
  ['time stamp reply', overIp4(icmp(14, 0, hex('0001 0002 00000001 00100000 05000000')), 1)],
  ['router advertisement over ICMP', overIp4(icmp(9, 0, hex('02 02 0708 0a000001 00000000 0a000002 00000005')), 1)],
  [
    'timestamps',
    ethernet(0x0800, ip4(udp(Buffer.alloc(4), 1, 2), { protocol: 17, options: hex('440c0d31 0a000001 00000002') })),
  ],
  ['ARP for nothing known', ethernet(0x0806, hex('0025 0000 06 04 0001 020000000001 0af40102 000000000000 0af40203'))],
  [
    'jumbogram that is none',
    ethernet(
      0x86dd,
      Buffer.concat([ip6(Buffer.alloc(0), 0), hex('3a 00 01 04 00000000'), hex('80 00 0000 0001 0002 6162')]),
    ),
  ],
  [
    'jumbo length',
    ethernet(
      0x86dd,
      Buffer.concat([ip6(Buffer.alloc(0), 0), hex('3a 00 c2 04 00010000'), hex('80 00 0000 0001 0002 6162')]),
    ),
  ],
  [
    'segment routing',
    ethernet(
      0x86dd,
      ip6(
        Buffer.concat([
          hex('11 04 04 01 01 00 0000 fd000000000000000000000000000001 fd000000000000000000000000000002'),
          udp(Buffer.alloc(4), 3, 4),
        ]),
        43,
      ),
    ),
  ],
  ['unknown ICMPv6', ethernet(0x86dd, ip6(hex('a0 00 0000 0001 0002 6162 6364'), 58))],
  [
    'listener query',
    ethernet(
      0x86dd,
      ip6(hex('82 00 0000 2710 0000 ff0200000000000000000000000000fb 02 3c 0001 fd000000000000000000000000000001'), 58),
    ),
  ],
  [
    'node information',
    ethernet(0x86dd, ip6(hex('8b 00 0000 0003 0002 0000000000000001 fd000000000000000000000000000001'), 58)),
  ],
  ['GRE of PPTP', overIp4(hex('2081 880b 0000 0005 00000009'), 47)],
  [
    'SCTP SACK',
    overIp4(hex('1388 1770 00000001 00000000 03 00 0018 00000007 0000ffff 0001 0001 0001 0002 00000006'), 132),
  ],
  ['unknown type', ethernet(0x88b5, Buffer.from('what is this, and who sent it?'))],
];
