// SPDX-License-Identifier: Apache-2.0
// DNS messages on the wire, as far as a server needs them: queries in, answers out, and the record boundaries of a
// relayed reply. Every read is bounds-checked; compression pointers may only point backwards and names have a bounded length,
// so no message can make a reader loop. The question is echoed byte for byte, which keeps the random letter case that resolvers check.

export const recordTypes = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  HINFO: 13,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  OPT: 41,
  AXFR: 252,
  ANY: 255,
} as const;

export type RecordType = 'A' | 'AAAA' | 'CNAME' | 'NS' | 'PTR' | 'SOA' | 'SRV' | 'TXT' | 'HINFO';

export const rcodes = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
  BADVERS: 16,
} as const;

export type Rcode = keyof typeof rcodes;

/** A record to send. Names are absolute without the final dot. */
export type ResourceRecord = { readonly name: string; readonly ttl: number } & (
  | { readonly type: 'A' | 'AAAA'; readonly address: string }
  | { readonly type: 'CNAME' | 'NS' | 'PTR'; readonly target: string }
  | {
      readonly type: 'SRV';
      readonly priority: number;
      readonly weight: number;
      readonly port: number;
      readonly target: string;
    }
  | { readonly type: 'TXT'; readonly text: string }
  | { readonly type: 'HINFO'; readonly cpu: string; readonly os: string }
  /** Of a type that means nothing here; names within the data are whole. */
  | { readonly type: 'OTHER'; readonly code: number; readonly data: Buffer }
  | {
      readonly type: 'SOA';
      readonly primary: string;
      readonly contact: string;
      readonly serial: number;
      /** Refresh, retry and expiry in seconds. */
      readonly timers?: readonly [number, number, number];
      readonly minimum: number;
    }
);

/** A parsed query with exactly one question. */
export interface Query {
  readonly id: number;
  readonly recursionDesired: boolean;
  readonly checkingDisabled: boolean;
  /** Lower case, without the final dot; the root is empty. */
  readonly name: string;
  readonly type: number;
  readonly class: number;
  /** The question section as received. */
  readonly question: Buffer;
  readonly edns: { readonly udpSize: number; readonly version: number; readonly dnssecOk: boolean } | undefined;
}

export type ParsedQuery =
  | { readonly ok: true; readonly query: Query }
  /** Not answered at all: too short for a header, or itself an answer. */
  | { readonly ok: false; readonly reply: undefined }
  /** Answered with a bare header, never longer than the query. */
  | { readonly ok: false; readonly reply: Buffer };

const headerLength = 12;
const longestName = 255;

export function parseQuery(packet: Buffer): ParsedQuery {
  if (packet.length < headerLength) return { ok: false, reply: undefined };
  const flags = packet.readUInt16BE(2);
  if ((flags & 0x8000) !== 0) return { ok: false, reply: undefined };
  const refuse = (rcode: Rcode): ParsedQuery => ({ ok: false, reply: bareReply(packet, rcodes[rcode]) });
  if ((flags & 0x7800) !== 0) return refuse('NOTIMP');
  const questions = packet.readUInt16BE(4);
  const others = packet.readUInt16BE(6) + packet.readUInt16BE(8);
  const additional = packet.readUInt16BE(10);
  if (questions !== 1 || others !== 0) return refuse('FORMERR');
  const name = readName(packet, headerLength);
  if (name === undefined || name.end + 4 > packet.length) return refuse('FORMERR');
  const questionEnd = name.end + 4;
  let edns: Query['edns'];
  let offset = questionEnd;
  for (let index = 0; index < additional; index++) {
    const record = readRecord(packet, offset);
    if (record === undefined) return refuse('FORMERR');
    offset = record.end;
    if (record.type !== recordTypes.OPT) continue;
    if (edns !== undefined || record.name !== '') return refuse('FORMERR');
    edns = { udpSize: record.class, version: (record.ttl >>> 16) & 0xff, dnssecOk: (record.ttl & 0x8000) !== 0 };
  }
  return {
    ok: true,
    query: {
      id: packet.readUInt16BE(0),
      recursionDesired: (flags & 0x0100) !== 0,
      checkingDisabled: (flags & 0x0010) !== 0,
      name: name.text.toLowerCase(),
      type: packet.readUInt16BE(name.end),
      class: packet.readUInt16BE(name.end + 2),
      question: packet.subarray(headerLength, questionEnd),
      edns,
    },
  };
}

