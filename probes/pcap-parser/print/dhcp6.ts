// SPDX-License-Identifier: Apache-2.0
/** DHCPv6 (RFC 8415): which message, and with -v its transaction. */
import type { Printing } from './printing.ts';

const messages = [
  '',
  'solicit',
  'advertise',
  'request',
  'confirm',
  'renew',
  'rebind',
  'reply',
  'release',
  'decline',
  'reconfigure',
  'inf-req',
  'relay-fwd',
  'relay-reply',
  'leasequery',
  'leasequery-reply',
];

export function printDhcp6(p: Printing, at: number): void {
  p.protocol = 'dhcp6';
  p.text('dhcp6');
  const type = p.u8(at);
  p.need(at, 4);
  p.text(` ${messages[type] ?? `msgtype-${type}`}`);
  if (p.options.verbosity === 0) return;
  if (type === 12 || type === 13) {
    p.text(' (linkaddr=');
    p.ip6(at + 2);
    p.text(' peeraddr=');
    p.ip6(at + 18);
    p.char(0x29);
  } else p.text(` (xid=${p.u24(at + 1).toString(16)})`);
}
