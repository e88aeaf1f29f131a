// SPDX-License-Identifier: Apache-2.0
// Sends a virtual packet through rulesets as values, the way the kernel would send a real one: base chains of each hook
// by priority, translation for new connections only, the routing decision after it. No kernel, no root: rules can be
// judged, and explained, before they are in force.

import { parsePrefix, prefixContains } from '../addresses.ts';
import type { Prefix } from '../addresses.ts';
import type { Chain, Endpoint, HookPoint, Match, Rule, Statement, Table, Verdict } from './ruleset.ts';

export interface VirtualPacket {
  readonly source: string;
  readonly destination: string;
  /** `tcp`, `udp`, `sctp`, `icmp` or `icmpv6`. */
  readonly protocol: string;
  readonly port: number;
  /** Of ICMPv6, as nft spells it. */
  readonly icmpType?: string;
  /** Default: `new`. */
  readonly state?: 'new' | 'established' | 'related';
  /** The packet is of who was called, not of the caller. */
  readonly reply?: true;
}

export interface TraceOptions {
  readonly tables: readonly Table[];
  /** The node's own addresses. */
  readonly localAddresses: readonly string[];
  /** The packet is sent by a process of the node itself. */
  readonly fromNode?: boolean;
  /** Which of `n` endpoints a random choice takes; default the first. */
  readonly choose?: (n: number) => number;
  /** Elements of sets that the kernel fills, by set name. */
  readonly remembered?: Map<string, Set<string>>;
  /** Called for each named counter that counts the packet. */
  readonly counted?: (name: string) => void;
}

export interface Trace {
  readonly end: 'delivered' | 'forwarded' | 'dropped' | 'rejected' | 'reset';
  /** Destination after translation. */
  readonly destination: string;
  readonly port: number;
  /** The source is replaced by an address of the node. */
  readonly masqueraded: boolean;
  /** `table/chain` of every chain entered, in order. */
  readonly path: readonly string[];
  /** The rule that ended the packet's way. */
  readonly by: { readonly chain: string; readonly rule: Rule } | undefined;
}

interface Walk {
  readonly options: TraceOptions;
  packet: VirtualPacket;
  mark: number;
  masqueraded: boolean;
  readonly path: string[];
  end: Trace['end'] | undefined;
  by: Trace['by'];
}

export function tracePacket(packet: VirtualPacket, options: TraceOptions): Trace {
  const walk: Walk = { options, packet, mark: 0, masqueraded: false, path: [], end: undefined, by: undefined };
  const isLocal = (): boolean => options.localAddresses.includes(walk.packet.destination);
  let end: Trace['end'] = 'forwarded';
  if (options.fromNode === true) {
    runHook(walk, 'output');
    if (isLocal()) {
      end = 'delivered';
      runHook(walk, 'input');
    } else runHook(walk, 'postrouting');
  } else {
    runHook(walk, 'prerouting');
    if (isLocal()) {
      end = 'delivered';
      runHook(walk, 'input');
    } else {
      runHook(walk, 'forward');
      runHook(walk, 'postrouting');
    }
  }
  return {
    end: walk.end ?? end,
    destination: walk.packet.destination,
    port: walk.packet.port,
    masqueraded: walk.masqueraded,
    path: walk.path,
    by: walk.by,
  };
}

function runHook(walk: Walk, at: HookPoint): void {
  const bases = walk.options.tables
    .filter((table) => seesFamily(table, walk.packet))
    .flatMap((table) => baseChains(table).filter(({ chain }) => chain.hook?.at === at))
    .toSorted((a, b) => (a.chain.hook?.priority ?? 0) - (b.chain.hook?.priority ?? 0));
  for (const { table, name, chain } of bases) {
    if (walk.end !== undefined) return;
    // Translation is decided by the first packet of a connection.
    if (chain.hook?.type === 'nat' && (walk.packet.state ?? 'new') !== 'new') continue;
    runChain({ walk, table, name, chain, depth: 0 });
  }
}

