// SPDX-License-Identifier: Apache-2.0
/** Lays the cases out on lanes over time, as they ran beside each other. Pure; units are those of an SVG view box 1000 wide. */
import type { RunRecord } from '../../runner/results/run-record.ts';
import { reportedName, statusOf } from '../case-outcome.ts';
import { duration } from '../terminal/terminal.ts';

export interface Timeline {
  readonly width: number;
  readonly height: number;
  readonly bars: readonly {
    readonly x: string;
    readonly y: number;
    readonly width: string;
    readonly status: string;
    readonly label: string;
    readonly anchor: string;
  }[];
  readonly ticks: readonly {
    readonly x: string;
    readonly label: string;
    readonly anchor: 'start' | 'middle' | 'end';
  }[];
  readonly marks: readonly { readonly x: string; readonly label: string }[];
}

export const laneHeight = 18;
const axisHeight = 22;
const width = 1000;

export function timeline(record: RunRecord): Timeline {
  const ran = [...record.cases.values()].flatMap((one) => {
    const from = Date.parse(one.finished?.startedAt ?? '');
    return Number.isNaN(from) ? [] : [{ one, from, to: from + (one.finished?.durationMs ?? 0) }];
  });
  // From the first case to the last: what comes before and after has no bars.
  const start = Math.min(...ran.map(({ from }) => from));
  const end = Math.max(...ran.map(({ to }) => to));
  if (ran.length === 0 || end <= start) return { width, height: 0, bars: [], ticks: [], marks: [] };
  const x = (time: number): number => Math.min(width, Math.max(0, ((time - start) / (end - start)) * width));
  const laneEnds: number[] = [];
  const bars = ran
    .toSorted((a, b) => a.from - b.from)
    .map(({ one, from, to }) => {
      const free = laneEnds.findIndex((laneEnd) => laneEnd <= from);
      const lane = free === -1 ? laneEnds.length : free;
      laneEnds[lane] = to;
      return {
        x: x(from).toFixed(2),
        y: lane * laneHeight,
        width: Math.max(1.5, x(to) - x(from) - 0.5).toFixed(2),
        status: statusOf(one),
        label: `${reportedName(one)}: ${statusOf(one)}, ${duration(to - from)}`,
        anchor: `case-${one.description.id.replaceAll(/[^a-z0-9-]/g, '-')}`,
      };
    });
  const seconds = (end - start) / 1000;
  const step = niceStep(seconds / 6);
  const ticks = Array.from({ length: Math.floor(seconds / step) + 1 }, (_, index) => ({
    x: x(start + index * step * 1000).toFixed(2),
    label:
      index === 0
        ? '0 s'
        : step < 1
          ? `${(index * step).toFixed(1)} s`
          : duration(index * step * 1000).replace('.0 s', ' s'),
    anchor: index === 0 ? ('start' as const) : ('middle' as const),
  })).filter((tick) => Number(tick.x) < width - 20);
  return {
    width,
    height: laneEnds.length * laneHeight + axisHeight,
    bars,
    ticks,
    marks: record.disturbances.map((one) => ({ x: x(Date.parse(one.time)).toFixed(2), label: one.message })),
  };
}

function niceStep(seconds: number): number {
  const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600];
  return steps.find((step) => step >= seconds) ?? 7200;
}
