// SPDX-License-Identifier: Apache-2.0
// RFC 7396.
import { copy } from '../server/json.ts';

/** The patched value; `original` is not changed and shares no structure with the result. */
export function applyMergePatch(original: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return copy(patch);
  const result: Record<string, unknown> = isObject(original) ? copy(original) : {};
  merge(result, patch);
  return result;
}

function merge(target: Record<string, unknown>, patch: Record<string, unknown>): void {
  for (const [key, value] of Object.entries(patch)) {
    if (key === '__proto__') continue;
    if (value === null) {
      delete target[key];
    } else if (isObject(value)) {
      const current = target[key];
      const inner = isObject(current) ? current : {};
      merge(inner, value);
      target[key] = inner;
    } else {
      target[key] = copy(value);
    }
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
