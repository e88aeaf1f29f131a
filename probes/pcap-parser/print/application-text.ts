// SPDX-License-Identifier: Apache-2.0
/** Protocols made of lines of text: the first line, or with -v the whole head. */
import { truncated, type Printing } from './printing.ts';

interface TextPayload {
  readonly at: number;
  readonly length: number;
  /** Protocol, in lower case. */
  readonly name: string;
  /** Only payloads that begin as a request or an answer are text; others are content. */
  readonly commands: boolean;
}

const methods = new Set(
  (
    'GET PUT COPY HEAD LOCK MOVE POLL POST BCOPY BMOVE MKCOL TRACE LABEL MERGE DELETE SEARCH UNLOCK REPORT UPDATE NOTIFY BDELETE ' +
    'CONNECT OPTIONS CHECKIN PROPFIND CHECKOUT CCM_POST SUBSCRIBE PROPPATCH BPROPFIND BPROPPATCH UNCHECKOUT MKACTIVITY ' +
    'MKWORKSPACE UNSUBSCRIBE RPC_CONNECT VERSION-CONTROL BASELINE-CONTROL'
  ).split(' '),
);

export function printText(p: Printing, { at, length, name, commands }: TextPayload): void {
  p.protocol = name;
  const end = at + length;
  const isText = !commands || startsMessage(p.data.toString('latin1', at, Math.min(at + 128, end, p.end)));
  p.text(`: ${name.toUpperCase()}`);
  if (!isText) return;
  if (p.options.verbosity === 0) {
    printLine(p, { at, end, before: ': ', name });
    return;
  }
  p.text(`, length: ${length}`);
  for (let next = at; next > 0 && next < end;) next = printLine(p, { at: next, end, before: '\n\t', name });
}

/** A request begins with a method, an answer has a code of three digits as its second word. */
function startsMessage(start: string): boolean {
  const words = /^(\S+)\s+(?:(\d{3})\s)?/.exec(start);
  return words !== null && (methods.has(words[1] ?? '') || words[2] !== undefined);
}

interface Line {
  readonly at: number;
  /** Where the payload ends, captured or not. */
  readonly end: number;
  readonly before: string;
  readonly name: string;
}

/** Prints a line of text and returns where the next begins; 0 if what follows is no text, or was cut. */
export function printLine(p: Printing, { at, end, before, name }: Line): number {
  let stop = at;
  for (; stop < end; stop++) {
    if (stop >= p.end) {
      p.protocol = name;
      throw truncated;
    }
    const octet = p.data[stop] as number;
    if (octet === 0x0d && stop + 1 < end && stop + 1 >= p.end) {
      p.protocol = name;
      throw truncated;
    }
    if (octet === 0x0a || (octet === 0x0d && (stop + 1 >= end || p.data[stop + 1] === 0x0a))) break;
    if ((octet < 0x20 || octet > 0x7e) && octet !== 0x09) return 0;
  }
  p.text(before);
  for (let index = at; index < stop; index++) p.char(p.data[index] as number);
  if (stop >= end) {
    p.text(` [|${name}]`);
    return 0;
  }
  return p.data[stop] === 0x0d ? stop + 2 : stop + 1;
}
