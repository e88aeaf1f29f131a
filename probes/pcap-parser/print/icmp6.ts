// SPDX-License-Identifier: Apache-2.0
/** ICMPv6 (RFC 4443) and neighbour discovery (RFC 4861). */
import { transportChecksum, rightChecksum } from './checksum.ts';
import { printNodeInformation, printRenumbering } from './icmp6-queries.ts';
import { printHexadecimal } from './octets.ts';
import { truncated, type Printing } from './printing.ts';
import { protocols } from './protocols.ts';

export function printIcmp6(p: Printing, at: number, length: number): void {
  p.protocol = 'icmp6';
  if (length === 0) {
    p.text('ICMP6, length 0 (invalid)');
    return;
  }
  if (p.options.verbosity > 0 && !p.fragmented && p.family === 6 && at + length <= p.end) {
    const sum = transportChecksum(p, { at, length, protocol: protocols.icmp6 });
    const field = p.u16(at + 2);
    if (sum === 0) p.text('[icmp6 sum ok] ');
    else p.text(`[bad icmp6 cksum 0x${hex4(field)} -> 0x${hex4(rightChecksum(sum, field))}!] `);
  }
  if (at >= p.end) p.cutWhole();
  p.text('ICMP6, ');
  const type = p.u8(at);
  const code = p.u8(at + 1);
  switch (type) {
    case 1:
      printUnreachable(p, at, code);
      sayLength(p, length);
      return;
    case 2:
      p.text('packet too big');
      p.text(`, mtu ${p.u32(at + 4)}`);
      sayLength(p, length);
      return;
    case 3:
      printTimeExceeded(p, at, code);
      sayLength(p, length);
      return;
    case 4:
      p.text(`parameter problem, ${parameterProblems[code] ?? `code-#${code}`} - octet ${p.u32(at + 4)}`);
      sayLength(p, length);
      return;
    case 128:
    case 129:
      p.text(type === 128 ? 'echo request' : 'echo reply');
      p.text(`, id ${p.u16(at + 4)}, seq ${p.u16(at + 6)}`);
      sayLength(p, length);
      return;
    case 133:
      p.text(`router solicitation, length ${length}`);
      if (p.options.verbosity > 0) printOptions(p, at + 8, at + length);
      return;
    case 134:
      p.text(`router advertisement, length ${length}`);
      if (p.options.verbosity > 0) printRouterAdvertisement(p, at, length);
      return;
    case 135:
      p.text('neighbor solicitation');
      printDiscovery(p, { at, length, before: ', who has ' });
      return;
    case 136:
      p.text('neighbor advertisement');
      printDiscovery(p, { at, length, before: ', tgt is ' });
      return;
    case 137:
      p.text('redirect, ');
      if (p.options.verbosity > 0) p.text(`length ${length}, `);
      p.ip6(at + 24);
      p.text(' to ');
      p.ip6(at + 8);
      sayLength(p, length);
      if (p.options.verbosity > 0) printOptions(p, at + 40, at + length);
      return;
    case 130:
      p.text(`multicast listener query`);
      // Version 2 is told by its length (RFC 3810, 8.1).
      if (length < 28) printListener(p, at, length);
      else {
        printQuery2(p, at);
        sayLength(p, length);
      }
      return;
    case 131:
    case 132:
      p.text(`multicast listener ${type === 131 ? 'report' : 'done'}`);
      printListener(p, at, length);
      return;
    case 143:
      p.text(`multicast listener report v2`);
      printReport2(p, at);
      sayLength(p, length);
      return;
    case 138:
      printRenumbering(p, at, length);
      sayLength(p, length);
      return;
    case 139:
    case 140:
      printNodeInformation(p, at, length);
      sayLength(p, length);
      return;
    case 141:
    case 142:
      p.text(`inverse neighbor ${type === 141 ? 'solicitation' : 'advertisement'}`);
      sayLength(p, length);
      return;
    case 144:
    case 145:
      p.text(`ha discovery ${type === 144 ? 'request' : 'reply'}, id 0x`);
      p.hex(p.u16(at + 4), 4);
      if (type === 145)
        for (let address = at + 8; address + 16 <= at + length; address += 16) {
          p.text(', ');
          p.ip6(address);
        }
      sayLength(p, length);
      return;
    case 146:
      p.text('mobile router solicitation, id 0x');
      p.hex(p.u16(at + 4), 4);
      sayLength(p, length);
      return;
    case 147:
      p.text(`mobile router advertisement, length ${length}`);
      if (p.options.verbosity > 0) {
        p.text(', id 0x');
        p.hex(p.u16(at + 4), 4);
        printOptions(p, at + 8, at + length);
      }
      return;
    case 155:
      p.text('RPL, ');
      p.text(routingNames[code] ?? `RPL type (0x${code.toString(16).padStart(2, '0')})`);
      sayLength(p, length);
      return;
    default: {
      p.text(`${otherNames[type] ?? `unknown icmp6 type (${type})`}, length ${length}`);
      if (p.options.verbosity < 2) printHexadecimal(p, at, length);
    }
  }
}

const parameterProblems = ['erroneous', 'next header', 'option', 'incomplete header chain'];

const otherNames: Readonly<Record<number, string>> = { 200: 'mtrace response', 201: 'mtrace message' };

/** RFC 6550; none of them is said to be secured. */
const routingNames: Readonly<Record<number, string>> = {
  0: '(CLR)DODAG Information Solicitation',
  1: '(CLR)DODAG Information Object',
  2: '(CLR)Destination Advertisement Object',
  3: '(CLR)Destination Advertisement Object Ack',
};

const advertisementFlags = [
  [0x80, 'router'],
  [0x40, 'solicited'],
  [0x20, 'override'],
] as const;

/** With -v, messages that quote or end here do not say their length. */
function sayLength(p: Printing, length: number): void {
  if (p.options.verbosity === 0) p.text(`, length ${length}`);
}

/** The length comes first where details follow, and last where the line ends. */
function printDiscovery(
  p: Printing,
  { at, length, before }: { readonly at: number; readonly length: number; readonly before: string },
): void {
  const details = p.options.verbosity > 0;
  if (details) p.text(`, length ${length}`);
  p.need(at, 24);
  p.text(before);
  p.ip6(at + 8);
  if (!details) p.text(`, length ${length}`);
  else {
    if (p.u8(at) === 136) {
      p.text(', Flags [');
      p.bits(p.u8(at + 4), advertisementFlags);
      p.char(0x5d);
    }
    printOptions(p, at + 24, at + length);
  }
}

function hex4(value: number): string {
  return value.toString(16).padStart(4, '0');
}

function printUnreachable(p: Printing, at: number, code: number): void {
  const destination = at + 8 + 24;
  p.text('destination unreachable');
  switch (code) {
    case 0:
      p.text(', unreachable route ');
      p.ip6(destination);
      return;
    case 1:
      p.text(', unreachable prohibited ');
      p.ip6(destination);
      return;
    case 2:
      p.text(', beyond scope ');
      p.ip6(destination);
      p.text(', source address ');
      p.ip6(at + 8 + 8);
      return;
    case 3:
      p.text(', unreachable address ');
      p.ip6(destination);
      return;
    case 4: {
      p.text(', unreachable port');
      p.need(destination, 20);
      p.text(', ');
      const protocol = p.u8(at + 8 + 6);
      const port = p.u16(at + 8 + 40 + 2);

      p.ip6(destination);
      p.text(
        protocol === 6
          ? ` tcp port ${port}`
          : protocol === 17
            ? ` udp port ${port}`
            : ` protocol ${protocol} port ${port} unreachable`,
      );
      return;
    }
    default:
      p.text(`, unreachable code-#${code}`);
  }
}

function printTimeExceeded(p: Printing, at: number, code: number): void {
  if (code === 0) {
    p.text('time exceeded in-transit for ');
    p.ip6(at + 8 + 24);
  } else if (code === 1) p.text('ip6 reassembly time exceeded');
  else p.text(`time exceeded, unknown code (${code})`);
}

const routerFlags = [
  [0x80, 'managed'],
  [0x40, 'other stateful'],
  [0x20, 'home agent'],
] as const;

const preferences = ['medium', 'high', 'reserved', 'low'];

function printRouterAdvertisement(p: Printing, at: number, length: number): void {
  const flags = p.u8(at + 5);
  p.text(`\n\thop limit ${p.u8(at + 4)}, Flags [`);
  p.bits(flags, routerFlags);
  p.text(`], pref ${preferences[(flags >> 3) & 3] ?? ''}, router lifetime ${p.u16(at + 6)}s`);
  p.text(`, reachable time ${p.u32(at + 8)}ms, retrans timer ${p.u32(at + 12)}ms`);
  printOptions(p, at + 16, at + length);
}

const optionNames: Readonly<Record<number, string>> = {
  1: 'source link-address',
  2: 'destination link-address',
  3: 'prefix info',
  4: 'redirected header',
  5: 'mtu',
  7: 'advertisement interval',
  8: 'homeagent information',
  24: 'route info',
  25: 'rdnss',
  31: 'dnssl',
};

const prefixFlags = [
  [0x80, 'onlink'],
  [0x40, 'auto'],
  [0x20, 'router'],
] as const;

function printOptions(p: Printing, from: number, to: number): void {
  let at = from;
  while (at < to) {
    const type = p.u8(at);
    const size = p.u8(at + 1) * 8;
    if (size === 0) throw truncated;
    p.need(at, size);
    p.text(`\n\t  ${optionNames[type] ?? 'unknown'} option (${type}), length ${size} (${size / 8}): `);
    if (type === 1 || type === 2) p.linkAddress(at + 2, size - 2);
    else if (type === 5) p.text(` ${p.u32(at + 4)}`);
    else if (type === 3) {
      p.ip6(at + 16);
      p.text(`/${p.u8(at + 2)}, Flags [`);
      p.bits(p.u8(at + 3), prefixFlags);
      p.text('], valid time ');
      printLifetime(p, p.u32(at + 4));
      p.text(', pref. time ');
      printLifetime(p, p.u32(at + 8));
    } else if (type === 25) {
      p.text(' lifetime ');
      p.text(`${p.u32(at + 4)}s,`);
      for (let address = at + 8; address + 16 <= at + size; address += 16) {
        p.text(' addr: ');
        p.ip6(address);
      }
    } else if (type === 7) p.text(` ${p.u32(at + 4)}ms`);
    else if (type === 8) p.text(` preference ${p.u16(at + 4)}, lifetime ${p.u16(at + 6)}`);
    else if (type === 31) {
      p.text(` lifetime ${p.u32(at + 4)}s, domain(s):`);
      for (let name = at + 8; name < at + size && p.u8(name) !== 0;) {
        p.char(0x20);
        name = printDomain(p, name, at + size);
      }
    } else if (type === 24) printRoute(p, at, size);
    else if (type in optionNames) printRaw(p, at + 2, size - 2);
    else if (p.options.verbosity < 2) printHexadecimal(p, at + 2, size - 2, '  ');
    if (p.options.verbosity > 1) printRaw(p, at + 2, size - 2);
    at += size;
  }
}

/** RFC 4191: only as many octets of the prefix as are not zero. */
function printRoute(p: Printing, at: number, size: number): void {
  const prefix = Buffer.alloc(16);
  for (let index = 0; index < Math.min(16, size - 8); index++) prefix[index] = p.u8(at + 8 + index);
  p.char(0x20);
  p.ip6Octets(prefix);
  p.text(`/${p.u8(at + 2)}, pref=${preferences[(p.u8(at + 3) >> 3) & 3] ?? ''}, lifetime=`);
  printLifetime(p, p.u32(at + 4));
}

/** A name that is not compressed; returns where the next begins. */
function printDomain(p: Printing, start: number, end: number): number {
  let at = start;
  while (at < end) {
    const size = p.u8(at);
    if (size === 0) return at + 1;
    for (let index = 1; index <= size && at + index < end; index++) p.visible(p.u8(at + index));
    p.char(0x2e);
    at += 1 + size;
  }
  return end;
}

function printRaw(p: Printing, at: number, octets: number): void {
  for (let line = 0; line < octets; line += 16) {
    p.text(`\n\t    0x${hex4(line)}: `);
    for (let index = line; index < Math.min(line + 16, octets); index++) {
      if (index % 2 === 0) p.char(0x20);
      p.hex(p.u8(at + index), 2);
    }
  }
}

function printLifetime(p: Printing, seconds: number): void {
  p.text(seconds === 0xffff_ffff ? 'infinity' : `${seconds}s`);
}

function printListener(p: Printing, at: number, length: number): void {
  if (length < 24) {
    sayLength(p, length);
    return;
  }
  p.text(`max resp delay: ${p.u16(at + 4)} addr: `);
  p.ip6(at + 8);
  sayLength(p, length);
}

/** Delays and intervals beyond 7 and 15 bits have an exponent (RFC 3810, 5.1.3 and 5.1.9). */
function exponential(value: number, mantissaBits: number): number {
  if (value >> (mantissaBits + 3) === 0) return value;
  const mantissa = (value & ((1 << mantissaBits) - 1)) | (1 << mantissaBits);
  return mantissa * 2 ** (((value >> mantissaBits) & 7) + 3);
}

function printQuery2(p: Printing, at: number): void {
  p.text(' v2');
  p.need(at, 28);
  if (p.options.verbosity > 0) p.text(` [max resp delay=${exponential(p.u16(at + 4), 12)}]`);
  p.text(' [gaddr ');
  p.ip6(at + 8);
  if (p.options.verbosity > 0) {
    const flags = p.u8(at + 24);
    if ((flags & 8) !== 0) p.text(' sflag');
    if ((flags & 7) !== 0) p.text(` robustness=${flags & 7}`);
    p.text(` qqi=${exponential(p.u8(at + 25), 4)}`);
  }
  const sources = p.u16(at + 26);
  if (sources > 0) {
    if (p.options.verbosity > 1) {
      p.text(' {');
      for (let index = 0; index < sources; index++) {
        p.char(0x20);
        p.ip6(at + 28 + index * 16);
      }
      p.text(' }');
    } else p.text(`, ${sources} source(s)`);
  }
  p.char(0x5d);
}

const recordNames = ['', 'is_in', 'is_ex', 'to_in', 'to_ex', 'allow', 'block'];

function printReport2(p: Printing, at: number): void {
  const count = p.u16(at + 6);
  p.text(`, ${count} group record(s)`);
  if (p.options.verbosity === 0) return;
  let record = at + 8;
  for (let index = 0; index < count; index++) {
    const sources = p.u16(record + 2);
    p.text(' [gaddr ');
    p.ip6(record + 4);
    p.text(` ${recordNames[p.u8(record)] ?? `[v2-report-#${p.u8(record)}]`}`);
    if (p.options.verbosity > 1) {
      p.text(' {');
      for (let source = 0; source < sources; source++) {
        p.char(0x20);
        p.ip6(record + 20 + source * 16);
      }
      p.text(' }]');
    } else p.text(`, ${sources} source(s)]`);
    record += 20 + sources * 16 + p.u8(record + 1) * 4;
  }
}
