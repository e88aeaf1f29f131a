// SPDX-License-Identifier: Apache-2.0
// NetworkPolicies as an nftables table. Pure.
//
// A forwarded packet passes three base chains, in this order, after Services have been translated: `guard` drops what
// comes from or goes to an address of this node that no known pod has (a pod whose rules are not in yet), `egress`
// asks the policies that isolate the sender, `ingress` those that isolate the receiver. Only pods of this node that
// some policy selects have a chain; it accepts by the chains of their policies and ends in a counted drop that names
// pod and policies. Traffic between a node and its own pods passes other hooks and is always allowed.

import { createHash } from 'node:crypto';

import { matchesLabelSelector } from '../../machinery/selectors.ts';
import { familyOf, formatPrefix, parsePrefix, prefixContains, withoutContained } from '../addresses.ts';
import { counter, unless, verdict, when } from '../nft/ruleset.ts';
import type { LabelSelector, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort } from '../../machinery/api-types.ts';
import type { Chain, ElementSet, KeyType, Match, Rule, Table } from '../nft/ruleset.ts';
import type { PolicyPod } from './policy-pods.ts';

export interface PolicyInput {
  readonly policies: readonly NetworkPolicy[];
  /** Every pod of the cluster that policies may govern or refer to. */
  readonly pods: readonly PolicyPod[];
  /** Labels by namespace. */
  readonly namespaces: ReadonlyMap<string, Readonly<Record<string, string>>>;
  readonly nodeName: string;
  /** Blocks from which this node's pods have their addresses. */
  readonly podCIDRs: readonly string[];
}

export const policyTableName = 'plumb_policy';

type Direction = 'ingress' | 'egress';
type IpWord = 'ip' | 'ip6';

const families: readonly IpWord[] = ['ip', 'ip6'];
const longestName = 120;

export function compilePolicies(input: PolicyInput): Table {
  return new Compiler(input).table();
}

/** The directions in which a policy isolates the pods that it selects. */
export function policyDirections({ spec }: NetworkPolicy): readonly Direction[] {
  if (spec?.policyTypes === undefined || spec.policyTypes.length === 0) {
    return spec?.egress === undefined || spec.egress.length === 0 ? ['ingress'] : ['ingress', 'egress'];
  }
  return (['ingress', 'egress'] as const).filter((direction) =>
    spec.policyTypes?.some((type) => type.toLowerCase() === direction),
  );
}

/** How packets of one peer look in one address family. */
interface PeerMatch {
  readonly family: IpWord;
  readonly match: readonly Match[];
  /** Set where the peer is a set of pods, not a block of addresses. */
  readonly pods: readonly PolicyPod[] | undefined;
  /** Equal for peers that mean the same pods. */
  readonly scope: string;
}

interface NamedPortsRequest {
  readonly ports: readonly NetworkPolicyPort[];
  readonly receivers: readonly PolicyPod[];
  readonly families: readonly IpWord[];
  /** Equal for requests with the same receivers: they share a set. */
  readonly scope: string;
}

class Compiler {
  readonly #input: PolicyInput;
  readonly #chains = new Map<string, Chain>();
  readonly #sets = new Map<string, ElementSet>();
  readonly #podsByNamespace = new Map<string, PolicyPod[]>();
  readonly #selected = new Map<string, readonly PolicyPod[]>();

  constructor(input: PolicyInput) {
    this.#input = input;
    for (const pod of input.pods) {
      const pods = this.#podsByNamespace.get(pod.namespace);
      if (pods === undefined) this.#podsByNamespace.set(pod.namespace, [pod]);
      else pods.push(pod);
    }
  }

