// SPDX-License-Identifier: Apache-2.0
/** SCTP (RFC 9260): its chunks one after the other. */
import { printEndpoints } from './endpoints.ts';
import { printUnknown } from './octets.ts';
import type { Printing } from './printing.ts';

const chunkNames: Readonly<Record<number, string>> = {
  0: 'DATA',
  1: 'INIT',
  2: 'INIT ACK',
  3: 'SACK',
  4: 'HB REQ',
  5: 'HB ACK',
  6: 'ABORT',
  7: 'SHUTDOWN',
  8: 'SHUTDOWN ACK',
  9: 'OP ERR',
  10: 'COOKIE ECHO',
  11: 'COOKIE ACK',
  12: 'ECN ECHO',
  13: 'ECN CWR',
  14: 'SHUTDOWN COMPLETE',
  192: 'FOR CUM TSN',
  193: 'REL CTRL',
  194: 'REL CTRL ACK',
};

/** RFC 5811. */
const serviceNames: Readonly<Record<number, string>> = { 6704: 'ForCES HP', 6705: 'ForCES MP', 6706: 'ForCES LP' };

/** As IANA registers them, spelt as tcpdump spells them. */
const payloadNames: Readonly<Record<number, string>> = {
  1: 'ISDN Q.921',
  2: 'M2UA',
  3: 'M3UA',
  4: 'SUA',
  5: 'M2PA',
  6: 'V5.2',
  7: 'H.248',
  8: 'BICC',
  9: 'TALI',
  10: 'DUA',
  11: 'ASAP',
  12: 'ENRP',
  13: 'H.323',
  14: 'Q.IPC',
  15: 'SIMCO',
};

export function printSctp(p: Printing, at: number, length: number): void {
  p.protocol = 'sctp';
  p.need(at, 12);
  if (length < 12) {
    p.text('[length < 12] (invalid)');
    return;
  }
  const from = p.u16(at);
  const to = p.u16(at + 2);
  printEndpoints(p, from, to);
  p.text('sctp');
  const service = serviceNames[to] ?? serviceNames[from];
  if (service !== undefined) p.text(`[${service}]`);
  let chunk = at + 12;
  let left = length - 12;
  for (let count = 1; left > 0; count++) {
    p.need(chunk, 4);
    const type = p.u8(chunk);
    const size = p.u16(chunk + 2);
    if (left < 4 || size < 4) {
      p.text(` [chunk length ${size}] (invalid)`);
      return;
    }
    p.need(chunk, size);
    p.text(p.options.verbosity > 1 ? `\n\t${count}) ` : `${count > 1 ? ', ' : ' '}(${count}) `);
    p.text(`[${chunkNames[type] ?? `Unknown chunk type: 0x${type.toString(16)}`}] `);
    printChunk(p, { type, at: chunk, size });
    const padded = (size + 3) & ~3;
    chunk += padded;
    left -= padded;
  }
}

function printChunk(
  p: Printing,
  { type, at, size }: { readonly type: number; readonly at: number; readonly size: number },
): void {
  if (type === 0) {
    const flags = p.u8(at + 1);
    const payload = p.u32(at + 12);
    if ((flags & 4) !== 0) p.text('(U)');
    if ((flags & 3) === 3) p.text('(B)(E) ');
    else if ((flags & 2) !== 0) p.text('(B) ');
    else if ((flags & 1) !== 0) p.text('(E) ');
    p.text(
      `[TSN: ${p.u32(at + 4)}] [SID: ${p.u16(at + 8)}] [SSEQ ${p.u16(at + 10)}] [PPID ${payloadNames[payload] ?? `0x${payload.toString(16)}`}] `,
    );
    if (p.options.verbosity > 1) {
      p.text('[Payload:');
      printUnknown(p, at + 16, size - 16);
      p.char(0x5d);
    }
  } else if (type === 1 || type === 2) {
    p.text(
      `[init tag: ${p.u32(at + 4)}] [rwnd: ${p.u32(at + 8)}] [OS: ${p.u16(at + 12)}] [MIS: ${p.u16(at + 14)}] [init TSN: ${p.u32(at + 16)}] `,
    );
  } else if (type === 3 && size >= 16) {
    const gaps = p.u16(at + 12);
    const duplicates = p.u16(at + 14);
    const base = p.u32(at + 4);
    p.text(`[cum ack ${base}] [a_rwnd ${p.u32(at + 8)}] [#gap acks ${gaps}] [#dup tsns ${duplicates}] `);
    for (let gap = 0; gap < gaps; gap++)
      p.text(
        `\n\t\t[gap ack block #${gap + 1}: start = ${base + p.u16(at + 16 + gap * 4)}, end = ${base + p.u16(at + 18 + gap * 4)}] `,
      );
    const duplicate = at + 16 + gaps * 4;
    for (let index = 0; index < duplicates; index++)
      p.text(`\n\t\t[dup TSN #${index + 1}: ${p.u32(duplicate + index * 4)}] `);
  }
}
