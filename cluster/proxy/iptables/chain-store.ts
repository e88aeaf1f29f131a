// SPDX-License-Identifier: Apache-2.0
// All Services' chains, and what changed in them since they were last written, as input for `iptables-restore
// --noflush`. A difference names changed chains and single rules of shared ones only: its length, and what parsing it
// costs, does not grow with the number of Services.
//
// To take a rule out of a chain that Services share, the tools read all of that chain. So what left is emptied at once,
// by which packets pass it over, and tidied up later, together with others.

import { baseChains } from './plan.ts';
import { restoreText } from './restore-text.ts';
import type { IptablesOptions, KernelTable, ServiceChains, SharedRule } from './plan.ts';
import type { NatUnit, RestoreLines } from './restore-text.ts';

/** Rules of Services' chains as they were last written. */
export type WrittenChains = Map<string, readonly string[]>;

export interface WholeState {
  /** Is filled with the Services' chains. */
  readonly written: WrittenChains;
  /** Chains of Services that the kernel has from earlier; those that nobody wants any more are removed. */
  readonly stale: Iterable<string>;
  /** Jumps from the kernel's own chains that are not there yet. */
  readonly missing: readonly SharedRule[];
}

/** Finding that many rules in a shared chain costs more than writing it anew. */
const rewriteAfter = 5;

export class ChainStore {
  readonly #chainsPerTransaction: number;
  readonly #services = new Map<string, readonly ServiceChains[]>();
  /** Chains, by their Service, that were made, changed or left since they were last written. */
  #touched = new Map<string, Set<string>>();
  /** Emptied chains that are still there, and maybe still led to. */
  #left = new Set<string>();
  /** Rules of shared chains that came (positive) or went since they were last written, by their text with table and chain. */
  #shared = new Map<string, { readonly rule: SharedRule; change: number }>();
  readonly #chains = new Map<string, readonly string[]>();
  readonly #counts = new Map<KernelTable, number>();

  /** `chainsPerTransaction`: see {@link restoreText}. */
  constructor(chainsPerTransaction = Infinity) {
    this.#chainsPerTransaction = chainsPerTransaction;
  }

  /** The chains of one Service from now on; none when it is gone. */
  replace(service: string, parts: readonly ServiceChains[]): void {
    let touched = this.#touched.get(service);
    if (touched === undefined) this.#touched.set(service, (touched = new Set()));
    for (const part of this.#services.get(service) ?? []) {
      for (const [name, rules] of part.chains) {
        this.#count('nat', -rules.length);
        this.#chains.delete(name);
        touched.add(name);
      }
      for (const rule of part.shared) this.#note(rule, -1);
    }
    if (parts.length === 0) this.#services.delete(service);
    else this.#services.set(service, parts);
    for (const part of parts) {
      for (const [name, rules] of part.chains) {
        this.#count('nat', rules.length);
        this.#chains.set(name, rules);
        touched.add(name);
      }
      for (const rule of part.shared) this.#note(rule, 1);
    }
  }

  /** How many emptied chains wait for being tidied up. */
  get untidy(): number {
    return this.#left.size;
  }

