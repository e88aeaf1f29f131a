// SPDX-License-Identifier: Apache-2.0
// The difference between two tables as the smallest nft transaction. What did not change is not named, so its
// counters, remembered sources and established packets are undisturbed, and the cost does not grow with the table.

import { renderComment, renderRule } from './ruleset.ts';
import type { Chain, ElementSet, Family, Table } from './ruleset.ts';

/**
 * Three atomic `nft -f`, each empty when there is nothing to do. They are apart because a transaction is not atomic for a
 * packet that is under way when it is committed: the packet stays with the rules that it began with, but finds the new
 * elements of named sets and maps (observed on Linux 6.18). Thus nothing may lead to a chain that is new in the same
 * transaction, which in the old rules is empty.
 */
export interface Transaction {
  /** New sets and new chains with their rules, to which nothing leads yet. */
  readonly preparation: string;
  readonly commands: string;
  /**
   * Removal of chains, counters and sets that nothing uses after `commands`; also because older kernels still count the
   * use of a chain by elements deleted in the same transaction.
   */
  readonly cleanup: string;
}

/** Elements per `add element` command: a parser-friendly line length. */
const elementsPerCommand = 512;

/**
 * What elements were before they changed, by set and key; undefined for those that did not exist. Names at least every
 * element that differs. A planner that changes its sets in place gives this, as `before` then shows the new state.
 */
export type FormerElements = ReadonlyMap<string, ReadonlyMap<string, FormerElement | undefined>>;

export interface FormerElement {
  readonly value: string;
  readonly comment: string | undefined;
}

/** From `before` to `after`; without `before` the table is replaced as a whole, whatever the kernel holds. */
export function planTransaction(before: Table | undefined, after: Table, former?: FormerElements): Transaction {
  const table = `${after.family} ${after.name}`;
  const lines: string[] = [];
  const cleanup: string[] = [];
  const preparation = before === undefined ? lines : [];
  if (before === undefined) lines.push(`add table ${table}`, `delete table ${table}`, `add table ${table}`);
  const oldSets = before?.sets ?? new Map<string, ElementSet>();
  const oldChains = before?.chains ?? new Map<string, Chain>();

  for (const [name, comment] of after.counters ?? []) {
    const old = before?.counters?.get(name);
    if (old === undefined) preparation.push(`add counter ${table} ${name} { ${renderComment(comment)} ; }`);
  }
  for (const [name, set] of after.sets) {
    const old = oldSets.get(name);
    if (old === set) continue;
    if (old === undefined) preparation.push(`add ${kindOf(set)} ${table} ${name} ${renderSet(set, after.family)}`);
    else if (renderSet(old, after.family) !== renderSet(set, after.family))
      throw new Error(`nft set ${table} ${name} cannot change its type in place: give the new definition another name`);
  }
  for (const [name, chain] of after.chains) {
    if (oldChains.has(name)) continue;
    const start = chain.hook === undefined ? preparation : lines;
    start.push(`add chain ${table} ${name}${renderHook(chain)}`);
  }
  const changes = new Map<string, ElementChanges>();
  for (const name of new Set([...oldSets.keys(), ...after.sets.keys()])) {
    const [old, now] = [oldSets.get(name), after.sets.get(name)];
    if ((old ?? now)?.rememberSeconds !== undefined) continue;
    changes.set(
      name,
      elementChanges(old, now, before === undefined ? undefined : (former?.get(name) ?? (former && new Map()))),
    );
  }
  for (const [name, { gone }] of changes) pushElements(lines, `delete element ${table} ${name}`, gone);
  for (const [name, chain] of after.chains) {
    const old = oldChains.get(name);
    if (old === chain) continue;
    const rules = chain.rules.map((rule) => renderRule(rule, after.family));
    if (old !== undefined) {
      if (
        sameList(
          rules,
          old.rules.map((rule) => renderRule(rule, after.family)),
        )
      )
        continue;
      lines.push(`flush chain ${table} ${name}`);
    }
    const step = old === undefined && chain.hook === undefined ? preparation : lines;
    for (const rule of rules) step.push(`add rule ${table} ${name} ${rule}`);
  }
  for (const [name, { added }] of changes) pushElements(lines, `add element ${table} ${name}`, added);
  const goneChains = [...oldChains.keys()].filter((name) => !after.chains.has(name));
  // First all of their rules, as they may lead to each other.
  for (const name of goneChains) cleanup.push(`flush chain ${table} ${name}`);
  for (const name of goneChains) cleanup.push(`delete chain ${table} ${name}`);
  for (const name of before?.counters?.keys() ?? []) {
    if (after.counters?.has(name) !== true) cleanup.push(`delete counter ${table} ${name}`);
  }
  for (const [name, old] of oldSets) {
    if (!after.sets.has(name)) cleanup.push(`delete ${kindOf(old)} ${table} ${name}`);
  }
  return {
    preparation: before === undefined ? '' : joined(preparation),
    commands: joined(lines),
    cleanup: joined(cleanup),
  };
}

interface ElementChanges {
  readonly gone: readonly string[];
  readonly added: readonly string[];
}

function elementChanges(
  old: ElementSet | undefined,
  now: ElementSet | undefined,
  former: ReadonlyMap<string, FormerElement | undefined> | undefined,
): ElementChanges {
  const gone: string[] = [];
  const added: string[] = [];
  const compare = (key: string, before: FormerElement | undefined): void => {
    const value = now?.elements.get(key);
    const comment = now?.comments?.get(key);
    if (before?.value === value && before?.comment === comment) return;
    if (before !== undefined) gone.push(key);
    if (value === undefined) return;
    const named = comment === undefined ? key : `${key} ${renderComment(comment)}`;
    added.push(value === '' ? named : `${named} : ${value}`);
  };
  if (former !== undefined) {
    for (const [key, before] of former) compare(key, before);
    return { gone, added };
  }
  if (old?.elements === now?.elements) return { gone, added };
  for (const [key, value] of old?.elements ?? []) compare(key, { value, comment: old?.comments?.get(key) });
  for (const key of now?.elements.keys() ?? []) if (old?.elements.has(key) !== true) compare(key, undefined);
  return { gone, added };
}

function renderSet(set: ElementSet, family: Family): string {
  const address = family === 'ip6' || set.key.includes('ipv6_addr') ? 'ipv6_addr' : 'ipv4_addr';
  const value = set.value === 'verdict' ? ' : verdict' : set.value === 'endpoint' ? ` : ${address} . inet_service` : '';
  const type = `type ${set.key.join(' . ')}${value};`;
  return set.rememberSeconds === undefined
    ? `{ ${type} }`
    : `{ ${type} flags dynamic,timeout; timeout ${set.rememberSeconds}s; }`;
}

function kindOf(set: ElementSet): 'map' | 'set' {
  return set.value === undefined ? 'set' : 'map';
}

function renderHook({ hook }: Chain): string {
  return hook === undefined ? '' : ` { type ${hook.type} hook ${hook.at} priority ${hook.priority}; policy accept; }`;
}

function pushElements(lines: string[], command: string, elements: readonly string[]): void {
  for (let start = 0; start < elements.length; start += elementsPerCommand) {
    lines.push(`${command} { ${elements.slice(start, start + elementsPerCommand).join(', ')} }`);
  }
}

function sameList(left: readonly string[], right: readonly string[]): boolean {
  return left.length === right.length && left.every((line, index) => line === right[index]);
}

function joined(lines: readonly string[]): string {
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`;
}
