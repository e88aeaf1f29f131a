// SPDX-License-Identifier: Apache-2.0
/** Numbers of protocols over IP. */
export const protocols = { icmp: 1, ip4: 4, tcp: 6, udp: 17, ip6: 41, gre: 47, icmp6: 58, sctp: 132 } as const;
