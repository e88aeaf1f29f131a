// SPDX-License-Identifier: Apache-2.0
// Rules that config maps and secrets share: keys, size, and what `immutable` forbids.
import type { FieldError } from '../definition.ts';
import { forbidden, messages, same, tooLong } from '../validation/fields.ts';
import { configKey } from '../validation/names.ts';

const mostBytes = 1024 * 1024;

export interface StoredData {
  readonly immutable?: boolean;
  readonly data?: Readonly<Record<string, string>>;
  readonly binaryData?: Readonly<Record<string, string>>;
}

/** `encoded` values are base64, whose decoded size counts. */
export function validateEntries(
  entries: Readonly<Record<string, string>> | undefined,
  field: string,
  encoded: boolean,
): { readonly errors: FieldError[]; readonly bytes: number } {
  const errors: FieldError[] = [];
  let bytes = 0;
  for (const key in entries) {
    const value = entries[key] ?? '';
    errors.push(...messages(`${field}[${key}]`, key, configKey(key)));
    bytes += encoded ? Buffer.byteLength(value, 'base64') : Buffer.byteLength(value);
  }
  return { errors, bytes };
}

export function validateSize(field: string, bytes: number): FieldError[] {
  return bytes > mostBytes ? [tooLong(field, mostBytes)] : [];
}

export function validateImmutable(object: StoredData, old: StoredData): FieldError[] {
  if (old.immutable !== true) {
    return [];
  }
  const errors: FieldError[] = [];
  if (object.immutable !== true) {
    errors.push(forbidden('immutable', 'field is immutable when `immutable` is set'));
  }
  for (const field of ['data', 'binaryData'] as const) {
    if (!same(object[field], old[field])) {
      errors.push(forbidden(field, 'field is immutable when `immutable` is set'));
    }
  }
  return errors;
}
