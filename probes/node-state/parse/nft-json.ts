// SPDX-License-Identifier: Apache-2.0
/** The ruleset as `nft -j -a list ruleset` prints it, put together by table. Expressions stay as nft's JSON has them. */
import { listOf, numberOf, objectOf, textOf, type JsonObject } from './json-fields.ts';

export interface NftRuleset {
  readonly tables: readonly NftTable[];
}

export interface NftTable {
  /** `ip`, `ip6`, `inet`, `arp`, `bridge`, `netdev`. */
  readonly family: string;
  readonly name: string;
  readonly chains: readonly NftChain[];
  readonly sets: readonly NftSet[];
}

export interface NftChain {
  readonly name: string;
  /** Where the packet comes in; undefined for a chain that only others lead to. */
  readonly hook: { readonly name: string; readonly type: string; readonly priority: number } | undefined;
  readonly policy: 'accept' | 'drop' | undefined;
  readonly rules: readonly NftRule[];
}

export interface NftRule {
  readonly handle: number;
  readonly comment: string | undefined;
  /** One object per expression or statement, keyed by its kind: `match`, `jump`, `vmap`, `dnat`, `counter`, ... */
  readonly expressions: readonly JsonObject[];
}

/** A set, a map or a verdict map. */
export interface NftSet {
  readonly name: string;
  readonly kind: 'set' | 'map';
  readonly handle: number;
  /** Each a value, `{ concat }`, `{ prefix }`, `{ range }` or `{ elem }`; of a map `[key, value]`. */
  readonly elements: readonly unknown[];
}

/** Throws a SyntaxError where the text is no JSON. */
export function parseNftRuleset(text: string): NftRuleset {
  interface OpenTable {
    family: string;
    name: string;
    chains: Map<string, Omit<NftChain, 'rules'> & { rules: NftRule[] }>;
    sets: NftSet[];
  }
  const tables = new Map<string, OpenTable>();
  const tableOf = (one: JsonObject, name: string | undefined): OpenTable | undefined =>
    tables.get(`${textOf(one['family'])} ${name}`);
  for (const item of listOf(objectOf(JSON.parse(text))['nftables'])) {
    const [kind, value] = Object.entries(objectOf(item))[0] ?? ['', undefined];
    const one = objectOf(value);
    const name = textOf(one['name']) ?? '';
    const inTable = tableOf(one, textOf(one['table']));
    if (kind === 'table') {
      const family = textOf(one['family']) ?? '';
      tables.set(`${family} ${name}`, { family, name, chains: new Map(), sets: [] });
    } else if (kind === 'chain')
      inTable?.chains.set(name, { name, hook: hookOf(one), policy: policyOf(one), rules: [] });
    else if (kind === 'rule') {
      inTable?.chains.get(textOf(one['chain']) ?? '')?.rules.push({
        handle: numberOf(one['handle']) ?? 0,
        comment: textOf(one['comment']),
        expressions: listOf(one['expr']).map(objectOf),
      });
    } else if (kind === 'set' || kind === 'map')
      inTable?.sets.push({ name, kind, handle: numberOf(one['handle']) ?? 0, elements: listOf(one['elem']) });
  }
  return {
    tables: [...tables.values()].map((table) => ({ ...table, chains: [...table.chains.values()] })),
  };
}

function hookOf(chain: JsonObject): NftChain['hook'] {
  const hook = textOf(chain['hook']);
  if (hook === undefined) return undefined;
  return { name: hook, type: textOf(chain['type']) ?? 'filter', priority: numberOf(chain['prio']) ?? 0 };
}

function policyOf(chain: JsonObject): NftChain['policy'] {
  const policy = textOf(chain['policy']);
  return policy === 'accept' || policy === 'drop' ? policy : undefined;
}
