// SPDX-License-Identifier: Apache-2.0
/** TCP (RFC 9293) with its options, and what runs over well-known ports of it. */
import { printLine, printText } from './application-text.ts';
import { rightChecksum, transportChecksum } from './checksum.ts';
import { printDns } from './dns.ts';
import { printAddresses, printEndpoints } from './endpoints.ts';
import { printMptcp } from './mptcp.ts';
import { truncated, type Printing } from './printing.ts';
import { protocols } from './protocols.ts';

const flagNames = [
  [0x01, 'F'],
  [0x02, 'S'],
  [0x04, 'R'],
  [0x08, 'P'],
  [0x10, '.'],
  [0x20, 'U'],
  [0x40, 'E'],
  [0x80, 'W'],
] as const;

const httpPorts = new Set([80, 8080, 3128]);

export function printTcp(p: Printing, at: number, length: number): void {
  p.protocol = 'tcp';
  if (at + 4 > p.end) {
    printAddresses(p, ':');
    p.need(at, 4);
  }
  const from = p.u16(at);
  const to = p.u16(at + 2);
  printEndpoints(p, from, to);
  p.need(at, 20);
  const headerLength = (p.u8(at + 12) >> 4) * 4;
  if (headerLength < 20) {
    p.text(` [bad hdr length ${headerLength} - too short, < 20]`);
    return;
  }
  let sequence = p.u32(at + 4);
  let acknowledgement = p.u32(at + 8);
  const window = p.u16(at + 14);
  const urgent = p.u16(at + 18);
  const flags = p.u16(at + 12) & 0xff;
  p.text('Flags [');
  p.bits(flags, flagNames, '');
  p.char(0x5d);
  p.streams.numbers(p, at, { flags, sequence, acknowledgement });
  const { sequenceBase, acknowledgementBase } = p.streams;
  sequence = (sequence - sequenceBase) >>> 0;
  acknowledgement = (acknowledgement - acknowledgementBase) >>> 0;
  if (headerLength > length) {
    p.text(` [bad hdr length ${headerLength} - too long, > ${length}]`);
    return;
  }
  if (p.options.verbosity > 0 && !p.fragmented && at + length <= p.end) {
    const sum = transportChecksum(p, { at, length, protocol: protocols.tcp });
    const field = p.u16(at + 16);
    p.text(', cksum 0x');
    p.hex(field, 4);
    if (sum === 0) p.text(' (correct)');
    else {
      p.text(' (incorrect -> 0x');
      p.hex(rightChecksum(sum, field), 4);
      p.char(0x29);
    }
  }
  const payload = length - headerLength;
  if (p.options.verbosity > 1 || payload > 0 || (flags & 7) !== 0) {
    p.text(', seq ');
    p.number(sequence);
    if (payload > 0) {
      p.char(0x3a);
      p.number((sequence + payload) >>> 0);
    }
  }
  if ((flags & 0x10) !== 0) {
    p.text(', ack ');
    p.number(acknowledgement);
  }
  p.text(', win ');
  p.number(window);
  if ((flags & 0x20) !== 0) {
    p.text(', urg ');
    p.number(urgent);
  }
  if (headerLength > 20) {
    p.text(', options [');
    // Nothing behind bad options is believed.
    if (!printOptions(p, { at: at + 20, length: headerLength - 20, acknowledgementBase })) return;
    p.char(0x5d);
  }
  p.text(', length ');
  p.number(payload);
  if (payload > 0 && at + headerLength > p.end) {
    p.text(` [remaining caplen(${p.end - at}) < header length(${headerLength})]`);
    throw truncated;
  }
  if (payload > 0) printPayload(p, { at: at + headerLength, length: payload, flags, from, to });
}

interface Options {
  readonly at: number;
  readonly length: number;
  readonly acknowledgementBase: number;
}

/** false: an option is bad, and what follows is left out. */
function printOptions(p: Printing, { at: start, length, acknowledgementBase }: Options): boolean {
  let at = start;
  const end = start + length;
  while (at < end) {
    if (at > start) p.char(0x2c);
    if (at >= p.end) p.cutWhole();
    const kind = p.u8(at);
    if (kind === 0) {
      p.text('eol');
      return true;
    }
    if (kind === 1) {
      p.text('nop');
      at++;
      continue;
    }
    if (at + 1 >= p.end) p.cutWhole();
    const size = p.u8(at + 1);
    if (size < 2 || at + size > end) {
      p.text('[bad opt]]');
      return false;
    }
    printOptionName(p, kind);
    p.closeCut = kind === 2 ? '' : '>';
    const right = fixedSizes[kind];
    if (size < (right ?? 2)) {
      p.text(kind === 8 || kind === 19 ? '[bad opt]' : '[bad opt]]');
      return false;
    }
    // Values without a form of their own are shown as far as they were captured.
    if (kind === 29 || !(kind in optionNames)) p.closeCut = '';
    else if (kind !== 5) p.need(at, right ?? size);
    if (!printOptionValue(p, { kind, at, size: right ?? size, acknowledgementBase })) {
      p.text(kind === 30 && p.u8(at + 2) >> 4 === 0 ? '[bad opt]' : '[bad opt]]');
      return false;
    }
    p.closeCut = '';
    // One that is longer than its kind has it is believed to be as long as that.
    if (right !== undefined && size !== right) p.text(`[len ${size}]`);
    at += right ?? size;
  }
  return true;
}

/** Octets of options that have always the same length. */
const fixedSizes: Readonly<Record<number, number>> = {
  2: 4,
  3: 3,
  4: 2,
  6: 6,
  7: 6,
  8: 10,
  11: 6,
  12: 6,
  13: 6,
  19: 18,
  20: 4,
  28: 4,
};

