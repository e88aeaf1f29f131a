// SPDX-License-Identifier: Apache-2.0
// A process inside a node's network namespace that keeps its rules as kube-proxy does, driven by JSON lines on stdin
// instead of an API server: each line is the whole state of the cluster; the answer says what reached the kernel.

import { createInterface } from 'node:readline';

import { IptablesRules } from '../iptables/iptables-rules.ts';
import { removeLeftovers } from '../leftovers.ts';
import { NftablesRules } from '../nftables/nftables-rules.ts';
import { ownAddresses } from '../node-facts.ts';
import { Proxier } from '../proxier.ts';
import type { EndpointSlice, Service } from '../../machinery/api-types.ts';
import type { RuleOptions } from '../rule-writer.ts';

export interface ProxyState {
  readonly services: readonly Service[];
  /** By `namespace/name` of their Service. */
  readonly slices: Readonly<Record<string, readonly EndpointSlice[]>>;
}

export interface ProxyReply {
  readonly kinds: readonly string[];
  readonly problems: readonly string[];
  readonly ms: number;
  readonly rssBytes: number;
}

export type ProxyMode = 'nftables' | 'iptables-nft' | 'iptables-legacy';

const [name = '', modeText = 'nftables'] = process.argv.slice(2);
const mode = modeText as ProxyMode;
let state: ProxyState = { services: [], slices: {} };
const problems: string[] = [];

const proxiers = (['ip', 'ip6'] as const).map((family) => {
  const rules: RuleOptions = {
    node: { name, zone: undefined },
    family,
    clusterCIDRs: family === 'ip' ? ['10.244.0.0/16'] : ['fd00:10:244::/56'],
    nodeAddresses: [],
    nodePortAddresses: undefined,
  };
  const writer =
    mode === 'nftables'
      ? new NftablesRules(rules)
      : new IptablesRules({ ...rules, localhostNodePorts: false }, mode === 'iptables-nft' ? 'nft' : 'legacy');
  const find = (key: string): Service | undefined =>
    state.services.find(({ metadata }) => `${metadata.namespace}/${metadata.name}` === key);
  return new Proxier({
    rules,
    writer,
    source: {
      services: () => state.services,
      service: find,
      slices: (key) => state.slices[key] ?? [],
      ownAddresses,
    },
    onConntrackError: (error) => problems.push(String(error)),
  });
});

process.stdout.write('ready\n');
let first = true;
for await (const line of createInterface({ input: process.stdin })) {
  state = JSON.parse(line) as ProxyState;
  const start = performance.now();
  const reports = await Promise.all(proxiers.map((proxier) => proxier.sync('all')));
  if (first) await removeLeftovers(mode === 'nftables' ? mode : mode === 'iptables-nft' ? 'nft' : 'legacy');
  first = false;
  problems.push(...reports.flatMap(({ refused }) => refused ?? []));
  const reply: ProxyReply = {
    kinds: reports.map(({ kind }) => kind),
    problems: problems.splice(0),
    ms: performance.now() - start,
    rssBytes: process.memoryUsage.rss(),
  };
  process.stdout.write(`${JSON.stringify(reply)}\n`);
}
