// SPDX-License-Identifier: Apache-2.0
/** ICMP (RFC 792) and the packets that its errors quote. */
import { checksum, rightChecksum } from './checksum.ts';
import type { Printing } from './printing.ts';
import { protocols } from './protocols.ts';

const unreachable: Readonly<Record<number, string>> = {
  0: 'net %D unreachable',
  1: 'host %D unreachable',
  5: '%D unreachable - source route failed',
  6: 'net %D unreachable - unknown',
  7: 'host %D unreachable - unknown',
  8: '%D unreachable - source host isolated',
  9: 'net %D unreachable - admin prohibited',
  10: 'host %D unreachable - admin prohibited',
  11: 'net %D unreachable - tos prohibited',
  12: 'host %D unreachable - tos prohibited',
  13: 'host %D unreachable - admin prohibited filter',
  14: 'host %D unreachable - host precedence violation',
  15: 'host %D unreachable - precedence cutoff',
};

const redirectKinds = ['net', 'host', 'tos and net', 'tos and host'];

export function printIcmp(p: Printing, at: number, length: number): void {
  p.protocol = 'icmp';
  const wasFragmented = p.fragmented;
  const type = p.u8(at);
  const code = p.u8(at + 1);
  const begin = p.length;
  p.text('ICMP ');
  try {
    printMessage(p, { type, code, at });
  } catch (error) {
    // What was cut is shown whole or not at all.
    p.length = begin;
    p.cutInQuote = type === 11 || (type === 3 && code === 3);
    throw error;
  }
  p.text(`, length ${length}`);
  if (p.options.verbosity > 0 && !wasFragmented && at + length <= p.end && length >= 4) {
    const sum = checksum(p, at, length);
    if (sum !== 0) {
      const field = p.u16(at + 2);
      p.text(` (wrong icmp cksum ${field.toString(16)} (->${rightChecksum(sum, field).toString(16)})!)`);
    }
  }
  if (p.options.verbosity > 0 && (type === 3 || type === 11 || type === 12 || type === 5 || type === 4)) {
    const { end } = p;
    p.text('\n\t');
    printQuoted(p, at + 8);
    p.end = end;
  }
}

/** The quoted packet says its full length, of which only the beginning is here. */
function printQuoted(p: Printing, at: number): void {
  const total = p.u16(at + 2);
  if (++p.depth < 16) p.carried.ip(p, at, total);
}

function printMessage(
  p: Printing,
  { type, code, at }: { readonly type: number; readonly code: number; readonly at: number },
): void {
  switch (type) {
    case 0:
    case 8:
      p.text(`echo ${type === 8 ? 'request' : 'reply'}, id ${p.u16(at + 4)}, seq ${p.u16(at + 6)}`);
      return;
    case 3:
      printUnreachable(p, at, code);
      return;
    case 4:
      p.text('source quench');
      return;
    case 5:
      p.text('redirect ');
      p.ip4(at + 24);
      p.text(` to ${redirectKinds[code] ?? `code-#${code}`} `);
      p.ip4(at + 4);
      return;
    case 11:
      p.need(at + 8, 20);
      p.text(
        code === 0 ? 'time exceeded in-transit' : code === 1 ? 'ip reassembly time exceeded' : `time exceeded-#${code}`,
      );
      return;
    case 12:
      if (code !== 0) p.text(`parameter problem - code ${code}`);
      else p.text(`parameter problem - octet ${p.u8(at + 4)}`);
      return;
    case 13:
      p.text(`time stamp query id ${p.u16(at + 4)} seq ${p.u16(at + 6)}`);
      return;
    case 17:
      p.text('address mask request');
      return;
    default:
      p.text(`type-#${type}`);
  }
}

function printUnreachable(p: Printing, at: number, code: number): void {
  const quoted = at + 8;
  if (code === 2) {
    p.ip4(quoted + 16);
    p.text(` protocol ${p.u8(quoted + 9)} unreachable`);
    return;
  }
  if (code === 3) {
    const headerLength = (p.u8(quoted) & 15) * 4;
    const protocol = p.u8(quoted + 9);
    const port = p.u16(quoted + headerLength + 2);
    p.ip4(quoted + 16);
    if (protocol === protocols.tcp) p.text(` tcp port ${port} unreachable`);
    else if (protocol === protocols.udp) p.text(` udp port ${port} unreachable`);
    else p.text(` protocol ${protocol} port ${port} unreachable`);
    return;
  }
  if (code === 4) {
    p.ip4(quoted + 16);
    const mtu = p.u16(at + 6);
    p.text(mtu === 0 ? ' unreachable - need to frag' : ` unreachable - need to frag (mtu ${mtu})`);
    return;
  }
  const form = unreachable[code];
  if (form === undefined) {
    p.ip4(quoted + 16);
    p.text(` unreachable - #${code}`);
    return;
  }
  const [before, after] = form.split('%D');
  p.text(before ?? '');
  p.ip4(quoted + 16);
  p.text(after ?? '');
}