  table(): Table {
    const { pods, nodeName, policies } = this.#input;
    const local = pods.filter((pod) => pod.nodeName === nodeName && pod.ips.length > 0);
    this.#addBase(local);
    const isolating = new Map<PolicyPod, Record<Direction, NetworkPolicy[]>>();
    const ordered = policies.toSorted((a, b) => (policyName(a) < policyName(b) ? -1 : 1));
    for (const policy of ordered) {
      const namespace = policy.metadata.namespace ?? '';
      const selected = this.#podsOf(namespace, undefined, policy.spec?.podSelector ?? {});
      const here = selected.filter((pod) => pod.nodeName === nodeName && pod.ips.length > 0);
      if (here.length === 0) continue;
      for (const direction of policyDirections(policy)) {
        this.#addPolicyChain(policy, direction, here);
        for (const pod of here) {
          let record = isolating.get(pod);
          if (record === undefined) isolating.set(pod, (record = { ingress: [], egress: [] }));
          record[direction].push(policy);
        }
      }
    }
    for (const [pod, record] of isolating) {
      for (const direction of ['ingress', 'egress'] as const) {
        if (record[direction].length > 0) this.#addPodChain(pod, direction, record[direction]);
      }
    }
    return { family: 'inet', name: policyTableName, chains: this.#chains, sets: this.#sets };
  }

  /** The base chains, the guard's sets of known pods, and the maps from isolated pods to their chains. */
  #addBase(local: readonly PolicyPod[]): void {
    const established: Rule = { match: [when('ct state', 'established', 'related')], action: [verdict('accept')] };
    const guard: Rule[] = [established];
    const base: Record<Direction, Rule[]> = { egress: [established], ingress: [established] };
    for (const family of families) {
      const known = new Map(local.flatMap((pod) => ofFamily(pod.ips, family)).map((ip) => [ip, ''] as const));
      this.#sets.set(`local-${family}`, { key: [addressType(family)], elements: known });
      for (const direction of ['egress', 'ingress'] as const) {
        const end = direction === 'egress' ? 'saddr' : 'daddr';
        const map = `isolated-${direction}-${family}`;
        this.#sets.set(map, { key: [addressType(family)], value: 'verdict', elements: new Map() });
        base[direction].push({ match: [], action: [{ do: 'lookup', fields: `${family} ${end}`, map }] });
        for (const cidr of ofFamily(this.#input.podCIDRs, family)) {
          guard.push({
            match: [when(`${family} ${end}`, cidr), unless(`${family} ${end}`, `@local-${family}`)],
            action: [counter, verdict('drop')],
            comment: `guard: ${direction} of a pod whose policies are not known yet`,
          });
        }
      }
    }
    const forward = (priority: number, rules: Rule[]): Chain => ({
      hook: { type: 'filter', at: 'forward', priority },
      rules,
    });
    this.#chains.set('guard', forward(5, guard));
    this.#chains.set('egress', forward(10, base.egress));
    this.#chains.set('ingress', forward(20, base.ingress));
  }

  #addPodChain(pod: PolicyPod, direction: Direction, policies: readonly NetworkPolicy[]): void {
    const id = `${pod.namespace}/${pod.name}`;
    const name = cut(`${direction}-pod-${shortHash(`${id}/${pod.uid}`)}-${id}`);
    const rules: Rule[] = [];
    const far = direction === 'ingress' ? 'saddr' : 'daddr';
    for (const family of families) {
      const own = ofFamily(pod.ips, family);
      // A pod may always talk to itself, also by way of a Service.
      if (own.length > 0) rules.push({ match: [when(`${family} ${far}`, ...own)], action: [verdict('accept')] });
      for (const ip of own) this.#elements(`isolated-${direction}-${family}`).set(ip, `goto ${name}`);
    }
    for (const policy of policies) {
      rules.push({ match: [], action: [verdict(`jump ${policyChainName(policy, direction)}`)] });
    }
    rules.push({
      match: [],
      action: [counter, verdict('drop')],
      comment: `${direction} of ${id} not allowed by ${policies.map(policyName).join(', ')}`,
    });
    this.#chains.set(name, { rules });
  }

