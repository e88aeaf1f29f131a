// SPDX-License-Identifier: Apache-2.0
// The rules of kube-proxy's nftables mode as a value. A packet to a Service costs one map lookup whatever their number:
// `service-ips` and `service-nodeports` lead to a chain per Service port, which picks an endpoint's chain, which
// translates the address. Names of tables, maps and chains are those of upstream's nftables mode, so that people and
// tools that know one can read the other. Pure.

import { createHash } from 'node:crypto';

import { counter, unless, verdict, when } from '../network/nft/ruleset.ts';
import { usableBackends } from './service-model.ts';
import type { Chain, ElementSet, Family, KeyType, Match, Rule, Table, Verdict } from '../network/nft/ruleset.ts';
import type { Backend, NodeIdentity, ServicePort } from './service-model.ts';

export interface PlanOptions {
  readonly node: NodeIdentity;
  readonly family: 'ip' | 'ip6';
  /** Pod addresses; sources outside are masqueraded on their way to a ClusterIP. */
  readonly clusterCIDRs: readonly string[];
  /** Node addresses on which NodePorts answer; undefined for all of the node's addresses except loopback. */
  readonly nodePortAddresses: readonly string[] | undefined;
}

/** What one Service port adds to the table. */
export interface ServiceRules {
  readonly chains: ReadonlyMap<string, Chain>;
  readonly sets: ReadonlyMap<string, ElementSet>;
  readonly elements: readonly { readonly set: SharedSet; readonly key: string; readonly verdict: Verdict | '' }[];
}

type SharedSet =
  | 'cluster-ips'
  | 'service-ips'
  | 'service-nodeports'
  | 'no-endpoint-services'
  | 'no-endpoint-nodeports'
  | 'firewall-ips';

export const tableName = 'kube-proxy';

/** The packet mark that asks for masquerading; the same bit as upstream's, and as the kubelet's of old. */
export const masqueradeBit = 0x4000;

/** Upstream's limit on the length of the names it makes. */
const longestName = 120;

/** Everything that does not depend on a single Service, with the parts of all Services put in. */
export function assembleTable(parts: Iterable<ServiceRules>, options: PlanOptions): Table {
  const chains = baseChains(options);
  const address: KeyType = options.family === 'ip' ? 'ipv4_addr' : 'ipv6_addr';
  const elements: Record<SharedSet, Map<string, Verdict | ''>> = {
    'cluster-ips': new Map(),
    'service-ips': new Map(),
    'service-nodeports': new Map(),
    'no-endpoint-services': new Map(),
    'no-endpoint-nodeports': new Map(),
    'firewall-ips': new Map(),
  };
  const sets = new Map<string, ElementSet>();
  for (const part of parts) {
    for (const [name, chain] of part.chains) chains.set(name, chain);
    for (const [name, set] of part.sets) sets.set(name, set);
    for (const { set, key, verdict } of part.elements) elements[set].set(key, verdict);
  }
  const triple: KeyType[] = [address, 'inet_proto', 'inet_service'];
  const pair: KeyType[] = ['inet_proto', 'inet_service'];
  sets.set('cluster-ips', { key: [address], verdicts: false, elements: elements['cluster-ips'] });
  for (const name of ['service-ips', 'no-endpoint-services', 'firewall-ips'] as const) {
    sets.set(name, { key: triple, verdicts: true, elements: elements[name] });
  }
  for (const name of ['service-nodeports', 'no-endpoint-nodeports'] as const) {
    sets.set(name, { key: pair, verdicts: true, elements: elements[name] });
  }
  if (options.nodePortAddresses !== undefined) {
    const own = new Map(options.nodePortAddresses.map((ip) => [ip, ''] as const));
    sets.set('nodeport-ips', { key: [address], verdicts: false, elements: own });
  }
  return { family: options.family, name: tableName, chains, sets };
}