/** One record of a message, by position. */
export interface RawRecord {
  readonly name: string;
  readonly type: number;
  readonly class: number;
  readonly ttl: number;
  readonly ttlAt: number;
  readonly dataAt: number;
  readonly end: number;
}

/** The record at `offset`; undefined when it does not fit the message. */
export function readRecord(packet: Buffer, offset: number): RawRecord | undefined {
  const name = readName(packet, offset);
  if (name === undefined || name.end + 10 > packet.length) return undefined;
  const dataAt = name.end + 10;
  const end = dataAt + packet.readUInt16BE(name.end + 8);
  if (end > packet.length) return undefined;
  return {
    name: name.text,
    type: packet.readUInt16BE(name.end),
    class: packet.readUInt16BE(name.end + 2),
    ttl: packet.readUInt32BE(name.end + 4),
    ttlAt: name.end + 4,
    dataAt,
    end,
  };
}

/** Reads a name; `end` is where the reading continues after it. Labels keep their bytes, as latin1. */
export function readName(packet: Buffer, offset: number): { text: string; end: number } | undefined {
  let text = '';
  let position = offset;
  let end = -1;
  let length = 0;
  for (;;) {
    const size = packet[position];
    if (size === undefined) return undefined;
    if (size === 0) return { text, end: end < 0 ? position + 1 : end };
    if ((size & 0xc0) === 0xc0) {
      const low = packet[position + 1];
      if (low === undefined) return undefined;
      const target = ((size & 0x3f) << 8) | low;
      // Backwards only, and the length of a name is bounded: the walk ends.
      if (target >= position || target < headerLength) return undefined;
      if (end < 0) end = position + 2;
      position = target;
      continue;
    }
    if ((size & 0xc0) !== 0 || position + 1 + size > packet.length) return undefined;
    length += size + 1;
    if (length > longestName) return undefined;
    const label = packet.toString('latin1', position + 1, position + 1 + size);
    // A dot within a label would read as two labels; as in zone files it is written as its number.
    const special = label.includes('.') || label.includes('\\');
    text += (text === '' ? '' : '.') + (special ? label.replaceAll('\\', '\\092').replaceAll('.', '\\046') : label);
    position += 1 + size;
  }
}

export interface Reply {
  readonly rcode: Rcode;
  readonly authoritative: boolean;
  readonly recursionAvailable: boolean;
  /** Says that more was to be said, whatever fits. */
  readonly truncated?: boolean;
  readonly answers: readonly ResourceRecord[];
  readonly authority: readonly ResourceRecord[];
  readonly additional: readonly ResourceRecord[];
}

/**
 * The reply to `query` in at most `limit` bytes. Additional records that do not fit are left out; if answers or
 * authority do not fit, the reply says that it is truncated, and the client asks again over TCP.
 */
export function encodeReply(query: Query, reply: Reply, limit: number): Buffer {
  const writer = new Writer(limit - (query.edns === undefined ? 0 : 11));
  const rcode = rcodes[reply.rcode];
  writer.u16(query.id);
  writer.u16(0);
  writer.u16(1);
  writer.u16(0);
  writer.u16(0);
  writer.u16(0);
  writer.bytes(query.question);
  writer.rememberName(query.name, headerLength);
  let truncated = false;
  const counts = [reply.answers, reply.authority, reply.additional].map((records, section) => {
    let written = 0;
    for (const record of records) {
      if (truncated || !writer.record(record)) {
        if (section < 2) truncated = true;
        break;
      }
      written++;
    }
    return written;
  });
  const packet = writer.finish(query.edns === undefined ? 0 : 11);
  if (reply.truncated === true) truncated = true;
  let flags = 0x8000 | (rcode & 0x0f);
  if (reply.authoritative) flags |= 0x0400;
  if (truncated) flags |= 0x0200;
  if (query.recursionDesired) flags |= 0x0100;
  if (reply.recursionAvailable) flags |= 0x0080;
  if (query.checkingDisabled) flags |= 0x0010;
  packet.writeUInt16BE(flags, 2);
  packet.writeUInt16BE(counts[0] ?? 0, 6);
  packet.writeUInt16BE(counts[1] ?? 0, 8);
  packet.writeUInt16BE((counts[2] ?? 0) + (query.edns === undefined ? 0 : 1), 10);
  if (query.edns !== undefined) writeOpt(packet, packet.length - 11, rcode >> 4, query.edns.dnssecOk);
  return packet;
}

