// SPDX-License-Identifier: Apache-2.0
// The rules of kube-proxy's iptables mode as text. Pure.
//
// Chains, their names, marks, probabilities and comments are upstream's, so that what people know about reading and
// judging such rules holds, and either program can take over the other's. A rule is its line in iptables-save's syntax
// without the leading `-A CHAIN`.

import { createHash } from 'node:crypto';

import { containsAddress, parsePrefix } from '../../network/addresses.ts';
import { usableBackends } from '../service-model.ts';
import type { RuleOptions } from '../rule-writer.ts';
import type { Backend, ServicePort } from '../service-model.ts';

export type KernelTable = 'filter' | 'nat' | 'mangle';

export interface IptablesOptions extends RuleOptions {
  /** NodePorts answer on 127.0.0.1 too. */
  readonly localhostNodePorts: boolean;
}

/** What one Service port adds. Its own chains are all in the table `nat`. */
export interface ServiceChains {
  readonly chains: ReadonlyMap<string, readonly string[]>;
  readonly shared: readonly SharedRule[];
}

export interface ChainPlace {
  readonly table: KernelTable;
  readonly chain: string;
}

/** A rule in a chain that Services share. */
export interface SharedRule extends ChainPlace {
  readonly rule: string;
}

/** Comments of endpoints are left out where there are more endpoints than this: they cost more than they tell. */
export const largeClusterEndpoints = 1000;

const mark = '0x4000/0x4000';

export function servicePortName({ namespace, name, portName }: ServicePort): string {
  return `${namespace}/${name}${portName === '' ? '' : `:${portName}`}`;
}

/** Name of a chain of one Service port, or of one of its endpoints (`IP:PORT`). */
export function chainName(
  prefix: 'KUBE-SVC-' | 'KUBE-SVL-' | 'KUBE-FW-' | 'KUBE-EXT-' | 'KUBE-SEP-',
  port: ServicePort,
  endpoint = '',
): string {
  return (
    prefix +
    base32(
      createHash('sha256')
        .update(`${servicePortName(port)}${port.protocol}${endpoint}`)
        .digest(),
    )
  );
}

/** The first 16 letters in RFC 4648's alphabet. */
function base32(bytes: Buffer): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
  let name = '';
  for (let at = 0; at < 80; at += 5) {
    const window = bytes.readUInt16BE(at >> 3);
    name += alphabet[(window >> (11 - (at & 7))) & 31];
  }
  return name;
}

