// SPDX-License-Identifier: Apache-2.0
// Ports and blocks of addresses of policies as nft matches. Pure.

import { familyOf, formatPrefix, parsePrefix, prefixContains, withoutContained } from '../addresses.ts';
import { unless, when } from '../nft/ruleset.ts';
import type { IPBlock, NetworkPolicyPort } from '../../machinery/api-types.ts';
import type { KeyType, Match } from '../nft/ruleset.ts';
import type { ClusterProtocol } from './cluster-network-policy.ts';

export type IpWord = 'ip' | 'ip6';
export type FarEnd = 'saddr' | 'daddr';

/** Ports as a rule names them. Names mean another number on each pod; without protocol they mean a port of any. */
export interface Ports {
  readonly matches: readonly Match[];
  readonly names: readonly PortName[];
}

export interface PortName {
  readonly name: string;
  readonly protocol: string | undefined;
}

export interface AddressMatch {
  readonly family: IpWord;
  readonly match: readonly Match[];
}

interface PortRange {
  readonly protocol: string;
  readonly first: number;
  readonly last: number;
}

const allPorts = { first: 0, last: 65_535 };

export function networkPolicyPorts(ports: readonly NetworkPolicyPort[]): Ports {
  const ranges: PortRange[] = [];
  const names: PortName[] = [];
  for (const { port, protocol = 'TCP', endPort } of ports) {
    const word = protocol.toLowerCase();
    if (port === undefined) ranges.push({ protocol: word, ...allPorts });
    else if (typeof port === 'number') ranges.push({ protocol: word, first: port, last: endPort ?? port });
    else names.push({ name: port, protocol: word });
  }
  return { matches: rangeMatches(ranges), names };
}

export function clusterPolicyPorts(protocols: readonly ClusterProtocol[]): Ports {
  const ranges: PortRange[] = [];
  const names: PortName[] = [];
  for (const one of protocols) {
    if (one.destinationNamedPort !== undefined) names.push({ name: one.destinationNamedPort, protocol: undefined });
    for (const protocol of ['tcp', 'udp', 'sctp'] as const) {
      const fields = one[protocol];
      if (fields === undefined) continue;
      const { number, range } = fields.destinationPort ?? {};
      if (number !== undefined) ranges.push({ protocol, first: number, last: number });
      else if (range !== undefined) ranges.push({ protocol, first: range.start, last: range.end });
      else ranges.push({ protocol, ...allPorts });
    }
  }
  return { matches: rangeMatches(ranges), names };
}

/** undefined for a block that is all excepted, or that cannot be read: it then means nobody. */
export function blockMatch({ cidr, except = [] }: IPBlock, end: FarEnd): AddressMatch | undefined {
  try {
    const block = parsePrefix(cidr);
    const holes = withoutContained(except.map(parsePrefix));
    if (holes.some((hole) => prefixContains(hole, block))) return undefined;
    const family = block.family === 4 ? 'ip' : 'ip6';
    const match = [when(`${family} ${end}`, formatPrefix(block))];
    if (holes.length > 0) match.push(unless(`${family} ${end}`, ...holes.map(formatPrefix)));
    return { family, match };
  } catch {
    return undefined;
  }
}

/** One match per address family that the blocks have. */
export function networksMatches(cidrs: readonly string[], end: FarEnd): AddressMatch[] {
  const prefixes = cidrs.flatMap((cidr) => {
    try {
      return [parsePrefix(cidr)];
    } catch {
      return [];
    }
  });
  return (['ip', 'ip6'] as const).flatMap((family) => {
    const own = withoutContained(prefixes.filter((prefix) => prefix.family === (family === 'ip' ? 4 : 6)));
    return own.length === 0 ? [] : [{ family, match: [when(`${family} ${end}`, ...own.map(formatPrefix))] }];
  });
}

export function ofFamily(addresses: readonly string[], family: IpWord): string[] {
  const number = family === 'ip' ? 4 : 6;
  return addresses.filter((address) => familyOf(address.split('/')[0] ?? '') === number);
}

export function addressType(family: IpWord): KeyType {
  return family === 'ip' ? 'ipv4_addr' : 'ipv6_addr';
}

/** One match per protocol. */
function rangeMatches(ranges: readonly PortRange[]): Match[] {
  const byProtocol = Map.groupBy(ranges, ({ protocol }) => protocol);
  return [...byProtocol].map(([protocol, list]) =>
    list.some(({ first, last }) => first === allPorts.first && last === allPorts.last)
      ? when('meta l4proto', protocol)
      : when(`${protocol} dport`, ...mergedRanges(list)),
  );
}

/** Overlapping and adjoining ranges made one: nft refuses overlaps in a set. */
function mergedRanges(ranges: readonly PortRange[]): string[] {
  const merged: { first: number; last: number }[] = [];
  for (const { first, last } of ranges.toSorted((a, b) => a.first - b.first)) {
    const previous = merged.at(-1);
    if (previous !== undefined && first <= previous.last + 1) previous.last = Math.max(previous.last, last);
    else merged.push({ first, last });
  }
  return merged.map(({ first, last }) => (first === last ? String(first) : `${first}-${last}`));
}
