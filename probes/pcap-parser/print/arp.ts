// SPDX-License-Identifier: Apache-2.0
/** ARP and its relatives (RFC 826, 903, 2390). */
import { etherTypeNames } from './ether-types.ts';
import { printOctets } from './octets.ts';
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

const frameRelay = 15;

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
      `${etherTypeNames[protocol] ?? `Unknown Protocol (0x${protocol.toString(16).padStart(4, '0')})`} (len ${protocolLength}), `,
    );
  }
  // Without -v nothing more is said where the addresses cannot be read.
  if (isStrange && p.options.verbosity === 0) {
    p.text(`length ${length}`);
    return;
  }
  const sender = addresses + hardwareLength;
  const targetHardware = sender + protocolLength;
  const target = targetHardware + hardwareLength;
  const protocolAddress = (address: number): void => {
    if (protocol !== 0x0800 && protocol !== 0x1000) p.text('<wrong proto type>');
    else if (protocolLength !== 4) p.text('<wrong len>');
    else p.ip4(address);
  };
  const hardwareAddress = (address: number): void => {
    if (hardwareLength === 0) p.text('<empty>');
    else if (hardware === frameRelay && hardwareLength > 4) p.text('<Invalid DLCI>');
    else p.linkAddress(address, hardwareLength);
  };
  p.text(operations[operation] ?? `Unknown (${operation})`);
  p.char(0x20);
  switch (operation) {
    case 1:
      p.text('who-has ');
      protocolAddress(target);
      if (!isZero(p, targetHardware, hardwareLength)) {
        p.text(' (');
        hardwareAddress(targetHardware);
        p.char(0x29);
      }
      p.text(' tell ');
      protocolAddress(sender);
      break;
    case 2:
      protocolAddress(sender);
      p.text(' is-at ');
      hardwareAddress(addresses);
      break;
    case 3:
    case 8:
      p.text('who-is ');
      hardwareAddress(targetHardware);
      p.text(' tell ');
      hardwareAddress(addresses);
      break;
    case 4:
      hardwareAddress(targetHardware);
      p.text(' at ');
      protocolAddress(target);
      break;
    case 9:
      hardwareAddress(addresses);
      p.text(' at ');
      protocolAddress(sender);
      break;
    default:
      printOctets(p, at, Math.max(0, Math.min(length, p.end - at)));
      return;
  }
  p.text(`, length ${length}`);
}

function isZero(p: Printing, at: number, octets: number): boolean {
  for (let index = 0; index < octets; index++) if (p.u8(at + index) !== 0) return false;
  return true;
}
