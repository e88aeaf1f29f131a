// SPDX-License-Identifier: Apache-2.0
// Validation of custom resources against their structural schema, with the messages that kubectl users know.
import type { FieldError } from '../resources/definition.ts';
import { equal } from '../server/json.ts';
import { matchesFormat } from './formats.ts';
import { patternOf } from './patterns.ts';
import type { JsonObject, JsonSchema } from './structural-schema.ts';
import { additionalOf, childPath, isObject, itemsOf } from './structural-schema.ts';

/**
 * @param path of the value within the object; the empty string for the object itself.
 * @param old the value before an update: what did not change is not judged anew, so that a schema can be tightened.
 */
export function validateValue(schema: JsonSchema, value: unknown, path: string, old?: unknown): FieldError[] {
  const errors: FieldError[] = [];
  validate(schema, { value, old }, path, errors);
  return errors;
}

interface Judged {
  readonly value: unknown;
  readonly old: unknown;
}

function validate(schema: JsonSchema, { value, old }: Judged, path: string, errors: FieldError[]): void {
  if (value === null && schema.nullable === true) return;
  if (old !== undefined && equal(value, old)) return;
  if (!hasType(schema, value)) {
    const actual = typeName(value);
    const expected = schema['x-kubernetes-int-or-string'] === true ? 'integer,string' : schema.type;
    errors.push(wrong(path, actual, `${bodyOf(path)} must be of type ${expected}: ${JSON.stringify(actual)}`));
    return;
  }
  if (schema.enum !== undefined && !schema.enum.some((one) => equal(one, value))) {
    const detail = `supported values: ${schema.enum.map((one) => JSON.stringify(one)).join(', ')}`;
    errors.push({ type: 'Unsupported value', field: path, value, detail });
  }
  if (typeof value === 'string') validateText(schema, value, path, errors);
  else if (typeof value === 'number') validateNumber(schema, value, path, errors);
  else if (Array.isArray(value)) validateList(schema, value as unknown[], path, errors);
  else if (isObject(value)) validateObject(schema, { value, old }, path, errors);
  validateCombinations(schema, value, path, errors);
}

function hasType(schema: JsonSchema, value: unknown): boolean {
  if (schema['x-kubernetes-int-or-string'] === true) return typeof value === 'string' || Number.isInteger(value);
  switch (schema.type) {
    case undefined:
    case '':
      return true;
    case 'object':
      return isObject(value);
    case 'array':
      return Array.isArray(value);
    case 'integer':
      return Number.isInteger(value);
    default:
      return typeof value === schema.type;
  }
}

function typeName(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  if (typeof value === 'number') return Number.isInteger(value) ? 'integer' : 'number';
  return typeof value;
}

function validateText(schema: JsonSchema, value: string, path: string, errors: FieldError[]): void {
  const { maxLength, minLength, pattern, format } = schema;
  // Lengths count characters, not UTF-16 units.
  const length = maxLength === undefined && minLength === undefined ? 0 : [...value].length;
  if (maxLength !== undefined && length > maxLength) {
    errors.push({ type: 'Too long', field: path, value, detail: `may not be more than ${maxLength} bytes` });
  }
  if (minLength !== undefined && length < minLength) {
    errors.push(wrong(path, value, `${bodyOf(path)} should be at least ${minLength} chars long`));
  }
  if (pattern !== undefined && pattern !== '' && !patternOf(pattern).test(value)) {
    errors.push(wrong(path, value, `${bodyOf(path)} should match '${pattern}'`));
  }
  if (format !== undefined && !matchesFormat(format, value)) {
    errors.push(wrong(path, value, `${bodyOf(path)} must be of type ${format}: ${JSON.stringify(value)}`));
  }
}

function validateNumber(schema: JsonSchema, value: number, path: string, errors: FieldError[]): void {
  const { maximum, minimum, multipleOf, format } = schema;
  if (maximum !== undefined && (schema.exclusiveMaximum === true ? value >= maximum : value > maximum)) {
    const bound = schema.exclusiveMaximum === true ? 'less than' : 'less than or equal to';
    errors.push(wrong(path, value, `${bodyOf(path)} should be ${bound} ${maximum}`));
  }
  if (minimum !== undefined && (schema.exclusiveMinimum === true ? value <= minimum : value < minimum)) {
    const bound = schema.exclusiveMinimum === true ? 'greater than' : 'greater than or equal to';
    errors.push(wrong(path, value, `${bodyOf(path)} should be ${bound} ${minimum}`));
  }
  if (multipleOf !== undefined && Math.abs(value / multipleOf - Math.round(value / multipleOf)) > 1e-9) {
    errors.push(wrong(path, value, `${bodyOf(path)} should be a multiple of ${multipleOf}`));
  }
  if (format === 'int32' && Number.isInteger(value) && Math.abs(value) > 2 ** 31 - 1 && value !== -(2 ** 31)) {
    errors.push(wrong(path, value, `${bodyOf(path)} must be of type int32: ${JSON.stringify(value)}`));
  }
}

