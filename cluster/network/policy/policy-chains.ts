// SPDX-License-Identifier: Apache-2.0
// One policy and direction as one chain, with the sets and counters that it needs. A chain depends on the policy's spec
// and the cluster's address families alone: what pods and nodes there are is in sets, so that their coming and going never changes a rule.

import { counted, verdict, when } from '../nft/ruleset.ts';
import {
  blockMatch,
  clusterPolicyPorts,
  networkPolicyPorts,
  networksMatches,
  ofFamily,
  type FarEnd,
  type IpWord,
  type PortName,
  type Ports,
} from './rule-matches.ts';
import { shortHash, type PolicySet, type PolicySets } from './policy-sets.ts';
import type { NetworkPolicy, NetworkPolicyPeer } from '../../machinery/api-types.ts';
import type { Chain, Match, Rule, Statement } from '../nft/ruleset.ts';
import type { ClusterNetworkPolicy, ClusterPeer, PodsPeer } from './cluster-network-policy.ts';
import type { Selection, Selections, Spaces } from './selections.ts';

export type Direction = 'ingress' | 'egress';

export interface PolicyChain {
  readonly name: string;
  readonly chain: Chain;
  readonly sets: readonly PolicySet[];
  /** Comments by name. */
  readonly counters: ReadonlyMap<string, string>;
}

export interface ChainContext {
  readonly families: readonly IpWord[];
  readonly selections: Selections;
  readonly sets: PolicySets;
}

/** Chains and counters have names of at most this many characters. */
const longestName = 120;

/** How packets of one peer look in one address family. */
interface PeerMatch {
  readonly family: IpWord;
  readonly match: readonly Match[];
  /** The peer's pods, whose port names count when it receives; absent where it is addresses, of whatever pod. */
  readonly receivers?: Selection;
}

/** Accepts what the NetworkPolicy allows; returns otherwise. */
export function networkPolicyChain(policy: NetworkPolicy, direction: Direction, context: ChainContext): PolicyChain {
  const builder = new ChainBuilder(context, direction);
  const namespace = policy.metadata.namespace ?? '';
  const name = policyName(policy);
  const subject = networkPolicySubject(policy, context.selections);
  const rules =
    direction === 'ingress'
      ? (policy.spec?.ingress ?? []).map(({ from, ports }) => ({ peers: from, ports }))
      : (policy.spec?.egress ?? []).map(({ to, ports }) => ({ peers: to, ports }));
  for (const [index, { peers, ports }] of rules.entries()) {
    const comment = `${name} ${direction}[${index}]`;
    const counter = cutName(`np/${name}/${direction}/${index}`);
    builder.add({
      peers:
        peers === undefined || peers.length === 0
          ? undefined
          : peers.flatMap((peer) => builder.networkPolicyPeer(peer, namespace)),
      ports: ports === undefined || ports.length === 0 ? undefined : networkPolicyPorts(ports),
      subject,
      action: () => [counted(counter), verdict('accept')],
      comment,
    });
    builder.counters.set(counter, `${comment}: accepted`);
  }
  builder.counters.set(dropCounterName(policy, direction), `${name} ${direction}: in no rule, dropped`);
  return builder.chain(networkChainName(policy, direction));
}

/** Accepts, drops, or leads to what follows the tier, by the first rule that matches; returns where none does. */
export function clusterPolicyChain(
  policy: ClusterNetworkPolicy,
  direction: Direction,
  context: ChainContext,
): PolicyChain {
  const builder = new ChainBuilder(context, direction);
  const name = policy.metadata.name ?? '';
  const { tier } = policy.spec;
  const subject = podsPeer(policy.spec.subject, context.selections);
  const rules =
    direction === 'ingress'
      ? (policy.spec.ingress ?? []).map((rule) => ({ rule, peers: rule.from ?? [] }))
      : (policy.spec.egress ?? []).map((rule) => ({ rule, peers: rule.to ?? [] }));
  for (const [index, { rule, peers }] of rules.entries()) {
    const { action, protocols } = rule;
    const place = `${name} ${tier} ${direction}[${index}]`;
    const comment = `${place}${rule.name === undefined ? '' : ` ${rule.name}`}: ${action}`;
    const counter = cutName(`cnp/${tier}/${name}/${direction}/${index}/${action}`.toLowerCase());
    // A peer of a kind that is not known here was made for a later version: it must not open anything.
    const closed = peers.some((peer) => !isKnown(peer));
    if (closed && action === 'Accept') continue;
    builder.counters.set(counter, `${place}: ${action}`);
    builder.add({
      peers: closed ? undefined : peers.flatMap((peer) => builder.clusterPolicyPeer(peer)),
      ports: closed || protocols === undefined ? undefined : clusterPolicyPorts(protocols),
      subject,
      action: (family) => {
        if (action === 'Deny' || closed) return [counted(counter), { do: 'counter' }, verdict('drop')];
        if (action === 'Accept' || tier === 'Baseline') return [counted(counter), verdict('accept')];
        return [counted(counter), builder.toNextTier(family)];
      },
      comment,
    });
  }
  return builder.chain(clusterChainName(policy, direction));
}

export function networkPolicySubject(policy: NetworkPolicy, selections: Selections): Selection {
  return selections.of({ name: policy.metadata.namespace ?? '' }, policy.spec?.podSelector ?? {});
}

/** Nobody, where the peer is of another kind. */
export function podsPeer({ namespaces, pods }: PodsPeer, selections: Selections): Selection {
  if (namespaces !== undefined) return selections.of({ selector: namespaces }, {});
  if (pods === undefined) return selections.of({ name: '' }, {});
  return selections.of({ selector: pods.namespaceSelector ?? {} }, pods.podSelector ?? {});
}

