// SPDX-License-Identifier: Apache-2.0
// Pruning and defaulting of custom resources by their structural schema, in place.
import type { KubeObject } from '../resources/definition.ts';
import type { Decoded, FieldValidation } from '../schema/schema.ts';
import { decodeObject, typeByName } from '../schema/schema.ts';
import { copy } from '../server/json.ts';
import type { JsonObject, JsonSchema } from './structural-schema.ts';
import { OBJECT_META, additionalOf, childPath, isObject, itemsOf, propertyOf } from './structural-schema.ts';

interface Report {
  readonly unknownFields: string[] | undefined;
  readonly errors: string[];
}

/** Removes what the schema does not name. The object's metadata is checked as that of any object. */
export function decodeCustom(schema: JsonSchema, value: unknown, mode: FieldValidation): Decoded {
  const report: Report = { unknownFields: mode === 'Ignore' ? undefined : [], errors: [] };
  if (!isObject(value)) {
    const errors = ['json: cannot unmarshal a value that is no object into Go value of type map[string]interface {}'];
    return { object: value as KubeObject, unknownFields: [], errors };
  }
  pruneResource(schema, value, '', report);
  return { object: value as KubeObject, unknownFields: report.unknownFields ?? [], errors: report.errors };
}

/** An object with apiVersion, kind and metadata: the resource itself or one embedded in it. */
function pruneResource(schema: JsonSchema, value: JsonObject, path: string, report: Report): void {
  const { apiVersion, kind, metadata, ...rest } = value;
  pruneObject(schema, rest, path, report);
  for (const key of Object.keys(value)) {
    if (key !== 'apiVersion' && key !== 'kind' && key !== 'metadata' && !(key in rest)) delete value[key];
  }
  for (const [key, text] of [
    ['apiVersion', apiVersion],
    ['kind', kind],
  ] as const) {
    if (text !== undefined && typeof text !== 'string') {
      report.errors.push(`${childPath(path, key)}: must be a string`);
    }
  }
  if (metadata === undefined) return;
  if (metadata === null) {
    delete value['metadata'];
    return;
  }
  const type = typeByName(OBJECT_META);
  if (type === undefined) return;
  const decoded = decodeObject(type, metadata, report.unknownFields === undefined ? 'Ignore' : 'Warn');
  report.unknownFields?.push(...decoded.unknownFields.map((field) => childPath(childPath(path, 'metadata'), field)));
  report.errors.push(...decoded.errors);
  value['metadata'] = decoded.object;
}

function pruneObject(schema: JsonSchema, value: JsonObject, path: string, report: Report): void {
  const open = schema['x-kubernetes-preserve-unknown-fields'] === true || additionalOf(schema) === true;
  for (const key of Object.keys(value)) {
    const inner = propertyOf(schema, key);
    if (inner !== undefined) {
      pruneValue(inner, value[key], childPath(path, key), report);
    } else if (!open) {
      delete value[key];
      report.unknownFields?.push(childPath(path, key));
    }
  }
}

function pruneValue(schema: JsonSchema, value: unknown, path: string, report: Report): void {
  if (Array.isArray(value)) {
    const items = itemsOf(schema);
    if (items === undefined) return;
    for (const [index, item] of (value as unknown[]).entries()) pruneValue(items, item, `${path}[${index}]`, report);
  } else if (isObject(value)) {
    if (schema['x-kubernetes-embedded-resource'] === true) pruneResource(schema, value, path, report);
    else pruneObject(schema, value, path, report);
  }
}

/** Fills in defaults. A null where none is allowed counts as absent when there is a default for it. */
export function defaultCustom(schema: JsonSchema, value: unknown): void {
  if (Array.isArray(value)) {
    const items = itemsOf(schema);
    if (items !== undefined) for (const item of value as unknown[]) defaultCustom(items, item);
    return;
  }
  if (!isObject(value)) return;
  for (const [key, property] of Object.entries(schema.properties ?? {})) {
    if (property.default === undefined) continue;
    const missing = !Object.hasOwn(value, key) || (value[key] === null && property.nullable !== true);
    if (missing) value[key] = copy(property.default);
  }
  for (const key of Object.keys(value)) {
    const inner = propertyOf(schema, key);
    if (inner !== undefined) defaultCustom(inner, value[key]);
  }
}
