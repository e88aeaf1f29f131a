// SPDX-License-Identifier: Apache-2.0
// Defaults and rules of CustomResourceDefinitions: names, versions, and that every schema is structural.
import type {
  CustomResourceDefinition,
  CustomResourceDefinitionVersion,
  JSONSchemaProps,
} from '../../machinery/api-types.ts';
import type { FieldError } from '../resources/definition.ts';
import { dns1035Label, dnsSubdomain } from '../resources/validation/names.ts';
import { compileJsonPath } from './json-path.ts';
import { additionalOf, isObject, itemsOf } from './structural-schema.ts';
import { patternOf } from './patterns.ts';
import { validateValue } from './validate.ts';
import { compileRule } from './validation-rules.ts';

const COLUMN_TYPES = ['boolean', 'date', 'integer', 'number', 'string'];
const SCHEMA_TYPES = ['array', 'boolean', 'integer', 'number', 'object', 'string'];
const MAX_SELECTABLE_FIELDS = 8;

/** Fills in what may be left out, in place; a spec without its parts gets empty ones, which validation then refuses. */
export function defaultDefinition(crd: CustomResourceDefinition): void {
  const loose = crd as { spec?: Partial<CustomResourceDefinition['spec']> };
  loose.spec ??= {};
  loose.spec.names ??= { plural: '', kind: '' };
  const { names } = crd.spec;
  names.singular ??= names.kind?.toLowerCase() ?? '';
  names.listKind ??= `${names.kind}List`;
  crd.spec.conversion ??= { strategy: 'None' };
  const service = crd.spec.conversion.webhook?.clientConfig?.service;
  if (service !== undefined) service.port ??= 443;
}

export function validateDefinition(crd: CustomResourceDefinition): FieldError[] {
  const errors: FieldError[] = [];
  const { group, names, scope, versions, conversion } = crd.spec;
  validateNames(crd, errors);
  if (scope === undefined) errors.push(required('spec.scope', ''));
  else if (scope !== 'Cluster' && scope !== 'Namespaced') {
    errors.push(unsupported('spec.scope', scope, ['Cluster', 'Namespaced']));
  }
  const expected = `${names.plural}.${group}`;
  if (crd.metadata.name !== expected) {
    errors.push(invalid('metadata.name', crd.metadata.name, 'must be spec.names.plural+"."+spec.group'));
  }
  if (crd.spec.preserveUnknownFields === true) {
    const detail =
      'cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead';
    errors.push(invalid('spec.preserveUnknownFields', true, detail));
  }
  validateConversion(conversion, errors);
  const all = versions ?? [];
  if (all.filter((version) => version.storage).length !== 1) {
    const detail = 'must have exactly one version marked as storage version';
    errors.push(
      invalid(
        'spec.versions',
        all.map(({ name }) => name),
        detail,
      ),
    );
  }
  if (new Set(all.map(({ name }) => name)).size < all.length) {
    errors.push(
      invalid(
        'spec.versions',
        all.map(({ name }) => name),
        'must contain unique version names',
      ),
    );
  }
  for (const [index, version] of all.entries()) validateVersion(version, `spec.versions[${index}]`, errors);
  return errors;
}

export function validateDefinitionUpdate(crd: CustomResourceDefinition, old: CustomResourceDefinition): FieldError[] {
  const errors = validateDefinition(crd);
  const immutable: ReadonlyArray<readonly [string, unknown, unknown]> = [
    ['spec.group', crd.spec.group, old.spec.group],
    ['spec.names.plural', crd.spec.names.plural, old.spec.names.plural],
    ['spec.scope', crd.spec.scope, old.spec.scope],
    ['spec.names.kind', crd.spec.names.kind, old.spec.names.kind],
  ];
  for (const [field, value, before] of immutable) {
    if (value !== before) errors.push(invalid(field, value, 'field is immutable'));
  }
  for (const [index, stored] of (old.status?.storedVersions ?? []).entries()) {
    if (!crd.spec.versions.some(({ name }) => name === stored)) {
      errors.push(
        invalid(
          `status.storedVersions[${index}]`,
          stored,
          'missing from spec.versions; ' + 'objects are still stored in that version',
        ),
      );
    }
  }
  return errors;
}

