// SPDX-License-Identifier: Apache-2.0
/** DNS (RFC 1035) over UDP and TCP, and multicast DNS. */
import { printEdnsOptions } from './edns.ts';
import { truncated, type Printing } from './printing.ts';

const operations = [
  '',
  ' inv_q',
  ' stat',
  ' op3',
  ' notify',
  ' update',
  ' op6',
  ' op7',
  ' op8',
  ' updateA',
  ' updateD',
  ' updateDA',
  ' updateM',
  ' updateMA',
  ' zoneInit',
  ' zoneRef',
];
const responses = [
  '',
  ' FormErr',
  ' ServFail',
  ' NXDomain',
  ' NotImp',
  ' Refused',
  ' YXDomain',
  ' YXRRSet',
  ' NXRRSet',
  ' NotAuth',
  ' NotZone',
  ' Resp11',
  ' Resp12',
  ' Resp13',
  ' Resp14',
  ' NoChange',
];

const typeNames: Readonly<Record<number, string>> = {
  1: 'A',
  2: 'NS',
  3: 'MD',
  4: 'MF',
  5: 'CNAME',
  6: 'SOA',
  7: 'MB',
  8: 'MG',
  9: 'MR',
  10: 'NULL',
  11: 'WKS',
  12: 'PTR',
  13: 'HINFO',
  14: 'MINFO',
  15: 'MX',
  16: 'TXT',
  17: 'RP',
  18: 'AFSDB',
  19: 'X25',
  20: 'ISDN',
  21: 'RT',
  22: 'NSAP',
  23: 'NSAP_PTR',
  24: 'SIG',
  25: 'KEY',
  26: 'PX',
  27: 'GPOS',
  28: 'AAAA',
  29: 'LOC',
  30: 'NXT',
  31: 'EID',
  32: 'NIMLOC',
  33: 'SRV',
  34: 'ATMA',
  35: 'NAPTR',
  36: 'KX',
  37: 'CERT',
  38: 'A6',
  39: 'DNAME',
  40: 'SINK',
  41: 'OPT',
  42: 'APL',
  43: 'DS',
  44: 'SSHFP',
  45: 'IPSECKEY',
  46: 'RRSIG',
  47: 'NSEC',
  48: 'DNSKEY',
  99: 'SPF',
  100: 'UINFO',
  101: 'UID',
  102: 'GID',
  103: 'UNSPEC',
  104: 'UNSPECA',
  249: 'TKEY',
  250: 'TSIG',
  251: 'IXFR',
  252: 'AXFR',
  253: 'MAILB',
  254: 'MAILA',
  255: 'ANY',
  256: 'URI',
};
const classNames: Readonly<Record<number, string>> = { 1: 'IN', 2: 'CSNET', 3: 'CHAOS', 4: 'HS', 255: 'ANY' };

interface DnsMessage {
  readonly at: number;
  readonly length: number;
  readonly tcp: boolean;
  readonly multicast?: boolean;
}

/** Names may be compressed at most this often in one name; more is a loop. */
const mostPointers = 64;

