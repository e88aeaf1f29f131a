// SPDX-License-Identifier: Apache-2.0
// The rules of kube-proxy's nftables mode as a value. Pure.
//
// An ordinary Service is elements of maps and nothing else, since what a change costs grows with the number of chains
// in the kernel and not with that of elements. `service-ips` leads the packets of a Service with three endpoints to
// the chain `balance-3`, shared by all such Services; it picks one of the chains `endpoint-0` to `endpoint-2`, which
// translate to what the maps of the same names hold for the Service. Services with client affinity or with
// externalTrafficPolicy Local, and those with very many endpoints, have chains of their own, named after them.
// A packet may look into one map before a change and into the next one after it, so every choice of an endpoint has
// another one behind it for when its own is gone.
// Table, maps and chains that upstream's nftables mode has too are called as there.

import { createHash } from 'node:crypto';

import { counter, renderEndpoint, unless, verdict, when } from '../../network/nft/ruleset.ts';
import { usableBackends } from '../service-model.ts';
import type { Chain, ElementSet, Family, KeyType, Match, Rule, Verdict } from '../../network/nft/ruleset.ts';
import type { RuleOptions } from '../rule-writer.ts';
import type { Backend, ServicePort } from '../service-model.ts';

/** What one Service port adds to the table. */
export interface ServiceRules {
  readonly chains: ReadonlyMap<string, Chain>;
  readonly sets: ReadonlyMap<string, ElementSet>;
  readonly elements: readonly Element[];
  /** Numbers of endpoints for which shared chains are needed. */
  readonly counts: readonly number[];
}

/** One element of a shared set or map. */
export interface Element {
  readonly set: string;
  readonly key: string;
  readonly value: string;
  readonly comment?: string;
}

/** The packet mark that asks for masquerading; the same bit as upstream's. */
export const masqueradeBit = 0x4000;

/** Upstream's limit on the length of the names it makes. */
const longestName = 120;
/** Services with more endpoints have a chain of their own: shared chains exist for every number up to the largest. */
const mostShared = 32;

const toService = (family: Family): string => `${family} daddr . meta l4proto . th dport`;
const toNodePort = 'meta l4proto . th dport';

type SetFacts = Pick<ElementSet, 'key' | 'value'>;

/** The chains that Services with these numbers of endpoints share. */
export function sharedChains(counts: Iterable<number>, { family }: RuleOptions): Map<string, Chain> {
  const chains = new Map<string, Chain>();
  const all = [...counts];
  const most = Math.max(0, ...all);
  for (let index = 0; index < most; index++) {
    chains.set(`endpoint-${index}`, translation(toService(family), 'endpoint', index));
    chains.set(`nodeport-endpoint-${index}`, translation(toNodePort, 'nodeport-endpoint', index));
  }
  for (const count of all) {
    const pick = (prefix: string): Rule => ({
      match: [],
      action: [{ do: 'pick', chains: Array.from({ length: count }, (_, index) => `${prefix}-${index}`) }],
    });
    const masquerade: Rule = { match: [], action: [verdict('jump mark-for-masquerade')] };
    chains.set(`balance-${count}`, { rules: [pick('endpoint')] });
    chains.set(`external-balance-${count}`, { rules: [masquerade, pick('endpoint')] });
    chains.set(`nodeport-balance-${count}`, { rules: [masquerade, pick('nodeport-endpoint')] });
  }
  return chains;
}

/** The sets and maps whose elements are those of Services. */
export function sharedSets(counts: Iterable<number>, { family }: RuleOptions): Map<string, SetFacts> {
  const address = addressType(family);
  const triple: KeyType[] = [address, 'inet_proto', 'inet_service'];
  const pair: KeyType[] = ['inet_proto', 'inet_service'];
  const sets = new Map<string, SetFacts>([
    ['cluster-ips', { key: [address] }],
    ['hairpin-connections', { key: [address, address] }],
    ['service-ips', { key: triple, value: 'verdict' }],
    ['no-endpoint-services', { key: triple, value: 'verdict' }],
    ['firewall-ips', { key: triple, value: 'verdict' }],
    ['service-nodeports', { key: pair, value: 'verdict' }],
    ['no-endpoint-nodeports', { key: pair, value: 'verdict' }],
  ]);
  const most = Math.max(0, ...counts);
  for (let index = 0; index < most; index++) {
    sets.set(`endpoint-${index}`, { key: triple, value: 'endpoint' });
    sets.set(`nodeport-endpoint-${index}`, { key: pair, value: 'endpoint' });
  }
  return sets;
}

