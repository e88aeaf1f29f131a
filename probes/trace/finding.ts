// SPDX-License-Identifier: Apache-2.0
/** What one step of the decision says, if it has something to say. */
import type { Reason, TraceVerdict } from './verdict.ts';

export interface Finding {
  readonly delivered?: true;
  readonly reason: Reason | undefined;
  readonly summary: string;
  readonly ended?: NonNullable<TraceVerdict['ended']>;
  readonly rule?: string;
  readonly objects?: readonly string[];
  readonly next: string;
  readonly evidence?: readonly string[];
}