export function printDns(p: Printing, { at, length, tcp, multicast = false }: DnsMessage): void {
  p.protocol = multicast ? 'mdns' : 'domain';
  // A message over TCP follows the length that has been printed; a space keeps them apart.
  if (tcp) p.char(0x20);
  if (length < 12) {
    p.text(`domain [length ${length} < 12] (invalid)`);
    return;
  }
  p.need(at, 12);
  const flags = p.u16(at + 2);
  const counts = [p.u16(at + 4), p.u16(at + 6), p.u16(at + 8), p.u16(at + 10)] as const;
  const reader = { message: at, multicast };
  p.number(p.u16(at));
  p.text(operations[(flags >> 11) & 15] ?? '');
  let next = at + 12;
  if ((flags & 0x8000) !== 0) {
    p.text(responseName(extendedCode(p, next, counts) * 16 + (flags & 15)));
    if ((flags & 0x0400) !== 0) p.char(0x2a);
    if ((flags & 0x0080) === 0) p.char(0x2d);
    if ((flags & 0x0200) !== 0) p.char(0x7c);
    if ((flags & 0x0020) !== 0) p.char(0x24);
    if (counts[0] !== 1) p.text(` [${counts[0]}q]`);
    for (let count = 0; count < counts[0]; count++) {
      if (p.options.verbosity > 1) {
        p.text(count === 0 ? ' q:' : ',');
        next = printQuestion(p, next, reader);
      } else {
        if (count > 0) p.char(0x2c);
        next = skipName(p, next) + 4;
      }
    }
    p.text(` ${counts[1]}/${counts[2]}/${counts[3]}`);
    next = printRecords(p, { at: next, count: counts[1], before: '' }, reader);
    if (p.options.verbosity > 1) {
      next = printRecords(p, { at: next, count: counts[2], before: ' ns:' }, reader);
      printRecords(p, { at: next, count: counts[3], before: ' ar:' }, reader);
    }
  } else {
    if ((flags & 0x0100) !== 0) p.char(0x2b);
    if ((flags & 0x0010) !== 0) p.char(0x25);
    if ((flags & 0x068f) !== 0) p.text(` [b2&3=0x${flags.toString(16)}]`);
    if (counts[0] !== 1) p.text(` [${counts[0]}q]`);
    if (counts[1] !== 0) p.text(` [${counts[1]}a]`);
    if (counts[2] !== 0) p.text(` [${counts[2]}n]`);
    if (counts[3] !== 0) p.text(` [${counts[3]}au]`);
    for (let count = 0; count < counts[0]; count++) {
      if (count > 0) p.char(0x2c);
      next = printQuestion(p, next, reader);
    }
    if (p.options.verbosity > 1) {
      next = printRecords(p, { at: next, count: counts[1], before: '' }, reader);
      next = printRecords(p, { at: next, count: counts[2], before: ' ns:' }, reader);
      printRecords(p, { at: next, count: counts[3], before: ' ar:' }, reader);
    }
  }
  p.text(` (${length})`);
}

/** The upper bits of the response code, which stand in an OPT record (RFC 6891); 0 if there is none. */
function extendedCode(p: Printing, at: number, counts: readonly number[]): number {
  try {
    let next = at;
    for (let count = 0; count < (counts[0] ?? 0); count++) next = skipName(p, next) + 4;
    const records = (counts[1] ?? 0) + (counts[2] ?? 0) + (counts[3] ?? 0);
    for (let count = 0; count < records; count++) {
      const head = skipName(p, next);
      if (p.u16(head) === 41) return p.u8(head + 4);
      next = head + 10 + p.u16(head + 8);
    }
  } catch (error) {
    if (error !== truncated) throw error;
  }
  return 0;
}

function responseName(code: number): string {
  if (code === 16) return ' BadVers';
  if (code === 23) return ' BadCookie';
  // Two are written without a space in front.
  return responses[code] ?? `${code === 17 || code === 21 ? '' : ' '}Resp${code}`;
}

interface MessageReader {
  /** Where the message begins, which compressed names refer to. */
  readonly message: number;
  readonly multicast: boolean;
}

function printQuestion(p: Printing, at: number, { message, multicast }: MessageReader): number {
  const type = skipName(p, at);
  const kind = p.u16(type);
  const group = p.u16(type + 2);
  p.char(0x20);
  p.text(typeNames[kind] ?? `Type${kind}`);
  if (multicast) {
    if ((group & 0x8000) !== 0) p.text(' (QU)');
    else p.text(' (QM)');
  }
  const plain = multicast ? group & 0x7fff : group;
  if (plain !== 1) p.text(` ${classNames[plain] ?? `(Class ${plain})`}`);
  p.text('? ');
  printName(p, at, message);
  return type + 4;
}

function printRecords(
  p: Printing,
  { at, count, before }: { readonly at: number; readonly count: number; readonly before: string },
  reader: MessageReader,
): number {
  let next = at;
  if (at < 0 && count > 0) throw truncated;
  for (let index = 0; index < count; index++) {
    if (index === 0) p.text(before);
    else p.char(0x2c);
    next = printRecord(p, next, reader);
    // Cut before its data, the last record of a section is passed over.
    if (next < 0 && index + 1 < count) throw truncated;
  }
  return next;
}

