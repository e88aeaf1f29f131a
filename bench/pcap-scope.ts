// SPDX-License-Identifier: Apache-2.0
/**
 * Which packets of a foreign capture the printer has to print as tcpdump does. Judged by what tshark and tcpdump say of a packet, never by our
 * own output: every protocol that tshark finds must be one that the printer promises, and tcpdump must not take a port for another one.
 */

/** Protocols that the printer promises, by tshark's names; plain data and what tshark says of damage may stand between them. */
const promised = new Set(
  (
    'frame eth ethertype vlan ieee8021ad sll raw null arp ip ipv6 ipv6.hopopts ipv6.dstopts ipv6.routing ipv6.fraghdr ' +
    'tcp tcp.segments mptcp udp sctp icmp icmpv6 vxlan geneve gre igmp esp ah wg dns mdns dhcp http tls ssh data _ws.malformed _ws.short _ws.unreassembled'
  ).split(' '),
);

/** What these carry is content to the printer, whatever it is: `http:json`, `tls:x509sat`. */
const opaque = new Set(['http', 'tls', 'ssh']);

/** Words of tcpdump for what is not promised, where tshark sees data only: they decide by port or type, which need not be the same ones. */
const takenFor =
  /\b(?:RADIUS|NTPv\d|BFD(?:v\d)?|OpenFlow|PGM|LISP|LWAPP|CAPWAP|SNMP|isakmp|sFlow(?:v\d)?|HSRP|RIP|RIPng|RIPv\d|L2TP|l2tp|pptp|KDC_\w+|AODV|aodv|BCM-LI|PTPv\d|ZEP|SIP|RPKI|ZMTP|BGP|RESP|MSDP|LDP|AHCP|babel|hncp|OLSRv\d|NetFlow|SYSLOG|UDP-encap|TFTP|tftp|timed|VQP|MPLS|NSH|RTSP|Lspping|LMP|rx|NFS|nfs|NBT|SMB|SOMEIP|someip|VAT|vat|ForCES|VRRPv\d+|WHOIS|VQPv\d|wb-\d+|CALM|GeoNet|CLNP|CCP)\b|\[\|(?:isoclns|macsec|zephyr|isakmp_rfc3948|snmp|krb)\]|\(protocol 0x|\[!init SEQ\]|\.(?:88) > \S+: $/;

/** undefined: it has to be printed as tcpdump prints it. Otherwise the reason why it need not be. `lines` are those of tcpdump without flags. */
export function outOfScope(protocols: string, lines: string): string | undefined {
  const names = protocols.split(':');
  for (const [index, name] of names.entries()) {
    if (!promised.has(name)) return `carries ${name}`;
    if (opaque.has(name) && index + 1 < names.length) break;
  }
  const taken = takenFor.exec(lines.replaceAll(/\n\t0x.*/g, ''));
  return taken === null ? undefined : `tcpdump takes it for ${taken[0]}`;
}

const beginning = /^(?:\s*\d+ {2})?(?:\d{4}-\d\d-\d\d )?(?:\d\d:\d\d:\d\d\.\d+|\[Error converting time\]) /;

/** Lines of tcpdump by packet; what follows a packet's first line belongs to it. */
export function splitLines(text: string): string[] {
  const packets: string[] = [];
  for (const line of text.replace(/\n$/, '').split('\n')) {
    if (beginning.test(line) || packets.length === 0) packets.push(line);
    else packets.push(`${packets.pop()}\n${line}`);
  }
  return packets;
}
