// SPDX-License-Identifier: Apache-2.0
// Source translation for pods: none inside the cluster, so that every pod and node sees the real source; the node's own
// address towards everything else, which has no route back to pods. Pure.

import { when, unless } from './nft/ruleset.ts';
import type { ElementSet, KeyType, Rule, Table } from './nft/ruleset.ts';

export interface MasqueradeOptions {
  /** This node's pod blocks: the sources to translate. */
  readonly podCIDRs: readonly string[];
  readonly clusterCIDRs: readonly string[];
  /** Addresses of all nodes: they have routes to pods. */
  readonly nodeAddresses: readonly string[];
}

export function masqueradeTable({ podCIDRs, clusterCIDRs, nodeAddresses }: MasqueradeOptions): Table {
  const sets = new Map<string, ElementSet>();
  const rules: Rule[] = [];
  for (const family of ['ip', 'ip6'] as const) {
    const mine = (address: string): boolean => address.includes(':') === (family === 'ip6');
    const sources = podCIDRs.filter(mine);
    const set = `nodes-${family}`;
    const key: KeyType[] = [family === 'ip' ? 'ipv4_addr' : 'ipv6_addr'];
    sets.set(set, { key, elements: new Map(nodeAddresses.filter(mine).map((ip) => [ip, ''])) });
    if (sources.length === 0) continue;
    const inside = [...new Set([...clusterCIDRs.filter(mine), family === 'ip' ? '224.0.0.0/4' : 'ff00::/8'])];
    rules.push({
      match: [
        when(`${family} saddr`, ...sources),
        unless(`${family} daddr`, ...inside),
        unless(`${family} daddr`, `@${set}`),
      ],
      action: [{ do: 'masquerade' }],
      comment: 'pods leave the cluster with the address of their node',
    });
  }
  return {
    family: 'inet',
    name: 'plumb_network',
    sets,
    chains: new Map([['postrouting', { hook: { type: 'nat', at: 'postrouting', priority: 100 }, rules }]]),
  };
}
