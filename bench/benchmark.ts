// SPDX-License-Identifier: Apache-2.0
/** What a benchmark is, and what it is given. A benchmark measures and records; it never judges and never fails for being slow. */

export interface Benchmark {
  readonly name: string;
  /** One line: what is measured, against what. */
  readonly about: string;
  run(bench: Bench): Promise<void>;
}

export interface BenchOptions {
  /** Fewer samples, for a look in passing. */
  readonly quick: boolean;
  /** How often the thing is repeated; absent: the benchmark's own default. */
  readonly runs: number | undefined;
  /** Cluster to measure; absent: one of this project is brought up and taken down. */
  readonly kubeconfig: string | undefined;
  /** Directory for V8 CPU profiles of the components that the benchmark starts itself. */
  readonly profile: string | undefined;
}

export interface Figure {
  readonly name: string;
  /** `ms`, `1/s`, `MB`... */
  readonly unit: string;
  readonly better: 'lower' | 'higher';
}

export interface Bench {
  readonly options: BenchOptions;
  /** Aborted by Ctrl-C; everything that waits must give up then. */
  readonly signal: AbortSignal;
  /** Says on stderr what is going on. */
  log(message: string): void;
  /** Adds samples of a figure; several calls for one figure and subject add up. */
  record(figure: Figure, subject: string, samples: readonly number[]): void;
  /** Something that a reader of the figures must know. */
  note(text: string): void;
  /** Hooks run in reverse order at the end, whatever the end is. */
  onCleanup(hook: () => Promise<void> | void): void;
}

/** The subject that every other one is compared with. */
export const ours = 'plumbline';