  /** Accepts what the policy allows; returns otherwise. `here` are the selected pods of this node. */
  #addPolicyChain(policy: NetworkPolicy, direction: Direction, here: readonly PolicyPod[]): void {
    const namespace = policy.metadata.namespace ?? '';
    const rules: Rule[] = [];
    const specRules =
      direction === 'ingress'
        ? (policy.spec?.ingress ?? []).map(({ from, ports }) => ({ peers: from, ports }))
        : (policy.spec?.egress ?? []).map(({ to, ports }) => ({ peers: to, ports }));
    for (const [index, { peers, ports }] of specRules.entries()) {
      const comment = `${policyName(policy)} ${direction}[${index}]`;
      const allow = (match: readonly Match[]): void =>
        void rules.push({ match, action: [counter, verdict('accept')], comment });
      const peerList: readonly (NetworkPolicyPeer | undefined)[] =
        peers === undefined || peers.length === 0 ? [undefined] : peers;
      for (const peer of peerList) {
        const matches = peer === undefined ? [undefined] : this.#peerMatches(peer, namespace, direction);
        for (const peerMatch of matches) {
          if (ports === undefined || ports.length === 0) {
            allow(peerMatch?.match ?? []);
            continue;
          }
          for (const match of numberedPorts(ports)) allow([...(peerMatch?.match ?? []), match]);
          // A name means the port that the receiving pod gives it: the selected pods for ingress, the peers for egress.
          const receivers = direction === 'ingress' ? here : (peerMatch?.pods ?? this.#input.pods);
          const receivingFamilies = peerMatch === undefined ? families : [peerMatch.family];
          const scope = direction === 'ingress' ? policyName(policy) : (peerMatch?.scope ?? '*');
          for (const match of this.#namedPorts({ ports, receivers, families: receivingFamilies, scope })) {
            allow([...(peerMatch?.match ?? []), match]);
          }
        }
      }
    }
    this.#chains.set(policyChainName(policy, direction), { rules });
  }

  /** Matches for one peer, one per address family (and block); `pods` where the peer is a set of pods. */
  #peerMatches(peer: NetworkPolicyPeer, namespace: string, direction: Direction): PeerMatch[] {
    const end = direction === 'ingress' ? 'saddr' : 'daddr';
    if (peer.ipBlock !== undefined) {
      const block = parsePrefix(peer.ipBlock.cidr);
      const family = block.family === 4 ? 'ip' : 'ip6';
      const except = withoutContained((peer.ipBlock.except ?? []).map(parsePrefix));
      if (except.some((prefix) => prefixContains(prefix, block))) return [];
      const match = [when(`${family} ${end}`, formatPrefix(block))];
      if (except.length > 0) match.push(unless(`${family} ${end}`, ...except.map(formatPrefix)));
      return [{ family, match, pods: undefined, scope: '*' }];
    }
    const pods = this.#podsOf(namespace, peer.namespaceSelector, peer.podSelector);
    const scope = peer.namespaceSelector === undefined ? namespace : canonical(peer.namespaceSelector);
    const selectors = `${scope}|${canonical(peer.podSelector ?? {})}`;
    const hash = shortHash(selectors);
    return families.flatMap((family) => {
      const addresses = pods.flatMap((pod) => ofFamily(pod.ips, family));
      if (family === 'ip6' && addresses.length === 0) return [];
      const set = `pods-${hash}-${family}`;
      this.#sets.set(set, {
        key: [addressType(family)],

        elements: new Map(addresses.map((ip) => [ip, ''])),
      });
      return [{ family, match: [when(`${family} ${end}`, `@${set}`)], pods, scope: selectors }];
    });
  }

  /** Sets of (address, protocol, port) under which the named ports are reached. */
  #namedPorts({ ports, receivers, families, scope }: NamedPortsRequest): Match[] {
    const names = ports.flatMap(({ port, protocol }) =>
      typeof port === 'string' ? [{ name: port, protocol: (protocol ?? 'TCP').toLowerCase() }] : [],
    );
    if (names.length === 0) return [];
    return families.flatMap((family) => {
      const elements = new Map<string, ''>();
      for (const pod of receivers) {
        for (const { name, protocol, port } of pod.ports) {
          if (!names.some((wanted) => wanted.name === name && wanted.protocol === protocol)) continue;
          for (const ip of ofFamily(pod.ips, family)) elements.set(`${ip} . ${protocol} . ${port}`, '');
        }
      }
      if (family === 'ip6' && elements.size === 0) return [];
      const key: KeyType[] = [addressType(family), 'inet_proto', 'inet_service'];
      const set = `ports-${shortHash(`${scope}|${canonical(names)}`)}-${family}`;
      this.#sets.set(set, { key, elements });
      return [when(`${family} daddr . meta l4proto . th dport`, `@${set}`)];
    });
  }

  /** Without a namespace selector the peer is of the policy's own namespace. */
  #podsOf(
    namespace: string,
    namespaceSelector: LabelSelector | undefined,
    podSelector: LabelSelector | undefined,
  ): readonly PolicyPod[] {
    const key = `${namespaceSelector === undefined ? namespace : canonical(namespaceSelector)}|${canonical(podSelector ?? {})}`;
    const known = this.#selected.get(key);
    if (known !== undefined) return known;
    const names =
      namespaceSelector === undefined
        ? [namespace]
        : [...this.#input.namespaces].flatMap(([name, labels]) =>
            matchesLabelSelector(namespaceSelector, labels) ? [name] : [],
          );
    const pods = names
      .flatMap((name) => this.#podsByNamespace.get(name) ?? [])
      .filter((pod) => matchesLabelSelector(podSelector ?? {}, pod.labels));
    this.#selected.set(key, pods);
    return pods;
  }

  #elements(set: string): Map<string, string> {
    return this.#sets.get(set)?.elements as Map<string, string>;
  }
}

