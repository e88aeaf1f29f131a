// SPDX-License-Identifier: Apache-2.0
/** Reads Prometheus' text exposition format (version 0.0.4), and quantiles out of its cumulative histograms. */

export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** Lines that are neither comments nor samples are left out: a truncated page still gives what came before. */
export function parsePrometheusText(text: string): Sample[] {
  const samples: Sample[] = [];
  for (const line of text.split('\n')) {
    if (line.startsWith('#')) continue;
    const match = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?\s*$/.exec(line);
    if (match === null) continue;
    const [, name = '', labels = '', value = ''] = match;
    const number = value === '+Inf' ? Infinity : value === '-Inf' ? -Infinity : Number(value);
    samples.push({ name, labels: parseLabels(labels), value: number });
  }
  return samples;
}

/** The value of a counter or gauge, summed over its label sets; undefined where there is none. */
export function valueOf(samples: readonly Sample[], name: string): number | undefined {
  const found = samples.filter((sample) => sample.name === name);
  return found.length === 0 ? undefined : found.reduce((sum, { value }) => sum + value, 0);
}

/**
 * Quantile of a histogram, interpolated linearly inside its bucket as `histogram_quantile` does; what lies beyond the last finite bound
 * counts as that bound. With `before`, only of what was observed between the two readings. Undefined when nothing was observed.
 * @param quantile 0..1
 */
export function histogramQuantile(
  quantile: number,
  histogram: { readonly name: string; readonly after: readonly Sample[]; readonly before?: readonly Sample[] },
): number | undefined {
  const buckets = bucketsOf(histogram.after, histogram.name);
  const earlier = new Map(bucketsOf(histogram.before ?? [], histogram.name));
  const counts = buckets.map(([bound, count]): [number, number] => [bound, count - (earlier.get(bound) ?? 0)]);
  const total = counts.at(-1)?.[1] ?? 0;
  if (total <= 0) return undefined;
  const rank = quantile * total;
  let lower = 0;
  let below = 0;
  for (const [bound, count] of counts) {
    if (count >= rank) {
      if (bound === Infinity) return lower;
      return count === below ? bound : lower + ((bound - lower) * (rank - below)) / (count - below);
    }
    lower = bound;
    below = count;
  }
  return lower;
}

function bucketsOf(samples: readonly Sample[], name: string): [number, number][] {
  const sums = new Map<number, number>();
  for (const sample of samples) {
    if (sample.name !== `${name}_bucket`) continue;
    const text = sample.labels['le'] ?? '';
    const bound = text === '+Inf' ? Infinity : Number(text);
    sums.set(bound, (sums.get(bound) ?? 0) + sample.value);
  }
  return [...sums].toSorted(([a], [b]) => a - b);
}

function parseLabels(text: string): Record<string, string> {
  const labels: Record<string, string> = {};
  for (const match of text.matchAll(/([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g)) {
    labels[match[1] ?? ''] = (match[2] ?? '').replace(/\\(.)/g, (_all, char: string) => (char === 'n' ? '\n' : char));
  }
  return labels;
}
