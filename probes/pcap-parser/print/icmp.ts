// SPDX-License-Identifier: Apache-2.0
/** ICMP (RFC 792) and the packets that its errors quote. */
import { checksum, rightChecksum } from './checksum.ts';
import { truncated, type Printing } from './printing.ts';
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

const redirectTargets = ['net ', 'host '];

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
    p.cutInQuote = type === 9 || type === 11 || type === 14 || (type === 3 && code === 3);
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
  if (total === 0) throw truncated;
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
      p.text(code < 2 ? 'redirect ' : code < 4 ? 'redirect-tos ' : `redirect-#${code} `);
      p.ip4(at + 24);
      p.text(` to ${code < 4 ? redirectTargets[code & 1] : ''}`);
      p.ip4(at + 4);
      return;
    case 9:
      printRouterAdvertisement(p, at);
      return;
    case 10:
      p.text('router solicitation');
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
    case 14:
      p.text(`time stamp reply id ${p.u16(at + 4)} seq ${p.u16(at + 6)}: org ${clock(p.u32(at + 8))}, `);
      p.text(`recv ${clock(p.u32(at + 12))}, xmit ${clock(p.u32(at + 16))}`);
      return;
    case 15:
      p.text('information request');
      return;
    case 16:
      p.text('information reply');
      return;
    case 17:
      p.text('address mask request');
      return;
    case 18:
      p.text('address mask is 0x');
      p.hex(p.u32(at + 4), 8);
      return;
    default:
      p.text(`type-#${type}`);
  }
}

/** Milliseconds since midnight. */
function clock(milliseconds: number): string {
  const seconds = Math.floor(milliseconds / 1000);
  const two = (value: number): string => String(value).padStart(2, '0');
  return `${two(Math.floor(seconds / 3600))}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}.${String(milliseconds % 1000).padStart(3, '0')}`;
}

/** Routers with their preferences (RFC 1256). */
function printRouterAdvertisement(p: Printing, at: number): void {
  const lifetime = p.u16(at + 6);
  const two = (value: number): string => String(value).padStart(2, '0');
  p.text('router advertisement lifetime ');
  if (lifetime < 60) p.number(lifetime);
  else if (lifetime < 3600) p.text(`${Math.floor(lifetime / 60)}:${two(lifetime % 60)}`);
  else p.text(`${Math.floor(lifetime / 3600)}:${two(Math.floor(lifetime / 60) % 60)}:${two(lifetime % 60)}`);
  const count = p.u8(at + 4);
  const words = p.u8(at + 5);
  p.text(` ${count}:`);
  if (words !== 2) {
    p.text(` [size ${words}]`);
    return;
  }
  for (let index = 0; index < count; index++) {
    p.text(' {');
    p.ip4(at + 8 + index * 8);
    p.text(` ${p.u32(at + 12 + index * 8)}}`);
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