function printRecord(p: Printing, at: number, { message, multicast }: MessageReader): number {
  const head = skipName(p, at);
  if (p.options.verbosity > 0) {
    p.char(0x20);
    printName(p, at, message);
  }
  if (head + 10 > p.end) return -1;
  const type = p.u16(head);
  const group = p.u16(head + 2);
  const plain = multicast ? group & 0x7fff : group;
  if (multicast && (group & 0x8000) !== 0) p.text(' (Cache flush)');
  if (plain !== 1 && type !== 41) p.text(` ${classNames[plain] ?? `(Class ${plain})`}`);
  const ttl = p.u32(head + 4);
  if (p.options.verbosity > 2 && type !== 41) p.text(` [${relativeTime(ttl)}]`);
  const size = p.u16(head + 8);
  const data = head + 10;
  p.char(0x20);
  p.text(typeNames[type] ?? `Type${type}`);
  printRecordData(p, { type, group, ttl, data, size, message });
  return data + size;
}

interface RecordData {
  readonly type: number;
  readonly group: number;
  readonly ttl: number;
  readonly data: number;
  readonly size: number;
  readonly message: number;
}

function printRecordData(p: Printing, { type, group, ttl, data, size, message }: RecordData): void {
  switch (type) {
    case 1:
      p.need(data, 4);
      p.char(0x20);
      p.ip4(data);
      return;
    case 28:
      p.need(data, 16);
      p.char(0x20);
      p.ip6(data);
      return;
    case 2:
    case 5:
    case 12:
    case 39:
      p.char(0x20);
      printName(p, data, message);
      return;
    case 6: {
      if (p.options.verbosity === 0) return;
      p.char(0x20);
      printName(p, data, message);
      const responsible = skipName(p, data);
      p.char(0x20);
      printName(p, responsible, message);
      const numbers = skipName(p, responsible);
      for (let index = 0; index < 5; index++) p.text(` ${p.u32(numbers + index * 4)}`);
      return;
    }
    case 15:
      p.char(0x20);
      printName(p, data + 2, message);
      p.text(` ${p.u16(data)}`);
      return;
    case 16:
      for (let at = data; at < data + size; at += 1 + p.u8(at)) {
        p.text(' "');
        printCharacters(p, at + 1, p.u8(at));
        p.char(0x22);
      }
      return;
    case 33:
      p.char(0x20);
      printName(p, data + 6, message);
      p.text(`:${p.u16(data + 4)} ${p.u16(data)} ${p.u16(data + 2)}`);
      return;
    case 41:
      p.text(` UDPsize=${group}`);
      if ((ttl & 0x8000) !== 0) p.text(' DO');
      if (size > 0) printEdnsOptions(p, data, size);
      return;
    case 256:
      p.text(` ${p.u16(data)} ${p.u16(data + 2)} `);
      printCharacters(p, data + 4, size - 4);
      return;
    default:
  }
}

function skipName(p: Printing, start: number): number {
  let at = start;
  for (;;) {
    const size = p.u8(at);
    if (size === 0) return at + 1;
    if ((size & 0xc0) === 0xc0) return at + 2;
    if (size > 63) throw truncated;
    at += 1 + size;
  }
}

function printName(p: Printing, start: number, message: number): void {
  let at = start;
  let pointers = 0;
  if (p.u8(at) === 0) {
    p.char(0x2e);
    return;
  }
  for (;;) {
    const size = p.u8(at);
    if (size === 0) return;
    if ((size & 0xc0) === 0xc0) {
      if (++pointers > mostPointers) {
        p.text('<LOOP>');
        return;
      }
      const target = message + (p.u16(at) & 0x3fff);
      if (target >= at) {
        p.text('<BAD PTR>');
        throw truncated;
      }
      at = target;
      if (p.u8(at) === 0 && pointers === 1 && start === at) p.char(0x2e);
      continue;
    }
    printCharacters(p, at + 1, size);
    p.char(0x2e);
    at += 1 + size;
  }
}

/** Octets that are no ASCII characters are shown as caret notation. */
function printCharacters(p: Printing, at: number, length: number): void {
  p.need(at, length);
  for (let index = 0; index < length; index++) p.visible(p.data[at + index] as number);
}

function relativeTime(seconds: number): string {
  const units: readonly (readonly [string, number])[] = [
    ['w', 604_800],
    ['d', 86_400],
    ['h', 3600],
    ['m', 60],
    ['s', 1],
  ];
  let rest = seconds;
  let text = '';
  for (const [unit, size] of units) {
    const count = Math.floor(rest / size);
    if (count > 0) text += `${count}${unit}`;
    rest -= count * size;
  }
  return text === '' ? '0s' : text;
}