function validateList(schema: JsonSchema, value: unknown[], path: string, errors: FieldError[]): void {
  const { maxItems, minItems } = schema;
  if (maxItems !== undefined && value.length > maxItems) {
    errors.push({ type: 'Too many', field: path, value: value.length, detail: `must have at most ${maxItems} items` });
  }
  if (minItems !== undefined && value.length < minItems) {
    errors.push(wrong(path, value.length, `${bodyOf(path)} should have at least ${minItems} items`));
  }
  const listType = schema['x-kubernetes-list-type'];
  if (listType === 'set' || listType === 'map') {
    validateUnique(value, path, listType === 'map' ? (schema['x-kubernetes-list-map-keys'] ?? []) : undefined, errors);
  } else if (schema.uniqueItems === true && new Set(value.map((item) => JSON.stringify(item))).size < value.length) {
    errors.push(wrong(path, value, `${bodyOf(path)} shouldn't contain duplicates`));
  }
  const items = itemsOf(schema);
  if (items === undefined) return;
  for (const [index, item] of value.entries())
    validate(items, { value: item, old: undefined }, `${path}[${index}]`, errors);
}

function validateUnique(
  value: unknown[],
  path: string,
  keys: readonly string[] | undefined,
  errors: FieldError[],
): void {
  const seen = new Set<string>();
  for (const [index, item] of value.entries()) {
    const identity =
      keys === undefined ? item : Object.fromEntries(keys.map((key) => [key, isObject(item) ? item[key] : undefined]));
    const text = JSON.stringify(identity);
    if (seen.has(text)) {
      errors.push({ type: 'Duplicate value', field: `${path}[${index}]`, value: identity, detail: '' });
    }
    seen.add(text);
  }
}

function validateObject(
  schema: JsonSchema,
  { value, old }: { value: JsonObject; old: unknown },
  path: string,
  errors: FieldError[],
): void {
  const { maxProperties, minProperties } = schema;
  const keys = Object.keys(value);
  if (maxProperties !== undefined && keys.length > maxProperties) {
    const detail = `must have at most ${maxProperties} items`;
    errors.push({ type: 'Too many', field: path, value: keys.length, detail });
  }
  if (minProperties !== undefined && keys.length < minProperties) {
    errors.push(wrong(path, keys.length, `${bodyOf(path)} should have at least ${minProperties} properties`));
  }
  for (const key of schema.required ?? []) {
    if (!Object.hasOwn(value, key)) {
      errors.push({ type: 'Required value', field: childPath(path, key), detail: '' });
    }
  }
  if (schema['x-kubernetes-embedded-resource'] === true) validateEmbedded(value, path, errors);
  const additional = additionalOf(schema);
  for (const key of keys) {
    const property =
      schema.properties !== undefined && Object.hasOwn(schema.properties, key) ? schema.properties[key] : undefined;
    const inner = property ?? (typeof additional === 'object' ? additional : undefined);
    const before = isObject(old) ? old[key] : undefined;
    if (inner !== undefined) validate(inner, { value: value[key], old: before }, childPath(path, key), errors);
  }
}

function validateEmbedded(value: JsonObject, path: string, errors: FieldError[]): void {
  for (const key of ['apiVersion', 'kind']) {
    if (typeof value[key] !== 'string' || value[key] === '') {
      errors.push({ type: 'Required value', field: childPath(path, key), detail: 'must not be empty' });
    }
  }
}

function validateCombinations(schema: JsonSchema, value: unknown, path: string, errors: FieldError[]): void {
  const { allOf, anyOf, oneOf, not } = schema;
  if (allOf === undefined && anyOf === undefined && oneOf === undefined && not === undefined) return;
  const accepted = (one: JsonSchema): boolean => validateValue(one, value, path).length === 0;
  const name = path === '' ? '""' : JSON.stringify(path);
  for (const one of allOf ?? []) {
    const inner = validateValue(one, value, path);
    if (inner.length > 0) errors.push(wrong(path, '', `${name} must validate all the schemas (allOf)`), ...inner);
  }
  if (anyOf !== undefined && anyOf.length > 0 && !anyOf.some(accepted)) {
    errors.push(
      wrong(path, '', `${name} must validate at least one schema (anyOf)`),
      ...bestErrors(anyOf, value, path),
    );
  }
  if (oneOf !== undefined && oneOf.length > 0) {
    const count = oneOf.filter(accepted).length;
    if (count !== 1) {
      const found = count === 0 ? 'Found none valid' : `Found ${count} valid alternatives`;
      errors.push(wrong(path, '', `${name} must validate one and only one schema (oneOf). ${found}`));
      if (count === 0) errors.push(...bestErrors(oneOf, value, path));
    }
  }
  if (not !== undefined && accepted(not)) {
    errors.push(wrong(path, '', `${name} must not validate the schema (not)`));
  }
}

/** Of several schemas that all refuse, the one that is nearest explains best. */
function bestErrors(schemas: readonly JsonSchema[], value: unknown, path: string): FieldError[] {
  return schemas.map((one) => validateValue(one, value, path)).toSorted((a, b) => a.length - b.length)[0] ?? [];
}

function wrong(field: string, value: unknown, detail: string): FieldError {
  return { type: 'Invalid value', field: field === '' ? '<nil>' : field, value, detail };
}

function bodyOf(path: string): string {
  return path === '' ? 'in body' : `${path} in body`;
}
