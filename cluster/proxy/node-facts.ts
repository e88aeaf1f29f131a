// SPDX-License-Identifier: Apache-2.0
// What the rules depend on besides Services: the node's place in the topology, its addresses, and the flags.

import { networkInterfaces } from 'node:os';

import { containsAddress, familyOf, parsePrefix } from '../network/addresses.ts';
import type { Node } from '../machinery/api-types.ts';
import type { RuleOptions } from './rule-writer.ts';

export interface ProxyFlags {
  readonly 'cluster-cidr': readonly string[];
  readonly 'nodeport-addresses': readonly string[];
}

export function ruleOptions(
  family: 'ip' | 'ip6',
  { flags, nodeName, node }: { flags: ProxyFlags; nodeName: string; node: Node | undefined },
): RuleOptions {
  const version = family === 'ip' ? 4 : 6;
  const ofFamily = (address: string): boolean => familyOf(address.split('/')[0] ?? '') === version;
  const internal = (node?.status?.addresses ?? []).filter(({ type }) => type === 'InternalIP');
  const primary = internal.map(({ address }) => address).filter(ofFamily);
  const asked = flags['nodeport-addresses'];
  const prefixes = asked.filter((cidr) => cidr !== 'primary' && ofFamily(cidr)).map(parsePrefix);
  const chosen = ownAddresses().filter(
    (address) => ofFamily(address) && prefixes.some((cidr) => containsAddress(cidr, address)),
  );
  return {
    node: { name: nodeName, zone: node?.metadata.labels?.['topology.kubernetes.io/zone'] },
    family,
    clusterCIDRs: flags['cluster-cidr'].filter(ofFamily),
    nodeAddresses: primary,
    nodePortAddresses:
      asked.length === 0 || prefixes.some(({ length }) => length === 0)
        ? undefined
        : [...new Set([...(asked.includes('primary') ? primary : []), ...chosen])],
  };
}

/** Addresses of this network namespace, both families. */
export function ownAddresses(): string[] {
  return Object.values(networkInterfaces()).flatMap((addresses) => (addresses ?? []).map(({ address }) => address));
}