/** Where an Admin policy's Pass leads: the pod's next tier, by the pod's address. */
export function nextTierMap(direction: Direction, family: IpWord): string {
  return `after-admin-${direction}-${family}`;
}

/** Counts packets that no policy allowed, once for each policy that isolates the pod. */
export function dropCounterName(policy: NetworkPolicy, direction: Direction): string {
  return cutName(`np/${policyName(policy)}/${direction}/drop`);
}

export function policyName({ metadata }: NetworkPolicy): string {
  return `${metadata.namespace}/${metadata.name}`;
}

/** Names of what is cut are made different by a hash. */
export function cutName(name: string): string {
  return name.length <= longestName ? name : `${name.slice(0, longestName - 11)}-${shortHash(name)}`;
}

export function networkChainName(policy: NetworkPolicy, direction: Direction): string {
  return cutName(`${direction}-policy-${policyName(policy)}`);
}

export function clusterChainName({ metadata, spec }: ClusterNetworkPolicy, direction: Direction): string {
  return cutName(`${direction}-${spec.tier.toLowerCase()}-policy-${metadata.name}`);
}

function isKnown(peer: ClusterPeer): boolean {
  return [peer.namespaces, peer.pods, peer.nodes, peer.networks].some((field) => field !== undefined);
}

class ChainBuilder {
  readonly counters = new Map<string, string>();
  readonly #context: ChainContext;
  readonly #direction: Direction;
  readonly #far: FarEnd;
  readonly #rules: Rule[] = [];
  readonly #sets = new Set<PolicySet>();

  constructor(context: ChainContext, direction: Direction) {
    this.#context = context;
    this.#direction = direction;
    this.#far = direction === 'ingress' ? 'saddr' : 'daddr';
  }

  chain(name: string): PolicyChain {
    return { name, chain: { rules: this.#rules }, sets: [...this.#sets], counters: this.counters };
  }

  /** One rule per peer, family and protocol. Without `peers` everybody; without `ports` every packet. */
  add(rule: {
    readonly peers: readonly PeerMatch[] | undefined;
    readonly ports: Ports | undefined;
    readonly subject: Selection;
    readonly action: (family: IpWord | undefined) => readonly Statement[];
    readonly comment: string;
  }): void {
    const { ports, subject, action, comment } = rule;
    const put = (match: readonly Match[], family: IpWord | undefined): void =>
      void this.#rules.push({ match, action: action(family), comment });
    for (const peer of rule.peers ?? [undefined]) {
      const match = peer?.match ?? [];
      if (ports === undefined) {
        put(match, peer?.family);
        continue;
      }
      for (const port of ports.matches) put([...match, port], peer?.family);
      if (ports.names.length === 0) continue;
      // A name means the port that the receiving pod gives it: the selected pods for ingress, the peers for egress.
      const receivers = this.#direction === 'ingress' ? subject : (peer?.receivers ?? this.#everyPod());
      for (const family of peer === undefined ? this.#context.families : [peer.family]) {
        put([...match, this.#namedPorts(receivers, ports.names, family)], family);
      }
    }
  }

  toNextTier(family: IpWord | undefined): Statement {
    const near = this.#direction === 'ingress' ? 'daddr' : 'saddr';
    const word = family ?? 'ip';
    return { do: 'lookup', fields: `${word} ${near}`, map: nextTierMap(this.#direction, word) };
  }

  /** Without a namespace selector the peer is of the policy's own namespace. */
  networkPolicyPeer({ ipBlock, namespaceSelector, podSelector }: NetworkPolicyPeer, namespace: string): PeerMatch[] {
    if (ipBlock !== undefined) {
      const block = blockMatch(ipBlock, this.#far);
      return block === undefined ? [] : [block];
    }
    const spaces: Spaces = namespaceSelector === undefined ? { name: namespace } : { selector: namespaceSelector };
    return this.#pods(this.#context.selections.of(spaces, podSelector ?? {}));
  }

  clusterPolicyPeer(peer: ClusterPeer): PeerMatch[] {
    if (peer.networks !== undefined) return networksMatches(peer.networks, this.#far);
    const { nodes } = peer;
    if (nodes !== undefined) {
      return this.#context.families.map((family) => {
        const set = this.#use(this.#context.sets.nodes(nodes, family));
        return { family, match: [when(`${family} ${this.#far}`, set)] };
      });
    }
    return this.#pods(podsPeer(peer, this.#context.selections));
  }

  #pods(selection: Selection): PeerMatch[] {
    return this.#context.families.map((family) => {
      const set = this.#use(this.#context.sets.pods(selection, family));
      return { family, match: [when(`${family} ${this.#far}`, set)], receivers: selection };
    });
  }

  #namedPorts(receivers: Selection, names: readonly PortName[], family: IpWord): Match {
    const set = this.#use(this.#context.sets.ports(receivers, names, family));
    return when(`${family} daddr . meta l4proto . th dport`, set);
  }

  #everyPod(): Selection {
    return this.#context.selections.of({ selector: {} }, {});
  }

  #use(set: PolicySet): string {
    this.#sets.add(set);
    return `@${set.name}`;
  }
}

/** Matches for packets to a pod's own addresses. */
export function ownAddresses(ips: readonly string[], far: FarEnd): Match[] {
  return (['ip', 'ip6'] as const).flatMap((family) => {
    const own = ofFamily(ips, family);
    return own.length === 0 ? [] : [when(`${family} ${far}`, ...own)];
  });
}
