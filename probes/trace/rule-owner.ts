// SPDX-License-Identifier: Apache-2.0
/** Whose rule it is that dropped a packet, as its table, chain and comment tell. Pure. */
import type { RuleStep } from './observations.ts';

export type RuleOwner = 'service-proxy' | 'policy-engine' | 'network-plugin' | 'foreign';

/** Names by which well-known programs' rules are recognised; the first that fits holds. */
const known: readonly { readonly pattern: RegExp; readonly owner: RuleOwner }[] = [
  {
    pattern:
      /\bcali-(?:tw|fw|pi|po|pri|pro|to-wl|from-wl)|network-?polic|netpol|KUBE-NWPLCY|KUBE-POD-FW|WEAVE-NPC|ANTREA-POL|_policy\b|policies\b/i,
    owner: 'policy-engine',
  },
  { pattern: /kube-proxy|\bKUBE-|no-endpoint/, owner: 'service-proxy' },
  { pattern: /\bcali-|CILIUM_|FLANNEL-|WEAVE|ANTREA-|CNI-|kindnet|OVN-KUBE|_network\b/i, owner: 'network-plugin' },
];

export function ownerOf({ table, chain, rule = '' }: Pick<RuleStep, 'table' | 'chain' | 'rule'>): RuleOwner {
  const comment = /comment "([^"]*)"/.exec(rule)?.[1] ?? '';
  const text = `${table} ${chain} ${comment}`;
  return known.find(({ pattern }) => pattern.test(text))?.owner ?? 'foreign';
}

export function commentOf({ rule = '' }: RuleStep): string | undefined {
  return /comment "([^"]*)"/.exec(rule)?.[1];
}
