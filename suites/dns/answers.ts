// SPDX-License-Identifier: Apache-2.0
/** What the DNS cases ask of an answer. */
import type { Prober } from '../../probes/agent/prober.ts';
import type { DnsQuestion, DnsResult } from '../../probes/agent/protocol.ts';
import { done, pending, type CaseContext } from '../case.ts';

/** What the answer's records say, names without final dot; with `type`, of those records alone. */
export function dataOf(result: DnsResult, type?: string): string[] {
  const records = (result.answers ?? []).filter((record) => type === undefined || record.type === type);
  return records.map(({ data }) => data.replace(/\.$/, ''));
}

export function same(found: readonly string[], wanted: readonly string[]): boolean {
  return found.length === wanted.length && found.every((value, index) => value === wanted[index]);
}

/** Repeats the question until the answer is good; servers learn of objects by watches of their own. */
export function answered(
  t: CaseContext,
  from: Prober,
  { withinMs = 15_000, ...question }: Omit<DnsQuestion, 'timeoutMs'> & { readonly withinMs?: number },
  good: (result: DnsResult) => boolean,
): Promise<DnsResult> {
  return t.waitFor(
    `a good answer to ${question.name} ${question.type}`,
    async () => {
      const result = await from.dns({ ...question, timeoutMs: 1_500 });
      const told = `${result.outcome} ${result.rcode ?? result.error ?? ''} [${dataOf(result).join(', ')}]`;
      return good(result) ? done(result) : pending(told);
    },
    { timeoutMs: withinMs, intervalMs: 100 },
  );
}
