// SPDX-License-Identifier: Apache-2.0
// Limit ranges: defaults and bounds of resources in a namespace.
import type { LimitRange, LimitRangeItem } from '../../../machinery/api-types.ts';
import { compare, isQuantity } from '../../../machinery/quantities.ts';
import { define } from '../define.ts';
import type { FieldError } from '../definition.ts';
import { createdColumn, nameColumn } from '../printing/columns.ts';
import { duplicate, forbidden, invalid } from '../validation/fields.ts';
import { validateResourceList } from '../validation/resources.ts';

export const limitRanges = define<LimitRange>({
  group: '',
  plural: 'limitranges',
  kind: 'LimitRange',
  namespaced: true,
  shortNames: ['limits'],
  default({ spec }) {
    for (const item of spec?.limits ?? []) {
      if (item.type === 'Container') {
        item.default = { ...item.max, ...item.default };
        item.defaultRequest = { ...item.min, ...item.default, ...item.defaultRequest };
        for (const field of ['default', 'defaultRequest'] as const) {
          if (Object.keys(item[field] ?? {}).length === 0) {
            delete item[field];
          }
        }
      }
    }
  },
  validate,
  allColumns: [nameColumn(), createdColumn()],
});

function validate({ spec }: LimitRange): FieldError[] {
  const errors: FieldError[] = [];
  const types = new Set<string>();
  for (const [index, item] of (spec?.limits ?? []).entries()) {
    const at = `spec.limits[${index}]`;
    if (types.has(item.type)) {
      errors.push(duplicate(`${at}.type`, item.type));
    }
    types.add(item.type);
    for (const field of ['max', 'min', 'default', 'defaultRequest', 'maxLimitRequestRatio'] as const) {
      errors.push(...validateResourceList(item[field], `${at}.${field}`));
    }
    if (item.type === 'Pod') {
      for (const field of ['default', 'defaultRequest'] as const) {
        if (Object.keys(item[field] ?? {}).length > 0) {
          errors.push(forbidden(`${at}.${field}`, "may not be specified when `type` is 'Pod'"));
        }
      }
    }
    errors.push(...validateOrder(item, at));
  }
  return errors;
}

/** min <= defaultRequest <= default <= max, for those that are there. */
function validateOrder(item: LimitRangeItem, at: string): FieldError[] {
  const order = ['min', 'defaultRequest', 'default', 'max'] as const;
  const names: Readonly<Record<(typeof order)[number], string>> = {
    min: 'min',
    defaultRequest: 'default request',
    default: 'default',
    max: 'max',
  };
  const errors: FieldError[] = [];
  for (const [position, low] of order.entries()) {
    for (const high of order.slice(position + 1)) {
      for (const [resource, value] of Object.entries(item[low] ?? {})) {
        const bound = item[high]?.[resource];
        if (bound !== undefined && isQuantity(value) && isQuantity(bound) && compare(value, bound) > 0) {
          errors.push(
            invalid(
              `${at}.${low}[${resource}]`,
              value,
              `${names[low]} value ${value} is greater than ${names[high]} value ${bound}`,
            ),
          );
        }
      }
    }
  }
  return errors;
}
