// SPDX-License-Identifier: Apache-2.0
// Rules of file paths inside volumes and mounts.
import type { FieldError } from '../definition.ts';
import { invalid } from './fields.ts';

export function validateRelativePath(value: string, field: string): FieldError[] {
  const errors: FieldError[] = [];
  if (value.startsWith('/')) {
    errors.push(invalid(field, value, 'must be a relative path'));
  }
  return [...errors, ...noBackSteps(value, field)];
}

export function noBackSteps(value: string, field: string): FieldError[] {
  return value.split('/').includes('..') ? [invalid(field, value, "must not contain '..'")] : [];
}

/** A path inside the volume, which also must not look like the volume's own `..data`. */
export function validateLocalPath(value: string, field: string): FieldError[] {
  const errors = validateRelativePath(value, field);
  if (value.startsWith('..') && !value.startsWith('../') && value !== '..') {
    errors.push(invalid(field, value, "must not start with '..'"));
  }
  return errors;
}
