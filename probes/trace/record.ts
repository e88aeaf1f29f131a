// SPDX-License-Identifier: Apache-2.0
/** A trace as it is kept: what was seen, and what was concluded from it. */
import type { Observations } from './observations.ts';
import type { TraceVerdict } from './verdict.ts';

export interface TraceRecord {
  readonly schema: 1;
  readonly verdict: TraceVerdict;
  readonly observations: Observations;
}

/** Throws a TypeError that says what is wrong. */
export function decodeTraceRecord(text: string): TraceRecord {
  const value: unknown = JSON.parse(text);
  if (typeof value !== 'object' || value === null || !('schema' in value) || value.schema !== 1)
    throw new TypeError('it is no trace of this version');
  const { verdict, observations } = value as Partial<TraceRecord>;
  if (!Array.isArray(verdict?.there) || !Array.isArray(verdict.back) || !Array.isArray(observations?.question.servers))
    throw new TypeError('parts of the trace are missing');
  return value as TraceRecord;
}
