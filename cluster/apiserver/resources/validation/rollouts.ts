// SPDX-License-Identifier: Apache-2.0
// Rules of numbers that may also be percentages, as roll-outs and disruption budgets have them.
import type { FieldError } from '../definition.ts';
import { invalid, nonNegative } from './fields.ts';

const percentage = /^\d+%$/;

export function validateIntOrPercent(value: number | string | undefined, field: string): FieldError[] {
  if (value === undefined) {
    return [];
  }
  if (typeof value === 'number') {
    return nonNegative(field, value);
  }
  return percentage.test(value)
    ? []
    : [
        invalid(
          field,
          value,
          "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
        ),
      ];
}

export function atMostAll(value: number | string | undefined, field: string): FieldError[] {
  return typeof value === 'string' && percentage.test(value) && Number.parseInt(value, 10) > 100
    ? [invalid(field, value, 'must not be greater than 100%')]
    : [];
}

/** True for 0 and `0%`. */
export function isZero(value: number | string | undefined): boolean {
  return value === 0 || value === '0%' || value === undefined;
}

/** `maxUnavailable` and `maxSurge` of a rolling update: valid, and not both zero. */
export function validateRollingUpdate(
  update: { readonly maxUnavailable?: number | string; readonly maxSurge?: number | string },
  path: string,
): FieldError[] {
  const errors = [
    ...validateIntOrPercent(update.maxUnavailable, `${path}.maxUnavailable`),
    ...validateIntOrPercent(update.maxSurge, `${path}.maxSurge`),
    ...atMostAll(update.maxUnavailable, `${path}.maxUnavailable`),
  ];
  if (errors.length === 0 && isZero(update.maxUnavailable) && isZero(update.maxSurge)) {
    errors.push(invalid(`${path}.maxUnavailable`, update.maxUnavailable ?? 0, 'may not be 0 when `maxSurge` is 0'));
  }
  return errors;
}
