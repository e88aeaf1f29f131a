// SPDX-License-Identifier: Apache-2.0
// Strategic merge patch: a merge patch that knows which lists are really maps or sets, with the directives `$patch`,
// `$retainKeys`, `$setElementOrder/<field>` and `$deleteFromPrimitiveList/<field>`.
import type { TypeSchema } from '../schema/schema.ts';
import { copy } from '../server/json.ts';
import { PatchError } from './patch-error.ts';

type JsonObject = Record<string, unknown>;

const DIRECTIVE = '$patch';
const RETAIN_KEYS = '$retainKeys';
const SET_ORDER = '$setElementOrder/';
const DELETE_PRIMITIVES = '$deleteFromPrimitiveList/';

/**
 * @returns a new object; neither argument is changed.
 * @throws PatchError 400 for directives that make no sense, 422-like 400 for elements without their merge key.
 */
export function applyStrategicMergePatch(schema: TypeSchema, original: JsonObject, patch: JsonObject): JsonObject {
  return mergeMap(schema, copy(original), copy(patch));
}

/** Both arguments may be changed and become part of the result. */
function mergeMap(schema: TypeSchema | undefined, original: JsonObject, patch: JsonObject): JsonObject {
  const directive = patch[DIRECTIVE];
  if (directive !== undefined) {
    delete patch[DIRECTIVE];
    if (directive === 'replace') return withoutDirectives(patch) as JsonObject;
    if (directive === 'delete') return {};
    if (directive !== 'merge') throw unknownDirective(directive, patch);
  }
  retainKeys(original, patch);
  const orders = new Map<string, unknown[]>();
  for (const [key, value] of Object.entries(patch)) {
    if (key === '__proto__') continue;
    if (key.startsWith(SET_ORDER)) {
      orders.set(key.slice(SET_ORDER.length), listOf(value, key));
    } else if (key.startsWith(DELETE_PRIMITIVES)) {
      const field = key.slice(DELETE_PRIMITIVES.length);
      const gone = new Set(listOf(value, key));
      const current = original[field];
      if (Array.isArray(current)) original[field] = current.filter((item) => !gone.has(item));
    }
  }
  const before = new Map([...orders.keys()].map((field) => [field, original[field]]));
  for (const [key, value] of Object.entries(patch)) {
    if (key === '__proto__' || key.startsWith(SET_ORDER) || key.startsWith(DELETE_PRIMITIVES)) continue;
    const type = typeOfKey(schema, key);
    if (value === null) delete original[key];
    else original[key] = mergeValue(type, original[key], value);
  }
  for (const [field, order] of orders)
    reorderField(original, field, order, {
      live: before.get(field),
      mergeKey: typeOfKey(schema, field)?.patch.mergeKey,
    });
  return original;
}

function mergeValue(type: TypeSchema | undefined, current: unknown, value: unknown): unknown {
  if (isObject(value) && isObject(current)) {
    if (type?.patch.replace === true && value[DIRECTIVE] === undefined) return withoutDirectives(value);
    return mergeMap(type, current, value);
  }
  if (Array.isArray(value) && Array.isArray(current) && type?.patch.merge === true) {
    return mergeList(type, current as unknown[], value as unknown[]);
  }
  return withoutDirectives(value);
}

function mergeList(type: TypeSchema, current: unknown[], patch: unknown[]): unknown[] {
  const mergeKey = type.patch.mergeKey;
  if (mergeKey === undefined) return mergeSet(current, patch);
  const { survivors, items, replaced } = applyListDirectives(current, patch, mergeKey);
  if (replaced) return items.map(withoutDirectives);
  const merged = [...survivors];
  for (const item of items) {
    const key = keyOf(item, mergeKey);
    const index = merged.findIndex((candidate) => isObject(candidate) && candidate[mergeKey] === key);
    const found = merged[index];
    if (isObject(found)) merged[index] = mergeMap(type.element, found, item);
    else merged.push(withoutDirectives(item));
  }
  return reorder(merged, items, { live: survivors, mergeKey });
}

function mergeSet(current: unknown[], patch: unknown[]): unknown[] {
  if (patch.some((item) => isObject(item) || Array.isArray(item))) {
    throw new PatchError(400, 'list of objects without a merge key cannot be merged');
  }
  return reorder([...new Set([...current, ...patch])], patch, { live: current, mergeKey: undefined });
}

/** Carries out `$patch: delete` and `$patch: replace` elements and leaves the ordinary ones. */
function applyListDirectives(
  current: unknown[],
  patch: unknown[],
  mergeKey: string,
): { survivors: unknown[]; items: JsonObject[]; replaced: boolean } {
  let survivors = current;
  let replaced = false;
  const items: JsonObject[] = [];
  for (const item of patch) {
    if (!isObject(item))
      throw new PatchError(400, `element ${JSON.stringify(item)} of a list merged by ${mergeKey} is no object`);
    const directive = item[DIRECTIVE];
    if (directive === 'delete') {
      const key = keyOf(item, mergeKey);
      survivors = survivors.filter((candidate) => !isObject(candidate) || candidate[mergeKey] !== key);
    } else if (directive === 'replace') {
      replaced = true;
      // `{$patch: replace}` alone is only a mark; with a key it is also an element.
      if (item[mergeKey] !== undefined) items.push(item);
    } else if (directive === undefined || directive === 'merge') {
      delete item[DIRECTIVE];
      items.push(item);
    } else {
      throw unknownDirective(directive, item);
    }
  }
  return { survivors, items, replaced };
}