/** The chains, sets and map elements of one Service port with its backends. */
export function planServicePort(port: ServicePort, backends: readonly Backend[], options: PlanOptions): ServiceRules {
  const { cluster, local } = usableBackends(backends, options.node);
  const chains = new Map<string, Chain>();
  const sets = new Map<string, ElementSet>();
  const elements: ServiceRules['elements'][number][] = [{ set: 'cluster-ips', key: port.clusterIP, verdict: '' }];
  const names = chainNames(port);
  const saddr = `${options.family} saddr`;
  const service = `${port.namespace}/${port.name}${port.portName === '' ? '' : `:${port.portName}`}`;
  const external = port.nodePort !== undefined || port.externalIPs.length + port.loadBalancerIPs.length > 0;

  const backendChain = (backend: Backend): string => {
    const name = endpointChainName(port, backend);
    if (!chains.has(name)) {
      const affinity = affinitySet(port, backend);
      if (affinity !== undefined) {
        const rememberSeconds = port.affinitySeconds ?? 0;
        const key: KeyType[] = [options.family === 'ip' ? 'ipv4_addr' : 'ipv6_addr'];
        sets.set(affinity, { key, verdicts: false, rememberSeconds, elements: new Map() });
      }
      chains.set(name, endpointChain(port, backend, options.family));
    }
    return name;
  };
  const balance = (chosen: readonly Backend[]): Rule[] => {
    const targets = chosen.map((backend) => ({ chain: backendChain(backend), affinity: affinitySet(port, backend) }));
    const rules: Rule[] = targets.flatMap(({ chain, affinity }) =>
      affinity === undefined ? [] : [{ match: [when(saddr, `@${affinity}`)], action: [verdict(`goto ${chain}`)] }],
    );
    const [only] = targets;
    if (targets.length === 1 && only !== undefined) rules.push({ match: [], action: [verdict(`goto ${only.chain}`)] });
    else rules.push({ match: [], action: [{ do: 'pick', chains: targets.map((target) => target.chain) }] });
    return rules;
  };
  /** Sources outside the cluster cannot be answered by the endpoint directly. */
  const fromOutside: Rule[] =
    options.clusterCIDRs.length === 0
      ? []
      : [
          {
            match: [
              when(`${options.family} daddr`, port.clusterIP),
              ...onPort(port),
              unless(saddr, ...options.clusterCIDRs),
            ],
            action: [verdict('jump mark-for-masquerade')],
          },
        ];

  const usesCluster = cluster.length > 0 && (!port.internalLocal || external);
  const usesLocal = local.length > 0 && (port.internalLocal || (external && port.externalLocal));
  if (usesCluster) chains.set(names.cluster, { rules: [...fromOutside, ...balance(cluster)] });
  if (usesLocal) chains.set(names.local, { rules: [...(port.internalLocal ? fromOutside : []), ...balance(local)] });
  const anywhere = cluster.length > 0 || local.length > 0;

  /** Where packets to one of the Service's addresses go: to a chain, or to their end with a reason. */
  const publish = (address: string, chain: string | undefined): void => {
    const key = `${address} . ${port.protocol} . ${port.port}`;
    if (chain !== undefined) elements.push({ set: 'service-ips', key, verdict: `goto ${chain}` });
    else elements.push({ set: 'no-endpoint-services', key, verdict: anywhere ? 'drop' : 'goto reject-chain' });
  };
  publish(
    port.clusterIP,
    port.internalLocal ? (usesLocal ? names.local : undefined) : usesCluster ? names.cluster : undefined,
  );
  if (!external) return { chains, sets, elements };

  const externalChain = anywhere ? names.external : undefined;
  if (externalChain !== undefined) {
    const toAny: Verdict = usesCluster ? `goto ${names.cluster}` : 'drop';
    const rules: Rule[] = [];
    if (!port.externalLocal) {
      rules.push({ match: [], action: [verdict('jump mark-for-masquerade')] }, { match: [], action: [verdict(toAny)] });
    } else if (usesCluster) {
      // Pods and the node itself get cluster-wide balancing: the policy is about traffic from outside.
      if (options.clusterCIDRs.length > 0) {
        rules.push({ match: [when(saddr, ...options.clusterCIDRs)], action: [verdict(toAny)] });
      }
      rules.push(
        { match: [when('fib saddr type', 'local')], action: [verdict('jump mark-for-masquerade')] },
        { match: [when('fib saddr type', 'local')], action: [verdict(toAny)] },
      );
    }
    if (port.externalLocal && usesLocal) rules.push({ match: [], action: [verdict(`goto ${names.local}`)] });
    chains.set(externalChain, { rules });
  }
  for (const address of new Set([...port.externalIPs, ...port.loadBalancerIPs])) publish(address, externalChain);
  if (port.externalLocal && anywhere && !usesLocal) {
    // The node has endpoints to offer to nobody from outside: silence, so that a load balancer looks elsewhere.
    for (const address of new Set([...port.externalIPs, ...port.loadBalancerIPs])) {
      elements.push({
        set: 'no-endpoint-services',
        key: `${address} . ${port.protocol} . ${port.port}`,
        verdict: 'drop',
      });
    }
  }
  if (port.nodePort !== undefined) {
    const key = `${port.protocol} . ${port.nodePort}`;
    if (externalChain !== undefined) {
      elements.push({ set: 'service-nodeports', key, verdict: `goto ${externalChain}` });
      if (port.externalLocal && !usesLocal) elements.push({ set: 'no-endpoint-nodeports', key, verdict: 'drop' });
    } else {
      elements.push({ set: 'no-endpoint-nodeports', key, verdict: 'goto reject-chain' });
    }
  }
  if (port.loadBalancerSourceRanges.length > 0 && port.loadBalancerIPs.length > 0) {
    chains.set(names.firewall, {
      rules: [
        {
          match: [unless(saddr, ...port.loadBalancerSourceRanges.map((range) => range.trim()))],
          action: [counter, verdict('drop')],
          comment: `${service}: source is not in loadBalancerSourceRanges`,
        },
      ],
    });
    for (const address of port.loadBalancerIPs) {
      const key = `${address} . ${port.protocol} . ${port.port}`;
      elements.push({ set: 'firewall-ips', key, verdict: `goto ${names.firewall}` });
    }
  }
  return { chains, sets, elements };
}

