// SPDX-License-Identifier: Apache-2.0
/** IPv4 (RFC 791). */
import { checksum, rightChecksum } from './checksum.ts';
import { truncated, type Printing } from './printing.ts';
import { protocolNames, protocols } from './protocols.ts';

const fragmentFlags = [
  [0x2000, '+'],
  [0x4000, 'DF'],
  [0x8000, 'rsvd'],
] as const;

export function printIp(p: Printing, at: number, length: number): void {
  p.protocol = 'ip';
  if (at >= p.end) p.cutWhole();
  const version = p.u8(at) >> 4;
  if (version !== 4) {
    if (version === 6) p.text('IP6, wrong link-layer encapsulation (invalid)');
    else p.text(`IP${version} (invalid)`);
    return;
  }
  if (!p.options.linkHeader) p.text('IP ');
  p.need(at, 20);
  if (length < 20) {
    p.text(`truncated-ip ${length}`);
    return;
  }
  const headerLength = (p.u8(at) & 15) * 4;
  if (headerLength < 20) {
    p.text(`bad-hlen ${headerLength}`);
    return;
  }
  const total = p.u16(at + 2);
  if (length < total) p.text(`truncated-ip - ${total - length} bytes missing! `);
  if (total < headerLength) {
    p.text(`bad-len ${total}`);
    return;
  }
  const isCut = at + headerLength > p.end;
  if (isCut && p.options.verbosity === 0 && (p.u16(at + 6) & 0x1fff) === 0) {
    p.text(` [remaining caplen(${p.end - at}) < header length(${headerLength})]`);
    p.cutWhole();
  }
  p.end = Math.min(p.end, at + total);
  const fragment = p.u16(at + 6);
  const protocol = p.u8(at + 9);
  if (p.options.verbosity > 0) printHeader(p, { at, headerLength, total });
  if (isCut && p.options.verbosity > 0) {
    p.ip4(at + 12);
    p.text(' > ');
    p.ip4(at + 16);
    p.text(': ');
    throw truncated;
  }
  const payload = {
    protocol,
    at: at + headerLength,
    length: total - headerLength,
    fragmented: (fragment & 0x3fff) !== 0,
  };
  if ((fragment & 0x1fff) !== 0) {
    p.ip4(at + 12);
    p.text(' > ');
    p.ip4(at + 16);
    p.text(`: ip-proto-${protocol}`);
    return;
  }
  p.family = 4;
  p.addressesShown = false;
  p.addresses = at + 12;
  if (protocol !== protocols.tcp && protocol !== protocols.udp && protocol !== protocols.sctp) {
    p.ip4(at + 12);
    p.text(' > ');
    p.ip4(at + 16);
    p.text(': ');
  }
  p.carried.transport(p, payload);
}

function printHeader(
  p: Printing,
  { at, headerLength, total }: { readonly at: number; readonly headerLength: number; readonly total: number },
): void {
  const tos = p.u8(at + 1);
  const fragment = p.u16(at + 6);
  const ttl = p.u8(at + 8);
  const protocol = p.u8(at + 9);
  p.text('(tos 0x');
  p.hex(tos);
  printEcn(p, tos);
  if (ttl >= 1) p.text(`, ttl ${ttl}`);
  p.text(`, id ${p.u16(at + 4)}, offset ${(fragment & 0x1fff) * 8}, flags [`);
  p.bits(fragment & 0xe000, fragmentFlags);
  p.text(`], proto ${protocolNames[protocol] ?? 'unknown'} (${protocol}), length ${total}`);
  if (headerLength > 20) {
    p.text(', options (');
    try {
      printOptions(p, at + 20, headerLength - 20);
    } catch (error) {
      if (error !== truncated) throw error;
      p.text(' [truncated-option]');
    }
    p.char(0x29);
  }
  if (at + headerLength <= p.end) {
    const sum = checksum(p, at, headerLength);
    if (sum !== 0) {
      const field = p.u16(at + 10);
      p.text(`, bad cksum ${field.toString(16)} (->${rightChecksum(sum, field).toString(16)})!`);
    }
  }
  p.text(')\n    ');
}