/** UDP payload that this server takes, as told in its OPT records. */
const ownUdpSize = 4096;

/** Bytes that a UDP client can take, up to `most`. */
export function udpLimit(query: Query, most = ownUdpSize): number {
  return Math.min(Math.max(query.edns?.udpSize ?? 512, 512), most);
}

/** A query of our own with room for large answers. */
export function encodeQuery(id: number, name: string, type: number, recursive = true): Buffer {
  const writer = new Writer(512);
  writer.u16(id);
  writer.u16(recursive ? 0x0100 : 0);
  writer.u16(1);
  writer.u16(0);
  writer.u16(0);
  writer.u16(1);
  writer.name(name);
  writer.u16(type);
  writer.u16(1);
  const packet = writer.finish(11);
  writeOpt(packet, packet.length - 11, 0, false);
  return packet;
}

/**
 * What is asked of another server for `query`: the same question in the same spelling, without the client's EDNS
 * options, which are between it and us. Id 0.
 */
export function encodeForwarded(query: Query): Buffer {
  const { question, edns } = query;
  const packet = Buffer.alloc(headerLength + question.length + (edns === undefined ? 0 : 11));
  packet.writeUInt16BE((query.recursionDesired ? 0x0100 : 0) | (query.checkingDisabled ? 0x0010 : 0), 2);
  packet.writeUInt16BE(1, 4);
  question.copy(packet, headerLength);
  if (edns !== undefined) {
    packet.writeUInt16BE(1, 10);
    writeOpt(packet, headerLength + question.length, 0, edns.dnssecOk);
  }
  return packet;
}

/** `query` with another name, as if that had been asked. */
export function withName(query: Query, name: string): Query {
  const writer = new Writer(512);
  writer.name(name);
  writer.u16(query.type);
  writer.u16(query.class);
  return { ...query, name, question: writer.finish(0) };
}

/** A name alone, uncompressed. */
export function encodeName(name: string): Buffer {
  const writer = new Writer(512);
  writer.name(name);
  return writer.finish(0);
}

function writeOpt(packet: Buffer, offset: number, extendedRcode: number, dnssecOk: boolean): void {
  packet[offset] = 0;
  packet.writeUInt16BE(recordTypes.OPT, offset + 1);
  packet.writeUInt16BE(ownUdpSize, offset + 3);
  packet.writeUInt32BE(((extendedRcode << 24) | (dnssecOk ? 0x8000 : 0)) >>> 0, offset + 5);
  packet.writeUInt16BE(0, offset + 9);
}

function bareReply(packet: Buffer, rcode: number): Buffer {
  const reply = Buffer.alloc(headerLength);
  reply.writeUInt16BE(packet.readUInt16BE(0), 0);
  reply.writeUInt16BE(0x8000 | (packet.readUInt16BE(2) & 0x7910) | rcode, 2);
  return reply;
}

/** Appends to a buffer up to a limit; a record that would not fit leaves no trace. */
class Writer {
  #buffer: Buffer;
  #length = 0;
  readonly #limit: number;
  /** Where each name already written starts, in lower case. */
  readonly #names = new Map<string, number>();
  #question: { readonly name: string; readonly offset: number } | undefined;

  constructor(limit: number) {
    this.#limit = limit;
    this.#buffer = Buffer.allocUnsafe(Math.min(limit + 64, 1500));
  }

  u16(value: number): void {
    this.#reserve(2);
    this.#length = this.#buffer.writeUInt16BE(value, this.#length);
  }

  bytes(value: Buffer): void {
    this.#reserve(value.length);
    this.#length += value.copy(this.#buffer, this.#length);
  }

  /** `name`, which is at `offset`, and its parents can be pointed to from now on. */
  rememberName(name: string, offset: number): void {
    this.#question = { name, offset };
  }

  /** Taken apart only when a name other than it is written, which many answers do without. */
  #rememberParents({ name, offset }: { readonly name: string; readonly offset: number }): void {
    this.#question = undefined;
    let rest = name;
    let at = offset;
    while (rest !== '' && at < 0x4000) {
      if (!this.#names.has(rest)) this.#names.set(rest, at);
      const dot = rest.indexOf('.');
      const label = dot < 0 ? rest : rest.slice(0, dot);
      at += 1 + plainLabel(label).length;
      rest = dot < 0 ? '' : rest.slice(dot + 1);
    }
  }

