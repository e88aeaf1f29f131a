// SPDX-License-Identifier: Apache-2.0
// Copies and comparisons of plain JSON values, and access by the simple dotted paths that scale subresources use.

/** A deep copy; several times as fast as structuredClone on API objects. */
export function copy<T>(value: T): T {
  if (typeof value !== 'object' || value === null) {
    return value;
  }
  if (Array.isArray(value)) {
    return value.map(copy) as T;
  }
  const result: Record<string, unknown> = {};
  for (const key of Object.keys(value)) {
    const part = (value as Record<string, unknown>)[key];
    if (key === '__proto__') {
      Object.defineProperty(result, key, { value: copy(part), enumerable: true, writable: true, configurable: true });
    } else {
      result[key] = typeof part === 'object' ? copy(part) : part;
    }
  }
  return result as T;
}

/** Deep equality; a property that is undefined counts as absent. */
export function equal(a: unknown, b: unknown): boolean {
  if (a === b) {
    return true;
  }
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) {
    return false;
  }
  if (Array.isArray(a) || Array.isArray(b)) {
    return Array.isArray(a) && Array.isArray(b) && a.length === b.length && a.every((item, at) => equal(item, b[at]));
  }
  const left = a as Record<string, unknown>;
  const right = b as Record<string, unknown>;
  for (const key in left) {
    if (left[key] !== undefined && !equal(left[key], right[key])) {
      return false;
    }
  }
  for (const key in right) {
    if (right[key] !== undefined && left[key] === undefined) {
      return false;
    }
  }
  return true;
}

/** Reads `.spec.replicas`; undefined where a part is missing. */
export function valueAt(object: unknown, path: string): unknown {
  let value = object;
  for (const part of pathParts(path)) {
    value = typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[part] : undefined;
  }
  return value;
}

/** Writes at `.spec.replicas`, in place, making the parts on the way. */
export function setAt(object: object, path: string, value: unknown): void {
  const parts = pathParts(path);
  const last = parts.pop() ?? '';
  let target = object as Record<string, unknown>;
  for (const part of parts) {
    target = (target[part] ??= {}) as Record<string, unknown>;
  }
  target[last] = value;
}

function pathParts(path: string): string[] {
  return path.split('.').filter((part) => part !== '');
}
