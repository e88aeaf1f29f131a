// SPDX-License-Identifier: Apache-2.0
// Columns of `kubectl get` tables, each with the function that fills its cell.
import type { LabelSelector, ObjectMeta } from '../../../machinery/api-types.ts';
import type { Column } from '../definition.ts';
import { since } from './durations.ts';

export interface CellColumn<T> extends Column {
  readonly cell: (object: T, now: number) => unknown;
}

/** A column of text, shown always. */
export function text<T>(name: string, cell: (object: T, now: number) => unknown, description = name): CellColumn<T> {
  return { name, type: 'string', description, cell };
}

export function integer<T>(name: string, cell: (object: T) => number | undefined, description = name): CellColumn<T> {
  return { name, type: 'integer', description, cell: (object) => cell(object) ?? 0 };
}

export function boolean<T>(name: string, cell: (object: T) => boolean | undefined, description = name): CellColumn<T> {
  return { name, type: 'boolean', description, cell: (object) => cell(object) ?? false };
}

/** The same column, shown with `-o wide` only. */
export function wide<T>(column: CellColumn<T>): CellColumn<T> {
  return { ...column, priority: 1 };
}

export function nameColumn<T extends { metadata: ObjectMeta }>(): CellColumn<T> {
  return {
    name: 'Name',
    type: 'string',
    format: 'name',
    description: 'Name must be unique within a namespace.',
    cell: (object) => object.metadata.name ?? '',
  };
}

export function ageColumn<T extends { metadata: ObjectMeta }>(): CellColumn<T> {
  return {
    name: 'Age',
    type: 'string',
    description: 'Time since the object was created.',
    cell: (object, now) => since(object.metadata.creationTimestamp, now),
  };
}

/** Wide columns of workloads: names and images of the containers in the template. */
export function containerColumns<T>(
  containersOf: (object: T) => readonly { name: string; image?: string }[] | undefined,
): CellColumn<T>[] {
  return [
    wide(text('Containers', (object) => (containersOf(object) ?? []).map((container) => container.name).join(','))),
    wide(text('Images', (object) => (containersOf(object) ?? []).map((container) => container.image ?? '').join(','))),
  ];
}

/** `a=b,c in (d,e)`, or `<none>`. */
export function selectorText(selector: LabelSelector | undefined): string {
  if (selector === undefined) {
    return '<none>';
  }
  const parts = Object.entries(selector.matchLabels ?? {}).map(([key, value]) => `${key}=${value}`);
  for (const { key, operator, values } of selector.matchExpressions ?? []) {
    if (operator === 'Exists') {
      parts.push(key);
    } else if (operator === 'DoesNotExist') {
      parts.push(`!${key}`);
    } else {
      parts.push(`${key} ${operator === 'In' ? 'in' : 'notin'} (${[...(values ?? [])].toSorted().join(',')})`);
    }
  }
  return parts.length === 0 ? '<none>' : parts.toSorted().join(',');
}

/** `a=b,c=d`, or `<none>`. */
export function mapText(map: Readonly<Record<string, string>> | undefined): string {
  const parts = Object.entries(map ?? {}).map(([key, value]) => `${key}=${value}`);
  return parts.length === 0 ? '<none>' : parts.toSorted().join(',');
}

/** The text, or `<none>` when it is empty. */
export function orNone(value: string | undefined): string {
  return value === undefined || value === '' ? '<none>' : value;
}

/** The time of creation in full, which a few tables show instead of an age. */
export function createdColumn<T extends { metadata: ObjectMeta }>(): CellColumn<T> {
  return { ...text<T>('Created At', (object) => object.metadata.creationTimestamp ?? ''), type: 'date' };
}
