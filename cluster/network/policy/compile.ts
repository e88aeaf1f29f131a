// SPDX-License-Identifier: Apache-2.0
// NetworkPolicies and ClusterNetworkPolicies as an nftables table.
//
// A forwarded packet passes three base chains, in this order, after Services have been translated: `guard` drops what
// comes from or goes to an address of this node that no known pod has (a pod whose rules are not in yet), `egress`
// asks the policies that hold for the sender, `ingress` those for the receiver. Only pods of this node that some policy
// selects have chains, up to one per tier and direction: Admin, NetworkPolicy, Baseline. Each asks the chains of the
// policies and goes on to the next tier, or ends in a counted drop that names pod and policies. What a pod sends to its own node
// passes `egress-to-node`, where cluster policies hold and NetworkPolicies do not; what a node sends to its own pods is always allowed.
//
// Every packet of a connection's opener is asked about, not only the first: a policy that comes later ends the connection.
// Answers pass for as long as conntrack knows the connection.

import { unless, verdict, when } from '../nft/ruleset.ts';
import {
  clusterChainName,
  clusterPolicyChain,
  cutName,
  dropCounterName,
  networkChainName,
  networkPolicyChain,
  networkPolicySubject,
  nextTierMap,
  ownAddresses,
  podsPeer,
  policyName,
  type ChainContext,
  type Direction,
  type PolicyChain,
} from './policy-chains.ts';
import { PolicySets, shortHash, type PolicyNode } from './policy-sets.ts';
import { addressType, ofFamily, type IpWord } from './rule-matches.ts';
import { Selections, type NamespaceLabels, type Selection } from './selections.ts';
import type { NetworkPolicy } from '../../machinery/api-types.ts';
import type { Chain, ElementSet, Rule, Statement, Table, Verdict } from '../nft/ruleset.ts';
import type { ClusterNetworkPolicy } from './cluster-network-policy.ts';
import type { PolicyPod } from './policy-pods.ts';

export interface PolicyInput {
  readonly policies: readonly NetworkPolicy[];
  readonly clusterPolicies: readonly ClusterNetworkPolicy[];
  /** Every pod of the cluster that policies may govern or refer to. */
  readonly pods: Iterable<PolicyPod>;
  readonly nodes: readonly PolicyNode[];
  readonly namespaces: NamespaceLabels;
  readonly nodeName: string;
  /** Blocks from which this node's pods have their addresses; they also tell the cluster's address families. */
  readonly podCIDRs: readonly string[];
}

export const policyTableName = 'plumb_policy';

const bothFamilies: readonly IpWord[] = ['ip', 'ip6'];
const directions: readonly Direction[] = ['ingress', 'egress'];
/** A rule of the kernel holds 128 expressions; drops of pods with more policies count for the first of them only. */
const mostDropCounters = 32;

type Policy = NetworkPolicy | ClusterNetworkPolicy;
type TierName = 'admin' | 'pod' | 'baseline';

/** The policies of one pod and direction, by tier, each in the order in which it is asked. */
interface Tiers {
  readonly admin: ClusterNetworkPolicy[];
  readonly pod: NetworkPolicy[];
  readonly baseline: ClusterNetworkPolicy[];
}

interface PodChains {
  readonly pod: PolicyPod;
  readonly tiers: Tiers;
  readonly chains: ReadonlyMap<string, Chain>;
  /** Where the pod's packets go first, what follows Pass of the Admin tier, and where packets to its node go. */
  readonly first: Verdict;
  readonly afterAdmin: Verdict | undefined;
  readonly toNode: Verdict | undefined;
}

/** A policy's chains as they were made; only what selects pods of this node has any. */
interface Compiled {
  readonly subject: Selection;
  readonly chains: Partial<Record<Direction, PolicyChain>>;
}

/** The table for a state of the cluster, from nothing. */
export function compilePolicies(input: PolicyInput): Table {
  return new PolicyCompiler().compile(input);
}

/** Keeps what did not change from one state to the next: a change costs what it affects, and unchanged parts of two tables are the same objects. */
export class PolicyCompiler {
  readonly #selections = new Selections();
  readonly #sets = new PolicySets();
  #families: readonly IpWord[] = [];
  #compiled = new Map<Policy, Compiled>();
  #podChains = new Map<string, PodChains>();
  readonly #policiesInOrder = new Ordered(byName);
  readonly #clusterPoliciesInOrder = new Ordered(byPriority);
  readonly #local = new WeakMap<Selection, { version: number; nodeName: string; pods: readonly PolicyPod[] }>();