function retainKeys(original: JsonObject, patch: JsonObject): void {
  const list = patch[RETAIN_KEYS];
  if (list === undefined) return;
  delete patch[RETAIN_KEYS];
  const keep = new Set(listOf(list, RETAIN_KEYS));
  for (const key of Object.keys(patch)) {
    if (!keep.has(key) && patch[key] !== null && !key.startsWith('$')) {
      throw new PatchError(400, `${RETAIN_KEYS} must list every field of the patch, but ${key} is not in it`);
    }
  }
  for (const key of Object.keys(original)) if (!keep.has(key)) delete original[key];
}

interface Order {
  /** The list as it was before the patch. */
  readonly live: unknown;
  readonly mergeKey: string | undefined;
}

function reorderField(object: JsonObject, field: string, order: unknown[], options: Order): void {
  const list = object[field];
  if (Array.isArray(list)) object[field] = reorder(list as unknown[], order, options);
}

/**
 * What `wanted` names comes in its order, the rest in the live order; where both lists have something to place, an item
 * of `wanted` goes first unless the other did so in the live list. New items therefore come to the front.
 */
function reorder(list: unknown[], wanted: readonly unknown[], { live, mergeKey }: Order): unknown[] {
  const identity = (item: unknown): unknown => (mergeKey !== undefined && isObject(item) ? item[mergeKey] : item);
  const wantedAt = positions(wanted, identity);
  const liveAt = positions(Array.isArray(live) ? (live as unknown[]) : [], identity);
  const position = (at: ReadonlyMap<unknown, number>, item: unknown): number => at.get(identity(item)) ?? at.size;
  const named = list
    .filter((item) => wantedAt.has(identity(item)))
    .toSorted((a, b) => position(wantedAt, a) - position(wantedAt, b));
  const others = list
    .filter((item) => !wantedAt.has(identity(item)))
    .toSorted((a, b) => position(liveAt, a) - position(liveAt, b));
  const result: unknown[] = [];
  let next = 0;
  for (const other of others) {
    const otherAt = liveAt.get(identity(other));
    while (next < named.length) {
      const namedAt = liveAt.get(identity(named[next]));
      if (namedAt !== undefined && otherAt !== undefined && otherAt < namedAt) break;
      result.push(named[next++]);
    }
    result.push(other);
  }
  return [...result, ...named.slice(next)];
}

function positions(list: readonly unknown[], identity: (item: unknown) => unknown): ReadonlyMap<unknown, number> {
  const at = new Map<unknown, number>();
  for (const [index, item] of list.entries()) if (!at.has(identity(item))) at.set(identity(item), index);
  return at;
}

/** What is left of a patch value where there is nothing to merge with: nulls and directives have no meaning there. */
function withoutDirectives(value: unknown): unknown {
  if (Array.isArray(value)) {
    return value
      .filter(
        (item) =>
          !isObject(item) ||
          item[DIRECTIVE] === undefined ||
          item[DIRECTIVE] === 'merge' ||
          Object.keys(item).length > 1,
      )
      .filter((item) => !isObject(item) || item[DIRECTIVE] !== 'delete')
      .map(withoutDirectives);
  }
  if (!isObject(value)) return value;
  if (value[DIRECTIVE] === 'delete') return {};
  const result: JsonObject = {};
  for (const [key, inner] of Object.entries(value)) {
    const special =
      key === DIRECTIVE || key === RETAIN_KEYS || key.startsWith(SET_ORDER) || key.startsWith(DELETE_PRIMITIVES);
    if (inner === null || special || key === '__proto__') continue;
    result[key] = withoutDirectives(inner);
  }
  return result;
}

function typeOfKey(schema: TypeSchema | undefined, key: string): TypeSchema | undefined {
  if (schema === undefined) return undefined;
  return schema.shape === 'map' ? schema.element : schema.fields.get(key)?.type;
}

function keyOf(item: JsonObject, mergeKey: string): unknown {
  const key = item[mergeKey];
  if (key === undefined) {
    throw new PatchError(400, `map: ${goMap(item)} does not contain declared merge key: ${mergeKey}`);
  }
  return key;
}

/** Go prints maps this way; clients match on it. */
function goMap(item: JsonObject): string {
  const entries = Object.entries(item).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return `map[${entries.map(([key, value]) => `${key}:${typeof value === 'object' ? JSON.stringify(value) : String(value)}`).join(' ')}]`;
}

function unknownDirective(directive: unknown, item: JsonObject): PatchError {
  return new PatchError(400, `unknown patch type: ${String(directive)} in map: ${goMap(item)}`);
}

function listOf(value: unknown, name: string): unknown[] {
  if (!Array.isArray(value)) throw new PatchError(400, `${name} must be a list, got ${JSON.stringify(value)}`);
  return value as unknown[];
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
