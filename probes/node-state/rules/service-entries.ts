// SPDX-License-Identifier: Apache-2.0
/** The addresses and ports for which a Service proxy has written rules: kube-proxy's table of nft, its chains of iptables, and IPVS. */
import { isIP } from 'node:net';
import type { Family, NodeState } from '../node-state.ts';
import { listOf, objectOf } from '../parse/json-fields.ts';

export interface RuleEntry {
  readonly family: Family;
  /** Undefined: any address of the node. */
  readonly address: string | undefined;
  readonly protocol: string;
  readonly port: number;
  /** The element or rule, to be shown. */
  readonly text: string;
}

export interface ServiceEntries {
  /** `none`: no proxy that writes rules is to be seen on this node. */
  readonly kind: 'nftables' | 'iptables' | 'none';
  readonly entries: readonly RuleEntry[];
}

const protocolNames: Readonly<Record<string, string>> = { 6: 'tcp', 17: 'udp', 132: 'sctp' };

export function serviceEntries(state: NodeState): ServiceEntries {
  const tables = (state.nft?.tables ?? []).filter(({ name }) => name === 'kube-proxy');
  if (tables.some(({ chains }) => chains.some(({ hook }) => hook !== undefined)))
    return { kind: 'nftables', entries: nftEntries(state) };
  const hasIptables = state.iptables.some(({ tables: all }) =>
    all.some(({ name, chains }) => name === 'nat' && chains.some((chain) => chain.name === 'KUBE-SERVICES')),
  );
  return hasIptables ? { kind: 'iptables', entries: iptablesEntries(state) } : { kind: 'none', entries: [] };
}

function nftEntries({ nft }: NodeState): RuleEntry[] {
  const found = new Map<string, RuleEntry>();
  for (const table of nft?.tables ?? []) {
    if (table.name !== 'kube-proxy') continue;
    for (const set of table.sets) {
      if (set.kind !== 'map') continue;
      for (const element of set.elements) {
        const parts = partsOf(element);
        const hasAddress = parts.length === 3 && isIP(String(parts[0])) !== 0;
        if (!hasAddress && !(parts.length === 2 && isIP(String(parts[0])) === 0)) continue;
        const [protocol, port] = parts.slice(-2);
        const name = protocolNames[String(protocol)] ?? String(protocol);
        if (!['tcp', 'udp', 'sctp'].includes(name) || !Number.isInteger(Number(port))) continue;
        const entry: RuleEntry = {
          family: table.family === 'ip6' ? 6 : 4,
          address: hasAddress ? String(parts[0]) : undefined,
          protocol: name,
          port: Number(port),
          text: `nft ${table.family} ${table.name} map ${set.name} (handle ${set.handle}): ${parts.join(' . ')}`,
        };
        const key = `${entry.family} ${entry.address} ${name} ${entry.port}`;
        if (!found.has(key)) found.set(key, entry);
      }
    }
  }
  return [...found.values()];
}

/** Of a map's element: what its key is made of. */
function partsOf(element: unknown): readonly (string | number)[] {
  const key: unknown = listOf(element)[0];
  const inner: unknown = objectOf(objectOf(key)['elem'])['val'] ?? key;
  return listOf(objectOf(inner)['concat']).filter((part) => typeof part === 'string' || typeof part === 'number');
}

function iptablesEntries({ iptables }: NodeState): RuleEntry[] {
  const found: RuleEntry[] = [];
  for (const { family, backend, tables } of iptables) {
    for (const { name, chains } of tables) {
      if (name !== 'nat') continue;
      for (const chain of chains) {
        if (chain.name !== 'KUBE-SERVICES' && chain.name !== 'KUBE-NODEPORTS') continue;
        for (const [index, rule] of chain.rules.entries()) {
          const option = (wanted: string): string | undefined =>
            rule.options.find((one) => one.name === wanted && !one.negated)?.values[0];
          const port = option('--dport');
          const protocol = option('-p');
          const address = option('-d')?.replace(/\/(32|128)$/, '');
          if (
            port === undefined ||
            protocol === undefined ||
            (address === undefined) !== (chain.name === 'KUBE-NODEPORTS')
          )
            continue;
          found.push({
            family,
            address,
            protocol,
            port: Number(port),
            text: `iptables (${backend}) nat ${chain.name} rule ${index + 1}: ${rule.text}`,
          });
        }
      }
    }
  }
  return found;
}
