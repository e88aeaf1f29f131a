// SPDX-License-Identifier: Apache-2.0
// Numbers that the API lets people write as a count or as a percentage of something.
import type { IntOrString } from '../machinery/api-types.ts';

/** The count that `value` means of `total`. Errors: text that is no percentage. */
export function resolveCount(value: IntOrString, total: number, round: 'up' | 'down'): number {
  if (typeof value === 'number') return value;
  const match = /^(\d+)%$/.exec(value);
  if (!match) throw new Error(`"${value}" is neither a number nor a percentage`);
  const exact = (Number(match[1]) * total) / 100;
  return round === 'up' ? Math.ceil(exact) : Math.floor(exact);
}