  /** What changed since the last call; empty when nothing did. `written` are Services' chains that the kernel has. */
  difference(options: IptablesOptions, written: WrittenChains, { tidy }: { readonly tidy: boolean }): string {
    const lines: RestoreLines = { mangle: [], filter: [], nat: [] };
    for (const names of this.#touched.values()) {
      const changed: (readonly [string, readonly string[]])[] = [];
      for (const name of names) {
        const rules = this.#chains.get(name);
        const before = written.get(name);
        if (rules !== undefined) this.#left.delete(name);
        else if (before !== undefined) this.#left.add(name);
        else continue;
        if (sameRules(rules ?? [], before)) continue;
        changed.push([name, rules ?? []]);
        written.set(name, rules ?? []);
      }
      if (changed.length > 0) lines.nat.push(chainUnit(changed));
    }
    this.#touched = new Map();
    this.#writeShared(options, lines, tidy);
    if (tidy) {
      for (const name of this.#left) {
        lines.nat.push({ lines: [`-X ${name}`], chains: 1 });
        written.delete(name);
      }
      this.#left = new Set();
    }
    return restoreText(lines, this.#chainsPerTransaction);
  }

  /** Everything that is ours. A Service's chains change at once, and are there before anything leads to them. */
  whole(options: IptablesOptions, { written, stale, missing }: WholeState): string {
    const { fixed, shared, last } = baseChains(options);
    const lines: RestoreLines = { mangle: [], filter: [], nat: [] };
    for (const table of ['mangle', 'filter', 'nat'] as const) {
      const parts = fixed.filter((part) => part.table === table);
      const declared = new Set(parts.map(({ chain }) => `:${chain} - [0:0]`));
      const rules = parts.flatMap((part) => ('rule' in part ? [`-A ${part.chain} ${part.rule}`] : []));
      if (table === 'nat') lines.nat.push({ lines: [...declared, ...rules], chains: declared.size });
      else lines[table].push(...declared, ...rules);
    }
    written.clear();
    for (const parts of this.#services.values()) {
      const chains = parts.flatMap((part) => [...part.chains]);
      for (const [name, rules] of chains) written.set(name, rules);
      lines.nat.push(chainUnit(chains));
    }
    const rules = [...this.#sharedRules(), ...last];
    const hooks = (table: KernelTable): string[] =>
      // In front: rules of others must not take Services' packets first.
      missing.filter((hook) => hook.table === table).map(({ chain, rule }) => `-I ${chain} ${rule}`);
    const sharing = (table: KernelTable): string[] => [
      ...shared.filter((place) => place.table === table).map(({ chain }) => `:${chain} - [0:0]`),
      ...rules.filter((rule) => rule.table === table).map(({ chain, rule }) => `-A ${chain} ${rule}`),
      ...hooks(table),
    ];
    lines.filter.push(...sharing('filter'));
    const inNat = sharing('nat');
    lines.nat.push({ lines: inNat, chains: inNat.length });
    const gone = [...stale].filter((name) => !this.#chains.has(name));
    for (const name of gone) lines.nat.push({ lines: [`:${name} - [0:0]`], chains: 1 });
    for (const name of gone) lines.nat.push({ lines: [`-X ${name}`], chains: 1 });
    this.#touched = new Map();
    this.#left = new Set();
    this.#shared = new Map();
    return restoreText(lines, this.#chainsPerTransaction);
  }

  /** Rules of Services by kernel table. */
  counts(): ReadonlyMap<string, number> {
    return this.#counts;
  }

  /** Changes of shared chains; without `tidy` not the removal of rules that lead to emptied chains. */
  #writeShared(options: IptablesOptions, lines: RestoreLines, tidy: boolean): void {
    const byChain = new Map<string, { readonly came: SharedRule[]; readonly went: SharedRule[] }>();
    for (const [id, { rule, change }] of this.#shared) {
      if (!tidy && change < 0 && this.#left.has(targetOf(rule))) continue;
      this.#shared.delete(id);
      const place = `${rule.table} ${rule.chain}`;
      const changes = byChain.get(place) ?? { came: [], went: [] };
      byChain.set(place, changes);
      for (let times = Math.abs(change); times > 0; times--) (change < 0 ? changes.went : changes.came).push(rule);
    }
    for (const [place, { came, went }] of byChain) {
      const [table, chain] = place.split(' ') as [KernelTable, string];
      let text: string[];
      if (went.length > rewriteAfter) {
        const here = (rule: SharedRule): boolean => rule.table === table && rule.chain === chain;
        const rules = [...this.#sharedRules(), ...baseChains(options).last].filter(here);
        text = [`:${chain} - [0:0]`, ...rules.map(({ rule }) => `-A ${chain} ${rule}`)];
        for (const [id, { rule }] of this.#shared) if (here(rule)) this.#shared.delete(id);
      } else {
        // In front, so that what is to stay last does, and no rule of the chain has to be read.
        text = [...went.map(({ rule }) => `-D ${chain} ${rule}`), ...came.map(({ rule }) => `-I ${chain} ${rule}`)];
      }
      if (table === 'nat') lines.nat.push({ lines: text, chains: text.length });
      else lines[table].push(...text);
    }
  }

  /**
   * All rules of Services in shared chains. Their order means nothing to packets; this one spares the tool's sorting:
   * what it sorts in next always comes first.
   */
  #sharedRules(): SharedRule[] {
    const rules: SharedRule[] = [];
    for (const parts of this.#services.values()) for (const part of parts) rules.push(...part.shared);
    const targets = new Map(rules.map((rule) => [rule, targetOf(rule)]));
    const target = (rule: SharedRule): string => targets.get(rule) ?? '';
    return rules.toSorted((a, b) => (target(a) < target(b) ? 1 : target(a) > target(b) ? -1 : 0));
  }

  #note(rule: SharedRule, change: 1 | -1): void {
    this.#count(rule.table, change);
    const id = `${rule.table} ${rule.chain} ${rule.rule}`;
    const noted = this.#shared.get(id);
    if (noted === undefined) this.#shared.set(id, { rule, change });
    else if (noted.change + change === 0) this.#shared.delete(id);
    else noted.change += change;
  }

  #count(table: KernelTable, change: number): void {
    this.#counts.set(table, (this.#counts.get(table) ?? 0) + change);
  }
}

/** Emptied and filled again at once. All are declared first, as rules may lead from one to another. */
function chainUnit(chains: readonly (readonly [string, readonly string[]])[]): NatUnit {
  const declarations = chains.map(([name]) => `:${name} - [0:0]`);
  const rules = chains.flatMap(([name, list]) => list.map((rule) => `-A ${name} ${rule}`));
  return { lines: [...declarations, ...rules], chains: chains.length };
}

function targetOf({ rule }: SharedRule): string {
  return rule.slice(rule.lastIndexOf(' ') + 1);
}

function sameRules(a: readonly string[], b: readonly string[] | undefined): boolean {
  return b !== undefined && a.length === b.length && a.every((rule, index) => rule === b[index]);
}