function validateConversion(conversion: CustomResourceDefinition['spec']['conversion'], errors: FieldError[]): void {
  const { strategy, webhook } = conversion ?? { strategy: 'None' };
  if (strategy !== 'None' && strategy !== 'Webhook') {
    errors.push(unsupported('spec.conversion.strategy', strategy, ['None', 'Webhook']));
  } else if (strategy === 'None') {
    if (webhook !== undefined) {
      errors.push(forbidden('spec.conversion.webhook', 'should not be set when strategy is not set to Webhook'));
    }
  } else if (webhook === undefined) {
    errors.push(required('spec.conversion.webhook', 'required when strategy is set to Webhook'));
  } else {
    const { url, service } = webhook.clientConfig ?? {};
    if ((url === undefined) === (service === undefined)) {
      errors.push(required('spec.conversion.webhook.clientConfig', 'exactly one of url or service is required'));
    }
    const versions = webhook.conversionReviewVersions ?? [];
    if (!versions.includes('v1')) {
      errors.push(invalid('spec.conversion.webhook.conversionReviewVersions', versions, 'must include v1'));
    }
  }
}

function validateNames(crd: CustomResourceDefinition, errors: FieldError[]): void {
  const { group, names } = crd.spec;
  if (group === undefined || group === '') {
    errors.push(required('spec.group', ''));
  } else {
    errors.push(...dnsSubdomain(group).map((detail) => invalid('spec.group', group, detail)));
    if (!group.includes('.')) errors.push(invalid('spec.group', group, 'should be a domain with at least one dot'));
  }
  for (const key of ['plural', 'singular', 'kind', 'listKind'] as const) {
    const value = names[key];
    const field = `spec.names.${key}`;
    if (value === undefined || value === '') {
      errors.push(required(field, ''));
    } else {
      // Kinds are in CamelCase, but otherwise labels too.
      const text = key === 'plural' || key === 'singular' ? value : value.toLowerCase();
      errors.push(...dns1035Label(text).map((detail) => invalid(field, value, detail)));
    }
  }
  if (names.kind !== undefined && names.kind === names.listKind) {
    errors.push(invalid('spec.names.listKind', names.listKind, 'kind and listKind may not be the same'));
  }
}

function validateVersion(version: CustomResourceDefinitionVersion, path: string, errors: FieldError[]): void {
  const { name = '' } = version as { name?: string };
  errors.push(...dns1035Label(name).map((detail) => invalid(`${path}.name`, name, detail)));
  const schema = version.schema?.openAPIV3Schema;
  const schemaPath = `${path}.schema.openAPIV3Schema`;
  if (schema === undefined) errors.push(required(schemaPath, 'schemas are required'));
  else validateRoot(schema, schemaPath, errors);
  for (const [index, column] of (version.additionalPrinterColumns ?? []).entries()) {
    const at = `${path}.additionalPrinterColumns[${index}]`;
    if ((column.name ?? '') === '') errors.push(required(`${at}.name`, ''));
    if (!COLUMN_TYPES.includes(column.type)) {
      errors.push(invalid(`${at}.type`, column.type, `must be one of ${COLUMN_TYPES.join(',')}`));
    }
    validatePath(column.jsonPath, `${at}.jsonPath`, errors);
  }
  const scale = version.subresources?.scale;
  if (scale !== undefined) {
    validatePath(scale.specReplicasPath, `${path}.subresources.scale.specReplicasPath`, errors, '.spec.');
    validatePath(scale.statusReplicasPath, `${path}.subresources.scale.statusReplicasPath`, errors, '.status.');
  }
  const selectable = version.selectableFields ?? [];
  if (selectable.length > MAX_SELECTABLE_FIELDS) {
    const detail = `must have at most ${MAX_SELECTABLE_FIELDS} items`;
    errors.push({ type: 'Too many', field: `${path}.selectableFields`, value: selectable.length, detail });
  }
  for (const [index, { jsonPath }] of selectable.entries()) {
    validatePath(jsonPath, `${path}.selectableFields[${index}].jsonPath`, errors);
  }
}

