// SPDX-License-Identifier: Apache-2.0
/**
 * What continuous, numbered probes say about a change: for each flow when it was last let through, or first, counted from the API's answer,
 * and what arrived at the server meanwhile.
 */
import type { ProbePod } from '../../../probes/agent/prober.ts';
import type { StreamTarget } from '../../../probes/agent/protocol.ts';

export interface Flow {
  readonly source: ProbePod;
  readonly destination: ProbePod;
  readonly target: StreamTarget;
}

export interface FlowHistory {
  readonly flow: Flow;
  /** Each probe: when it was sent, by our clock in milliseconds since the epoch, whether it arrived and whether it was answered. */
  readonly probes: readonly { readonly sentAt: number; readonly arrived: boolean; readonly answered: boolean }[];
}

/** Runs `body` while all flows send, and resolves to what became of every probe. */
export async function whileSending(flows: readonly Flow[], body: () => Promise<void>): Promise<FlowHistory[]> {
  const bySource = [...Map.groupBy(flows, ({ source }) => source)];
  const clocks = await Promise.all(bySource.map(([source]) => source.clockOffset()));
  const streams = await Promise.all(bySource.map(([source, own]) => source.stream(own.map(({ target }) => target))));
  let outcomes: Awaited<ReturnType<(typeof streams)[number]['stop']>>[];
  try {
    await body();
  } finally {
    outcomes = await Promise.all(streams.map((stream) => stream.stop()));
  }
  return (
    await Promise.all(
      bySource.map(async ([, own], index) => {
        const name = streams[index]?.name ?? '';
        const destinations = [...new Set(own.map(({ destination }) => destination))];
        const receipts = await Promise.all(destinations.map((one) => one.receiptsOfStream(name)));
        const arrived = new Set(receipts.flat().map(({ nonce }) => nonce));
        const aheadMs = clocks[index]?.aheadMs ?? 0;
        return own.map((flow, place): FlowHistory => {
          const { sentAt = [], latencyMs = [] } = outcomes[index]?.[place] ?? {};
          return {
            flow,
            probes: sentAt.map((at, number) => ({
              sentAt: at - aheadMs,
              arrived: arrived.has(`${name}-${place}-${number}`),
              answered: (latencyMs[number] ?? -1) >= 0,
            })),
          };
        });
      }),
    )
  ).flat();
}

export interface Change {
  /** From the change until the flow was as it has to be for good; undefined: it was not within the time watched. */
  readonly afterMs: number | undefined;
  /** Probes sent after the change that got through although they should not have, or did not although they should. */
  readonly strays: number;
}

/** When a flow that was open closed. What counts is arrival: a request that arrives is a leak, whether or not its answer comes back. */
export function closing({ probes }: FlowHistory, changedAt: number): Change {
  const after = probes.filter(({ sentAt }) => sentAt >= changedAt);
  const last = after.findLastIndex(({ arrived }) => arrived);
  const next = after[last + 1];
  return {
    afterMs: next === undefined ? undefined : last === -1 ? 0 : next.sentAt - changedAt,
    strays: after.filter(({ arrived }) => arrived).length,
  };
}

/** When a flow that was closed opened: with the first probe that was answered and after which all were. */
export function opening({ probes }: FlowHistory, changedAt: number, until: number): Change {
  // The last probes may not have had time for their answer.
  const after = probes.filter(({ sentAt }) => sentAt >= changedAt && sentAt < until);
  const last = after.findLastIndex(({ answered }) => !answered);
  const next = after[last + 1];
  return {
    afterMs: next === undefined ? undefined : last === -1 ? 0 : next.sentAt - changedAt,
    strays: last + 1,
  };
}

/** Nearest rank; NaN of nothing. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}