interface BaseChain {
  readonly table: Table;
  readonly name: string;
  readonly chain: Chain;
}

const baseChainsOf = new WeakMap<Table, readonly BaseChain[]>();

function baseChains(table: Table): readonly BaseChain[] {
  let known = baseChainsOf.get(table);
  if (known === undefined) {
    known = [...table.chains].flatMap(([name, chain]) => (chain.hook === undefined ? [] : [{ table, name, chain }]));
    baseChainsOf.set(table, known);
  }
  return known;
}

interface Step extends BaseChain {
  readonly walk: Walk;
  readonly depth: number;
}

/** True when the packet's way through this base chain is decided. */
function runChain(step: Step): boolean {
  const { walk, table, name, chain, depth } = step;
  if (depth > 16) throw new Error(`chains jump too deep at ${table.name}/${name}`);
  walk.path.push(`${table.name}/${name}`);
  for (const rule of chain.rules) {
    if (!rule.match.every((match) => matches(match, step))) continue;
    for (const statement of rule.action) {
      const outcome = perform(statement, step, rule);
      if (outcome === 'decided') return true;
      if (outcome === 'return') return false;
    }
  }
  return false;
}

type Outcome = 'continue' | 'return' | 'decided';

function perform(statement: Statement, step: Step, rule: Rule): Outcome {
  const { walk, table } = step;
  switch (statement.do) {
    case 'counter':
      if (statement.name !== undefined) walk.options.counted?.(statement.name);
      return 'continue';
    case 'verdict':
      return follow(statement.verdict, step, rule);
    case 'lookup': {
      const verdict = table.sets.get(statement.map)?.elements.get(keyOf(statement.fields, step) ?? '');
      return verdict === undefined ? 'continue' : follow(verdict as Verdict, step, rule);
    }
    case 'pick': {
      const chosen = statement.chains[walk.options.choose?.(statement.chains.length) ?? 0];
      return chosen === undefined ? 'continue' : follow(`goto ${chosen}`, step, rule);
    }
    case 'dnat':
      return translate(walk, statement.to);
    case 'dnat-pick': {
      const to = statement.to[walk.options.choose?.(statement.to.length) ?? 0];
      return to === undefined ? 'continue' : translate(walk, to);
    }
    case 'dnat-lookup': {
      const value = table.sets.get(statement.map)?.elements.get(keyOf(statement.fields, step) ?? '');
      const [address, port] = value?.split(' . ') ?? [];
      return address === undefined ? 'continue' : translate(walk, { address, port: Number(port) });
    }
    case 'masquerade':
      walk.masqueraded = true;
      return 'decided';
    case 'mark':
      walk.mark = statement.set ? walk.mark | statement.bit : walk.mark & ~statement.bit;
      return 'continue';
    case 'reject':
      walk.end = statement.by === 'tcp-reset' ? 'reset' : 'rejected';
      walk.by = { chain: `${table.name}/${step.name}`, rule };
      return 'decided';
    case 'remember': {
      const { remembered } = walk.options;
      const key = keyOf(statement.fields, step);
      if (remembered !== undefined && key !== undefined) {
        remembered.set(statement.set, (remembered.get(statement.set) ?? new Set()).add(key));
      }
      return 'continue';
    }
  }
}

function translate(walk: Walk, { address, port }: Endpoint): Outcome {
  walk.packet = { ...walk.packet, destination: address, port };
  return 'decided';
}

function follow(verdict: Verdict, step: Step, rule: Rule): Outcome {
  const { walk, table } = step;
  if (verdict === 'accept') return 'decided';
  if (verdict === 'return') return 'return';
  if (verdict === 'drop') {
    walk.end = 'dropped';
    walk.by = { chain: `${table.name}/${step.name}`, rule };
    return 'decided';
  }
  const [how, name = ''] = verdict.split(' ');
  const chain = table.chains.get(name);
  if (chain === undefined) throw new Error(`${table.name}/${step.name} leads to the chain "${name}", which is missing`);
  if (runChain({ walk, table, name, chain, depth: step.depth + 1 })) return 'decided';
  return how === 'goto' ? 'return' : 'continue';
}

