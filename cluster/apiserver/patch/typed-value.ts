// SPDX-License-Identifier: Apache-2.0
// Compares, merges and prunes values by their type, as server-side apply sees them: structs and maps field by field, lists
// of type map by their keys, lists of type set by value, everything else as one piece.
import type { FieldSchema, TypeSchema } from '../schema/schema.ts';
import { equal } from '../server/json.ts';
import type { FieldSet } from './field-set.ts';
import { EMPTY, nodeOf } from './field-set.ts';

type JsonObject = Record<string, unknown>;
/** Undefined: no schema; objects are then taken field by field and lists as one piece. */
type Type = TypeSchema | undefined;

export interface Comparison {
  /** What is there now and was not, or was different. */
  readonly changed: FieldSet;
  readonly removed: FieldSet;
}

/** What it takes to get from `before` to `after`. An absent object counts as the empty one. */
export function compare(type: Type, before: JsonObject | undefined, after: JsonObject): Comparison {
  const { changed, removed } = compareFields(type, before ?? {}, after);
  return { changed: changed ?? EMPTY, removed: removed ?? EMPTY };
}

interface Difference {
  readonly changed?: FieldSet | undefined;
  readonly removed?: FieldSet | undefined;
}
const SAME: Difference = {};
const CHANGED: Difference = { changed: EMPTY };

function compareValues(type: Type, before: unknown, after: unknown): Difference {
  if (before === undefined || before === null) {
    return after === undefined || after === null ? SAME : { changed: wholeTree(type, after) };
  }
  if (after === undefined || after === null) return { removed: wholeTree(type, before) };
  if (isGranularObject(type, before) && isObject(after)) return compareFields(type, before, after);
  const identity = listIdentity(type);
  if (identity !== undefined && Array.isArray(before) && Array.isArray(after)) {
    return compareItems(type?.element, indexItems(before, identity), indexItems(after, identity));
  }
  return equal(before, after) ? SAME : CHANGED;
}

function compareFields(type: Type, before: JsonObject, after: JsonObject): Difference {
  const changed: Record<string, FieldSet> = {};
  const removed: Record<string, FieldSet> = {};
  for (const key in after) {
    const field = fieldOf(type, key);
    note(
      `f:${key}`,
      compareValues(childType(type, field), before[key] ?? implied(field), after[key]),
      changed,
      removed,
    );
  }
  for (const key in before) {
    if (key in after) continue;
    const field = fieldOf(type, key);
    note(`f:${key}`, compareValues(childType(type, field), before[key], implied(field)), changed, removed);
  }
  return { changed: nodeOf(false, changed), removed: nodeOf(false, removed) };
}

function compareItems(type: Type, before: Map<string, unknown>, after: Map<string, unknown>): Difference {
  const changed: Record<string, FieldSet> = {};
  const removed: Record<string, FieldSet> = {};
  for (const [step, item] of after) note(step, compareValues(type, before.get(step), item), changed, removed);
  for (const [step, item] of before) {
    if (!after.has(step)) removed[step] = wholeTree(type, item);
  }
  return { changed: nodeOf(false, changed), removed: nodeOf(false, removed) };
}

function note(
  step: string,
  difference: Difference,
  changed: Record<string, FieldSet>,
  removed: Record<string, FieldSet>,
): void {
  if (difference.changed !== undefined) changed[step] = difference.changed;
  if (difference.removed !== undefined) removed[step] = difference.removed;
}

/** What Go's zero value of the parent holds for a field that JSON leaves out: embedded structs and null lists are there. */
function implied(field: FieldSchema | undefined): unknown {
  if (field === undefined || field.pointer) return undefined;
  const { shape } = field.type;
  if (shape === 'struct') return {};
  if (field.omitEmpty) return undefined;
  return shape === 'list' ? [] : shape === 'map' ? {} : undefined;
}

/** All paths of a value that came or went as a whole. */
function wholeTree(type: Type, value: unknown): FieldSet {
  const children: Record<string, FieldSet> = {};
  if (isGranularObject(type, value)) {
    for (const key in value) {
      const inner = value[key];
      if (inner !== undefined && inner !== null) {
        children[`f:${key}`] = wholeTree(childType(type, fieldOf(type, key)), inner);
      }
    }
  } else {
    const identity = listIdentity(type);
    if (identity !== undefined && Array.isArray(value)) {
      for (const item of value as unknown[]) children[identity(item)] = wholeTree(type?.element, item);
    }
  }
  return nodeOf(true, children) ?? EMPTY;
}

/** The paths that an applied configuration claims. */
export function claimedFields(type: Type, value: JsonObject): FieldSet {
  return claimsOf(type, value) ?? EMPTY;
}

function claimsOf(type: Type, value: JsonObject): FieldSet | undefined {
  const children: Record<string, FieldSet> = {};
  for (const key in value) {
    const field = fieldOf(type, key);
    // Keys of a map are claimed themselves, fields of a struct only through what they hold.
    const claims = claim(childType(type, field), value[key], field === undefined);
    if (claims !== undefined) children[`f:${key}`] = claims;
  }
  return nodeOf(false, children);
}

