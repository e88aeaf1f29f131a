// SPDX-License-Identifier: Apache-2.0
// A component's own metrics in Prometheus' text format: counters, gauges and histograms with labels, plus what every
// Prometheus client reports about its process. One registry per process, served at /metrics by whoever has a port.

export type Labels = Readonly<Record<string, string>>;

export interface Counter {
  add(amount?: number, labels?: Labels): void;
  /** The counter of one label set, for those who count too often to look it up each time. */
  of(labels: Labels): { add(amount?: number): void };
}

export interface Gauge {
  set(value: number, labels?: Labels): void;
  /** Forgets one label set, of a thing that has gone. */
  remove(labels: Labels): void;
}

export interface Histogram {
  /** `value` in the metric's unit, by convention seconds or bytes. */
  observe(value: number, labels?: Labels): void;
  /** As for counters. */
  of(labels: Labels): { observe(value: number): void };
}

export const contentType = 'text/plain; version=0.0.4; charset=utf-8';

interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  /** Lines of one label set, by the rendered label set. */
  readonly series: Map<string, Series>;
}

interface Series {
  value: number;
  buckets?: { readonly bounds: readonly number[]; readonly counts: number[]; count: number };
}

const startedAt = Date.now() / 1000;

export class MetricsRegistry {
  readonly #families = new Map<string, Family>();

  counter(name: string, help: string): Counter {
    const family = this.#family(name, help, 'counter');
    return {
      add: (amount = 1, labels = {}) => void (seriesOf(family, labels).value += amount),
      of: (labels) => {
        const series = seriesOf(family, labels);
        return { add: (amount = 1) => void (series.value += amount) };
      },
    };
  }

  gauge(name: string, help: string): Gauge {
    const family = this.#family(name, help, 'gauge');
    return {
      set: (value, labels = {}) => void (seriesOf(family, labels).value = value),
      remove: (labels) => void family.series.delete(keyOf(labels)),
    };
  }

  /** `bounds` are the upper edges in ascending order, without +Inf. */
  histogram(name: string, help: string, bounds: readonly number[]): Histogram {
    const family = this.#family(name, help, 'histogram');
    return {
      observe: (value, labels = {}) => observe(seriesOf(family, labels), bounds, value),
      of: (labels) => {
        const series = seriesOf(family, labels);
        return { observe: (value) => observe(series, bounds, value) };
      },
    };
  }

  /** The whole exposition, process metrics included. */
  render(): string {
    const usage = process.cpuUsage();
    let text =
      plain('process_cpu_seconds_total', 'counter', (usage.user + usage.system) / 1e6) +
      plain('process_resident_memory_bytes', 'gauge', process.memoryUsage.rss()) +
      plain('process_start_time_seconds', 'gauge', startedAt);
    for (const family of this.#families.values()) {
      text += `# HELP ${family.name} ${family.help}\n# TYPE ${family.name} ${family.type}\n`;
      for (const [labels, series] of family.series) text += renderSeries(family.name, labels, series);
    }
    return text;
  }

  #family(name: string, help: string, type: Family['type']): Family {
    if (this.#families.has(name)) throw new Error(`metric ${name} is declared twice`);
    const family: Family = { name, help, type, series: new Map() };
    this.#families.set(name, family);
    return family;
  }
}

function observe(series: Series, bounds: readonly number[], value: number): void {
  const buckets = (series.buckets ??= { bounds, counts: bounds.map(() => 0), count: 0 });
  series.value += value;
  buckets.count++;
  for (let index = 0; index < bounds.length; index++) {
    if (value > (bounds[index] ?? Infinity)) continue;
    buckets.counts[index] = (buckets.counts[index] ?? 0) + 1;
    return;
  }
}

/** The registry of this process: queues and informers report here, and `startHealthServer` serves it. */
export const metrics = new MetricsRegistry();

/** `count` bounds, each `factor` times the one before. */
export function exponentialBuckets(start: number, factor: number, count: number): number[] {
  return Array.from({ length: count }, (_, index) => Number((start * factor ** index).toPrecision(12)));
}

/** Rendered labels by object: who counts often passes the same object again. */
const renderedLabels = new WeakMap<Labels, string>();

function seriesOf(family: Family, labels: Labels): Series {
  let key = renderedLabels.get(labels);
  if (key === undefined) renderedLabels.set(labels, (key = keyOf(labels)));
  let series = family.series.get(key);
  if (series === undefined) family.series.set(key, (series = { value: 0 }));
  return series;
}

function keyOf(labels: Labels): string {
  return Object.entries(labels)
    .map(
      ([name, value]) => `${name}="${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`,
    )
    .join(',');
}

function renderSeries(name: string, labels: string, { value, buckets }: Series): string {
  const braced = labels === '' ? '' : `{${labels}}`;
  if (buckets === undefined) return `${name}${braced} ${value}\n`;
  const prefix = labels === '' ? '' : `${labels},`;
  let text = '';
  let below = 0;
  for (const [index, bound] of buckets.bounds.entries()) {
    below += buckets.counts[index] ?? 0;
    text += `${name}_bucket{${prefix}le="${bound}"} ${below}\n`;
  }
  text += `${name}_bucket{${prefix}le="+Inf"} ${buckets.count}\n`;
  return `${text}${name}_sum${braced} ${value}\n${name}_count${braced} ${buckets.count}\n`;
}

function plain(name: string, type: string, value: number): string {
  return `# TYPE ${name} ${type}\n${name} ${value}\n`;
}