/** The sets that depend on the node alone. */
export function baseSets({ family, nodePortAddresses }: RuleOptions): Map<string, ElementSet> {
  if (nodePortAddresses === undefined) return new Map();
  const elements = new Map(nodePortAddresses.map((ip) => [ip, ''] as const));
  return new Map([['nodeport-ips', { key: [addressType(family)], elements }]]);
}

/** The chains, sets and map elements of one Service port with its backends. */
export function planServicePort(port: ServicePort, backends: readonly Backend[], options: RuleOptions): ServiceRules {
  return new ServicePlan(port, backends, options).rules();
}

class ServicePlan {
  readonly #port: ServicePort;
  readonly #options: RuleOptions;
  readonly #cluster: readonly Backend[];
  readonly #local: readonly Backend[];
  readonly #label: string;
  readonly #chains = new Map<string, Chain>();
  readonly #sets = new Map<string, ElementSet>();
  readonly #elements: Element[] = [];
  readonly #counts = new Set<number>();

  constructor(port: ServicePort, backends: readonly Backend[], options: RuleOptions) {
    const { cluster, local } = usableBackends(backends, options.node);
    this.#port = port;
    this.#options = options;
    this.#cluster = cluster;
    this.#local = local;
    this.#label = `${port.namespace}/${port.name}${port.portName === '' ? '' : `:${port.portName}`}`;
  }

