// SPDX-License-Identifier: Apache-2.0
/**
 * The contract of a reporter: a pure function from the record of a run, and the files beside it, to output files. A reporter reads no clock,
 * no cluster and no environment: the same record gives the same bytes, today and from an archive next year.
 */
import type { ResultEvent } from '../runner/results/events.ts';
import type { RunRecord } from '../runner/results/run-record.ts';

export interface ReportInput {
  readonly record: RunRecord;
  readonly events: readonly ResultEvent[];
  /** Files of the results directory: `evidence/...` and `snapshot/...`. */
  readonly files: ResultFiles;
}

export interface ResultFiles {
  /** Relative paths, sorted. */
  list(): readonly string[];
  /** Content, or undefined if the record names a file that is not there. */
  read(path: string): Uint8Array | undefined;
}

export interface ReportFile {
  /** Relative to the results directory. */
  readonly path: string;
  readonly content: string | Uint8Array;
}

export type Reporter = (input: ReportInput) => readonly ReportFile[];
