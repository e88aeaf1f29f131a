// SPDX-License-Identifier: Apache-2.0
// All Services' rules as one table that is changed in place, Service by Service: what one change costs does not grow
// with the number of Services. Where two Services claim the same address and port, the first keeps it until it goes.

import { baseChains, baseSets, sharedChains, sharedSets } from './plan.ts';
import type { Chain, ElementSet, Table } from '../../network/nft/ruleset.ts';
import type { FormerElements } from '../../network/nft/transaction.ts';
import type { RuleOptions } from '../rule-writer.ts';
import type { Element, ServiceRules } from './plan.ts';

export const tableName = 'kube-proxy';

export class RuleStore {
  readonly #rules = new Map<string, readonly ServiceRules[]>();
  /** Of Services that have chains and sets of their own. */
  readonly #chains = new Map<string, Chain>();
  readonly #sets = new Map<string, ElementSet>();
  readonly #elements = new Map<string, Map<string, string>>();
  readonly #comments = new Map<string, Map<string, string>>();
  /** Elements that more than one Service port has, by set and key; the first is the one in force. */
  readonly #claims = new Map<string, Element[]>();
  readonly #counts = new Map<number, number>();
  /** Numbers of endpoints that have shared chains, with those that no Service has any more. */
  #made: ReadonlySet<number> = new Set();
  #former: Map<string, Map<string, { value: string; comment: string | undefined } | undefined>> = new Map();

  /** The rules of one Service from now on; none when it is gone. */
  replace(service: string, rules: readonly ServiceRules[]): void {
    for (const part of this.#rules.get(service) ?? []) {
      for (const name of part.chains.keys()) this.#chains.delete(name);
      for (const name of part.sets.keys()) this.#sets.delete(name);
      for (const element of part.elements) this.#remove(element);
      for (const count of part.counts) this.#count(count, -1);
    }
    if (rules.length === 0) this.#rules.delete(service);
    else this.#rules.set(service, rules);
    for (const part of rules) {
      for (const [name, chain] of part.chains) this.#chains.set(name, chain);
      for (const [name, set] of part.sets) this.#sets.set(name, set);
      for (const element of part.elements) this.#add(element);
      for (const count of part.counts) this.#count(count, 1);
    }
  }

  /** Shared chains that no Service uses are left: `take` with `tidy` when idle. */
  get untidy(): boolean {
    return this.#made.size > this.#counts.size;
  }

  /**
   * The table as it is now, and what its elements were at the last call where they may differ. Shared chains that no
   * Service uses stay until `tidy`: Services that scale up and down would make them again and again.
   */
  take(options: RuleOptions, { tidy = false } = {}): { readonly table: Table; readonly former: FormerElements } {
    this.#made = new Set([...this.#counts.keys(), ...(tidy ? [] : this.#made)]);
    const shared = sharedChains(this.#made, options);
    const chains = new Map<string, Chain>([...baseChains(options), ...shared, ...this.#chains]);
    const sets = new Map<string, ElementSet>(baseSets(options));
    for (const [name, facts] of sharedSets(this.#made, options)) {
      sets.set(name, { ...facts, elements: mapOf(this.#elements, name), comments: mapOf(this.#comments, name) });
    }
    for (const [name, set] of this.#sets) sets.set(name, set);
    const former = this.#former;
    this.#former = new Map();
    return { table: { family: options.family, name: tableName, chains, sets }, former };
  }

  #count(count: number, change: 1 | -1): void {
    const uses = (this.#counts.get(count) ?? 0) + change;
    if (uses === 0) this.#counts.delete(count);
    else this.#counts.set(count, uses);
  }

  #add(element: Element): void {
    const { set, key } = element;
    const value = this.#elements.get(set)?.get(key);
    if (value === undefined) {
      this.#write(element);
      return;
    }
    const id = `${set} ${key}`;
    const claims = this.#claims.get(id) ?? [{ set, key, value, ...this.#commentOf(set, key) }];
    this.#claims.set(id, [...claims, element]);
  }

  #remove(element: Element): void {
    const { set, key, value, comment } = element;
    const id = `${set} ${key}`;
    const claims = this.#claims.get(id);
    if (claims === undefined) {
      this.#note(set, key);
      this.#elements.get(set)?.delete(key);
      this.#comments.get(set)?.delete(key);
      return;
    }
    const index = claims.findIndex((claim) => claim.value === value && claim.comment === comment);
    const left = claims.filter((_, position) => position !== index);
    if (left.length < 2) this.#claims.delete(id);
    else this.#claims.set(id, left);
    const [first] = left;
    if (index === 0 && first !== undefined) this.#write(first);
  }

  #write({ set, key, value, comment }: Element): void {
    this.#note(set, key);
    mapOf(this.#elements, set).set(key, value);
    if (comment === undefined) this.#comments.get(set)?.delete(key);
    else mapOf(this.#comments, set).set(key, comment);
  }

  /** Keeps what an element was before its first change since the last `take`. */
  #note(set: string, key: string): void {
    let former = this.#former.get(set);
    if (former === undefined) this.#former.set(set, (former = new Map()));
    if (former.has(key)) return;
    const value = this.#elements.get(set)?.get(key);
    former.set(key, value === undefined ? undefined : { value, comment: this.#comments.get(set)?.get(key) });
  }

  #commentOf(set: string, key: string): { readonly comment?: string } {
    const comment = this.#comments.get(set)?.get(key);
    return comment === undefined ? {} : { comment };
  }
}

/** The table of these rules. */
export function assembleTable(parts: readonly ServiceRules[], options: RuleOptions): Table {
  const store = new RuleStore();
  for (const [index, part] of parts.entries()) store.replace(String(index), [part]);
  return store.take(options).table;
}

function mapOf(maps: Map<string, Map<string, string>>, name: string): Map<string, string> {
  let map = maps.get(name);
  if (map === undefined) maps.set(name, (map = new Map()));
  return map;
}
