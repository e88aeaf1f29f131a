// SPDX-License-Identifier: Apache-2.0
// The nftables back end: one table per address family, changed by the smallest transactions.

import { LiveTable, runNft } from '../../network/nft/live-table.ts';
import { planServicePort } from './plan.ts';
import { RuleStore, tableName } from './rule-store.ts';
import type { PortWithBackends, RuleOptions, RuleWriter, WriteReport } from '../rule-writer.ts';

export class NftablesRules implements RuleWriter {
  readonly #live = new LiveTable();
  readonly #store = new RuleStore();
  #options: RuleOptions;

  constructor(options: RuleOptions) {
    this.#options = options;
  }

  configure(options: RuleOptions): void {
    this.#options = options;
  }

  replace(service: string, ports: readonly PortWithBackends[]): void {
    this.#store.replace(
      service,
      ports.map(({ port, backends }) => planServicePort(port, backends, this.#options)),
    );
  }

  async write(): Promise<WriteReport> {
    const result = await this.#apply({ tidy: false });
    if (result.kind === 'none' && this.#store.untidy) return this.#apply({ tidy: true });
    return result;
  }

  async #apply(how: { readonly tidy: boolean }): Promise<WriteReport> {
    const { table, former } = this.#store.take(this.#options, how);
    const result = await this.#live.apply(table, former);
    return { ...result, untidy: this.#live.untidy || this.#store.untidy };
  }

  /** Clients that the kernel remembers for their affinity are lost with the table. */
  distrust(): void {
    this.#live.reset();
  }

  /** Adding a chain that is there changes nothing, and fails where the table is gone; listing would read all elements. */
  async stillThere(): Promise<boolean> {
    try {
      await runNft(`add chain ${this.#options.family} ${tableName} services\n`);
      return true;
    } catch {
      return false;
    }
  }

  ruleCounts(): ReadonlyMap<string, number> {
    return new Map();
  }
}
