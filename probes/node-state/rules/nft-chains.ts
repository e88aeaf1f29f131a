// SPDX-License-Identifier: Apache-2.0
/** Chains of nft as programs for virtual packets. */
import { numberOf, objectOf, textOf, type JsonObject } from '../parse/json-fields.ts';
import type { NftRule, NftRuleset, NftTable } from '../parse/nft-json.ts';
import { ruleText } from './nft-text.ts';
import { evaluate, holds, lookUp, type Scope, type Value } from './nft-values.ts';
import {
  Doubt,
  type BaseChain,
  type CompiledChain,
  type CompiledRule,
  type Hook,
  type Verdict,
  type Walk,
} from './walk.ts';

const hooks: readonly string[] = ['prerouting', 'input', 'forward', 'output', 'postrouting'] satisfies Hook[];

/** Base chains for IP packets. Tables in `covered` (`ip nat`) are left out: iptables has told of them in more detail. */
export function nftChains(ruleset: NftRuleset | undefined, covered: ReadonlySet<string>): BaseChain[] {
  return (ruleset?.tables ?? []).flatMap((table) => {
    if (!['ip', 'ip6', 'inet'].includes(table.family) || covered.has(`${table.family} ${table.name}`)) return [];
    const scope: Scope = { family: table.family, sets: new Map(table.sets.map((set) => [set.name, set])) };
    const chains = new Map(
      table.chains.map((chain): [string, CompiledChain] => {
        const rules = chain.rules.map((rule) => compile(rule, { table, chain: chain.name, scope }));
        return [chain.name, { rulesFor: () => rules }];
      }),
    );
    return table.chains.flatMap(({ name, hook, policy }): BaseChain[] =>
      hook === undefined || !hooks.includes(hook.name)
        ? []
        : [
            {
              hook: hook.name as Hook,
              priority: hook.priority,
              isNat: hook.type === 'nat',
              policy: policy ?? 'accept',
              name: `${table.family} ${table.name} ${name}`,
              entry: name,
              family: table.family === 'inet' ? undefined : table.family === 'ip' ? 4 : 6,
              chains,
            },
          ],
    );
  });
}

function compile(
  rule: NftRule,
  { table, chain, scope }: { readonly table: NftTable; readonly chain: string; readonly scope: Scope },
): CompiledRule {
  let text: string | undefined;
  return {
    reference: {
      backend: 'nft',
      family: table.family,
      table: table.name,
      chain,
      handle: rule.handle,
      comment: rule.comment,
      get text() {
        return (text ??= ruleText(rule.expressions));
      },
    },
    run: (walk) => {
      for (const expression of rule.expressions) {
        const result = step(expression, walk, scope);
        if (result === false) return undefined;
        if (result !== true) return result;
      }
      return undefined;
    },
  };
}

/** Statements after which a packet goes on unchanged, as far as its way is concerned. */
const harmless = new Set([
  'counter',
  'log',
  'limit',
  'quota',
  'flow',
  'notrack',
  'set',
  'map_update',
  'ct helper',
  'ct timeout',
  'ct expectation',
  'last',
  'secmark',
]);

/** True: the rule goes on; false: it does not match. */
function step(expression: JsonObject, walk: Walk, scope: Scope): Verdict | boolean {
  const [kind = '', detail] = Object.entries(expression)[0] ?? [];
  const fields = objectOf(detail);
  switch (kind) {
    case 'match': {
      const left = evaluate(fields['left'], walk, scope);
      if (left === undefined) return false;
      return matches(textOf(fields['op']) ?? '==', left, rightOf(fields['right'], walk, scope), scope);
    }
    case 'vmap':
      return lookUp(fields, walk, scope, verdictOf) ?? false;
    case 'mangle': {
      mangle(fields, walk, scope);
      return true;
    }
    case 'dnat':
    case 'snat': {
      const to = translation(fields, walk, scope);
      return to === undefined ? false : { kind, ...to };
    }
    case 'masquerade':
      return { kind };
    case 'redirect':
      return { kind, port: translation(fields, walk, scope)?.port };
    case 'reject':
      return { kind, with: [textOf(fields['type']), textOf(fields['expr'])].filter(Boolean).join(' ') || 'icmp' };
    default: {
      if (harmless.has(kind)) return true;
      return verdictOf(expression) ?? doubtful(kind);
    }
  }
}

function doubtful(kind: string): never {
  throw new Doubt(kind === 'xt' ? 'an extension of iptables, of which nft shows nothing' : `${kind} is not known`);
}

function verdictOf(value: unknown): Verdict | undefined {
  const [kind, detail] = Object.entries(objectOf(value))[0] ?? [];
  if (kind === 'accept' || kind === 'drop' || kind === 'return') return { kind };
  if (kind === 'jump' || kind === 'goto') return { kind, chain: textOf(objectOf(detail)['target']) ?? '' };
  return undefined;
}

/** What stands on the right of a comparison is a literal, except where it calculates. */
function rightOf(right: unknown, walk: Walk, scope: Scope): unknown {
  const [kind] = Object.keys(objectOf(right));
  if (kind !== 'payload' && kind !== 'meta' && kind !== 'ct') return right;
  const value = evaluate(right, walk, scope);
  return value !== undefined && 'value' in value ? value.value : undefined;
}

function matches(operator: string, left: Value, right: unknown, scope: Scope): boolean {
  switch (operator) {
    case '==':
    case 'in':
      return holds(left, right, scope);
    case '!=':
      return !holds(left, right, scope);
    case '<':
    case '>':
    case '<=':
    case '>=': {
      const bound = numberOf(right);
      if (bound === undefined || !('value' in left) || typeof left.value !== 'number')
        throw new Doubt(`${operator} of what are no numbers`);
      if (operator === '<') return left.value < bound;
      if (operator === '>') return left.value > bound;
      return operator === '<=' ? left.value <= bound : left.value >= bound;
    }
    default:
      throw new Doubt(`operator ${operator} is not known`);
  }
}

function mangle(fields: JsonObject, walk: Walk, scope: Scope): void {
  const key = objectOf(fields['key']);
  const isMark = objectOf(key['meta'])['key'] === 'mark';
  const isConnectionMark = objectOf(key['ct'])['key'] === 'mark';
  if (!isMark && !isConnectionMark) return;
  const value = evaluate(fields['value'], walk, scope);
  if (value === undefined || !('value' in value) || typeof value.value !== 'number')
    throw new Doubt('a mark that is no number');
  if (isMark) walk.mark = value.value;
  else walk.connectionMark = value.value;
}

/** Undefined where a map has no answer: the kernel then takes the rule as not matching. */
function translation(
  fields: JsonObject,
  walk: Walk,
  scope: Scope,
): { readonly address: string | undefined; readonly port: number | undefined } | undefined {
  const given = fields['addr'] === undefined ? undefined : evaluate(fields['addr'], walk, scope);
  const port = fields['port'] === undefined ? undefined : evaluate(fields['port'], walk, scope);
  if (fields['addr'] !== undefined && given === undefined) return undefined;
  const parts = given === undefined ? [] : given.type === 'concat' ? given.parts : [given];
  const address = parts.find((part) => part.type === 'address');
  const number = [...parts, ...(port === undefined ? [] : [port])].find((part) => part.type === 'number');
  if (given !== undefined && address === undefined) throw new Doubt('a translation without an address');
  return {
    address: address?.type === 'address' ? address.value : undefined,
    port: number?.type === 'number' ? number.value : undefined,
  };
}
