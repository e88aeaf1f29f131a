// SPDX-License-Identifier: Apache-2.0
/** How well nodes reach each other: small and full-size packets, loss and time. The decision is pure. */
import type { Diagnosis } from './diagnosis.ts';

export interface PingSeen {
  readonly from: string;
  readonly to: string;
  readonly octets: number;
  readonly sent: number;
  readonly received: number;
  /** Half of the answers took at least this long. A busy machine delays some of them, a slow link all. */
  readonly medianMs: number | undefined;
}

/** What is not answered is followed by the next after so long. */
export const intervalMs = 100;

/** The answer of `ping`; undefined if it says nothing. */
export function parsePing(text: string): Pick<PingSeen, 'sent' | 'received' | 'medianMs'> | undefined {
  const counts = /(\d+) packets transmitted, (\d+) (?:packets )?received/.exec(text);
  if (counts === null) return undefined;
  const times = [...text.matchAll(/ time=([\d.]+) ms/g)].map(([, ms]) => Number(ms));
  const lastAnswered = Math.max(-1, ...[...text.matchAll(/\bseq=(\d+) /g)].map(([, seq]) => Number(seq)));
  const sent = Number(counts[1]);
  // The last ones may have been under way when time was up: they are not lost.
  const underWay = 1 + Math.floor(Math.max(0, ...times) / intervalMs);
  return {
    sent: lastAnswered >= 0 && sent - 1 - lastAnswered <= underWay ? lastAnswered + 1 : sent,
    received: Number(counts[2]),
    medianMs: times.length === 0 ? undefined : median(times),
  };
}

/** Two rounds as one; of the times the better ones: what is slow once may have waited for a processor. */
export function together(first: readonly PingSeen[], second: readonly PingSeen[]): PingSeen[] {
  return first.map((one) => {
    const again = second.find(({ from, to, octets }) => from === one.from && to === one.to && octets === one.octets);
    if (again === undefined) return one;
    const times = [one.medianMs, again.medianMs].filter((ms) => ms !== undefined);
    return {
      ...one,
      sent: one.sent + again.sent,
      received: one.received + again.received,
      medianMs: times.length === 0 ? undefined : Math.min(...times),
    };
  });
}

/** Some networks answer no echo at all: that says nothing. */
export function linkDiagnoses(pings: readonly PingSeen[]): Diagnosis[] {
  const silent = pings.every(({ received }) => received === 0);
  if (silent) return [];
  const small = pings.filter(({ octets }) => octets < 500);
  const large = pings.filter(({ octets }) => octets >= 500);
  const found: Diagnosis[] = [];
  const lossy = small.filter(({ sent, received }) => received < sent && received > 0);
  // A single packet may have been late.
  if (lossy.reduce((lost, { sent, received }) => lost + sent - received, 0) > 1) {
    const node = commonNode(lossy, small);
    found.push({
      reason: 'loss',
      component: 'network',
      ...(node === undefined ? {} : { node }),
      objects: node === undefined ? [] : [`Node ${node}`],
      summary: `Packets between nodes are lost${node === undefined ? '' : ` to or from ${node}`}: ${lossy.map(({ from, to, sent, received }) => `${from} to ${to} ${Math.round((1 - received / sent) * 100)} %`).join(', ')}.`,
      evidence: lossy.map(describe),
      next: 'Look at the cabling, the network cards and the switches between these nodes, and for traffic shaping (tc qdisc show).',
      weight: 81,
    });
  }
  const cut = large.filter(
    (one) =>
      one.received === 0 &&
      small.some(({ from, to, received, sent }) => from === one.from && to === one.to && received > sent / 2),
  );
  if (cut.length > 0) {
    const node = commonNode(cut, large);
    found.push({
      reason: 'mtu',
      component: 'network',
      ...(node === undefined ? {} : { node }),
      objects: node === undefined ? [] : [`Node ${node}`],
      summary: `Packets of ${cut[0]?.octets} octets do not pass between nodes, small ones do: ${cut.map(({ from, to }) => `${from} to ${to}`).join(', ')}.`,
      evidence: cut.map(describe),
      next: 'The MTU of an interface is larger than what the network between the nodes carries.',
      weight: 83,
    });
  }
  // Small packets between the same nodes wait as long for a processor: only what large ones wait more is the link's.
  const slow = large.filter(({ from, to, medianMs = 0 }) => {
    const same = small.find((one) => one.from === from && one.to === to)?.medianMs ?? 0;
    return medianMs > slowMs && medianMs > slowerThanSmall * (same + 1);
  });
  if (slow.length > 0 && slow.length < large.length && found.length === 0) {
    const node = commonNode(slow, large);
    found.push({
      reason: 'slow',
      component: 'network',
      ...(node === undefined ? {} : { node }),
      objects: node === undefined ? [] : [`Node ${node}`],
      summary: `Full-size packets take long${node === undefined ? '' : ` to and from ${node}`}: ${slow.map(({ from, to, medianMs }) => `${from} to ${to} ${medianMs} ms`).join(', ')}.`,
      evidence: [...slow, ...small].map(describe),
      next: 'Look at the speed of the link and at traffic shaping (tc qdisc show) on the uplink.',
      weight: 74,
    });
  }
  return found;
}

const slowMs = 15;
const slowerThanSmall = 5;

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

function describe({ from, to, octets, sent, received, medianMs }: PingSeen): string {
  return `ping from ${from} to ${to}, ${octets} octets: ${received} of ${sent} came back${medianMs === undefined ? '' : `, ${medianMs} ms in the middle`}`;
}

/** The one node that all of these have in common, if others without it are well. */
function commonNode(some: readonly PingSeen[], all: readonly PingSeen[]): string | undefined {
  const [first] = some;
  const candidates = first === undefined ? [] : [first.from, first.to];
  const common = candidates.filter((node) => some.every(({ from, to }) => from === node || to === node));
  const [node] = common;
  if (common.length !== 1 || node === undefined) return undefined;
  return all.some(({ from, to }) => from !== node && to !== node) ? node : undefined;
}