/** Matches for ports given by number, range, or protocol alone; one per protocol. */
function numberedPorts(ports: readonly NetworkPolicyPort[]): Match[] {
  const ranges = new Map<string, [number, number][]>();
  const whole = new Set<string>();
  for (const { port, protocol, endPort } of ports) {
    const name = (protocol ?? 'TCP').toLowerCase();
    if (port === undefined) whole.add(name);
    else if (typeof port === 'number') ranges.set(name, [...(ranges.get(name) ?? []), [port, endPort ?? port]]);
  }
  return [
    ...[...whole].map((protocol) => when('meta l4proto', protocol)),
    ...[...ranges]
      .filter(([protocol]) => !whole.has(protocol))
      .map(([protocol, list]) => when(`${protocol} dport`, ...mergedRanges(list))),
  ];
}

/** Overlapping and adjoining ranges made one: nft refuses overlaps in a set. */
function mergedRanges(ranges: readonly (readonly [number, number])[]): string[] {
  const merged: [number, number][] = [];
  for (const [first, last] of ranges.toSorted((a, b) => a[0] - b[0])) {
    const previous = merged.at(-1);
    if (previous !== undefined && first <= previous[1] + 1) previous[1] = Math.max(previous[1], last);
    else merged.push([first, last]);
  }
  return merged.map(([first, last]) => (first === last ? String(first) : `${first}-${last}`));
}

function policyName({ metadata }: NetworkPolicy): string {
  return `${metadata.namespace}/${metadata.name}`;
}

function policyChainName(policy: NetworkPolicy, direction: Direction): string {
  const name = policyName(policy);
  return cut(`${direction}-policy-${shortHash(name)}-${name}`);
}

function ofFamily(addresses: readonly string[], family: IpWord): string[] {
  const number = family === 'ip' ? 4 : 6;
  return addresses.filter((address) => familyOf(address.split('/')[0] ?? '') === number);
}

function addressType(family: IpWord): KeyType {
  return family === 'ip' ? 'ipv4_addr' : 'ipv6_addr';
}

/** JSON with sorted keys: equal selectors have equal texts. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}

function shortHash(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 10);
}

function cut(name: string): string {
  return name.length <= longestName ? name : name.slice(0, longestName);
}