function claim(type: Type, value: unknown, itself: boolean): FieldSet | undefined {
  if (isGranularObject(type, value)) {
    const inner = claimsOf(type, value);
    if (inner === undefined) return EMPTY;
    return itself ? { '.': EMPTY, ...inner } : inner;
  }
  const identity = listIdentity(type);
  if (identity === undefined || !Array.isArray(value)) return EMPTY;
  const children: Record<string, FieldSet> = {};
  for (const item of value as unknown[]) children[identity(item)] = claim(type?.element, item, true) ?? EMPTY;
  return nodeOf(itself, children);
}

/** `live` with everything that `config` says; shares structure with both. */
export function mergeTyped(type: Type, live: unknown, config: unknown): unknown {
  if (live === undefined || live === null) return config;
  if (isGranularObject(type, config) && isObject(live)) {
    const result: JsonObject = { ...live };
    for (const key in config) result[key] = mergeTyped(childType(type, fieldOf(type, key)), live[key], config[key]);
    return result;
  }
  const identity = listIdentity(type);
  if (identity === undefined || !Array.isArray(live) || !Array.isArray(config)) return config;
  return mergeItems(type?.element, indexItems(live, identity), indexItems(config, identity));
}

/** Items of the configuration keep its order; live items that it does not name stay where they were among the others. */
function mergeItems(type: Type, live: Map<string, unknown>, config: Map<string, unknown>): unknown[] {
  const result: unknown[] = [];
  const wanted = [...config.keys()];
  let next = 0;
  const take = (step: string): void => {
    result.push(mergeTyped(type, live.get(step), config.get(step)));
    next++;
  };
  for (const [step, item] of live) {
    if (step === wanted[next]) take(step);
    else if (!config.has(step)) result.push(item);
  }
  while (next < wanted.length) take(wanted[next] ?? '');
  return result;
}

/**
 * Removes what `former` claims and nobody in `owned` does. What hangs below a removed path goes with it; what nobody ever
 * claimed stays as long as its parent does.
 * @returns undefined when nothing is left.
 */
export function prune(type: Type, value: unknown, { former, owned }: { former: FieldSet; owned: FieldSet }): unknown {
  if (isGranularObject(type, value)) {
    const result: JsonObject = { ...value };
    for (const key in value) {
      const kept = pruneStep(`f:${key}`, childType(type, fieldOf(type, key)), value[key], { former, owned });
      if (kept === undefined) delete result[key];
      else result[key] = kept;
    }
    return result;
  }
  const identity = listIdentity(type);
  if (identity === undefined || !Array.isArray(value)) return value;
  const items = (value as unknown[])
    .map((item) => pruneStep(identity(item), type?.element, item, { former, owned }))
    .filter((item) => item !== undefined);
  return items.length === 0 && value.length > 0 ? undefined : items;
}

function pruneStep(
  step: string,
  type: Type,
  value: unknown,
  { former, owned }: { former: FieldSet; owned: FieldSet },
): unknown {
  const claimed = former[step];
  if (claimed === undefined) return value;
  const stillOwned = owned[step];
  return stillOwned === undefined ? undefined : prune(type, value, { former: claimed, owned: stillOwned });
}

function fieldOf(type: Type, key: string): FieldSchema | undefined {
  return type?.shape === 'struct' ? type.fields.get(key) : undefined;
}

function childType(type: Type, field: FieldSchema | undefined): Type {
  if (field !== undefined) return field.type;
  return type?.shape === 'map' ? type.element : undefined;
}

function isGranularObject(type: Type, value: unknown): value is JsonObject {
  if (!isObject(value)) return false;
  if (type === undefined) return true;
  if (type.atomic) return false;
  return type.shape === 'struct' || type.shape === 'map' || type.shape === 'any';
}

type Identity = (item: unknown) => string;
const identities = new WeakMap<TypeSchema, Identity>();

/** How items of a list are told apart, as a path step; undefined for lists that are one piece. */
function listIdentity(type: Type): Identity | undefined {
  if (type?.shape !== 'list' || type.listType === 'atomic') return undefined;
  let identity = identities.get(type);
  if (identity === undefined) {
    identity = type.listType === 'set' ? (item) => `v:${JSON.stringify(item)}` : keyIdentity(type);
    identities.set(type, identity);
  }
  return identity;
}

function keyIdentity(type: TypeSchema): Identity {
  const fields = type.element?.fields;
  const keys = type.listMapKeys.toSorted().map((key) => {
    const field = fields?.get(key);
    return { key, prefix: `${JSON.stringify(key)}:`, missing: JSON.stringify(field?.default ?? zeroKey(field)) };
  });
  return (item) => {
    const object = isObject(item) ? item : {};
    const parts = keys.map(({ key, prefix, missing }) => {
      const value = object[key];
      return prefix + (value === undefined ? missing : JSON.stringify(value));
    });
    return `k:{${parts.join(',')}}`;
  };
}

/** Only an invalid object lacks a key; validation will say so. */
function zeroKey(field: FieldSchema | undefined): unknown {
  return field?.type.shape === 'integer' ? 0 : '';
}

/** Of items with the same key the first counts. */
function indexItems(list: unknown[], identity: (item: unknown) => string): Map<string, unknown> {
  const index = new Map<string, unknown>();
  for (const item of list) {
    const step = identity(item);
    if (!index.has(step)) index.set(step, item);
  }
  return index;
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