  compile(input: PolicyInput): Table {
    const { nodeName, podCIDRs } = input;
    const families = familiesOf(podCIDRs);
    if (families.join() !== this.#families.join()) {
      this.#families = families;
      this.#compiled = new Map();
    }
    this.#selections.update(input.pods, input.namespaces);
    this.#sets.update(input.nodes);
    const local = this.#localPods(this.#selections.of({ selector: {} }, {}), nodeName);
    const table = new TableBuilder(podCIDRs, local);
    const tiersOf = this.#policies(input, table);
    const podChains = new Map<string, PodChains>();
    for (const [pod, byDirection] of tiersOf) {
      for (const direction of directions) {
        const tiers = byDirection[direction];
        if (tiers.admin.length + tiers.pod.length + tiers.baseline.length === 0) continue;
        const key = `${direction} ${pod.namespace}/${pod.name}/${pod.uid}`;
        const before = this.#podChains.get(key);
        const same = before !== undefined && before.pod === pod && sameTiers(before.tiers, tiers);
        const chains = same ? before : chainsOfPod(pod, direction, tiers);
        podChains.set(key, chains);
        table.addPod(chains, direction);
      }
    }
    this.#podChains = podChains;
    this.#selections.sweep();
    this.#sets.sweep();
    return table.table();
  }

  /** Adds the chains of all policies that select pods of this node, and tells which these are for each pod. */
  #policies(input: PolicyInput, table: TableBuilder): Map<PolicyPod, Record<Direction, Tiers>> {
    const result = new Map<PolicyPod, Record<Direction, Tiers>>();
    const compiled = new Map<Policy, Compiled>();
    const context: ChainContext = { families: this.#families, selections: this.#selections, sets: this.#sets };
    const take = <P extends Policy>(
      policy: P,
      how: {
        readonly subject: () => Selection;
        readonly directions: readonly Direction[];
        readonly chain: (direction: Direction) => PolicyChain;
        readonly tier: (tiers: Tiers) => P[];
      },
    ): void => {
      const known = this.#compiled.get(policy);
      const subject = known?.subject ?? how.subject();
      const here = this.#localPods(subject, input.nodeName);
      if (here.length === 0) return;
      const chains = known?.chains ?? Object.fromEntries(how.directions.map((one) => [one, how.chain(one)]));
      compiled.set(policy, { subject, chains });
      this.#selections.keep(subject);
      for (const direction of how.directions) {
        const chain = chains[direction];
        if (chain === undefined) continue;
        table.addPolicy(chain);
        for (const set of chain.sets) {
          this.#sets.keep(set);
          if (set.selection !== undefined) this.#selections.keep(set.selection);
        }
        for (const pod of here) {
          let tiers = result.get(pod);
          if (tiers === undefined) result.set(pod, (tiers = { ingress: emptyTiers(), egress: emptyTiers() }));
          how.tier(tiers[direction]).push(policy);
        }
      }
    };
    for (const policy of this.#policiesInOrder.of(input.policies)) {
      take(policy, {
        subject: () => networkPolicySubject(policy, this.#selections),
        directions: policyDirections(policy),
        chain: (direction) => networkPolicyChain(policy, direction, context),
        tier: (tiers) => tiers.pod,
      });
    }
    for (const policy of this.#clusterPoliciesInOrder.of(input.clusterPolicies)) {
      take(policy, {
        subject: () => podsPeer(policy.spec.subject, this.#selections),
        directions: directions.filter((direction) => (policy.spec[direction] ?? []).length > 0),
        chain: (direction) => clusterPolicyChain(policy, direction, context),
        tier: (tiers) => (policy.spec.tier === 'Admin' ? tiers.admin : tiers.baseline),
      });
    }
    this.#compiled = compiled;
    return result;
  }

  #localPods(selection: Selection, nodeName: string): readonly PolicyPod[] {
    const known = this.#local.get(selection);
    if (known !== undefined && known.version === selection.version && known.nodeName === nodeName) return known.pods;
    const pods = [...selection.pods.values()].filter((pod) => pod.nodeName === nodeName && pod.ips.length > 0);
    this.#local.set(selection, { version: selection.version, nodeName, pods });
    return pods;
  }
}

/** A list in order, sorted again only when something in it is another object. */
class Ordered<T> {
  readonly #compare: (one: T, other: T) => number;
  #list: readonly T[] = [];
  #sorted: readonly T[] = [];

  constructor(compare: (one: T, other: T) => number) {
    this.#compare = compare;
  }