function validatePath(path: string | undefined, field: string, errors: FieldError[], prefix = '.'): void {
  if (path === undefined || path === '') {
    errors.push(required(field, ''));
    return;
  }
  if (!path.startsWith(prefix)) {
    errors.push(invalid(field, path, `should be a json path under ${prefix.replace(/(.)\.$/, '$1')}`));
    return;
  }
  try {
    compileJsonPath(path);
  } catch (error) {
    errors.push(invalid(field, path, (error as Error).message));
  }
}

function validateRoot(schema: JSONSchemaProps, path: string, errors: FieldError[]): void {
  if ((schema.type ?? '') === '') errors.push(required(`${path}.type`, 'must not be empty at the root'));
  else if (schema.type !== 'object') errors.push(invalid(`${path}.type`, schema.type, 'must be object at the root'));
  if (schema.nullable === true) errors.push(forbidden(`${path}.nullable`, 'nullable cannot be true at the root'));
  const { type: _, properties, ...metadata } = schema.properties?.['metadata'] ?? {};
  const odd = Object.keys(properties ?? {}).some((key) => key !== 'name' && key !== 'generateName');
  if (odd || Object.keys(metadata).some((key) => key !== 'description')) {
    const detail = 'must not specify anything other than name and generateName, but metadata is implicitly specified';
    errors.push(forbidden(`${path}.properties[metadata]`, detail));
  }
  const { metadata: __, ...others } = schema.properties ?? {};
  validateNode({ ...schema, properties: others }, path, errors, true);
}

function validateNode(schema: JSONSchemaProps, path: string, errors: FieldError[], root = false): void {
  validateSupported(schema, path, errors);
  validateShape(schema, path, errors, root);
  validateList(schema, path, errors);
  if (schema.pattern !== undefined) {
    try {
      patternOf(schema.pattern);
    } catch (error) {
      const detail = `must be a valid regular expression, but isn't: ${(error as Error).message}`;
      errors.push(invalid(`${path}.pattern`, schema.pattern, detail));
    }
  }
  for (const [index, rule] of (schema['x-kubernetes-validations'] ?? []).entries()) {
    const at = `${path}.x-kubernetes-validations[${index}]`;
    if ((rule.rule ?? '').trim() === '') {
      errors.push(required(`${at}.rule`, 'rule is not specified'));
      continue;
    }
    try {
      compileRule(rule);
    } catch (error) {
      errors.push(invalid(`${at}.rule`, rule, `compilation failed: ERROR: ${(error as Error).message}`));
    }
  }
  if (schema.default !== undefined && errors.length === 0) {
    for (const problem of validateValue(schema, schema.default, '')) {
      const where = problem.field === '<nil>' ? '' : `.${problem.field}`;
      errors.push({ ...problem, field: `${path}.default${where}` });
    }
  }
  for (const [key, property] of Object.entries(schema.properties ?? {})) {
    validateNode(property, `${path}.properties[${key}]`, errors);
  }
  const items = itemsOf(schema);
  if (items !== undefined) validateNode(items, `${path}.items`, errors);
  const additional = additionalOf(schema);
  if (typeof additional === 'object') validateNode(additional, `${path}.additionalProperties`, errors);
  for (const key of ['allOf', 'anyOf', 'oneOf'] as const) {
    for (const [index, one] of (schema[key] ?? []).entries()) {
      const intOrString = schema['x-kubernetes-int-or-string'] === true;
      validateLogical(one, `${path}.${key}[${index}]`, { errors, intOrString });
    }
  }
  if (schema.not !== undefined) validateLogical(schema.not, `${path}.not`, { errors, intOrString: false });
}

/** Parts of JSON schema that structural schemas do without. */
function validateSupported(schema: JSONSchemaProps, path: string, errors: FieldError[]): void {
  for (const key of [
    '$ref',
    'definitions',
    'dependencies',
    'patternProperties',
    'additionalItems',
    'id',
    '$schema',
  ] as const) {
    if (schema[key] !== undefined) errors.push(forbidden(`${path}.${key}`, `${key} is not supported`));
  }
  if (schema.uniqueItems === true) {
    const detail = 'uniqueItems cannot be set to true since the runtime complexity becomes quadratic';
    errors.push(forbidden(`${path}.uniqueItems`, detail));
  }
  if (additionalOf(schema) === false) {
    errors.push(forbidden(`${path}.additionalProperties`, 'additionalProperties cannot be set to false'));
  }
  if (schema.additionalProperties !== undefined && Object.keys(schema.properties ?? {}).length > 0) {
    const detail = 'additionalProperties and properties are mutual exclusive';
    errors.push(forbidden(`${path}.additionalProperties`, detail));
  }
}

