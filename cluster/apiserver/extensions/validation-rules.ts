// SPDX-License-Identifier: Apache-2.0
// `x-kubernetes-validations`: rules in CEL on the parts of a custom resource.
import type { ValidationRule } from '../../machinery/api-types.ts';
import type { FieldError } from '../resources/definition.ts';
import { equal } from '../server/json.ts';
import type { CelProgram } from './cel.ts';
import { compileCel, firstLine, optionalOf, toCel } from './cel.ts';
import type { JsonObject, JsonSchema } from './structural-schema.ts';
import { childPath, isObject, itemsOf, propertyOf } from './structural-schema.ts';

interface CompiledRule {
  readonly rule: ValidationRule;
  readonly program: CelProgram;
  readonly message: CelProgram | undefined;
  /** The rule says something about a change. */
  readonly transition: boolean;
}

const compiled = new WeakMap<JsonSchema, readonly CompiledRule[]>();
const relevant = new WeakMap<JsonSchema, boolean>();

const REASONS: Readonly<Record<string, FieldError['type']>> = {
  FieldValueForbidden: 'Forbidden',
  FieldValueRequired: 'Required value',
  FieldValueDuplicate: 'Duplicate value',
};

/**
 * @param old the value before an update; undefined for a create.
 * @param path of the value; the empty string for the object itself.
 */
export function checkRules(
  schema: JsonSchema,
  { value, old, path }: { value: unknown; old: unknown; path: string },
): FieldError[] {
  const errors: FieldError[] = [];
  walk(schema, value, old, path, errors);
  return errors;
}

function walk(schema: JsonSchema, value: unknown, old: unknown, path: string, errors: FieldError[]): void {
  if (!hasRules(schema) || value === null) return;
  for (const rule of rulesOf(schema)) {
    const error = check(rule, schema, { value, old, path });
    if (error !== undefined) errors.push(error);
  }
  if (Array.isArray(value)) {
    const items = itemsOf(schema);
    if (items === undefined) return;
    const before = oldItems(schema, old);
    for (const [index, item] of (value as unknown[]).entries()) {
      walk(items, item, before(item), `${path}[${index}]`, errors);
    }
  } else if (isObject(value)) {
    for (const [key, inner] of Object.entries(value)) {
      const property = propertyOf(schema, key);
      if (property !== undefined)
        walk(property, inner, isObject(old) ? old[key] : undefined, childPath(path, key), errors);
    }
  }
}

/** Only items of a list map have a past of their own. */
function oldItems(schema: JsonSchema, old: unknown): (item: unknown) => unknown {
  const keys = schema['x-kubernetes-list-map-keys'];
  if (schema['x-kubernetes-list-type'] !== 'map' || keys === undefined || !Array.isArray(old)) return () => undefined;
  const identity = (item: unknown): string => JSON.stringify(keys.map((key) => (isObject(item) ? item[key] : null)));
  const before = new Map((old as unknown[]).map((item) => [identity(item), item]));
  return (item) => before.get(identity(item));
}

function check(
  { rule, program, message, transition }: CompiledRule,
  schema: JsonSchema,
  { value, old, path }: { value: unknown; old: unknown; path: string },
): FieldError | undefined {
  const hasOld = old !== undefined && old !== null;
  if (transition && !hasOld && rule.optionalOldSelf !== true) return undefined;
  // What an update leaves alone is not judged anew.
  if (!transition && hasOld && equal(value, old)) return undefined;
  const variables: JsonObject = { self: toCel(schema, value) };
  if (rule.optionalOldSelf === true) variables['oldSelf'] = optionalOf(hasOld ? toCel(schema, old) : undefined);
  else if (transition) variables['oldSelf'] = toCel(schema, old);
  const problem = judge(program, variables);
  if (problem === undefined) return undefined;
  const text = rule.message?.trim() || `failed rule: ${rule.rule}`;
  const detail = problem === '' ? (explain(message, variables) ?? text) : `${problem} evaluating rule: ${text}`;
  return {
    type: REASONS[rule.reason ?? ''] ?? 'Invalid value',
    field: fieldOf(path, rule.fieldPath),
    value: schema.type ?? 'object',
    detail,
  };
}

/** Undefined when the rule holds, the empty string when it does not, otherwise why it cannot be told. */
function judge(program: CelProgram, variables: JsonObject): string | undefined {
  try {
    return program(variables) === true ? undefined : '';
  } catch (error) {
    return firstLine(error);
  }
}

function explain(message: CelProgram | undefined, variables: JsonObject): string | undefined {
  try {
    const text = message?.(variables);
    return typeof text === 'string' && text.trim() !== '' && !text.includes('\n') ? text.trim() : undefined;
  } catch {
    return undefined;
  }
}

function fieldOf(path: string, relative: string | undefined): string {
  const rest = (relative ?? '').replace(/^\./, '').replace(/\['([^']*)'\]/g, '[$1]');
  return (rest === '' ? path : childPath(path, rest)) || '<nil>';
}

function rulesOf(schema: JsonSchema): readonly CompiledRule[] {
  let rules = compiled.get(schema);
  if (rules === undefined) {
    rules = (schema['x-kubernetes-validations'] ?? []).map(compileRule);
    compiled.set(schema, rules);
  }
  return rules;
}

/** @throws Error when one of its expressions does not parse. */
export function compileRule(rule: ValidationRule): CompiledRule {
  return {
    rule,
    program: compileCel(rule.rule),
    message: rule.messageExpression === undefined ? undefined : compileCel(rule.messageExpression),
    transition: /\boldSelf\b/.test(rule.rule),
  };
}

/** Whether there is a rule anywhere in the schema: most schemas have none, and their values need no walk. */
function hasRules(schema: JsonSchema): boolean {
  let answer = relevant.get(schema);
  if (answer === undefined) {
    const items = itemsOf(schema);
    const additional = isObject(schema.additionalProperties) ? [schema.additionalProperties as JsonSchema] : [];
    const inner = [...Object.values(schema.properties ?? {}), ...(items === undefined ? [] : [items]), ...additional];
    answer = (schema['x-kubernetes-validations'] ?? []).length > 0 || inner.some(hasRules);
    relevant.set(schema, answer);
  }
  return answer;
}