  of(list: readonly T[]): readonly T[] {
    const same = list.length === this.#list.length && list.every((one, index) => one === this.#list[index]);
    if (!same) {
      this.#sorted = list.toSorted(this.#compare);
      // A copy: the caller may change its own.
      this.#list = [...list];
    }
    return this.#sorted;
  }
}

/** The directions in which a policy isolates the pods that it selects. */
export function policyDirections({ spec }: NetworkPolicy): readonly Direction[] {
  if (spec?.policyTypes === undefined || spec.policyTypes.length === 0) {
    return spec?.egress === undefined || spec.egress.length === 0 ? ['ingress'] : ['ingress', 'egress'];
  }
  return directions.filter((direction) => spec.policyTypes?.some((type) => type.toLowerCase() === direction));
}

function byName(one: NetworkPolicy, other: NetworkPolicy): number {
  return policyName(one) < policyName(other) ? -1 : 1;
}

/** Which of equal priorities is asked first is not defined; by name it is at least the same on every node. */
function byPriority(one: ClusterNetworkPolicy, other: ClusterNetworkPolicy): number {
  const [a, b] = [one.metadata.name ?? '', other.metadata.name ?? ''];
  return one.spec.priority - other.spec.priority || (a < b ? -1 : 1);
}

function emptyTiers(): Tiers {
  return { admin: [], pod: [], baseline: [] };
}

function sameTiers(one: Tiers, other: Tiers): boolean {
  const same = (a: readonly Policy[], b: readonly Policy[]): boolean =>
    a.length === b.length && a.every((policy, index) => policy === b[index]);
  return same(one.admin, other.admin) && same(one.pod, other.pod) && same(one.baseline, other.baseline);
}

/** Before the node has a range nothing is known of the cluster's families. */
function familiesOf(podCIDRs: readonly string[]): readonly IpWord[] {
  return podCIDRs.length === 0 ? bothFamilies : bothFamilies.filter((family) => ofFamily(podCIDRs, family).length > 0);
}

/** The chains of one pod. Each ends every packet's way through the tiers: none ever returns to where it was jumped from. */
function chainsOfPod(pod: PolicyPod, direction: Direction, tiers: Tiers): PodChains {
  const id = `${pod.namespace}/${pod.name}`;
  const name = (tier: TierName): string => cutName(`${direction}-${tier}-${shortHash(`${id}/${pod.uid}`)}-${id}`);
  const to = (tier: TierName): Verdict => `goto ${name(tier)}`;
  const jump = (chain: string): Rule => ({ match: [], action: [verdict(`jump ${chain}`)] });
  const has = { admin: tiers.admin.length > 0, pod: tiers.pod.length > 0, baseline: tiers.baseline.length > 0 };
  const afterPod: Verdict = has.baseline ? to('baseline') : 'accept';
  const afterAdmin: Verdict = has.pod ? to('pod') : afterPod;
  const chains = new Map<string, Chain>();
  const ask = (policies: readonly ClusterNetworkPolicy[], then: Verdict): Chain => ({
    rules: [
      ...policies.map((policy) => jump(clusterChainName(policy, direction))),
      { match: [], action: [verdict(then)] },
    ],
  });
  if (has.admin) chains.set(name('admin'), ask(tiers.admin, afterAdmin));
  if (has.pod) {
    const far = direction === 'ingress' ? 'saddr' : 'daddr';
    const drops = tiers.pod.slice(0, mostDropCounters).map((policy): Statement => {
      return { do: 'counter', name: dropCounterName(policy, direction) };
    });
    const ownNode: Rule = { match: [when('fib daddr type', 'local')], action: [verdict('accept')] };
    chains.set(name('pod'), {
      rules: [
        // Only packets that pass on from the Admin tier come here on their way to the pod's own node.
        ...(has.admin && direction === 'egress' ? [ownNode] : []),
        // No NetworkPolicy keeps a pod from itself, also by way of a Service.
        ...ownAddresses(pod.ips, far).map((match) => ({ match: [match], action: [verdict(afterPod)] })),
        ...tiers.pod.map((policy) => jump(networkChainName(policy, direction))),
        {
          match: [],
          action: [...drops, { do: 'counter' }, verdict('drop')],
          comment: `${direction} of ${id} not allowed by ${tiers.pod.map(policyName).join(', ')}`,
        },
      ],
    });
  }
  if (has.baseline) chains.set(name('baseline'), ask(tiers.baseline, 'accept'));
  const toNode = has.admin ? to('admin') : has.baseline && !has.pod ? to('baseline') : undefined;
  return {
    pod,
    tiers,
    chains,
    first: has.admin ? to('admin') : afterAdmin,
    afterAdmin: has.admin ? afterAdmin : undefined,
    toNode: direction === 'egress' ? toNode : undefined,
  };
}

/** Base chains, the guard's sets of known pods, the maps from pods to their chains, and whatever is added. */
class TableBuilder {
  readonly #chains = new Map<string, Chain>();
  readonly #sets = new Map<string, ElementSet>();
  readonly #counters = new Map<string, string>();
  readonly #verdicts = new Map<string, Map<string, string>>();

