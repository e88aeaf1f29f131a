// SPDX-License-Identifier: Apache-2.0
// Input for `iptables-restore --noflush` in transactions of bounded size. Pure.

import type { KernelTable } from './plan.ts';

/** Lines that belong into one transaction. */
export interface NatUnit {
  readonly lines: readonly string[];
  /** How many chains they name, about. */
  readonly chains: number;
}

/** By table. Units of `nat` are carried out in their order. */
export interface RestoreLines extends Record<Exclude<KernelTable, 'nat'>, string[]> {
  readonly nat: NatUnit[];
}

/**
 * A transaction names at most `chainsPerTransaction` chains, or is a single unit. `iptables-nft-restore` sorts the names of the chains
 * of a transaction into a list, by going through it: with the 20,000 chains of 5,000 Services that took three quarters of a minute.
 * `iptables-legacy-restore` copies the whole table for every transaction, so it wants all in one.
 */
export function restoreText({ mangle, filter, nat }: RestoreLines, chainsPerTransaction: number): string {
  const parts = [transaction('mangle', mangle), transaction('filter', filter)];
  let lines: string[] = [];
  let chains = 0;
  for (const unit of nat) {
    if (chains > 0 && chains + unit.chains > chainsPerTransaction) {
      parts.push(transaction('nat', lines));
      lines = [];
      chains = 0;
    }
    for (const line of unit.lines) lines.push(line);
    chains += unit.chains;
  }
  parts.push(transaction('nat', lines));
  return parts.join('');
}

function transaction(table: KernelTable, lines: readonly string[]): string {
  return lines.length === 0 ? '' : `*${table}\n${lines.join('\n')}\nCOMMIT\n`;
}