  rules(): ServiceRules {
    const { clusterIP, internalLocal, externalLocal, affinitySeconds } = this.#port;
    this.#elements.push({ set: 'cluster-ips', key: clusterIP, value: '' });
    for (const { address, local } of new Set([...this.#cluster, ...this.#local])) {
      // Only a pod of this node can reach itself through this node.
      if (local) this.#elements.push({ set: 'hairpin-connections', key: `${address} . ${address}`, value: '' });
    }
    const internal = internalLocal ? this.#local : this.#cluster;
    const own = affinitySeconds !== undefined || externalLocal;
    if (!own && internal.length <= mostShared && this.#cluster.length <= mostShared) this.#planShared(internal);
    else this.#planOwnChains(internal);
    this.#addFirewall();
    return { chains: this.#chains, sets: this.#sets, elements: this.#elements, counts: [...this.#counts] };
  }

  get #externalAddresses(): readonly string[] {
    return [...new Set([...this.#port.externalIPs, ...this.#port.loadBalancerIPs])];
  }

  #serviceKey(address: string): string {
    return `${address} . ${this.#port.protocol} . ${this.#port.port}`;
  }

  get #nodePortKey(): string | undefined {
    return this.#port.nodePort === undefined ? undefined : `${this.#port.protocol} . ${this.#port.nodePort}`;
  }

  /** The Service as elements of shared maps. */
  #planShared(internal: readonly Backend[]): void {
    this.#share(this.#serviceKey(this.#port.clusterIP), internal, 'balance');
    for (const address of this.#externalAddresses) {
      this.#share(this.#serviceKey(address), this.#cluster, 'external-balance');
    }
    if (this.#nodePortKey !== undefined) this.#share(this.#nodePortKey, this.#cluster, 'nodeport-balance');
  }

  #share(key: string, chosen: readonly Backend[], chain: 'balance' | 'external-balance' | 'nodeport-balance'): void {
    const [map, none, endpoint] =
      chain === 'nodeport-balance'
        ? ['service-nodeports', 'no-endpoint-nodeports', 'nodeport-endpoint']
        : ['service-ips', 'no-endpoint-services', 'endpoint'];
    const comment = this.#label;
    if (chosen.length === 0) {
      this.#elements.push({ set: none, key, value: this.#refusal, comment });
      return;
    }
    this.#counts.add(chosen.length);
    this.#elements.push({ set: map, key, value: `goto ${chain}-${chosen.length}`, comment });
    for (const [index, backend] of chosen.entries()) {
      this.#elements.push({ set: `${endpoint}-${index}`, key, value: renderEndpoint(backend) });
    }
  }

  /** Without any endpoint clients are told so at once; where only this node has none, silence sends them elsewhere. */
  get #refusal(): Verdict {
    return this.#cluster.length + this.#local.length > 0 ? 'drop' : 'goto reject-chain';
  }

  /** The Service with chains of its own, as its affinity, its external policy or its size demands. */
  #planOwnChains(internal: readonly Backend[]): void {
    const names = chainNames(this.#port);
    const comment = this.#label;
    const external = this.#nodePortKey !== undefined || this.#externalAddresses.length > 0;
    const usesCluster = this.#cluster.length > 0 && (!this.#port.internalLocal || external);
    const usesLocal = this.#local.length > 0 && (this.#port.internalLocal || (external && this.#port.externalLocal));
    if (usesCluster) this.#chains.set(names.cluster, { rules: this.#balance(this.#cluster) });
    if (usesLocal) this.#chains.set(names.local, { rules: this.#balance(this.#local) });

    const key = this.#serviceKey(this.#port.clusterIP);
    if (internal.length === 0) {
      this.#elements.push({ set: 'no-endpoint-services', key, value: this.#refusal, comment });
    } else {
      const chain = this.#port.internalLocal ? names.local : names.cluster;
      this.#elements.push({ set: 'service-ips', key, value: `goto ${chain}`, comment });
    }
    if (!external) return;
    const anywhere = this.#cluster.length + this.#local.length > 0;
    if (anywhere) this.#chains.set(names.external, { rules: this.#externalRules(names, usesCluster, usesLocal) });
    const publish = (map: string, none: string, key: string): void => {
      if (anywhere) this.#elements.push({ set: map, key, value: `goto ${names.external}`, comment });
      const silent = this.#port.externalLocal ? !usesLocal : !usesCluster;
      if (silent) this.#elements.push({ set: none, key, value: this.#refusal, comment });
    };
    for (const address of this.#externalAddresses) {
      publish('service-ips', 'no-endpoint-services', this.#serviceKey(address));
    }
    if (this.#nodePortKey !== undefined) publish('service-nodeports', 'no-endpoint-nodeports', this.#nodePortKey);
  }

  #externalRules(names: ChainNames, usesCluster: boolean, usesLocal: boolean): Rule[] {
    const saddr = `${this.#options.family} saddr`;
    const toAny: Verdict = usesCluster ? `goto ${names.cluster}` : 'return';
    if (!this.#port.externalLocal) {
      return [
        { match: [], action: [verdict('jump mark-for-masquerade')] },
        { match: [], action: [verdict(toAny)] },
      ];
    }
    const rules: Rule[] = [];
    if (usesCluster) {
      // Pods and the node itself get cluster-wide balancing: the policy is about traffic from outside.
      if (this.#options.clusterCIDRs.length > 0) {
        rules.push({ match: [when(saddr, ...this.#options.clusterCIDRs)], action: [verdict(toAny)] });
      }
      rules.push(
        { match: [when('fib saddr type', 'local')], action: [verdict('jump mark-for-masquerade')] },
        { match: [when('fib saddr type', 'local')], action: [verdict(toAny)] },
      );
    }
    if (usesLocal) rules.push({ match: [], action: [verdict(`goto ${names.local}`)] });
    return rules;
  }

  /** Rules that send a packet to one of `chosen`; with affinity, to the one that its source had before. */
  #balance(chosen: readonly Backend[]): Rule[] {
    const { affinitySeconds, protocol } = this.#port;
    const { family } = this.#options;
    if (affinitySeconds === undefined) {
      const match = [when('meta l4proto', protocol)];
      const otherwise = chosen.slice(0, 1).map((to): Rule => ({ match, action: [{ do: 'dnat', to }] }));
      return [{ match, action: [{ do: 'dnat-pick', to: chosen }] }, ...otherwise];
    }
    const rules: Rule[] = [];
    const chains: string[] = [];
    for (const backend of chosen) {
      const chain = endpointChainName(this.#port, backend);
      // The set's name carries the time-out, since the time-out of a set cannot be changed.
      const set = cut(`affinity-${affinitySeconds}-${chain.slice('endpoint-'.length)}`);
      const key: KeyType[] = [addressType(family)];
      this.#sets.set(set, { key, rememberSeconds: affinitySeconds, elements: new Map() });
      this.#chains.set(chain, {
        rules: [
          { match: [], action: [{ do: 'remember', fields: `${family} saddr`, set }] },
          { match: [when('meta l4proto', protocol)], action: [{ do: 'dnat', to: backend }] },
        ],
      });
      rules.push({ match: [when(`${family} saddr`, `@${set}`)], action: [verdict(`goto ${chain}`)] });
      chains.push(chain);
    }
    const otherwise = chains.slice(0, 1).map((chain): Rule => ({ match: [], action: [verdict(`goto ${chain}`)] }));
    return [...rules, { match: [], action: [{ do: 'pick', chains }] }, ...otherwise];
  }

  #addFirewall(): void {
    const { loadBalancerSourceRanges: ranges, loadBalancerIPs } = this.#port;
    if (ranges.length === 0 || loadBalancerIPs.length === 0) return;
    const { firewall } = chainNames(this.#port);
    this.#chains.set(firewall, {
      rules: [
        {
          match: [unless(`${this.#options.family} saddr`, ...ranges.map((range) => range.trim()))],
          action: [counter, verdict('drop')],
          comment: `${this.#label}: source is not in loadBalancerSourceRanges`,
        },
      ],
    });
    for (const address of loadBalancerIPs) {
      this.#elements.push({ set: 'firewall-ips', key: this.#serviceKey(address), value: `goto ${firewall}` });
    }
  }
}

function addressType(family: Family): KeyType {
  return family === 'ip6' ? 'ipv6_addr' : 'ipv4_addr';
}

/** To the endpoint of this number, or to the first where a Service has fewer by now. */
function translation(fields: string, prefix: string, index: number): Chain {
  const match = [when('meta l4proto', 'tcp', 'udp', 'sctp')];
  const maps = [...new Set([index, 0])].map((number) => `${prefix}-${number}`);
  return { rules: maps.map((map) => ({ match, action: [{ do: 'dnat-lookup', fields, map }] })) };
}

/** The chains that depend on the node alone. */
export function baseChains({ family, nodePortAddresses, clusterCIDRs }: RuleOptions): Map<string, Chain> {
  const daddr = `${family} daddr`;
  const saddr = `${family} saddr`;
  const toNode: Match[] =
    nodePortAddresses === undefined
      ? [when('fib daddr type', 'local'), unless(daddr, family === 'ip' ? '127.0.0.0/8' : '::1')]
      : [when(daddr, '@nodeport-ips')];
  const fresh = when('ct state', 'new');
  const jump = (chain: string, ...match: Match[]): Rule => ({ match, action: [verdict(`jump ${chain}`)] });
  const lookup = (fields: string, map: string, ...match: Match[]): Rule => ({
    match,
    action: [{ do: 'lookup', fields, map }],
  });
  const reject = (...match: Match[]): Rule[] => [
    // A reset reaches the client at once; after an ICMP error it may try for another second.
    { match: [...match, when('meta l4proto', 'tcp')], action: [counter, { do: 'reject', by: 'tcp-reset' }] },
    { match, action: [counter, { do: 'reject', by: 'port-unreachable' }] },
  ];
  // An endpoint could not answer a source outside the cluster by way of this node.
  const fromOutside: Rule[] =
    clusterCIDRs.length === 0
      ? []
      : [jump('mark-for-masquerade', when(daddr, '@cluster-ips'), unless(saddr, ...clusterCIDRs))];
  const chains: [string, Chain][] = [
    ['mark-for-masquerade', { rules: [{ match: [], action: [{ do: 'mark', bit: masqueradeBit, set: true }] }] }],
    [
      'masquerading',
      {
        rules: [
          // A pod that reaches itself through a Service must see the reply come from the Service.
          { match: [when(`${saddr} . ${daddr}`, '@hairpin-connections')], action: [{ do: 'masquerade' }] },
          { match: [when(`meta mark & 0x${masqueradeBit.toString(16)}`, '0')], action: [verdict('return')] },
          { match: [], action: [{ do: 'mark', bit: masqueradeBit, set: false }] },
          { match: [], action: [{ do: 'masquerade' }] },
        ],
      },
    ],
    [
      'services',
      {
        rules: [
          ...fromOutside,
          lookup(toService(family), 'service-ips'),
          lookup(toNodePort, 'service-nodeports', ...toNode),
        ],
      },
    ],
    ['reject-chain', { rules: reject() }],
    ['firewall-check', { rules: [lookup(toService(family), 'firewall-ips')] }],
    ['service-endpoints-check', { rules: [lookup(toService(family), 'no-endpoint-services')] }],
    ['nodeport-endpoints-check', { rules: [lookup(toNodePort, 'no-endpoint-nodeports', ...toNode)] }],
    ['cluster-ips-check', { rules: reject(when(daddr, '@cluster-ips')) }],
    ['nat-prerouting', base('nat', 'prerouting', -100, [jump('services')])],
    ['nat-output', base('nat', 'output', -100, [jump('services')])],
    ['nat-postrouting', base('nat', 'postrouting', 100, [jump('masquerading')])],
    ['filter-prerouting-pre-dnat', base('filter', 'prerouting', -110, [jump('firewall-check', fresh)])],
    ['filter-output-pre-dnat', base('filter', 'output', -110, [jump('firewall-check', fresh)])],
    [
      'filter-input',
      base('filter', 'input', 0, [jump('nodeport-endpoints-check', fresh), jump('service-endpoints-check', fresh)]),
    ],
    [
      'filter-forward',
      base('filter', 'forward', 0, [jump('service-endpoints-check', fresh), jump('cluster-ips-check', fresh)]),
    ],
    [
      'filter-output',
      base('filter', 'output', 0, [
        jump('service-endpoints-check', fresh),
        jump('nodeport-endpoints-check', fresh),
        jump('cluster-ips-check', fresh),
      ]),
    ],
  ];
  return new Map(chains);
}

function base(type: 'filter' | 'nat', at: NonNullable<Chain['hook']>['at'], priority: number, rules: Rule[]): Chain {
  return { hook: { type, at, priority }, rules };
}

interface ChainNames {
  readonly cluster: string;
  readonly local: string;
  readonly external: string;
  readonly firewall: string;
}

function chainNames(port: ServicePort): ChainNames {
  const base = `${port.namespace}/${port.name}/${port.protocol}/${port.portName}`;
  const suffix = `${shortHash(base)}-${base}`;
  return {
    cluster: cut(`service-${suffix}`),
    local: cut(`local-${suffix}`),
    external: cut(`external-${suffix}`),
    firewall: cut(`firewall-${suffix}`),
  };
}

function endpointChainName(port: ServicePort, backend: Backend): string {
  const base = `${port.namespace}/${port.name}/${port.protocol}/${port.portName}__${backend.address}/${backend.port}`;
  return cut(`endpoint-${shortHash(base)}-${base.replaceAll(':', '.')}`);
}

/** Eight letters that keep cut names apart. */
function shortHash(text: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
  return [...createHash('sha256').update(text).digest().subarray(0, 8)].map((byte) => alphabet[byte & 31]).join('');
}

function cut(name: string): string {
  return name.length <= longestName ? name : name.slice(0, longestName);
}