const optionNames: Readonly<Record<number, string>> = {
  2: 'mss',
  3: 'wscale',
  4: 'sackOK',
  5: 'sack',
  6: 'echo',
  7: 'echoreply',
  8: 'TS',
  11: 'cc',
  12: 'ccnew',
  13: '',
  19: 'md5',
  20: 'scps',
  28: 'uto',
  29: 'tcp-ao',
  30: 'mptcp',
  34: 'tfo',
  254: 'exp',
};

function printOptionName(p: Printing, kind: number): void {
  p.text(optionNames[kind] ?? `unknown-${kind}`);
}

interface Option {
  readonly kind: number;
  readonly at: number;
  readonly size: number;
  readonly acknowledgementBase: number;
}

/** false: the option has not the length that its kind has. */
function printOptionValue(p: Printing, { kind, at, size, acknowledgementBase }: Option): boolean {
  switch (kind) {
    case 2:
      p.char(0x20);
      p.number(p.u16(at + 2));
      return true;
    case 3:
      p.char(0x20);
      p.number(p.u8(at + 2));
      return true;
    case 4:
      return true;
    case 5:
      if ((size - 2) % 8 !== 0) {
        p.text(' invalid sack');
        return true;
      }
      p.char(0x20);
      p.number((size - 2) / 8);
      p.char(0x20);
      p.need(at, size);
      for (let block = at + 2; block < at + size; block += 8) {
        p.char(0x7b);
        p.number((p.u32(block) - acknowledgementBase) >>> 0);
        p.char(0x3a);
        p.number((p.u32(block + 4) - acknowledgementBase) >>> 0);
        p.char(0x7d);
      }
      return true;
    case 8:
      p.text(' val ');
      p.number(p.u32(at + 2));
      p.text(' ecr ');
      p.number(p.u32(at + 6));
      return true;
    case 6:
    case 7:
    case 11:
    case 12:
    case 13:
      p.text(` ${p.u32(at + 2)}`);
      return true;
    case 19:
      p.char(0x20);
      p.text('shared secret not supplied with -M, digest ');
      p.hexOctets(at + 2, 16);
      return true;
    case 20:
      p.text(
        ` cap ${p
          .u8(at + 2)
          .toString(16)
          .padStart(2, '0')} id ${p.u8(at + 3)}`,
      );
      return true;
    case 28:
      p.text(` 0x${p.u16(at + 2).toString(16)} ${p.u16(at + 2) >> 1}`);
      return true;
    case 34:
      p.text(size === 2 ? '  cookiereq' : '  cookie ');
      p.hexOctets(at + 2, size - 2);
      return true;
    case 29:
      if (size < 4) return false;
      p.text(` keyid ${p.u8(at + 2)} rnextkeyid ${p.u8(at + 3)}`);
      if (size > 4) p.text(' mac 0x');
      p.hexOctets(at + 4, size - 4);
      return true;
    case 30:
      return printMptcp(p, { at, size });
    case 254:
      return printExperiment(p, at, size);
    default:
      if (size > 2) p.text(' 0x');
      p.hexOctets(at + 2, size - 2);
      return true;
  }
}

const fastOpenExperiment = 0xf989;
const accurateEcnExperiments = new Set([0xacc0, 0xacc1]);

/** Experiments are told apart by their first 16 bits (RFC 6994). */
function printExperiment(p: Printing, at: number, size: number): boolean {
  if (size < 4) return false;
  const experiment = p.u16(at + 2);
  if (experiment === fastOpenExperiment) {
    p.text(size === 4 ? '-tfo cookiereq' : '-tfo cookie ');
    p.hexOctets(at + 4, size - 4);
  } else if (accurateEcnExperiments.has(experiment)) p.text(`-acc${experiment & 1}`);
  else {
    p.char(0x2d);
    p.hex(experiment, 4);
  }
  return true;
}

interface Payload {
  readonly at: number;
  readonly length: number;
  readonly flags: number;
  readonly from: number;
  readonly to: number;
}

function printPayload(p: Printing, { at, length, flags, from, to }: Payload): void {
  if ((flags & 4) !== 0 && p.options.verbosity > 0) {
    // A reset may carry the reason as text.
    printResetReason(p, at, length);
    return;
  }
  if (from === 22 || to === 22) printSsh(p, at, length);
  else if (httpPorts.has(from) || httpPorts.has(to)) printText(p, { at, length, name: 'http', commands: true });
  else if (from === 53 || to === 53) {
    if (length > 2) printDns(p, { at: at + 2, length: length - 2, tcp: true });
  } else if (from === 21 || to === 21) printText(p, { at, length, name: 'ftp', commands: false });
  else if (from === 25 || to === 25) printText(p, { at, length, name: 'smtp', commands: false });
}

/** Octets of a reason that are shown. */
const longestReason = 30;

function printResetReason(p: Printing, at: number, length: number): void {
  const captured = Math.max(0, Math.min(length, p.end - at));
  p.text(captured < length ? ' [!RST' : ' [RST');
  p.text(length > longestReason ? '+ ' : ' ');
  const shown = Math.min(captured, longestReason);
  for (let index = 0; index < shown; index++) p.visible(p.u8(at + index));
  p.char(0x5d);
}

/** Only the line with the version is text; everything later is encrypted. */
function printSsh(p: Printing, at: number, length: number): void {
  p.protocol = 'ssh';
  p.need(at, Math.min(4, length));
  if (p.u8(at) === 0x53 && p.data.toString('latin1', at, Math.min(at + 4, p.end)) === 'SSH-')
    printLine(p, { at, end: at + length, before: ': SSH: ', name: 'ssh' });
}
