// SPDX-License-Identifier: Apache-2.0
/** ARP and its relatives (RFC 826, 903, 2390). */
import { printUnknown } from './octets.ts';
import { truncated, type Printing } from './printing.ts';

const operations: Readonly<Record<number, string>> = {
  1: 'Request',
  2: 'Reply',
  3: 'Reverse Request',
  4: 'Reverse Reply',
  8: 'Inverse Request',
  9: 'Inverse Reply',
  10: 'NACK Reply',
};

const hardwareNames: Readonly<Record<number, string>> = {
  1: 'Ethernet',
  6: 'TokenRing',
  7: 'ArcNet',
  15: 'FrameRelay',
  17: 'Strip',
  24: 'IEEE 1394',
};

export function printArp(p: Printing, at: number, length: number): void {
  p.protocol = 'arp';
  p.need(at, 8);
  const hardware = p.u16(at);
  const protocol = p.u16(at + 2);
  const hardwareLength = p.u8(at + 4);
  const protocolLength = p.u8(at + 5);
  const operation = p.u16(at + 6);
  const addresses = at + 8;
  if (addresses + 2 * (hardwareLength + protocolLength) > p.end) throw truncated;
  if (!p.options.linkHeader) p.text('ARP, ');
  const isStrange = (protocol !== 0x0800 && protocol !== 0x1000) || protocolLength !== 4 || hardwareLength === 0;
  if (isStrange || p.options.verbosity > 0) {
    p.text(`${hardwareNames[hardware] ?? `Unknown Hardware (${hardware})`} (len ${hardwareLength}), `);
    p.text(
      `${protocol === 0x0800 ? 'IPv4' : `Unknown Protocol (0x${protocol.toString(16).padStart(4, '0')})`} (len ${protocolLength}), `,
    );
  }
  if (isStrange) {
    p.text(`length ${length}`);
    return;
  }
  const sender = addresses + hardwareLength;
  const targetHardware = sender + protocolLength;
  const target = targetHardware + hardwareLength;
  p.text(operations[operation] ?? `Unknown (${operation})`);
  p.char(0x20);
  switch (operation) {
    case 1:
      p.text('who-has ');
      p.ip4(target);
      if (!isZero(p, targetHardware, hardwareLength)) {
        p.text(' (');
        p.linkAddress(targetHardware, hardwareLength);
        p.char(0x29);
      }
      p.text(' tell ');
      p.ip4(sender);
      break;
    case 2:
      p.ip4(sender);
      p.text(' is-at ');
      p.linkAddress(addresses, hardwareLength);
      break;
    case 3:
      p.text('who-is ');
      p.linkAddress(targetHardware, hardwareLength);
      p.text(' tell ');
      p.linkAddress(addresses, hardwareLength);
      break;
    case 4:
      p.linkAddress(targetHardware, hardwareLength);
      p.text(' at ');
      p.ip4(target);
      break;
    case 8:
      p.text('who-is ');
      p.linkAddress(targetHardware, hardwareLength);
      p.text(' tell ');
      p.linkAddress(addresses, hardwareLength);
      break;
    case 9:
      p.linkAddress(addresses, hardwareLength);
      p.text(' at ');
      p.ip4(sender);
      break;
    default:
      printUnknown(p, at, length);
      return;
  }
  p.text(`, length ${length}`);
}

function isZero(p: Printing, at: number, octets: number): boolean {
  for (let index = 0; index < octets; index++) if (p.u8(at + index) !== 0) return false;
  return true;
}
