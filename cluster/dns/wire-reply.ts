// SPDX-License-Identifier: Apache-2.0
// Replies of other servers as records, for the cases in which they cannot be relayed as bytes: names that were rewritten
// or found by a search list, and targets of aliases. Types unknown here keep their data.

import { encodeName, readName, readRecord, recordTypes } from './wire.ts';
import type { RawRecord, Rcode, Reply, ResourceRecord } from './wire.ts';

/** By number, for the four bits of a header. */
const rcodeNames: readonly (Rcode | undefined)[] = ['NOERROR', 'FORMERR', 'SERVFAIL', 'NXDOMAIN', 'NOTIMP', 'REFUSED'];

/** The records of another server's reply; undefined when it cannot be read whole. */
export function decodeReply(packet: Buffer): Reply | undefined {
  if (packet.length < 12 || packet.readUInt16BE(4) !== 1) return undefined;
  const flags = packet.readUInt16BE(2);
  const rcode = rcodeNames[flags & 0x0f];
  const question = readName(packet, 12);
  if (rcode === undefined || question === undefined) return undefined;
  let offset = question.end + 4;
  const sections: ResourceRecord[][] = [];
  for (const countAt of [6, 8, 10]) {
    const records: ResourceRecord[] = [];
    for (let left = packet.readUInt16BE(countAt); left > 0; left--) {
      const raw = readRecord(packet, offset);
      if (raw === undefined) return undefined;
      offset = raw.end;
      if (raw.type === recordTypes.OPT) continue;
      const record = decodeRecord(packet, raw);
      if (record === undefined) return undefined;
      records.push(record);
    }
    sections.push(records);
  }
  const [answers = [], authority = [], additional = []] = sections;
  return {
    rcode,
    authoritative: (flags & 0x0400) !== 0,
    recursionAvailable: (flags & 0x0080) !== 0,
    answers,
    authority,
    additional,
  };
}

/** Types whose data begins with names after some bytes; names there may be compressed (RFC 3597, section 4). */
const namesInData: Readonly<Record<number, { readonly skip: number; readonly names: number }>> = {
  2: { skip: 0, names: 1 },
  5: { skip: 0, names: 1 },
  6: { skip: 0, names: 2 },
  12: { skip: 0, names: 1 },
  14: { skip: 0, names: 2 },
  15: { skip: 2, names: 1 },
  17: { skip: 0, names: 2 },
  18: { skip: 2, names: 1 },
  21: { skip: 2, names: 1 },
  26: { skip: 2, names: 2 },
  33: { skip: 6, names: 1 },
  36: { skip: 2, names: 1 },
  39: { skip: 0, names: 1 },
};

function decodeRecord(packet: Buffer, raw: RawRecord): ResourceRecord | undefined {
  const common = { name: raw.name, ttl: raw.ttl };
  const { dataAt, end } = raw;
  if (raw.type === recordTypes.A) {
    return end - dataAt === 4 ? { ...common, type: 'A', address: packet.subarray(dataAt, end).join('.') } : undefined;
  }
  if (raw.type === recordTypes.AAAA && end - dataAt === 16) {
    const groups = packet.toString('hex', dataAt, end).match(/.{4}/g) ?? [];
    return { ...common, type: 'AAAA', address: groups.join(':') };
  }
  if (raw.type === recordTypes.CNAME || raw.type === recordTypes.NS || raw.type === recordTypes.PTR) {
    const target = readName(packet, dataAt);
    if (target === undefined || target.end !== end) return undefined;
    const type = raw.type === recordTypes.CNAME ? 'CNAME' : raw.type === recordTypes.NS ? 'NS' : 'PTR';
    return { ...common, type, target: target.text };
  }
  const layout = namesInData[raw.type];
  if (layout === undefined) {
    return { ...common, type: 'OTHER', code: raw.type, data: Buffer.from(packet.subarray(dataAt, end)) };
  }
  const parts: Buffer[] = [packet.subarray(dataAt, dataAt + layout.skip)];
  let offset = dataAt + layout.skip;
  for (let index = 0; index < layout.names; index++) {
    const name = readName(packet, offset);
    if (name === undefined || name.end > end) return undefined;
    parts.push(encodeName(name.text));
    offset = name.end;
  }
  parts.push(packet.subarray(offset, end));
  if (raw.type === recordTypes.SOA) {
    const timers = packet.subarray(offset, end);
    const primary = readName(packet, dataAt);
    const contact = primary === undefined ? undefined : readName(packet, primary.end);
    if (timers.length !== 20 || primary === undefined || contact === undefined) return undefined;
    return {
      ...common,
      type: 'SOA',
      primary: primary.text,
      contact: contact.text,
      serial: timers.readUInt32BE(0),
      timers: [timers.readUInt32BE(4), timers.readUInt32BE(8), timers.readUInt32BE(12)],
      minimum: timers.readUInt32BE(16),
    };
  }
  return { ...common, type: 'OTHER', code: raw.type, data: Buffer.concat(parts) };
}
