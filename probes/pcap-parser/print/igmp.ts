// SPDX-License-Identifier: Apache-2.0
/** IGMP of all versions (RFC 1112, 2236, 3376), and the trace of multicast routes that shares its number. */
import { checksum } from './checksum.ts';
import type { Printing } from './printing.ts';

const recordNames = ['', 'is_in', 'is_ex', 'to_in', 'to_ex', 'allow', 'block'];

export function printIgmp(p: Printing, at: number, length: number): void {
  p.protocol = 'igmp';
  const type = p.u8(at);
  switch (type) {
    case 0x11:
      printQuery(p, at, length);
      break;
    case 0x12:
    case 0x16:
      p.text(`igmp v${type === 0x12 ? 1 : 2} report `);
      p.ip4(at + 4);
      if (length !== 8) p.text(` [len ${length}]`);
      break;
    case 0x17:
      p.text('igmp leave ');
      p.ip4(at + 4);
      if (length !== 8) p.text(` [len ${length}]`);
      break;
    case 0x13:
      p.text(`igmp dvmrp [type ${p.u8(at + 1)}]`);
      break;
    case 0x14:
      p.text(`igmp pimv1 [type ${p.u8(at + 1)}] [v${p.u8(at + 4) >> 4}]`);
      break;
    case 0x1e:
    case 0x1f:
      if (length < 24) {
        p.text(` [invalid len ${length}]`);
        break;
      }
      p.text(`${type === 0x1e ? 'mresp' : 'mtrace'} ${p.u24(at + 21)}: `);
      p.ip4(at + 8);
      p.text(' to ');
      p.ip4(at + 12);
      p.text(' reply-to ');
      p.ip4(at + 16);
      break;
    case 0x22:
      printReport3(p, at, length);
      break;
    default:
      p.text(`igmp-${type}`);
  }
  if (p.options.verbosity > 0 && at + length <= p.end && checksum(p, at, length) !== 0)
    p.text(` bad igmp cksum ${p.u16(at + 2).toString(16)}!`);
}

/** Versions are told by length and by the delay, which version 1 has not. */
function printQuery(p: Printing, at: number, length: number): void {
  p.text('igmp query ');
  const delay = p.u8(at + 1);
  if (length >= 12) {
    printQuery3(p, at, length);
    return;
  }
  if (delay === 0) p.text('v1');
  else {
    p.text('v2');
    // In tenths of a second; 100 is what nobody changes.
    if (delay !== 100) p.text(` [max resp time ${delay}]`);
  }
  if (p.u32(at + 4) !== 0) {
    p.text(' [gaddr ');
    p.ip4(at + 4);
    p.char(0x5d);
  }
  if (length !== 8) p.text(` [len ${length}]`);
}

function printQuery3(p: Printing, at: number, length: number): void {
  p.text('v3');
  const code = p.u8(at + 1);
  // Beyond 7 bits it has an exponent.
  const tenths = code < 128 ? code : ((code & 15) | 16) << (((code >> 4) & 7) + 3);
  if (tenths !== 100) {
    p.text(' [max resp time ');
    p.text(tenths < 600 ? `${Math.floor(tenths / 10)}.${tenths % 10}s` : duration(Math.floor(tenths / 10)));
    p.char(0x5d);
  }
  if (p.u32(at + 4) === 0) return;
  p.text(' [gaddr ');
  p.ip4(at + 4);
  const sources = p.u16(at + 10);
  if (sources > 0) {
    if (12 + sources * 4 > length) p.text(` [invalid number of sources ${sources}]`);
    else if (p.options.verbosity > 1) {
      p.text(' {');
      for (let index = 0; index < sources; index++) {
        p.char(0x20);
        p.ip4(at + 12 + index * 4);
      }
      p.text(' }');
    } else p.text(`, ${sources} source(s)`);
  }
  p.char(0x5d);
}

function duration(seconds: number): string {
  const minutes = Math.floor(seconds / 60);
  const rest = seconds % 60;
  return `${minutes >= 60 ? `${Math.floor(minutes / 60)}h` : ''}${minutes % 60 > 0 ? `${minutes % 60}m` : ''}${rest > 0 ? `${rest}s` : ''}`;
}

function printReport3(p: Printing, at: number, length: number): void {
  p.text('igmp v3 report');
  if (length < 16) {
    p.text(` [invalid len ${length}]`);
    return;
  }
  const count = p.u16(at + 6);
  p.text(`, ${count} group record(s)`);
  if (p.options.verbosity === 0) return;
  let record = at + 8;
  for (let index = 0; index < count; index++) {
    p.need(record, 8);
    const sources = p.u16(record + 2);
    p.text(' [gaddr ');
    p.ip4(record + 4);
    p.text(` ${recordNames[p.u8(record)] ?? `[v3-report-#${p.u8(record)}]`}`);
    if (record + 8 + sources * 4 > at + length) {
      p.text(` [invalid number of sources ${sources}]`);
      return;
    }
    if (p.options.verbosity > 1) {
      p.text(' {');
      for (let source = 0; source < sources; source++) {
        p.char(0x20);
        p.ip4(record + 8 + source * 4);
      }
      p.text(' }]');
    } else p.text(`, ${sources} source(s)]`);
    record += 8 + sources * 4 + p.u8(record + 1) * 4;
  }
}
