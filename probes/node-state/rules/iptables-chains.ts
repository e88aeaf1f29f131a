// SPDX-License-Identifier: Apache-2.0
/** Chains of iptables, of either back-end, as programs for virtual packets. */
import type { Family, NodeState } from '../node-state.ts';
import type { IptablesChain, IptablesRule, IptablesRuleset, IptablesTable } from '../parse/iptables-save.ts';
import { parseRange, type Range } from './addresses.ts';
import { optionTest, type RuleTest } from './iptables-matches.ts';
import {
  Doubt,
  type BaseChain,
  type CompiledChain,
  type CompiledRule,
  type Hook,
  type RuleReference,
  type Verdict,
  type Walk,
} from './walk.ts';

export interface IptablesChains {
  readonly chains: readonly BaseChain[];
  /** Tables of nft that are these ones seen from the other side: `ip nat`. */
  readonly covered: ReadonlySet<string>;
}

const hookOf: Readonly<Record<string, Hook>> = {
  PREROUTING: 'prerouting',
  INPUT: 'input',
  FORWARD: 'forward',
  OUTPUT: 'output',
  POSTROUTING: 'postrouting',
};

const priorityOf = (table: string, hook: Hook): number => {
  if (table === 'nat') return hook === 'prerouting' || hook === 'output' ? -100 : 100;
  return { raw: -300, mangle: -150, filter: 0, security: 50 }[table] ?? 0;
};

export function iptablesChains({ iptables, ipsets }: Pick<NodeState, 'iptables' | 'ipsets'>): IptablesChains {
  const sets = new Map(ipsets.map((set) => [set.name, set]));
  const covered = new Set<string>();
  const chains = iptables.flatMap((ruleset) =>
    ruleset.tables.flatMap((table) => {
      if (ruleset.backend === 'nft') covered.add(`${familyName(ruleset.family)} ${table.name}`);
      const compiled = new Map(
        table.chains.map((chain): [string, CompiledChain] => [
          chain.name,
          compileChain(ruleset, table, { chain, sets }),
        ]),
      );
      return table.chains.flatMap(({ name, policy }): BaseChain[] => {
        const hook = hookOf[name];
        if (hook === undefined) return [];
        return [
          {
            hook,
            priority: priorityOf(table.name, hook),
            isNat: table.name === 'nat',
            policy: policy === 'DROP' ? 'drop' : 'accept',
            name: `iptables (${ruleset.backend}) ${table.name} ${name}`,
            entry: name,
            family: ruleset.family,
            chains: compiled,
          },
        ];
      });
    }),
  );
  return { chains, covered };
}

function familyName(family: Family): string {
  return family === 4 ? 'ip' : 'ip6';
}

type Sets = ReadonlyMap<string, NodeState['ipsets'][number]>;

function compileChain(
  ruleset: IptablesRuleset,
  table: IptablesTable,
  { chain, sets }: { readonly chain: IptablesChain; readonly sets: Sets },
): CompiledChain {
  const rules = chain.rules.map((rule, index) => {
    const reference: RuleReference = {
      backend: `iptables-${ruleset.backend}`,
      family: familyName(ruleset.family),
      table: table.name,
      chain: chain.name,
      handle: index + 1,
      comment: rule.comment,
      text: rule.text,
    };
    return compileRule(rule, { reference, sets, table });
  });
  return indexed(rules, chain.rules);
}

/** Long chains are those of Services, of which each rule is for one address: only those for the packet's are walked. */
function indexed(rules: readonly CompiledRule[], sources: readonly IptablesRule[]): CompiledChain {
  if (rules.length < 32) return { rulesFor: () => rules };
  const byDestination = new Map<string, number[]>();
  const others: number[] = [];
  for (const [index, { options }] of sources.entries()) {
    const only = options.find(({ name, negated }) => !negated && (name === '-d' || name === '--destination'))
      ?.values[0];
    const address = only === undefined ? undefined : /^([\d.]+)\/32$|^([0-9a-f:]+)\/128$/i.exec(only);
    const key = address?.[1] ?? address?.[2];
    if (key === undefined) others.push(index);
    else byDestination.set(key, [...(byDestination.get(key) ?? []), index]);
  }
  return {
    *rulesFor(walk) {
      const mine = byDestination.get(walk.destination) ?? [];
      const all = mine.length === 0 ? others : [...mine, ...others].toSorted((a, b) => a - b);
      for (const index of all) {
        const rule = rules[index];
        if (rule !== undefined) yield rule;
      }
    },
  };
}

function compileRule(
  rule: IptablesRule,
  { reference, sets, table }: { readonly reference: RuleReference; readonly sets: Sets; readonly table: IptablesTable },
): CompiledRule {
  const tests: RuleTest[] = [];
  for (const option of rule.options) {
    const test = optionTest(option, rule, sets);
    if (test !== undefined) tests.push(test);
  }
  // What is cheap and certain first; chance and doubts only when everything else fits, as a rule that cannot match raises no doubt.
  tests.sort((a, b) => a.order - b.order);
  const target = targetOf(rule, table);
  return {
    reference,
    run: (walk) => (tests.every(({ matches }) => matches(walk)) ? target(walk) : undefined),
  };
}

