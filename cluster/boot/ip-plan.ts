// SPDX-License-Identifier: Apache-2.0
// Which addresses a cluster has, by the families asked for. Ranges are those that kind and kubeadm use, so that what people
// know by heart holds here. Pure.

import type { IpFamily } from '../network/addresses.ts';

/** kind's words; `dual` has IPv4 first. */
export type IpFamilyChoice = 'ipv4' | 'ipv6' | 'dual';

/** The first is the primary one: that of the API server, of cluster DNS and of Services that ask for none. */
export const familiesOf: Readonly<Record<IpFamilyChoice, readonly IpFamily[]>> = {
  ipv4: [4],
  ipv6: [6],
  dual: [4, 6],
};

export interface IpPlan {
  readonly podNetworks: readonly string[];
  /** Prefix length of a node's part of each pod network. */
  readonly nodeMaskSizes: readonly number[];
  readonly serviceNetworks: readonly string[];
  /** First address of each service network: the API server's own Service. */
  readonly apiServiceAddresses: readonly string[];
  readonly dnsServiceAddresses: readonly string[];
  /** What a server listens on that is to be reached by every family. */
  readonly wildcard: '0.0.0.0' | '::';
}

const ranges: Readonly<Record<IpFamily, { pods: string; mask: number; services: string; api: string; dns: string }>> = {
  4: { pods: '10.244.0.0/16', mask: 24, services: '10.96.0.0/16', api: '10.96.0.1', dns: '10.96.0.10' },
  6: { pods: 'fd00:10:244::/56', mask: 64, services: 'fd00:10:96::/112', api: 'fd00:10:96::1', dns: 'fd00:10:96::a' },
};

export function ipPlan(choice: IpFamilyChoice): IpPlan {
  const families = familiesOf[choice];
  const each = <T>(pick: (range: (typeof ranges)[IpFamily]) => T): T[] =>
    families.map((family) => pick(ranges[family]));
  return {
    podNetworks: each((range) => range.pods),
    nodeMaskSizes: each((range) => range.mask),
    serviceNetworks: each((range) => range.services),
    apiServiceAddresses: each((range) => range.api),
    dnsServiceAddresses: each((range) => range.dns),
    // An IPv6 socket takes IPv4 as well, but a kernel without IPv6 has none.
    wildcard: families.includes(6) ? '::' : '0.0.0.0',
  };
}

/** Networks of a LAN: the /24, and a /64 of unique local addresses that is told by the same numbers (fd00:172:28:7::/64). */
export function lanNetworks(prefix: string, choice: IpFamilyChoice): string[] {
  return familiesOf[choice].map((family) => (family === 4 ? `${prefix}.0/24` : `${lanPrefix6(prefix)}::/64`));
}

/** Addresses of one machine of the LAN by its last number: 172.28.7.10 and fd00:172:28:7::10. */
export function lanAddresses(prefix: string, host: number, choice: IpFamilyChoice): string[] {
  return familiesOf[choice].map((family) => (family === 4 ? `${prefix}.${host}` : `${lanPrefix6(prefix)}::${host}`));
}

/**
 * Addresses of the host on the LAN, with prefix length. The IPv4 one is always there: its route is by which another state
 * directory's clusters see that the LAN is taken.
 */
export function lanGateways(prefix: string, choice: IpFamilyChoice): string[] {
  return [`${prefix}.1/24`, ...(familiesOf[choice].includes(6) ? [`${lanPrefix6(prefix)}::1/64`] : [])];
}

function lanPrefix6(prefix: string): string {
  return ['fd00', ...prefix.split('.')].join(':');
}

/** Above the nodes and below what people may want for themselves. */
export function defaultLoadBalancerRange(prefix: string, choice: IpFamilyChoice): string {
  const [first, last] = [200, 239].map((host) => lanAddresses(prefix, host, choice)) as [string[], string[]];
  return first.map((address, index) => `${address}-${last[index] ?? ''}`).join(',');
}