  name(name: string): void {
    if (this.#question !== undefined) {
      if (name !== '' && name === this.#question.name) {
        this.u16(0xc000 | this.#question.offset);
        return;
      }
      this.#rememberParents(this.#question);
    }
    let rest = name;
    while (rest !== '') {
      const key = rest.toLowerCase();
      const known = this.#names.get(key);
      if (known !== undefined) {
        this.u16(0xc000 | known);
        return;
      }
      if (this.#length < 0x4000) this.#names.set(key, this.#length);
      const dot = rest.indexOf('.');
      const label = dot < 0 ? rest : rest.slice(0, dot);
      this.#text(plainLabel(label));
      rest = dot < 0 ? '' : rest.slice(dot + 1);
    }
    this.#reserve(1);
    this.#buffer[this.#length++] = 0;
  }

  record(record: ResourceRecord): boolean {
    const start = this.#length;
    this.name(record.name);
    this.u16(record.type === 'OTHER' ? record.code : recordTypes[record.type]);
    this.u16(1);
    this.u16(record.ttl >>> 16);
    this.u16(record.ttl & 0xffff);
    const lengthAt = this.#length;
    this.u16(0);
    this.#data(record);
    if (this.#length > this.#limit) {
      this.#length = start;
      for (const [name, offset] of this.#names) if (offset >= start) this.#names.delete(name);
      return false;
    }
    this.#buffer.writeUInt16BE(this.#length - lengthAt - 2, lengthAt);
    return true;
  }

  /** The message with `spare` bytes of room at its end. */
  finish(spare: number): Buffer {
    this.#reserve(spare);
    return this.#buffer.subarray(0, this.#length + spare);
  }

  #data(record: ResourceRecord): void {
    switch (record.type) {
      case 'A':
        this.#ipv4(record.address);
        return;
      case 'AAAA':
        for (const group of ipv6Groups(record.address)) this.u16(group);
        return;
      case 'CNAME':
      case 'NS':
      case 'PTR':
        this.name(record.target);
        return;
      case 'SRV':
        this.u16(record.priority);
        this.u16(record.weight);
        this.u16(record.port);
        this.name(record.target);
        return;
      case 'TXT':
        this.#text(record.text);
        return;
      case 'HINFO':
        this.#text(record.cpu);
        this.#text(record.os);
        return;
      case 'SOA':
        this.name(record.primary);
        this.name(record.contact);
        for (const value of [record.serial, ...(record.timers ?? [7200, 1800, 86_400]), record.minimum]) {
          this.u16(value >>> 16);
          this.u16(value & 0xffff);
        }
        return;
      case 'OTHER':
        this.bytes(record.data);
    }
  }

  #ipv4(address: string): void {
    this.#reserve(4);
    let byte = 0;
    for (let index = 0; index < address.length; index++) {
      const code = address.charCodeAt(index);
      if (code !== 46) byte = byte * 10 + code - 48;
      else {
        this.#buffer[this.#length++] = byte;
        byte = 0;
      }
    }
    this.#buffer[this.#length++] = byte;
  }

  #text(text: string): void {
    const bytes = Buffer.from(text, 'latin1').subarray(0, 255);
    this.#reserve(1 + bytes.length);
    this.#buffer[this.#length++] = bytes.length;
    this.bytes(bytes);
  }

  #reserve(bytes: number): void {
    if (this.#length + bytes <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#length + bytes));
    this.#buffer.copy(larger, 0, 0, this.#length);
    this.#buffer = larger;
  }
}

function plainLabel(label: string): string {
  if (!label.includes('\\')) return label;
  return label.replaceAll(/\\(\d{3})/g, (_, code) => String.fromCharCode(Number(code)));
}

function ipv6Groups(address: string): number[] {
  // The URL parser knows every spelling of an IPv6 address and writes the short one without embedded IPv4.
  const [head = '', tail] = new URL(`http://[${address}]/`).hostname.slice(1, -1).split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = Array.from({ length: tail === undefined ? 0 : 8 - left.length - right.length }, () => '0');
  return [...left, ...zeros, ...right].map((group) => parseInt(group, 16));
}