/** `brief` leaves the comments of endpoints out. */
export function planServiceChains(
  port: ServicePort,
  backends: readonly Backend[],
  { options, brief }: { readonly options: IptablesOptions; readonly brief: boolean },
): ServiceChains {
  const name = servicePortName(port);
  const { cluster, local } = usableBackends(backends, options.node);
  const anywhere = cluster.length + local.length > 0;
  const chains = new Map<string, string[]>();
  const shared: SharedRule[] = [];
  const { protocol, internalLocal, externalLocal, clusterIP, externalIPs, loadBalancerIPs, nodePort } = port;
  const external = nodePort !== undefined || externalIPs.length > 0 || loadBalancerIPs.length > 0;
  const clusterChain = chainName('KUBE-SVC-', port);
  const localChain = chainName('KUBE-SVL-', port);
  const externalChain = chainName('KUBE-EXT-', port);
  const internal = internalLocal ? local : cluster;
  const outside = externalLocal ? local : cluster;
  const hostBits = options.family === 'ip' ? 32 : 128;
  const to = (address: string): string =>
    `-m ${protocol} -p ${protocol} -d ${address}/${hostBits} --dport ${port.port}`;
  const share = (table: KernelTable, chain: string, rule: string): void => void shared.push({ table, chain, rule });
  // Without any endpoint clients are told so at once; where only this node has none, silence sends them elsewhere.
  const missing = anywhere ? `"${name} has no local endpoints"` : `"${name} has no endpoints"`;
  const refusal = anywhere ? '-j DROP' : '-j REJECT';

  if (internal.length > 0) {
    const chain = internalLocal ? localChain : clusterChain;
    share('nat', 'KUBE-SERVICES', `${comment(`"${name} cluster IP"`)} ${to(clusterIP)} -j ${chain}`);
  } else {
    share('filter', 'KUBE-SERVICES', `${comment(missing)} ${to(clusterIP)} ${refusal}`);
  }

  const ranges = port.loadBalancerSourceRanges;
  const guarded = anywhere && loadBalancerIPs.length > 0 && ranges.length > 0;
  const guardChain = chainName('KUBE-FW-', port);
  for (const [kind, addresses, chain] of [
    ['external', externalIPs, externalChain],
    ['loadbalancer', loadBalancerIPs, guarded ? guardChain : externalChain],
  ] as const) {
    for (const address of addresses) {
      if (anywhere) share('nat', 'KUBE-SERVICES', `${comment(`"${name} ${kind} IP"`)} ${to(address)} -j ${chain}`);
      if (kind === 'loadbalancer' && guarded) {
        share(
          'filter',
          'KUBE-PROXY-FIREWALL',
          `${comment(`"${name} traffic not accepted by ${guardChain}"`)} ${to(address)} -j DROP`,
        );
      }
      if (outside.length === 0) {
        share('filter', 'KUBE-EXTERNAL-SERVICES', `${comment(missing)} ${to(address)} ${refusal}`);
      }
    }
  }
  if (nodePort !== undefined) {
    const toNode = `-m ${protocol} -p ${protocol} --dport ${nodePort}`;
    if (anywhere) share('nat', 'KUBE-NODEPORTS', `${comment(name)} ${toNode} -j ${externalChain}`);
    if (outside.length === 0) {
      share(
        'filter',
        'KUBE-EXTERNAL-SERVICES',
        `${comment(missing)} -m addrtype --dst-type LOCAL ${toNode} ${refusal}`,
      );
    }
  }
  if (port.healthCheckNodePort !== undefined && externalLocal) {
    share(
      'filter',
      'KUBE-NODEPORTS',
      `${comment(`"${name} health check node port"`)} -m tcp -p tcp --dport ${port.healthCheckNodePort} -j ACCEPT`,
    );
  }
  if (!anywhere) return { chains, shared };

  const usesCluster = cluster.length > 0 && (!internalLocal || external);
  const usesLocal = local.length > 0 && (internalLocal || (external && externalLocal));
  if (usesCluster) chains.set(clusterChain, []);
  if (usesLocal) chains.set(localChain, []);
  const [podCIDR] = options.clusterCIDRs;
  if (internal.length > 0 && podCIDR !== undefined) {
    // An endpoint could not answer a source outside the cluster by way of this node.
    const chain = internalLocal ? localChain : clusterChain;
    const rule = `${comment(`"${name} cluster IP"`)} ${to(clusterIP)} ! -s ${podCIDR} -j KUBE-MARK-MASQ`;
    chains.get(chain)?.push(rule);
  }
  if (external) {
    const rules: string[] = [];
    if (!externalLocal) {
      rules.push(`${comment(`"masquerade traffic for ${name} external destinations"`)} -j KUBE-MARK-MASQ`);
    } else if (usesCluster) {
      // Pods and the node itself get cluster-wide balancing: the policy is about traffic from outside.
      if (podCIDR !== undefined) {
        const pods = `${comment(`"pod traffic for ${name} external destinations"`)} -s ${podCIDR}`;
        rules.push(`${pods} -j ${clusterChain}`);
      }
      const own = (what: string): string =>
        `${comment(`"${what} LOCAL traffic for ${name} external destinations"`)} -m addrtype --src-type LOCAL`;
      rules.push(`${own('masquerade')} -j KUBE-MARK-MASQ`, `${own('route')} -j ${clusterChain}`);
    }
    if (outside.length > 0) rules.push(`-j ${externalLocal ? localChain : clusterChain}`);
    chains.set(externalChain, rules);
  }
  if (guarded) {
    const note = comment(`"${name} loadbalancer IP"`);
    const trimmed = ranges.map((range) => range.trim());
    const rules = trimmed.map((range) => `${note} -s ${range} -j ${externalChain}`);
    // A node sends to a load balancer of its own from the load balancer's address.
    const nodeAllowed = trimmed.some((range) =>
      options.nodeAddresses.some((address) => containsAddress(parsePrefix(range), address)),
    );
    if (nodeAllowed) for (const ip of loadBalancerIPs) rules.push(`${note} -s ${ip}/${hostBits} -j ${externalChain}`);
    rules.push(comment(`"other traffic to ${name} will be dropped by KUBE-PROXY-FIREWALL"`));
    chains.set(guardChain, rules);
  }
  if (usesCluster) chains.get(clusterChain)?.push(...balance(port, cluster, brief));
  if (usesLocal) chains.get(localChain)?.push(...balance(port, local, brief));
  const used = new Set([...(usesCluster ? cluster : []), ...(usesLocal ? local : [])]);
  for (const backend of used) {
    const chain = chainName('KUBE-SEP-', port, endpointText(backend));
    const note = brief ? '' : `${comment(name)} `;
    const remember = port.affinitySeconds === undefined ? '' : `-m recent --name ${chain} --set `;
    chains.set(chain, [
      // A pod that reaches itself through a Service must see the reply come from the Service.
      `${note}-s ${backend.address}/${hostBits} -j KUBE-MARK-MASQ`,
      `${note}${remember}-m ${protocol} -p ${protocol} -j DNAT --to-destination ${endpointText(backend)}`,
    ]);
  }
  return { chains, shared };
}

/** Rules that send a packet to one of `chosen`; with affinity, to the one that its source had before. */
function balance(port: ServicePort, chosen: readonly Backend[], brief: boolean): string[] {
  const name = servicePortName(port);
  const rules: string[] = [];
  const note = (endpoint: string): string => (brief ? '' : `${comment(`"${name} -> ${endpoint}"`)} `);
  const ends = chosen.map((backend) => {
    const endpoint = endpointText(backend);
    return { endpoint, chain: chainName('KUBE-SEP-', port, endpoint) };
  });
  if (port.affinitySeconds !== undefined) {
    for (const { endpoint, chain } of ends) {
      const seen = `-m recent --name ${chain} --rcheck --seconds ${port.affinitySeconds} --reap`;
      rules.push(`${note(endpoint)}${seen} -j ${chain}`);
    }
  }
  for (const [index, { endpoint, chain }] of ends.entries()) {
    const left = ends.length - index;
    const chance = left === 1 ? '' : `-m statistic --mode random --probability ${(1 / left).toFixed(10)} `;
    rules.push(`${note(endpoint)}${chance}-j ${chain}`);
  }
  return rules;
}