function targetOf(rule: IptablesRule, table: IptablesTable): (walk: Walk) => Verdict | undefined {
  const { target } = rule;
  const option = (name: string): string | undefined => rule.options.find((one) => one.name === name)?.values[0];
  switch (target) {
    case undefined:
    case 'LOG':
    case 'NFLOG':
    case 'ULOG':
    case 'TRACE':
    case 'AUDIT':
    case 'TCPMSS':
    case 'TCPOPTSTRIP':
    case 'CHECKSUM':
    case 'SET':
    case 'CLASSIFY':
    case 'DSCP':
    case 'TOS':
    case 'TTL':
    case 'HL':
    case 'NOTRACK':
    case 'CT':
      return () => undefined;
    case 'ACCEPT':
      return () => ({ kind: 'accept' });
    case 'DROP':
      return () => ({ kind: 'drop' });
    case 'RETURN':
      return () => ({ kind: 'return' });
    case 'REJECT':
      return () => ({ kind: 'reject', with: option('--reject-with') ?? 'icmp-port-unreachable' });
    case 'MARK':
      return (walk) => {
        walk.mark = marked(walk.mark, option);
        return undefined;
      };
    case 'CONNMARK':
      return (walk) => {
        if (option('--restore-mark') !== undefined || rule.options.some(({ name }) => name === '--restore-mark'))
          walk.mark = walk.connectionMark;
        else if (rule.options.some(({ name }) => name === '--save-mark')) walk.connectionMark = walk.mark;
        else walk.connectionMark = marked(walk.connectionMark, option);
        return undefined;
      };
    case 'MASQUERADE':
      return () => ({ kind: 'masquerade' });
    case 'REDIRECT':
      return () => ({ kind: 'redirect', port: portOf(option('--to-ports')) });
    case 'DNAT':
      return (walk) => ({ kind: 'dnat', ...oneOf(option('--to-destination') ?? '', walk) });
    case 'SNAT':
      return (walk) => ({ kind: 'snat', ...oneOf(option('--to-source') ?? '', walk) });
    default:
      if (table.chains.some(({ name }) => name === target))
        return () => ({ kind: rule.isGoto ? 'goto' : 'jump', chain: target });
      return () => {
        throw new Doubt(`target ${target} is not known`);
      };
  }
}

/** `-j MARK`: each of its ways to set bits. */
function marked(mark: number, option: (name: string) => string | undefined): number {
  const parse = (text: string): [number, number] => {
    const [value = '0', mask = '0xffffffff'] = text.split('/');
    return [Number(value) >>> 0, Number(mask) >>> 0];
  };
  const exclusive = option('--set-xmark');
  if (exclusive !== undefined) {
    const [value, mask] = parse(exclusive);
    return ((mark & ~mask) ^ value) >>> 0;
  }
  const plain = option('--set-mark');
  if (plain !== undefined) {
    const [value, mask] = parse(plain);
    return ((mark & ~mask) | value) >>> 0;
  }
  const or = option('--or-mark');
  if (or !== undefined) return (mark | Number(or)) >>> 0;
  const and = option('--and-mark');
  return and === undefined ? mark : (mark & Number(and)) >>> 0;
}

/** `10.0.0.1:80`, `[fd00::1]:80`, `10.0.0.1`, `:80`, and ranges of addresses, of which each is as probable. */
function oneOf(text: string, walk: Walk): { readonly address: string | undefined; readonly port: number | undefined } {
  const found = /^\[([^\]]+)\](?::(\d+))?/.exec(text) ?? /^([\d.]*)(?:-([\d.]+))?(?::(\d+))?/.exec(text);
  const [, first = '', second, third] = found ?? [];
  if (text.startsWith('[')) return { address: first, port: portOf(second) };
  if (text.includes(':') && found?.[0].length !== text.length && parseRange(text) !== undefined)
    return { address: text, port: undefined };
  const range = second === undefined ? undefined : parseRange(`${first}-${second}`);
  const address = range === undefined ? first : pick(range, walk);
  return { address: address === '' ? undefined : address, port: portOf(third) };
}

function pick({ first, last }: Range, walk: Walk): string {
  const size = Number(last - first) + 1;
  const number = Number(first) + walk.choose(Array.from({ length: Math.min(Math.max(size, 1), 256) }, () => 1));
  return [24, 16, 8, 0].map((shift) => (number >>> shift) & 255).join('.');
}

function portOf(text: string | undefined): number | undefined {
  const number = Number(text?.split('-')[0]);
  return text === undefined || Number.isNaN(number) ? undefined : number;
}
