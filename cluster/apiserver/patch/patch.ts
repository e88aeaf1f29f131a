// SPDX-License-Identifier: Apache-2.0
// The three patch types that change an object without ownership: JSON patch, merge patch and strategic merge patch.
import type { KubeObject } from '../resources/definition.ts';
import type { TypeSchema } from '../schema/schema.ts';
import { applyJsonPatch } from './json-patch.ts';
import { applyMergePatch } from './merge-patch.ts';
import { PatchError } from './patch-error.ts';
import { applyStrategicMergePatch } from './strategic-merge-patch.ts';

export type PatchType =
  | 'application/json-patch+json'
  | 'application/merge-patch+json'
  | 'application/strategic-merge-patch+json';

export interface PatchOptions {
  readonly type: PatchType;
  /** Undefined for custom resources, which have no strategic merge. */
  readonly schema: TypeSchema | undefined;
  /** Not changed. */
  readonly original: KubeObject;
  /** The parsed body. */
  readonly patch: unknown;
}

/**
 * The patched object; it shares no structure with `original`, and is neither decoded nor validated.
 * @throws PatchError
 */
export function applyPatch(options: PatchOptions): KubeObject {
  const { type, schema, original, patch } = options;
  if (type === 'application/json-patch+json') return applyJsonPatch(original, patch);
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) {
    throw new PatchError(400, `json: cannot unmarshal ${kindOf(patch)} into Go value of type map[string]interface {}`);
  }
  if (type === 'application/merge-patch+json') return applyMergePatch(original, patch) as KubeObject;
  if (schema === undefined) {
    throw new PatchError(400, 'strategic merge patch is not supported for custom resources; use a merge patch');
  }
  return applyStrategicMergePatch(schema, original, patch as Record<string, unknown>) as KubeObject;
}

function kindOf(value: unknown): string {
  if (Array.isArray(value)) return 'array';
  if (typeof value === 'boolean') return 'bool';
  return value === null ? 'null' : typeof value;
}
