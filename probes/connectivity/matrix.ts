// SPDX-License-Identifier: Apache-2.0
/**
 * Probes many cells at once: one batch per source, all sources side by side, and afterwards the servers' receipts for what was not
 * answered. Observes; whether a cell should have been open is decided elsewhere.
 */
import type { Prober, Receiver } from '../agent/prober.ts';
import type { AttemptResult, Protocol } from '../agent/protocol.ts';

export interface Cell {
  readonly source: Prober;
  /** An address, or a name. */
  readonly host: string;
  /** For a name: the family to ask for. */
  readonly family?: 4 | 6;
  readonly protocol: Protocol;
  readonly port: number;
  /** How long to wait for an answer: long where one should come, short where none should. */
  readonly timeoutMs: number;
  /** Whom to ask whether an unanswered request arrived all the same; absent where nobody can tell. */
  readonly receiver?: Pick<Receiver, 'receipts'>;
}

export interface CellResult<C extends Cell = Cell> {
  readonly cell: C;
  readonly result: AttemptResult;
  /** For what was not answered: whether the request reached the destination all the same. */
  readonly requestArrived: boolean;
}

export interface MatrixOptions {
  /** Attempts under way at once, per source. */
  readonly concurrency: number;
}

/** Results in the order of the cells. Errors: ProbeError when a prober breaks; then nothing is known. */
export async function probeMatrix<C extends Cell>(
  cells: readonly C[],
  options: MatrixOptions,
): Promise<CellResult<C>[]> {
  const bySource = Map.groupBy(cells, ({ source }) => source);
  const results = new Map<C, AttemptResult>();
  await Promise.all(
    [...bySource].map(async ([source, own]) => {
      const requests = own.map(({ host, family, protocol, port, timeoutMs }) => ({
        protocol,
        port,
        host,
        timeoutMs,
        ...(family === undefined ? {} : { family }),
      }));
      const outcomes = await source.attempts(requests, { concurrency: options.concurrency });
      for (const [index, outcome] of outcomes.entries()) {
        const cell = own[index];
        if (cell !== undefined) results.set(cell, outcome);
      }
    }),
  );
  const arrived = await receiptsOfUnanswered(results);
  return cells.flatMap((cell) => {
    const result = results.get(cell);
    return result === undefined
      ? []
      : [{ cell, result, requestArrived: result.outcome === 'allowed' || arrived.has(result.nonce) }];
  });
}

async function receiptsOfUnanswered(results: ReadonlyMap<Cell, AttemptResult>): Promise<ReadonlySet<string>> {
  const unanswered = [...results].filter(([, { outcome }]) => outcome !== 'allowed');
  const byReceiver = Map.groupBy(unanswered, ([{ receiver }]) => receiver);
  const receipts = await Promise.all(
    [...byReceiver].map(([receiver, own]) => receiver?.receipts(own.map(([, { nonce }]) => nonce)) ?? []),
  );
  return new Set(receipts.flat().map(({ nonce }) => nonce));
}