function endpointChain(port: ServicePort, backend: Backend, family: Family): Chain {
  const saddr = `${family} saddr`;
  const affinity = affinitySet(port, backend);
  return {
    rules: [
      // Hairpin: a pod that reaches itself through its Service must see the reply come from the Service.
      { match: [when(saddr, backend.address)], action: [verdict('jump mark-for-masquerade')] },
      ...(affinity === undefined
        ? []
        : [{ match: [], action: [{ do: 'remember', fields: saddr, set: affinity }] } satisfies Rule]),
      {
        match: [when('meta l4proto', port.protocol)],
        action: [{ do: 'dnat', address: backend.address, port: backend.port }],
      },
    ],
  };
}

function baseChains({ family, nodePortAddresses }: PlanOptions): Map<string, Chain> {
  const daddr = `${family} daddr`;
  const service = `${daddr} . meta l4proto . th dport`;
  const nodePort = 'meta l4proto . th dport';
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
  const chains: [string, Chain][] = [
    ['mark-for-masquerade', { rules: [{ match: [], action: [{ do: 'mark', bit: masqueradeBit, set: true }] }] }],
    [
      'masquerading',
      {
        rules: [
          { match: [when(`meta mark & 0x${masqueradeBit.toString(16)}`, '0')], action: [verdict('return')] },
          { match: [], action: [{ do: 'mark', bit: masqueradeBit, set: false }] },
          { match: [], action: [{ do: 'masquerade' }] },
        ],
      },
    ],
    ['services', { rules: [lookup(service, 'service-ips'), lookup(nodePort, 'service-nodeports', ...toNode)] }],
    ['reject-chain', { rules: reject() }],
    ['firewall-check', { rules: [lookup(service, 'firewall-ips')] }],
    ['service-endpoints-check', { rules: [lookup(service, 'no-endpoint-services')] }],
    ['nodeport-endpoints-check', { rules: [lookup(nodePort, 'no-endpoint-nodeports', ...toNode)] }],
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

function onPort(port: ServicePort): Match[] {
  return [when(`${port.protocol} dport`, String(port.port))];
}

function chainNames(port: ServicePort): { cluster: string; local: string; external: string; firewall: string } {
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

/** The set's name carries the time-out, since the time-out of a set cannot be changed. */
function affinitySet(port: ServicePort, backend: Backend): string | undefined {
  if (port.affinitySeconds === undefined) return undefined;
  return cut(`affinity-${port.affinitySeconds}-${endpointChainName(port, backend).slice('endpoint-'.length)}`);
}

const hashes = new Map<string, string>();

/** Eight letters that keep cut names apart. */
function shortHash(text: string): string {
  let hash = hashes.get(text);
  if (hash === undefined) {
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
    hash = [...createHash('sha256').update(text).digest().subarray(0, 8)].map((byte) => alphabet[byte & 31]).join('');
    // Bounded, so that endpoints that come and go for months don't fill the memory.
    if (hashes.size > 200_000) hashes.clear();
    hashes.set(text, hash);
  }
  return hash;
}

function cut(name: string): string {
  return name.length <= longestName ? name : name.slice(0, longestName);
}
