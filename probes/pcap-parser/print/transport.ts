// SPDX-License-Identifier: Apache-2.0
/** Chooses the printer of what an IP packet of either version carries. */
import { printGre } from './gre.ts';
import { printIcmp } from './icmp.ts';
import { printIcmp6 } from './icmp6.ts';
import { printIgmp } from './igmp.ts';
import { printAh, printEsp } from './ipsec.ts';
import type { Printing, TransportPayload } from './printing.ts';
import { protocols } from './protocols.ts';
import { printSctp } from './sctp.ts';
import { printTcp } from './tcp.ts';
import { printUdp } from './udp.ts';

const deepest = 16;

/** Prints what an IP packet carries. The addresses of TCP, UDP and SCTP are left to them, for the ports come behind. */
export function printTransport(p: Printing, payload: TransportPayload): void {
  const { protocol, at, length, fragmented } = payload;
  p.fragmented = fragmented;
  if (++p.depth > deepest) return;
  switch (protocol) {
    case protocols.tcp:
      printTcp(p, at, length);
      return;
    case protocols.udp:
      printUdp(p, at, length);
      return;
    case protocols.icmp:
      printIcmp(p, at, length);
      return;
    case protocols.icmp6:
      printIcmp6(p, at, length);
      return;
    case protocols.sctp:
      printSctp(p, at, length);
      return;
    case protocols.gre:
      printGre(p, at, length);
      return;
    case protocols.ip4:
      // The inner packet says IP for itself, except with -e.
      p.carried.ip(p, at, length);
      return;
    case protocols.ip6:
      p.carried.ip6(p, at, length);
      return;
    case protocols.igmp:
      printIgmp(p, at, length);
      return;
    case protocols.esp:
      printEsp(p, at, length);
      return;
    case protocols.ah:
      printAh(p, payload);
      return;
    case protocols.ethernet:
      p.carried.ethernet(p, at, length);
      return;
    default:
      p.text(` ip-proto-${protocol} ${length}`);
  }
}
