// SPDX-License-Identifier: Apache-2.0
/** The two forms of a result: a table for people, and a JSON document, which README.md describes. */
import { ours, type Figure } from './benchmark.ts';
import type { Load, Machine } from './machine.ts';
import { summarise, type Summary } from './statistics.ts';

export interface Document {
  readonly format: 1;
  readonly startedAt: string;
  readonly project: { readonly version: string; readonly commit: string };
  readonly machine: Machine;
  readonly quick: boolean;
  readonly benchmarks: readonly BenchmarkResult[];
}

export interface BenchmarkResult {
  readonly name: string;
  readonly durationMs: number;
  readonly load: { readonly before: Load; readonly after: Load };
  readonly notes: readonly string[];
  readonly figures: readonly FigureResult[];
}

export interface FigureResult extends Figure {
  /** By subject: `plumbline` and the peers that were there. */
  readonly results: Readonly<Record<string, Summary>>;
  /** By peer whose p50 is not 0: ours divided by the peer's. Below 1 is good where lower is better. */
  readonly ratios: Readonly<Record<string, number>>;
}

/** Samples by figure and subject, in the order in which figures first came. */
export class Recording {
  readonly #figures = new Map<string, { figure: Figure; subjects: Map<string, number[]> }>();

  add(figure: Figure, subject: string, samples: readonly number[]): void {
    const entry = this.#figures.get(figure.name) ?? { figure, subjects: new Map<string, number[]>() };
    this.#figures.set(figure.name, entry);
    entry.subjects.set(subject, [...(entry.subjects.get(subject) ?? []), ...samples]);
  }

  results(): FigureResult[] {
    return [...this.#figures.values()].map(({ figure, subjects }) => {
      const known = [...subjects].filter(([, samples]) => samples.length > 0);
      const results = Object.fromEntries(known.map(([subject, samples]) => [subject, summarise(samples)]));
      const own = results[ours];
      const peers = Object.entries(results).filter(([subject, { p50 }]) => subject !== ours && p50 !== 0);
      const ratios =
        own === undefined ? {} : Object.fromEntries(peers.map(([subject, { p50 }]) => [subject, own.p50 / p50]));
      return { ...figure, results, ratios };
    });
  }
}

export function table({ name, figures, notes, load }: BenchmarkResult): string {
  const subjects = [...new Set(figures.flatMap(({ results }) => Object.keys(results)))];
  const peers = subjects.filter((subject) => figures.some(({ ratios }) => subject in ratios));
  const header = [name, 'unit', ...subjects.flatMap((subject) => [subject, 'p99', 'n']), ...peers.map(ratioTitle)];
  const rows = figures.map(({ name, unit, better, results, ratios }) => [
    name,
    unit,
    ...subjects.flatMap((subject) => {
      const result = results[subject];
      if (result === undefined) return ['-', '', ''];
      return [number(result.p50), result.samples > 1 ? number(result.p99) : '', String(result.samples)];
    }),
    ...peers.map((peer) => ratioCell(ratios[peer], better)),
  ]);
  const before = load.before.average[0]?.toFixed(1);
  const after = load.after.average[0]?.toFixed(1);
  return [
    ...aligned([header, ...rows]),
    '',
    'Columns: p50 (rates: the middle of the rounds), p99, number of samples.',
    `Load average ${before} before, ${after} after.`,
    ...notes.map((note) => `Note: ${note}`),
    '',
  ].join('\n');
}

function ratioTitle(peer: string): string {
  return `/ ${peer}`;
}

function ratioCell(ratio: number | undefined, better: Figure['better']): string {
  if (ratio === undefined) return '';
  const ahead = better === 'lower' ? ratio <= 1 : ratio >= 1;
  return `${ratio.toFixed(2)} ${ahead ? 'ahead' : 'behind'}`;
}

/** First two columns to the left, numbers to the right. */
function aligned(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
  return rows.map((row) =>
    row
      .map((cell, column) => (column < 2 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join('  ')
      .trimEnd(),
  );
}

/** Three significant digits, thousands grouped. */
function number(value: number): string {
  if (value >= 100) return Math.round(value).toLocaleString('en-US');
  return value.toPrecision(3).replace(/\.?0+$/, '') || '0';
}
