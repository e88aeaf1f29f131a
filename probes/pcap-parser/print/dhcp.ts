// SPDX-License-Identifier: Apache-2.0
/** DHCP and BOOTP (RFC 2131, 951). */
import type { Printing } from './printing.ts';

export function printDhcp(p: Printing, at: number, length: number): void {
  p.protocol = 'bootp';
  p.text('BOOTP/DHCP, ');
  const operation = p.u8(at);
  p.text(
    operation === 1 ? 'Request' : operation === 2 ? 'Reply' : `unknown (0x${operation.toString(16).padStart(2, '0')})`,
  );
  const hardwareLength = p.u8(at + 2);
  if (p.u8(at + 1) === 1 && hardwareLength === 6 && operation === 1) {
    p.need(at + 28, 6);
    p.text(' from ');
    p.mac(at + 28);
  }
  p.text(`, length ${length}`);
  if (p.options.verbosity > 0) printDetails(p, at, length);
}

function printDetails(p: Printing, at: number, length: number): void {
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
  if (length <= 240) return;
  const magic = p.u32(at + 236);
  if (magic !== 0x6382_5363) {
    if (magic !== 0) p.text(`\n\t  Vendor-#0x${magic.toString(16).padStart(8, '0')}`);
  } else {
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

type Form =
  | 'addresses'
  | 'agent'
  | 'classlessRoutes'
  | 'client'
  | 'domainName'
  | 'flags'
  | 'longs'
  | 'message'
  | 'netbiosNode'
  | 'octets'
  | 'overload'
  | 'pairs'
  | 'parameters'
  | 'shorts'
  | 'text'
  | 'userClass';

const options: Readonly<Record<number, readonly [name: string, form: Form]>> = {
  1: ['Subnet-Mask', 'addresses'],
  2: ['Time-Zone', 'longs'],
  3: ['Default-Gateway', 'addresses'],
  4: ['Time-Server', 'addresses'],
  5: ['IEN-Name-Server', 'addresses'],
  6: ['Domain-Name-Server', 'addresses'],
  7: ['LOG', 'addresses'],
  8: ['CS', 'addresses'],
  9: ['LPR-Server', 'addresses'],
  10: ['IM', 'addresses'],
  11: ['RL', 'addresses'],
  12: ['Hostname', 'text'],
  13: ['BS', 'shorts'],
  14: ['DP', 'text'],
  15: ['Domain-Name', 'text'],
  16: ['SS', 'addresses'],
  17: ['RP', 'text'],
  18: ['EP', 'text'],
  19: ['IPF', 'flags'],
  20: ['SRT', 'flags'],
  21: ['PF', 'pairs'],
  22: ['RSZ', 'shorts'],
  23: ['TTL', 'octets'],
  24: ['MTU-Timeout', 'longs'],
  25: ['MTU-Table', 'shorts'],
  26: ['MTU', 'shorts'],
  27: ['LSN', 'flags'],
  28: ['BR', 'addresses'],
  29: ['MD', 'flags'],
  30: ['MS', 'flags'],
  31: ['Router-Discovery', 'flags'],
  32: ['RSA', 'addresses'],
  33: ['Static-Route', 'pairs'],
  34: ['UT', 'flags'],
  35: ['AT', 'longs'],
  36: ['IE', 'flags'],
  37: ['TT', 'octets'],
  38: ['KI', 'longs'],
  39: ['KG', 'flags'],
  40: ['YD', 'text'],
  41: ['YS', 'addresses'],
  42: ['NTP', 'addresses'],
  43: ['Vendor-Option', 'octets'],
  44: ['Netbios-Name-Server', 'addresses'],
  45: ['WDD', 'addresses'],
  46: ['Netbios-Node', 'netbiosNode'],
  47: ['Netbios-Scope', 'text'],
  48: ['XFS', 'addresses'],
  49: ['XDM', 'addresses'],
  50: ['Requested-IP', 'addresses'],
  51: ['Lease-Time', 'longs'],
  52: ['OO', 'overload'],
  53: ['DHCP-Message', 'message'],
  54: ['Server-ID', 'addresses'],
  55: ['Parameter-Request', 'parameters'],
  56: ['MSG', 'text'],
  57: ['MSZ', 'shorts'],
  58: ['RN', 'longs'],
  59: ['RB', 'longs'],
  60: ['Vendor-Class', 'text'],
  61: ['Client-ID', 'client'],
  64: ['N+D', 'shorts'],
  65: ['N+S', 'addresses'],
  66: ['TFTP', 'text'],
  67: ['BF', 'text'],
  68: ['MH', 'addresses'],
  69: ['SMTP', 'addresses'],
  70: ['POP3', 'addresses'],
  71: ['NNTP', 'addresses'],
  72: ['WWW', 'addresses'],
  73: ['FG', 'addresses'],
  74: ['IRC', 'addresses'],
  75: ['STS', 'addresses'],
  76: ['STDA', 'addresses'],
  77: ['User-Class', 'userClass'],
  78: ['SLP-DA', 'octets'],
  79: ['SLP-SCOPE', 'octets'],
  80: ['SLP-NA', 'text'],
  81: ['FQDN', 'domainName'],
  82: ['Agent-Information', 'agent'],
  83: ['ARMT', 'octets'],
  88: ['TZSTR', 'text'],
  89: ['FQDNS', 'octets'],
  90: ['AUTH', 'octets'],
  91: ['Last-Transaction-Time', 'longs'],
  92: ['Associated-IP', 'addresses'],
  93: ['ARCH', 'shorts'],
  94: ['NDI', 'octets'],
  95: ['LDAP', 'text'],
  97: ['GUID', 'octets'],
  98: ['UAP', 'text'],
  100: ['POSIX-TZ', 'text'],
  101: ['TZ-Name', 'text'],
  112: ['NI', 'addresses'],
  113: ['NITAG', 'text'],
  114: ['URL', 'text'],
  116: ['NOAUTO', 'flags'],
  117: ['NSSEARCH', 'shorts'],
  118: ['SUBNET', 'addresses'],
  121: ['Classless-Static-Route', 'classlessRoutes'],
  150: ['TFTP-Server-Address', 'addresses'],
  161: ['MUD-URL', 'text'],
  249: ['Classless-Static-Route-Microsoft', 'classlessRoutes'],
};

const messages: Readonly<Record<number, string>> = {
  1: 'Discover',
  2: 'Offer',
  3: 'Request',
  4: 'Decline',
  5: 'ACK',
  6: 'NACK',
  7: 'Release',
  8: 'Inform',
  10: 'LeaseQuery',
  11: 'LeaseUnassigned',
  12: 'LeaseUnknown',
  13: 'LeaseActive',
};

function printOptions(p: Printing, from: number, to: number): void {
  for (let at = from; at < to && p.u8(at) !== 0xff;) {
    const code = p.u8(at);
    if (code === 0) {
      at++;
      continue;
    }
    const [name, form] = options[code] ?? ['Unknown', 'octets'];
    const size = p.u8(at + 1);
    p.text(`\n\t    ${name} (${code}), length ${size}`);
    p.need(at + 2, size);
    const value = { form, at: at + 2, size };
    if (size > 0) p.text(': ');
    const left = printValue(p, code in options ? value : { ...value, form: plainForm(size) });
    if (left > 0) p.text(`\n\t  trailing data length ${left}`);
    at += 2 + size;
  }
}

interface Value {
  readonly form: Form;
  readonly at: number;
  readonly size: number;
}

/** What an unknown option may be, by its length. */
function plainForm(size: number): Form {
  return size % 4 === 0 ? 'longs' : size % 2 === 0 ? 'shorts' : 'octets';
}

/** Returns how many octets behind the last whole item are not shown. */
function printValue(p: Printing, value: Value): number {
  const { form, at, size } = value;
  if (size === 0 && oneOctetForms.has(form)) {
    p.text('[ERROR: length < 1 bytes]');
    return 0;
  }
  switch (form) {
    case 'addresses':
      each(p, value, 4, (item) => p.ip4(item));
      return size % 4;
    case 'longs':
      each(p, value, 4, (item) => p.number(p.u32(item)));
      return size % 4;
    case 'shorts':
      each(p, value, 2, (item) => p.number(p.u16(item)));
      return size % 2;
    case 'flags':
      each(p, value, 1, (item) => p.text(p.u8(item) === 0 ? 'N' : p.u8(item) === 1 ? 'Y' : `${p.u8(item)}?`));
      return 0;
    case 'pairs':
      each(p, value, 8, (item) => {
        p.char(0x28);
        p.ip4(item);
        p.char(0x3a);
        p.ip4(item + 4);
        p.char(0x29);
      });
      return size % 8;
    case 'text':
      printQuoted(p, at, size);
      return 0;
    case 'message':
      if (size === 1) p.text(messages[p.u8(at)] ?? `Unknown (${p.u8(at)})`);
      else printOctetList(p, at, size);
      return 0;
    case 'parameters':
      printParameters(p, at, size);
      return 0;
    case 'client':
      printClient(p, at, size);
      return 0;
    case 'netbiosNode':
      p.text(netbiosNodes[p.u8(at)] ?? `Unknown (${p.u8(at)})`);
      return size - 1;
    case 'overload':
      p.text(overloads[p.u8(at)] ?? `Unknown (${p.u8(at)})`);
      return size - 1;
    case 'userClass':
      printUserClass(p, at, size);
      return 0;
    case 'domainName':
      printDomainName(p, at, size);
      return 0;
    case 'agent':
      return printAgent(p, at, size);
    case 'classlessRoutes':
      printClasslessRoutes(p, at, size);
      return 0;
    default:
      printOctetList(p, at, size);
      return 0;
  }
}

const oneOctetForms: ReadonlySet<Form> = new Set<Form>(['client', 'netbiosNode', 'overload']);
const netbiosNodes: Readonly<Record<number, string>> = { 1: 'b-node', 2: 'p-node', 4: 'm-node', 8: 'h-node' };
const overloads: Readonly<Record<number, string>> = { 1: 'file', 2: 'sname', 3: 'file+sname' };

/** Items of one size with commas between; what is left over is not shown. */
function each(p: Printing, { at, size }: Value, width: number, print: (item: number) => void): void {
  for (let item = 0; item + width <= size; item += width) {
    if (item > 0) p.char(0x2c);
    print(at + item);
  }
}

function printOctetList(p: Printing, at: number, size: number): void {
  for (let index = 0; index < size; index++) {
    if (index > 0) p.char(0x2e);
    p.number(p.u8(at + index));
  }
}

function printQuoted(p: Printing, at: number, size: number): void {
  p.char(0x22);
  printVisible(p, at, size);
  p.char(0x22);
}

function printVisible(p: Printing, at: number, size: number): void {
  for (let index = 0; index < size; index++) p.visible(p.u8(at + index));
}

/** What follows the type is an address of that hardware, or for type 0 a name. */
function printClient(p: Printing, at: number, size: number): void {
  const type = p.u8(at);
  if (type === 0) {
    printQuoted(p, at + 1, size - 1);
    return;
  }
  if (type === 255) {
    printIdentifier(p, at, size);
    return;
  }
  p.text(type === 1 ? 'ether ' : `hardware-type ${type}, `);
  p.linkAddress(at + 1, size - 1);
}

/** RFC 4361: the association, then who in the form of DHCPv6. */
function printIdentifier(p: Printing, at: number, size: number): void {
  p.text('hardware-type 255, ');
  p.linkAddress(at + 1, size - 1);
}

function printUserClass(p: Printing, at: number, size: number): void {
  if (size < 2) {
    p.text('[ERROR: length < 2 bytes]');
    return;
  }
  let left = size;
  for (let item = at, count = 1; left > 0; count++) {
    const length = p.u8(item);
    left--;
    item++;
    p.text(`\n\t      instance#${count}: `);
    if (length === 0 || length > left) {
      p.text('[ERROR: invalid option]');
      return;
    }
    printQuoted(p, item, length);
    p.text(`, length ${length}`);
    item += length;
    left -= length;
  }
}

const domainFlags = [
  [1, 'S'],
  [2, 'O'],
  [4, 'E'],
  [8, 'N'],
] as const;

function printDomainName(p: Printing, at: number, size: number): void {
  if (size < 3) {
    p.text('[ERROR: length < 3 bytes]');
    return;
  }
  const flags = p.u8(at);
  if (flags !== 0) {
    p.char(0x5b);
    if ((flags & 15) !== 0) p.bits(flags, domainFlags, '');
    p.text('] ');
  }
  if (p.u8(at + 1) !== 0 || p.u8(at + 2) !== 0) p.text(`${p.u8(at + 1)}/${p.u8(at + 2)} `);
  printQuoted(p, at + 3, size - 3);
}

const agentOptions: Readonly<Record<number, string>> = {
  1: 'Circuit-ID',
  2: 'Remote-ID',
  5: 'Link-selection',
  6: 'Subscriber-ID',
};

/** Returns how many octets are left over. */
function printAgent(p: Printing, at: number, size: number): number {
  let left = size;
  for (let item = at; left >= 2;) {
    const code = p.u8(item);
    const length = p.u8(item + 1);
    item += 2;
    left -= 2;
    p.text(`\n\t      ${agentOptions[code] ?? 'Unknown'} SubOption ${code}, length ${length}: `);
    if (length > left) {
      p.text('length goes past end of option');
      return 0;
    }
    if (code === 5 && length === 4) p.ip4(item);
    else printVisible(p, item, length);
    item += length;
    left -= length;
  }
  return left;
}

/** RFC 3442: of each destination only as many octets as its mask reaches. */
function printClasslessRoutes(p: Printing, at: number, size: number): void {
  if (size < 5) {
    p.text('[ERROR: length < 5 bytes]');
    return;
  }
  let left = size;
  for (let item = at; left > 0;) {
    if (item > at) p.char(0x2c);
    const width = p.u8(item);
    item++;
    left--;
    if (width > 32) {
      p.text(`[ERROR: Mask width (${width}) > 32]`);
      return;
    }
    const octets = Math.ceil(width / 8);
    if (left < octets + 4) {
      p.text(`[ERROR: Remaining length (${left}) < ${octets + 4} bytes]`);
      return;
    }
    p.char(0x28);
    if (width === 0) p.text('default');
    else {
      for (let index = 0; index < 4; index++) {
        if (index > 0) p.char(0x2e);
        p.number(index < octets ? p.u8(item + index) : 0);
      }
      p.text(`/${width}`);
    }
    p.char(0x3a);
    p.ip4(item + octets);
    p.char(0x29);
    item += octets + 4;
    left -= octets + 4;
  }
}

function printParameters(p: Printing, at: number, size: number): void {
  for (let index = 0; index < size; index++) {
    p.text(index % 4 === 0 ? '\n\t      ' : ', ');
    const code = p.u8(at + index);
    p.text(`${code === 0 ? 'PAD' : code === 255 ? 'END' : (options[code]?.[0] ?? 'Unknown')} (${code})`);
  }
}