function matches({ fields, among, not }: Match, step: Step): boolean {
  const value = keyOf(fields, step);
  if (value === undefined) return false;
  return among.some((text) => holds(value, text, { fields, step })) !== (not ?? false);
}

function holds(value: string, text: string, context: { fields: string; step: Step }): boolean {
  if (text.startsWith('@')) {
    const name = text.slice(1);
    const set = context.step.table.sets.get(name);
    if (set === undefined) throw new Error(`${context.step.table.name} has no set "${name}"`);
    if (set.rememberSeconds === undefined) return set.elements.has(value);
    return context.step.walk.options.remembered?.get(name)?.has(value) ?? false;
  }
  if (text.includes('/')) return prefixContains(prefixOf(text), prefixOf(value));
  const range = /^(\d+)-(\d+)$/.exec(text);
  return range === null ? value === text : Number(value) >= Number(range[1]) && Number(value) <= Number(range[2]);
}

/** Reading addresses is most of the work, and a rule set has few of them. */
const prefixes = new Map<string, Prefix>();

function prefixOf(text: string): Prefix {
  let prefix = prefixes.get(text);
  if (prefix === undefined) {
    if (prefixes.size > 10_000) prefixes.clear();
    prefixes.set(text, (prefix = parsePrefix(text)));
  }
  return prefix;
}

/** Values of the fields as the elements of sets are written; undefined when the packet lacks one. */
function keyOf(fields: string, step: Step): string | undefined {
  let key: string | undefined;
  for (const field of fieldList(fields)) {
    const value = valueOf(field, step);
    if (value === undefined) return undefined;
    key = key === undefined ? value : `${key} . ${value}`;
  }
  return key;
}

const fieldLists = new Map<string, readonly string[]>();

function fieldList(fields: string): readonly string[] {
  let list = fieldLists.get(fields);
  if (list === undefined) fieldLists.set(fields, (list = fields.split(' . ')));
  return list;
}

function valueOf(field: string, { walk }: Step): string | undefined {
  const { packet, options } = walk;
  const family = familyWord(packet);
  const hasPorts = packet.protocol !== 'icmp' && packet.protocol !== 'icmpv6';
  switch (field) {
    case 'ip saddr':
    case 'ip6 saddr':
      return field.startsWith(`${family} `) ? packet.source : undefined;
    case 'ip daddr':
    case 'ip6 daddr':
      return field.startsWith(`${family} `) ? packet.destination : undefined;
    case 'meta l4proto':
      return packet.protocol;
    case 'th dport':
      return hasPorts ? String(packet.port) : undefined;
    case 'tcp dport':
    case 'udp dport':
    case 'sctp dport':
      return field === `${packet.protocol} dport` ? String(packet.port) : undefined;
    case 'icmpv6 type':
      return packet.protocol === 'icmpv6' ? packet.icmpType : undefined;
    case 'ct state':
      return packet.state ?? 'new';
    case 'ct direction':
      return packet.reply === true ? 'reply' : 'original';
    case 'fib daddr type':
      return options.localAddresses.includes(packet.destination) ? 'local' : 'unicast';
    case 'fib saddr type':
      return options.localAddresses.includes(packet.source) ? 'local' : 'unicast';
  }
  const bits = /^meta mark & (0x[0-9a-f]+)$/.exec(field);
  if (bits?.[1] !== undefined) return String(walk.mark & Number(bits[1]));
  throw new Error(`field "${field}" cannot be traced`);
}

function seesFamily(table: Table, packet: VirtualPacket): boolean {
  if (table.family === 'inet') return true;
  return familyWord(packet) === table.family;
}

function familyWord({ destination }: VirtualPacket): 'ip' | 'ip6' {
  return destination.includes(':') ? 'ip6' : 'ip';
}
