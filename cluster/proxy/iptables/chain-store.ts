// SPDX-License-Identifier: Apache-2.0
// All Services' chains, and what changed in them since they were last written, as input for `iptables-restore
// --noflush`. A difference names changed chains and single rules of shared ones only: its length, and what parsing it
// costs, does not grow with the number of Services.

import { baseChains } from './plan.ts';
import type { IptablesOptions, KernelTable, ServiceChains, SharedRule } from './plan.ts';

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

const tables = ['mangle', 'filter', 'nat'] as const;

export class ChainStore {
  readonly #services = new Map<string, readonly ServiceChains[]>();
  /** Chains of Services that were made, changed or left since the last `take`. */
  #touched = new Set<string>();
  /** Rules of shared chains that came (positive) or went since the last `take`, by their text with table and chain. */
  #shared = new Map<string, { readonly rule: SharedRule; change: number }>();
  readonly #chains = new Map<string, readonly string[]>();
  readonly #counts = new Map<KernelTable, number>();

  /** The chains of one Service from now on; none when it is gone. */
  replace(service: string, parts: readonly ServiceChains[]): void {
    for (const part of this.#services.get(service) ?? []) {
      for (const [name, rules] of part.chains) {
        this.#count('nat', -rules.length);
        this.#chains.delete(name);
        this.#touched.add(name);
      }
      for (const rule of part.shared) this.#note(rule, -1);
    }
    if (parts.length === 0) this.#services.delete(service);
    else this.#services.set(service, parts);
    for (const part of parts) {
      for (const [name, rules] of part.chains) {
        this.#count('nat', rules.length);
        this.#chains.set(name, rules);
        this.#touched.add(name);
      }
      for (const rule of part.shared) this.#note(rule, 1);
    }
  }

  /** What changed since the last call; empty when nothing did. `written` are Services' chains that the kernel has. */
  difference(options: IptablesOptions, written: WrittenChains): string {
    const { last } = baseChains(options);
    const lines: Record<KernelTable, string[]> = { mangle: [], filter: [], nat: [] };
    const gone: string[] = [];
    // A rule may lead to a chain only after that is declared.
    const declarations: string[] = [];
    for (const name of this.#touched) {
      const rules = this.#chains.get(name);
      const before = written.get(name);
      if (sameRules(rules, before)) continue;
      declarations.push(`:${name} - [0:0]`);
      if (rules === undefined) {
        gone.push(name);
        written.delete(name);
      } else {
        for (const rule of rules) lines.nat.push(`-A ${name} ${rule}`);
        written.set(name, rules);
      }
    }
    const appended = new Set<string>();
    const additions: SharedRule[] = [];
    for (const { rule, change } of this.#shared.values()) {
      for (let times = change; times < 0; times++) lines[rule.table].push(`-D ${rule.chain} ${rule.rule}`);
      for (let times = change; times > 0; times--) {
        additions.push(rule);
        appended.add(`${rule.table} ${rule.chain}`);
      }
    }
    const kept = last.filter(({ table, chain }) => appended.has(`${table} ${chain}`));
    for (const { table, chain, rule } of kept) lines[table].push(`-D ${chain} ${rule}`);
    for (const { table, chain, rule } of [...additions, ...kept]) lines[table].push(`-A ${chain} ${rule}`);
    lines.nat.unshift(...declarations);
    for (const name of gone) lines.nat.push(`-X ${name}`);
    this.#forgetChanges();
    return restoreText(lines);
  }

  /** Everything that is ours, in one transaction. */
  whole(options: IptablesOptions, { written, stale, missing }: WholeState): string {
    const { fixed, last } = baseChains(options);
    const lines: Record<KernelTable, string[]> = { mangle: [], filter: [], nat: [] };
    const declared = new Set<string>();
    for (const { table, chain } of fixed) {
      if (declared.has(`${table} ${chain}`)) continue;
      declared.add(`${table} ${chain}`);
      lines[table].push(`:${chain} - [0:0]`);
    }
    const staleChains = [...stale].filter((name) => !this.#chains.has(name));
    for (const name of [...this.#chains.keys(), ...staleChains]) lines.nat.push(`:${name} - [0:0]`);
    for (const part of fixed) if ('rule' in part) lines[part.table].push(`-A ${part.chain} ${part.rule}`);
    for (const parts of this.#services.values()) {
      for (const part of parts) {
        for (const { table, chain, rule } of part.shared) lines[table].push(`-A ${chain} ${rule}`);
      }
    }
    for (const { table, chain, rule } of last) lines[table].push(`-A ${chain} ${rule}`);
    written.clear();
    for (const [name, rules] of this.#chains) {
      for (const rule of rules) lines.nat.push(`-A ${name} ${rule}`);
      written.set(name, rules);
    }
    // In front: rules of others must not take Services' packets first.
    for (const { table, chain, rule } of missing) lines[table].push(`-I ${chain} ${rule}`);
    for (const name of staleChains) lines.nat.push(`-X ${name}`);
    this.#forgetChanges();
    return restoreText(lines);
  }

  /** Rules of Services by kernel table. */
  counts(): ReadonlyMap<string, number> {
    return this.#counts;
  }

  #forgetChanges(): void {
    this.#touched = new Set();
    this.#shared = new Map();
  }

  #note(rule: SharedRule, change: 1 | -1): void {
    this.#count(rule.table, change);
    const id = `${rule.table} ${rule.chain} ${rule.rule}`;
    const noted = this.#shared.get(id);
    if (noted === undefined) this.#shared.set(id, { rule, change });
    else noted.change += change;
  }

  #count(table: KernelTable, change: number): void {
    this.#counts.set(table, (this.#counts.get(table) ?? 0) + change);
  }
}

function sameRules(a: readonly string[] | undefined, b: readonly string[] | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return a.length === b.length && a.every((rule, index) => rule === b[index]);
}

function restoreText(lines: Readonly<Record<KernelTable, readonly string[]>>): string {
  const parts = tables.filter((table) => lines[table].length > 0);
  return parts.map((table) => `*${table}\n${lines[table].join('\n')}\nCOMMIT\n`).join('');
}
