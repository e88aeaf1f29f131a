// SPDX-License-Identifier: Apache-2.0
// Builders of field errors, in upstream's wording, and small rules that many resources share.
import type { FieldError } from '../definition.ts';

export function required(field: string, detail = ''): FieldError {
  return { type: 'Required value', field, detail };
}

export function invalid(field: string, value: unknown, detail: string): FieldError {
  return { type: 'Invalid value', field, value, detail };
}

export function forbidden(field: string, detail: string): FieldError {
  return { type: 'Forbidden', field, detail };
}

export function duplicate(field: string, value: unknown): FieldError {
  return { type: 'Duplicate value', field, value, detail: '' };
}

export function notFound(field: string, value: unknown): FieldError {
  return { type: 'Not found', field, value, detail: '' };
}

export function tooLong(field: string, maximum: number): FieldError {
  return { type: 'Too long', field, detail: `may not be more than ${maximum} bytes` };
}

export function tooMany(field: string, actual: number, maximum: number): FieldError {
  return { type: 'Too many', field, value: actual, detail: `must have at most ${maximum} items` };
}

export function notSupported(field: string, value: unknown, supported: readonly string[]): FieldError {
  const list = supported.toSorted().map((item) => JSON.stringify(item));
  return { type: 'Unsupported value', field, value, detail: `supported values: ${list.join(', ')}` };
}

/** Nothing when the value is one of `supported`. */
export function oneOf(field: string, value: string | undefined, supported: readonly string[]): FieldError[] {
  if (value === undefined || value === '') {
    return [required(field)];
  }
  return supported.includes(value) ? [] : [notSupported(field, value, supported)];
}

export function nonNegative(field: string, value: number | undefined): FieldError[] {
  return value !== undefined && value < 0 ? [invalid(field, value, 'must be greater than or equal to 0')] : [];
}

export function positive(field: string, value: number | undefined): FieldError[] {
  return value !== undefined && value <= 0 ? [invalid(field, value, 'must be greater than 0')] : [];
}

export function inRange(
  field: string,
  value: number,
  bounds: { readonly least: number; readonly most: number },
): FieldError[] {
  return value < bounds.least || value > bounds.most
    ? [invalid(field, value, `must be between ${bounds.least} and ${bounds.most}, inclusive`)]
    : [];
}

export const portRange = { least: 1, most: 65535 } as const;

/** `Invalid value: ...: field is immutable` when the two differ. */
export function immutable(field: string, value: unknown, old: unknown): FieldError[] {
  return same(value, old) ? [] : [invalid(field, value, 'field is immutable')];
}

/** One error per message, for rules that return messages. */
export function messages(field: string, value: unknown, found: readonly string[]): FieldError[] {
  return found.length === 0 ? [] : found.map((detail) => invalid(field, value, detail));
}

/** Semantic equality of JSON values: an absent field equals `undefined`, the order of keys does not matter. */
export function same(left: unknown, right: unknown): boolean {
  if (left === right) {
    return true;
  }
  if (typeof left !== 'object' || typeof right !== 'object' || left === null || right === null) {
    return isEmpty(left) && isEmpty(right);
  }
  if (Array.isArray(left) || Array.isArray(right)) {
    return (
      Array.isArray(left) &&
      Array.isArray(right) &&
      left.length === right.length &&
      left.every((item, index) => same(item, right[index]))
    );
  }
  const one = left as Record<string, unknown>;
  const other = right as Record<string, unknown>;
  for (const key in one) {
    if (!same(one[key], other[key])) {
      return false;
    }
  }
  for (const key in other) {
    if (!(key in one) && !isEmpty(other[key])) {
      return false;
    }
  }
  return true;
}

/** Absent, or a list or map without entries: the same to upstream's semantic comparison. */
function isEmpty(value: unknown): boolean {
  return (
    value === undefined ||
    value === null ||
    (typeof value === 'object' && (Array.isArray(value) ? value.length === 0 : Object.keys(value).length === 0))
  );
}