  constructor(podCIDRs: readonly string[], local: readonly PolicyPod[]) {
    const guard: Rule[] = [{ match: [when('ct state', 'established', 'related')], action: [verdict('accept')] }];
    const base: Record<Direction, Rule[]> = { egress: [...alwaysAllowed], ingress: [...alwaysAllowed] };
    const toNode: Rule[] = [...alwaysAllowed];
    for (const family of bothFamilies) {
      const known = new Map(local.flatMap((pod) => ofFamily(pod.ips, family)).map((ip) => [ip, ''] as const));
      this.#sets.set(`local-${family}`, { key: [addressType(family)], elements: known });
      for (const direction of ['egress', 'ingress'] as const) {
        const end = direction === 'egress' ? 'saddr' : 'daddr';
        const map = `isolated-${direction}-${family}`;
        this.#map(map, family);
        this.#map(nextTierMap(direction, family), family);
        base[direction].push({ match: [], action: [{ do: 'lookup', fields: `${family} ${end}`, map }] });
        for (const cidr of ofFamily(podCIDRs, family)) {
          guard.push({
            match: [when(`${family} ${end}`, cidr), unless(`${family} ${end}`, `@local-${family}`)],
            action: [{ do: 'counter', name: `guard/${direction}` }, { do: 'counter' }, verdict('drop')],
            comment: `guard: ${direction} of a pod whose policies are not known yet`,
          });
        }
      }
      const map = `isolated-to-node-${family}`;
      this.#map(map, family);
      toNode.push({ match: [], action: [{ do: 'lookup', fields: `${family} saddr`, map }] });
    }
    for (const direction of directions) {
      this.#counters.set(`guard/${direction}`, `${direction} of pods whose policies are not known yet: dropped`);
    }
    const at = (hook: 'forward' | 'input', priority: number, rules: Rule[]): Chain => ({
      hook: { type: 'filter', at: hook, priority },
      rules,
    });
    this.#chains.set('guard', at('forward', 5, guard));
    this.#chains.set('egress', at('forward', 10, base.egress));
    this.#chains.set('ingress', at('forward', 20, base.ingress));
    this.#chains.set('egress-to-node', at('input', 10, toNode));
  }

  addPolicy({ name, chain, sets, counters }: PolicyChain): void {
    this.#chains.set(name, chain);
    for (const set of sets) this.#sets.set(set.name, set.current());
    for (const [counter, comment] of counters) this.#counters.set(counter, comment);
  }

  addPod({ pod, chains, first, afterAdmin, toNode }: PodChains, direction: Direction): void {
    for (const [name, chain] of chains) this.#chains.set(name, chain);
    for (const family of bothFamilies) {
      for (const ip of ofFamily(pod.ips, family)) {
        this.#verdicts.get(`isolated-${direction}-${family}`)?.set(ip, first);
        if (afterAdmin !== undefined) this.#verdicts.get(nextTierMap(direction, family))?.set(ip, afterAdmin);
        if (toNode !== undefined) this.#verdicts.get(`isolated-to-node-${family}`)?.set(ip, toNode);
      }
    }
  }

  table(): Table {
    return {
      family: 'inet',
      name: policyTableName,
      chains: this.#chains,
      sets: this.#sets,
      counters: this.#counters,
    };
  }

  #map(name: string, family: IpWord): void {
    const elements = new Map<string, string>();
    this.#verdicts.set(name, elements);
    this.#sets.set(name, { key: [addressType(family)], value: 'verdict', elements });
  }
}

/** What no policy may stop: answers, errors about what was allowed, and how neighbours find each other. */
const alwaysAllowed: readonly Rule[] = [
  { match: [when('ct direction', 'reply'), when('ct state', 'established')], action: [verdict('accept')] },
  { match: [when('ct state', 'related')], action: [verdict('accept')] },
  {
    match: [
      when(
        'icmpv6 type',
        'nd-router-solicit',
        'nd-router-advert',
        'nd-neighbor-solicit',
        'nd-neighbor-advert',
        'nd-redirect',
      ),
    ],
    action: [verdict('accept')],
  },
];
