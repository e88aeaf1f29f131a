// SPDX-License-Identifier: Apache-2.0
/** Tunnels over UDP: VXLAN (RFC 7348), Geneve (RFC 8926), and what tcpdump 4.99 takes the old port of Linux's VXLAN for. */
import type { Printing } from './printing.ts';

const deepest = 16;

export function printVxlan(p: Printing, at: number, length: number): void {
  p.protocol = 'vxlan';
  if (length < 8) {
    p.text(`VXLAN (invalid)`);
    return;
  }
  const flags = p.u8(at);
  p.text(`VXLAN, flags [`);
  p.text((flags & 8) === 0 ? '.' : 'I');
  p.text(`] (0x${flags.toString(16).padStart(2, '0')}), `);
  p.text(`vni ${p.u24(at + 4)}\n`);
  if (++p.depth <= deepest) p.carried.ethernet(p, at + 8, length - 8);
}

/** Flannel and Cilium send VXLAN to port 8472, which belongs to OTV. */
export function printOtv(p: Printing, at: number, length: number): void {
  p.protocol = 'otv';
  p.text('OTV, ');
  if (length < 8) {
    p.text('[length < 8] (invalid)');
    return;
  }
  const flags = p.u8(at);
  p.text(`flags [${(flags & 8) === 0 ? '.' : 'I'}] (0x${flags.toString(16).padStart(2, '0')}), `);
  p.text(`overlay ${p.u24(at + 1)}, `);
  p.text(`instance ${p.u24(at + 4)}\n`);
  if (++p.depth <= deepest) p.carried.ethernet(p, at + 8, length - 8);
}

const geneveFlags = [
  [0x80, 'O'],
  [0x40, 'C'],
] as const;

export function printGeneve(p: Printing, at: number, length: number): void {
  p.protocol = 'geneve';
  p.text('Geneve');
  p.need(at, 8);
  const version = p.u8(at) >> 6;
  if (version !== 0) {
    p.text(` ERROR: unknown-version ${version}`);
    return;
  }
  const optionsLength = (p.u8(at) & 0x3f) * 4;
  const flags = p.u8(at + 1);
  const protocol = p.u16(at + 2);
  p.text(', Flags [');
  p.bits(flags & 0xc0, geneveFlags, '');
  p.text(`], vni 0x${p.u24(at + 4).toString(16)}`);
  if (p.options.linkHeader) {
    p.text(', proto ');
    p.text(protocol === 0x6558 ? 'TEB' : protocol === 0x0800 ? 'IPv4' : protocol === 0x86dd ? 'IPv6' : 'unknown');
    p.text(` (0x${protocol.toString(16).padStart(4, '0')})`);
  }
  if (optionsLength > 0) {
    p.need(at + 8, optionsLength);
    p.text(', options [');
    if (p.options.verbosity > 0) printGeneveOptions(p, at + 8, optionsLength);
    else p.text(`${optionsLength} bytes`);
    p.char(0x5d);
  }
  const inner = at + 8 + optionsLength;
  const left = length - 8 - optionsLength;
  p.text(p.options.verbosity > 0 ? '\n\t' : ': ');
  if (++p.depth > deepest) return;
  if (!p.carried.network(p, { type: protocol, at: inner, length: left }))
    p.text(`geneve-proto-0x${protocol.toString(16)}`);
}

function printGeneveOptions(p: Printing, from: number, length: number): void {
  let at = from;
  while (at < from + length) {
    if (at > from) p.text(', ');
    const type = p.u8(at + 2);
    const size = 4 + (p.u8(at + 3) & 0x1f) * 4;
    const group = p.u16(at);
    const name = group <= 0x00ff ? 'Standard' : group >= 0xfff0 ? 'Experimental' : 'Unknown';
    p.text(`class ${name} (0x${group.toString(16)}) type 0x${type.toString(16)}`);
    if ((type & 0x80) !== 0) p.text('(C)');
    p.text(` len ${size}`);
    if (size > 4 && p.options.verbosity > 1) p.text(' data');
    for (let word = at + 4; p.options.verbosity > 1 && word < at + size; word += 4)
      p.text(` ${p.u32(word).toString(16).padStart(8, '0')}`);
    at += size;
  }
}
