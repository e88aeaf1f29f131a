// SPDX-License-Identifier: Apache-2.0
// Keeps one nftables table of this network namespace equal to the last ruleset that was applied. The first
// application replaces the table; later ones are differences. Where a difference is refused (someone else changed
// the table), the whole table is written anew, so a manual flush heals at the next change or `reset`.

import { spawn } from 'node:child_process';

import { planTransaction } from './transaction.ts';
import type { Table } from './ruleset.ts';
import type { FormerElements } from './transaction.ts';

export interface ApplyResult {
  /** What reached the kernel: nothing, a difference, or the table as a whole. */
  readonly kind: 'none' | 'difference' | 'whole';
  /** Why a whole table had to follow a refused difference. */
  readonly refused?: string;
}

export class LiveTable {
  readonly #run: (commands: string) => Promise<void>;
  #current: Table | undefined;
  #pendingCleanup = '';

  /** `run` carries out a transaction, where that is to happen elsewhere than in this process's network namespace. */
  constructor(run: (commands: string) => Promise<void> = runNft) {
    this.#run = run;
  }

  /** Chains that nothing leads to still wait to be deleted: apply the same table once more when idle. */
  get untidy(): boolean {
    return this.#pendingCleanup !== '';
  }

  /**
   * Brings the kernel to `table`. Not to be called again before the promise settles. `former` is for tables whose sets
   * are changed in place.
   */
  async apply(table: Table, former?: FormerElements): Promise<ApplyResult> {
    const before = this.#current;
    if (before === undefined) {
      await this.#replace(table);
      return { kind: 'whole' };
    }
    const { preparation, commands, cleanup } = planTransaction(before, table, former);
    // Where nothing leads elsewhere than before there is nothing to wait for.
    const early = this.#pendingCleanup + preparation;
    const steps = commands === '' ? [early + cleanup] : preparation === '' ? [early + commands] : [early, commands];
    if (steps.join('') === '') return { kind: 'none' };
    try {
      for (const step of steps) await this.#run(step);
      this.#pendingCleanup = commands === '' ? '' : cleanup;
      this.#current = table;
      return { kind: 'difference' };
    } catch (error) {
      await this.#replace(table);
      return { kind: 'whole', refused: error instanceof Error ? error.message : String(error) };
    }
  }

  /** Forgets what the kernel is thought to hold: the next `apply` writes the whole table. */
  reset(): void {
    this.#current = undefined;
  }

  async #replace(table: Table): Promise<void> {
    this.#current = undefined;
    await this.#run(planTransaction(undefined, table).commands);
    this.#pendingCleanup = '';
    this.#current = table;
  }
}

/** Runs one nft transaction in this network namespace; throws with nft's own first complaint. */
export function runNft(commands: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn('nft', ['-f', '-'], { stdio: ['pipe', 'ignore', 'pipe'] });
    let complaint = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      if (complaint.length < 500) complaint += text.slice(0, 500);
    });
    child.on('error', (error) => {
      reject(new Error(`nft cannot be started: ${error.message}; install the nftables package`, { cause: error }));
    });
    child.on('close', (code) => {
      if (code === 0) resolve();
      else reject(new Error(`nft refused a transaction (exit code ${code}): ${complaint.trim()}`));
    });
    // A child that died early closes the pipe; its exit code and message say more than EPIPE does.
    child.stdin.on('error', () => undefined);
    child.stdin.end(commands);
  });
}