function endpointText({ address, port }: Backend): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

function comment(text: string): string {
  return `-m comment --comment ${text}`;
}

/** Chains that do not depend on Services, those that Services share, and what ends one of these. */
export interface BaseChains {
  readonly fixed: readonly (SharedRule | ChainPlace)[];
  /** Services add their rules to them. */
  readonly shared: readonly ChainPlace[];
  /** Stays the last rule of its chain. */
  readonly last: readonly SharedRule[];
  /** Jumps from the kernel's own chains. */
  readonly hooks: readonly SharedRule[];
}

export function baseChains({ family, nodePortAddresses, localhostNodePorts }: IptablesOptions): BaseChains {
  const note = comment('"kubernetes service nodeports; NOTE: this must be the last rule in this chain"');
  const loopback = family === 'ip' ? '127.0.0.0/8' : '::1/128';
  const toNode =
    nodePortAddresses === undefined
      ? [`${note} ${localhostNodePorts ? '' : `! -d ${loopback} `}-m addrtype --dst-type LOCAL -j KUBE-NODEPORTS`]
      : nodePortAddresses.map((ip) => `${note} -d ${ip}/${family === 'ip' ? 32 : 128} -j KUBE-NODEPORTS`);
  const nat = (chain: string, rule: string): SharedRule => ({ table: 'nat', chain, rule });
  const filter = (chain: string, rule: string): SharedRule => ({ table: 'filter', chain, rule });
  const fresh = '-m conntrack --ctstate NEW';
  const tables = ['mangle', 'nat', 'filter'] as const;
  return {
    fixed: [
      // Their disappearance tells that somebody flushed a table.
      ...tables.map((table) => ({ table, chain: 'KUBE-PROXY-CANARY' })),
      nat('KUBE-MARK-MASQ', '-j MARK --or-mark 0x4000'),
      nat('KUBE-POSTROUTING', `-m mark ! --mark ${mark} -j RETURN`),
      nat('KUBE-POSTROUTING', '-j MARK --xor-mark 0x4000'),
      nat('KUBE-POSTROUTING', `${comment('"kubernetes service traffic requiring SNAT"')} -j MASQUERADE --random-fully`),
      filter('KUBE-FORWARD', '-m conntrack --ctstate INVALID -j DROP'),
      filter('KUBE-FORWARD', `${comment('"kubernetes forwarding rules"')} -m mark --mark ${mark} -j ACCEPT`),
      filter(
        'KUBE-FORWARD',
        `${comment('"kubernetes forwarding conntrack rule"')} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`,
      ),
    ],
    shared: [
      { table: 'nat', chain: 'KUBE-SERVICES' },
      { table: 'nat', chain: 'KUBE-NODEPORTS' },
      { table: 'filter', chain: 'KUBE-SERVICES' },
      { table: 'filter', chain: 'KUBE-EXTERNAL-SERVICES' },
      { table: 'filter', chain: 'KUBE-NODEPORTS' },
      { table: 'filter', chain: 'KUBE-PROXY-FIREWALL' },
    ],
    last: toNode.map((rule) => nat('KUBE-SERVICES', rule)),
    hooks: [
      filter('INPUT', `${fresh} ${comment('"kubernetes load balancer firewall"')} -j KUBE-PROXY-FIREWALL`),
      filter('OUTPUT', `${fresh} ${comment('"kubernetes load balancer firewall"')} -j KUBE-PROXY-FIREWALL`),
      filter('FORWARD', `${fresh} ${comment('"kubernetes load balancer firewall"')} -j KUBE-PROXY-FIREWALL`),
      filter('INPUT', `${comment('"kubernetes health check service ports"')} -j KUBE-NODEPORTS`),
      ...['INPUT', 'FORWARD'].map((chain) =>
        filter(
          chain,
          `${fresh} ${comment('"kubernetes externally-visible service portals"')} -j KUBE-EXTERNAL-SERVICES`,
        ),
      ),
      ...['FORWARD', 'OUTPUT'].map((chain) =>
        filter(chain, `${fresh} ${comment('"kubernetes service portals"')} -j KUBE-SERVICES`),
      ),
      filter('FORWARD', `${comment('"kubernetes forwarding rules"')} -j KUBE-FORWARD`),
      ...['OUTPUT', 'PREROUTING'].map((chain) =>
        nat(chain, `${comment('"kubernetes service portals"')} -j KUBE-SERVICES`),
      ),
      nat('POSTROUTING', `${comment('"kubernetes postrouting rules"')} -j KUBE-POSTROUTING`),
    ],
  };
}
