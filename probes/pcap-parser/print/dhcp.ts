// SPDX-License-Identifier: Apache-2.0
/** DHCP and BOOTP (RFC 2131, 951). */
import type { Printing } from './printing.ts';

export function printDhcp(p: Printing, at: number, length: number): void {
  p.protocol = 'bootp';
  p.text('BOOTP/DHCP, ');
  p.need(at, 8);
  const operation = p.u8(at);
  p.text(
    operation === 1 ? 'Request' : operation === 2 ? 'Reply' : `unknown (0x${operation.toString(16).padStart(2, '0')})`,
  );
  const hardwareLength = p.u8(at + 2);
  if (p.u8(at + 1) === 1 && hardwareLength === 6 && operation === 1) {
    p.text(' from ');
    p.mac(at + 28);
  }
  p.text(`, length ${length}`);
  if (p.options.verbosity > 0) printDetails(p, at, length);
}

function printDetails(p: Printing, at: number, length: number): void {
  p.need(at, 12);
  const type = p.u8(at + 1);
  if (type !== 1) p.text(`, htype ${type}`);
  if (p.u8(at + 2) !== 6) p.text(`, hlen ${p.u8(at + 2)}`);
  if (p.u8(at + 3) !== 0) p.text(`, hops ${p.u8(at + 3)}`);
  p.text(`, xid 0x${p.u32(at + 4).toString(16)}`);
  if (p.u16(at + 8) !== 0) p.text(`, secs ${p.u16(at + 8)}`);
  const flags = p.u16(at + 10);
  p.text(`, Flags [${(flags & 0x8000) === 0 ? 'none' : 'Broadcast'}]`);
  if (p.options.verbosity > 1) p.text(` (0x${flags.toString(16).padStart(4, '0')})`);
  printAddress(p, at + 12, 'Client-IP');
  printAddress(p, at + 16, 'Your-IP');
  printAddress(p, at + 20, 'Server-IP');
  printAddress(p, at + 24, 'Gateway-IP');
  if (type === 1 && p.u8(at + 2) === 6) {
    p.text('\n\t  Client-Ethernet-Address ');
    p.mac(at + 28);
  }
  printString(p, { at: at + 44, limit: 64, name: 'sname' });
  printString(p, { at: at + 108, limit: 128, name: 'file' });
  if (length > 240 && p.u32(at + 236) === 0x6382_5363) {
    p.text('\n\t  Vendor-rfc1048 Extensions\n\t    Magic Cookie 0x63825363');
    printOptions(p, at + 240, at + length);
  }
}

function printAddress(p: Printing, at: number, name: string): void {
  if (p.u32(at) === 0) return;
  p.text(`\n\t  ${name} `);
  p.ip4(at);
}

function printString(
  p: Printing,
  { at, limit, name }: { readonly at: number; readonly limit: number; readonly name: string },
): void {
  if (p.u8(at) === 0) return;
  p.text(`\n\t  ${name} "`);
  for (let index = 0; index < limit && p.u8(at + index) !== 0; index++) p.char(p.u8(at + index));
  p.char(0x22);
}

type Form = 'addresses' | 'seconds' | 'text' | 'octet' | 'short' | 'message' | 'parameters' | 'client' | 'quoted';

const options: Readonly<Record<number, readonly [name: string, form: Form]>> = {
  1: ['Subnet-Mask', 'addresses'],
  2: ['Time-Zone', 'seconds'],
  3: ['Default-Gateway', 'addresses'],
  4: ['Time-Server', 'addresses'],
  6: ['Domain-Name-Server', 'addresses'],
  7: ['LOG', 'addresses'],
  12: ['Hostname', 'quoted'],
  15: ['Domain-Name', 'quoted'],
  26: ['MTU', 'short'],
  28: ['BR', 'addresses'],
  31: ['Router-Discovery', 'octet'],
  33: ['Static-Route', 'addresses'],
  42: ['NTP', 'addresses'],
  43: ['Vendor-Option', 'text'],
  44: ['Netbios-Name-Server', 'addresses'],
  46: ['Netbios-Node', 'octet'],
  47: ['Netbios-Scope', 'quoted'],
  50: ['Requested-IP', 'addresses'],
  51: ['Lease-Time', 'seconds'],
  53: ['DHCP-Message', 'message'],
  54: ['Server-ID', 'addresses'],
  55: ['Parameter-Request', 'parameters'],
  57: ['MSZ', 'short'],
  58: ['RN', 'seconds'],
  59: ['RB', 'seconds'],
  60: ['Vendor-Class', 'quoted'],
  61: ['Client-ID', 'client'],
  66: ['TFTP', 'quoted'],
  67: ['BF', 'quoted'],
  40: ['YD', 'quoted'],
  41: ['YS', 'addresses'],
  100: ['POSIX-TZ', 'quoted'],
  101: ['TZ-Name', 'quoted'],
  150: ['TFTP-Server-Address', 'addresses'],
  161: ['MUD-URL', 'quoted'],
  121: ['Classless-Static-Route', 'text'],
};

const messages = ['', 'Discover', 'Offer', 'Request', 'Decline', 'ACK', 'NACK', 'Release', 'Inform'];

function printOptions(p: Printing, from: number, to: number): void {
  let at = from;
  while (at < to && at < p.end) {
    const code = p.u8(at);
    if (code === 255) return;
    if (code === 0) {
      at++;
      continue;
    }
    const size = p.u8(at + 1);
    const [name, form] = options[code] ?? ['Unknown', 'text'];
    p.text(`\n\t    ${name} (${code}), length ${size}: `);
    p.need(at + 2, size);
    printValue(p, { form, at: at + 2, size });
    at += 2 + size;
  }
}

function printValue(
  p: Printing,
  { form, at, size }: { readonly form: Form; readonly at: number; readonly size: number },
): void {
  if (form === 'message' && size === 1) p.text(messages[p.u8(at)] ?? String(p.u8(at)));
  else if (form === 'addresses' && size % 4 === 0)
    for (let index = 0; index < size; index += 4) {
      if (index > 0) p.char(0x2c);
      p.ip4(at + index);
    }
  else if (form === 'seconds' && size === 4) p.number(p.u32(at));
  else if (form === 'short' && size === 2) p.number(p.u16(at));
  else if (form === 'octet' && size === 1) p.number(p.u8(at));
  else if (form === 'quoted') {
    p.char(0x22);
    for (let index = 0; index < size; index++) p.char(p.u8(at + index));
    p.char(0x22);
  } else if (form === 'parameters') printParameters(p, at, size);
  else if (form === 'client' && size === 7 && p.u8(at) === 1) {
    p.text('ether ');
    p.mac(at + 1);
  } else
    for (let index = 0; index < size; index++) {
      if (index > 0) p.char(0x2e);
      p.number(p.u8(at + index));
    }
}

function printParameters(p: Printing, at: number, size: number): void {
  for (let index = 0; index < size; index++) {
    p.text(index % 4 === 0 ? '\n\t      ' : ', ');
    const code = p.u8(at + index);
    p.text(`${options[code]?.[0] ?? 'Unknown'} (${code})`);
  }
}