function printEcn(p: Printing, tos: number): void {
  if ((tos & 3) === 1) p.text(',ECT(1)');
  else if ((tos & 3) === 2) p.text(',ECT(0)');
  else if ((tos & 3) === 3) p.text(',CE');
}

const optionNames: Readonly<Record<number, string>> = {
  0: 'EOL',
  1: 'NOP',
  7: 'RR',
  68: 'timestamp',
  82: 'traceroute',
  130: 'security',
  131: 'LSRR',
  137: 'SSRR',
  148: 'RA',
};

function printOptions(p: Printing, from: number, length: number): void {
  let at = from;
  const end = from + length;
  let first = true;
  while (at < end) {
    if (!first) p.char(0x2c);
    first = false;
    const type = p.u8(at);
    p.text(optionNames[type] ?? `unknown ${type}`);
    if (type === 0) return;
    if (type === 1) {
      at++;
      continue;
    }
    const size = at + 1 < end ? p.u8(at + 1) : 0;
    if (size < 2 || at + size > end) {
      p.text(` [bad length ${size}]`);
      return;
    }
    if (type === 7 || type === 131 || type === 137) printRoute(p, at, size);
    else if (type === 68) printTimestamps(p, at, size);
    else if (type === 148) {
      if (size < 4) p.text(` [bad length ${size}]`);
      else if (p.u16(at + 2) !== 0) p.text(` value ${p.u16(at + 2)}`);
    }
    at += size;
  }
}

/** Addresses behind the pointer have not been visited yet; the one at the pointer is marked. */
function printRoute(p: Printing, at: number, size: number): void {
  if (size < 3) {
    p.text(` [bad length ${size}]`);
    return;
  }
  if ((size + 1) % 4 !== 0) p.text(` [bad length ${size}]`);
  const pointer = p.u8(at + 2) - 1;
  if (pointer < 3 || (pointer + 1) % 4 !== 0) p.text(` [bad ptr ${p.u8(at + 2)}]`);
  for (let offset = 3; offset + 4 <= size; offset += 4) {
    p.text(offset === 3 ? ' ' : ', ');
    p.ip4(at + offset);
    if (offset > pointer) p.char(0x2c);
    if (offset + 4 === pointer && offset + 8 > size) p.char(0x2c);
  }
}

const timestampForms: Readonly<Record<number, string>> = { 0: 'TSONLY', 1: 'TS+ADDR', 3: 'PRESPEC' };

/** What each router on the way wrote, and where the next one would write. */
function printTimestamps(p: Printing, at: number, size: number): void {
  if (size < 4) {
    p.text(`[bad length ${size}]`);
    return;
  }
  p.need(at, size);
  p.text(' TS{');
  const form = p.u8(at + 3) & 15;
  const missed = p.u8(at + 3) >> 4;
  const step = form === 0 ? 4 : 8;
  if ((size - 4) % step !== 0) p.text(`[bad length ${size}]`);
  const pointer = p.u8(at + 2) - 1;
  if (pointer < 4 || (pointer - 4) % step !== 0 || pointer > size) p.text(`[bad ptr ${p.u8(at + 2)}]`);
  const name = timestampForms[form];
  if (name === undefined) {
    p.text(`[bad ts type ${form}]}`);
    return;
  }
  p.text(name);
  for (let offset = 4; offset < size; offset += step) {
    p.need(at + offset, step);
    p.text(offset === pointer ? ' ^ ' : ' ');
    p.text(`${p.u32(at + offset + step - 4)}@`);
    if (step === 8) p.ip4(at + offset);
  }
  if (pointer === size) p.text(' ^ ');
  p.text(missed > 0 ? ` [${missed} hops not recorded]} ` : '}');
}
