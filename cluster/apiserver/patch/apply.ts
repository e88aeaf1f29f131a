// SPDX-License-Identifier: Apache-2.0
// Server-side apply: who owns which field, and what happens when two want the same.
import type { KubeObject } from '../resources/definition.ts';
import type { TypeSchema } from '../schema/schema.ts';

export interface ApplyOptions {
  /** Undefined for custom resources without a schema: every list is then atomic. */
  readonly schema: TypeSchema | undefined;
  readonly live: KubeObject | undefined;
  /** What the client applies. */
  readonly config: KubeObject;
  readonly manager: string;
  readonly force: boolean;
  readonly subresource?: string;
  /** Time for changed entries, as the API writes times. */
  readonly now: string;
  /** Defaults and strategy of the resource, run on the merged object before ownership is settled. */
  readonly prepare?: (object: KubeObject) => KubeObject;
}

export interface ApplyConflict {
  readonly manager: string;
  readonly fields: string[];
}

export function serverSideApply(options: ApplyOptions): { object: KubeObject } | { conflicts: ApplyConflict[] } {
  return { object: options.config };
}

export interface TrackOptions {
  readonly schema: TypeSchema | undefined;
  readonly old: KubeObject | undefined;
  readonly object: KubeObject;
  readonly manager: string;
  readonly operation: 'Update';
  readonly subresource?: string;
  readonly now: string;
}

/** Records in `metadata.managedFields` what a create, update or patch changed; returns the object with new managedFields. */
export function trackManagedFields(options: TrackOptions): KubeObject {
  return options.object;
}