function validateShape(schema: JSONSchemaProps, path: string, errors: FieldError[], root: boolean): void {
  const type = schema.type ?? '';
  if (schema['x-kubernetes-int-or-string'] === true) {
    if (type !== '') errors.push(forbidden(`${path}.type`, 'must be empty if x-kubernetes-int-or-string is true'));
    return;
  }
  if (type === '') {
    if (schema['x-kubernetes-preserve-unknown-fields'] === true || root) return;
    const what = path.endsWith('.items') ? 'array items' : 'object fields';
    errors.push(required(`${path}.type`, `must not be empty for specified ${what}`));
  } else if (!SCHEMA_TYPES.includes(type)) {
    errors.push(unsupported(`${path}.type`, type, SCHEMA_TYPES));
  }
  if (type === 'array' && !isObject(schema.items)) errors.push(required(`${path}.items`, 'must be specified'));
  if (schema['x-kubernetes-embedded-resource'] === true && type !== 'object') {
    errors.push(invalid(`${path}.type`, type, 'must be object if x-kubernetes-embedded-resource is true'));
  }
}

function validateList(schema: JSONSchemaProps, path: string, errors: FieldError[]): void {
  const listType = schema['x-kubernetes-list-type'];
  const keys = schema['x-kubernetes-list-map-keys'] ?? [];
  if (listType !== undefined && !['atomic', 'set', 'map'].includes(listType)) {
    errors.push(unsupported(`${path}.x-kubernetes-list-type`, listType, ['atomic', 'map', 'set']));
  }
  if (listType !== undefined && schema.type !== 'array') {
    errors.push(invalid(`${path}.type`, schema.type, 'must be array if x-kubernetes-list-type is specified'));
  }
  if (listType !== 'map') {
    if (keys.length > 0) {
      const detail = 'must be map if x-kubernetes-list-map-keys is non-empty';
      errors.push(invalid(`${path}.x-kubernetes-list-type`, listType, detail));
    }
    return;
  }
  if (keys.length === 0) {
    const detail = 'must not be empty if x-kubernetes-list-type is map';
    errors.push(required(`${path}.x-kubernetes-list-map-keys`, detail));
  }
  const items = itemsOf(schema);
  for (const [index, key] of keys.entries()) {
    const property = items?.properties?.[key];
    if (property === undefined) {
      const detail = 'entries must all be names of item properties';
      errors.push(invalid(`${path}.x-kubernetes-list-map-keys[${index}]`, key, detail));
    } else if (property.default === undefined && items?.required?.includes(key) !== true) {
      const detail = `this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property`;
      errors.push(required(`${path}.items.properties[${key}].default`, detail));
    }
  }
}

/** Within allOf, anyOf, oneOf and not a schema may restrict values but not describe them. */
function validateLogical(
  schema: JSONSchemaProps,
  path: string,
  { errors, intOrString }: { errors: FieldError[]; intOrString: boolean },
): void {
  for (const key of ['type', 'default', 'description', 'title', 'nullable', 'additionalProperties'] as const) {
    // `anyOf: [{type: integer}, {type: string}]` is how an int-or-string is commonly written.
    if (schema[key] === undefined || (key === 'type' && intOrString)) continue;
    errors.push(forbidden(`${path}.${key}`, 'must be empty to be structural'));
  }
  for (const [key, property] of Object.entries(schema.properties ?? {})) {
    validateLogical(property, `${path}.properties[${key}]`, { errors, intOrString: false });
  }
}

function required(field: string, detail: string): FieldError {
  return { type: 'Required value', field, detail };
}

function invalid(field: string, value: unknown, detail: string): FieldError {
  return { type: 'Invalid value', field, value, detail };
}

function forbidden(field: string, detail: string): FieldError {
  return { type: 'Forbidden', field, detail };
}

function unsupported(field: string, value: unknown, supported: readonly string[]): FieldError {
  const detail = `supported values: ${supported.map((one) => JSON.stringify(one)).join(', ')}`;
  return { type: 'Unsupported value', field, value, detail };
}
