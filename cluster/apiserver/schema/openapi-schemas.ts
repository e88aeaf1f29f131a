// SPDX-License-Identifier: Apache-2.0
// Schema objects of the OpenAPI documents: one per definition, in the dialect of version 2 or 3.
import type { DocsData } from './data.ts';
import type { FieldSchema, Shape, TypeSchema } from './schema.ts';
import { typeByName } from './schema.ts';

export type Json = Record<string, unknown>;
export type Dialect = 'v2' | 'v3';

const META = 'io.k8s.apimachinery.pkg.apis.meta.v1';
const JSON_NAME = 'io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON';
const CRD_PREFIX = 'io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1';

/** Shapes that OpenAPI gives a definition of their own. */
const WELL_KNOWN: Readonly<Partial<Record<Shape, string>>> = {
  time: `${META}.Time`,
  microTime: `${META}.MicroTime`,
  duration: `${META}.Duration`,
  fieldsV1: `${META}.FieldsV1`,
  quantity: 'io.k8s.apimachinery.pkg.api.resource.Quantity',
  intOrString: 'io.k8s.apimachinery.pkg.util.intstr.IntOrString',
  rawExtension: 'io.k8s.apimachinery.pkg.runtime.RawExtension',
};

const TYPE_META_DOCS: Readonly<Record<string, string>> = {
  apiVersion:
    'APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources',
  kind: 'Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds',
};

export interface GroupVersionKind {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
}

/** Collects definitions as they are referred to, until every reference has its definition. */
export class Definitions {
  readonly dialect: Dialect;
  readonly #docs: DocsData;
  readonly #kinds: ReadonlyMap<string, readonly GroupVersionKind[]>;
  readonly #done = new Map<string, Json>();
  readonly #pending: string[] = [];
  readonly #seen = new Set<string>();

  /** @param kinds which kinds a definition stands for: `x-kubernetes-group-version-kind`. */
  constructor(dialect: Dialect, docs: DocsData, kinds: ReadonlyMap<string, readonly GroupVersionKind[]>) {
    this.dialect = dialect;
    this.#docs = docs;
    this.#kinds = kinds;
  }

  /** A reference to the definition, which is then part of the document. */
  ref(name: string): Json {
    if (!this.#seen.has(name)) {
      this.#seen.add(name);
      this.#pending.push(name);
    }
    return { $ref: `${this.dialect === 'v2' ? '#/definitions/' : '#/components/schemas/'}${name}` };
  }

  /** All definitions reached so far, sorted by name. */
  finish(): Json {
    for (let name = this.#pending.pop(); name !== undefined; name = this.#pending.pop()) {
      const kinds = this.#kinds.get(name);
      this.#done.set(name, {
        ...this.#definition(name),
        ...(kinds === undefined ? {} : { 'x-kubernetes-group-version-kind': kinds }),
      });
    }
    return Object.fromEntries([...this.#done].toSorted(([a], [b]) => (a < b ? -1 : 1)));
  }

  #definition(name: string): Json {
    const known = this.#wellKnown(name);
    if (known !== undefined) return known;
    const type = typeByName(name);
    if (type?.custom !== undefined) return this.#custom(type.custom.openapi);
    if (type !== undefined) return this.#struct(type);
    const list = name.endsWith('List') ? typeByName(name.slice(0, -'List'.length)) : undefined;
    if (list?.custom !== undefined) return this.#customList(list.name, list.custom.kind);
    throw new Error(`openapi: no type ${name}`);
  }

  #struct(type: TypeSchema): Json {
    const [description, fieldDocs] = this.#docs[type.name] ?? ['', {}];
    const properties: Json = {};
    const required: string[] = [];
    for (const field of [...type.fields.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
      const isTypeMeta = type.object && (field.name === 'apiVersion' || field.name === 'kind');
      const text = fieldDocs[field.name] ?? this.#inlinedDoc(type, field.name) ?? '';
      properties[field.name] = this.#field(field, isTypeMeta ? (TYPE_META_DOCS[field.name] ?? '') : text);
      if (field.required) required.push(field.name);
    }
    return {
      ...(description === '' ? {} : { description }),
      ...(type.fields.size === 0 ? {} : { properties }),
      ...(required.length === 0 ? {} : { required }),
      type: 'object',
      ...(type.atomic ? { 'x-kubernetes-map-type': 'atomic' } : {}),
    };
  }

  /** Docs of a field that comes from an inlined struct. */
  #inlinedDoc(type: TypeSchema, field: string): string | undefined {
    for (const { type: inner } of type.embedded) {
      const text = this.#docs[inner.name]?.[1][field] ?? this.#inlinedDoc(inner, field);
      if (text !== undefined) return text;
    }
    return undefined;
  }

  #field(field: FieldSchema, description: string): Json {
    const { type } = field;
    const facts: Json = {
      ...(description === '' ? {} : { description }),
      ...(field.default === undefined ? {} : { default: field.default }),
    };
    if (type.shape === 'list') {
      if (type.listMapKeys.length > 0) facts['x-kubernetes-list-map-keys'] = type.listMapKeys;
      // An undeclared list type is left out, which is not the same as a declared atomic one.
      if (type.listType !== 'atomic' || type.listDeclared) facts['x-kubernetes-list-type'] = type.listType;
    }
    if (type.shape === 'map' && type.atomic) facts['x-kubernetes-map-type'] = 'atomic';
    if (type.patch.mergeKey !== undefined) facts['x-kubernetes-patch-merge-key'] = type.patch.mergeKey;
    const strategy = (['merge', 'replace', 'retainKeys'] as const).filter((one) => type.patch[one]).join(',');
    if (strategy !== '') facts['x-kubernetes-patch-strategy'] = strategy;
    const schema = this.#type(type);
    if (this.dialect === 'v3' && '$ref' in schema) {
      const zero = field.pointer || type.shape !== 'struct' || field.default !== undefined ? {} : { default: {} };
      return Object.keys({ ...facts, ...zero }).length === 0 ? schema : { allOf: [schema], ...zero, ...facts };
    }
    return { ...schema, ...facts };
  }

  #type(type: TypeSchema): Json {
    const known = WELL_KNOWN[type.shape];
    if (known !== undefined) return this.ref(known);
    switch (type.shape) {
      case 'struct':
        return this.ref(type.name);
      case 'list':
        return { type: 'array', items: this.#element(type.element) };
      case 'map':
        return { type: 'object', additionalProperties: this.#element(type.element) };
      case 'boolean':
        return { type: 'boolean' };
      case 'integer':
        return type.base.goType === 'int32'
          ? { type: 'integer', format: 'int32' }
          : { type: 'integer', format: 'int64' };
      case 'number':
        return { type: 'number', format: 'double' };
      case 'bytes':
        return { type: 'string', format: 'byte' };
      case 'schemaOr':
        return this.ref(`${CRD_PREFIX}.${type.goType.slice('v1.'.length)}`);
      case 'any':
        return type.goType === 'v1.JSON' ? this.ref(JSON_NAME) : { type: 'object' };
      default:
        return { type: 'string', ...(type.enum === undefined ? {} : { enum: type.enum }) };
    }
  }

  #element(type: TypeSchema | undefined): Json {
    if (type === undefined) return {};
    const schema = this.#type(type);
    return this.dialect === 'v3' && type.shape === 'struct' ? { allOf: [schema], default: {} } : schema;
  }

  #wellKnown(name: string): Json | undefined {
    switch (name) {
      case `${META}.Time`:
      case `${META}.MicroTime`:
        return { description: 'A moment in RFC 3339 form.', format: 'date-time', type: 'string' };
      case `${META}.Duration`:
        return { description: "A duration in the form that Go prints, such as '1h30m'.", type: 'string' };
      case `${META}.FieldsV1`:
        return { description: 'A set of fields as a tree in JSON form.', type: 'object' };
      case `${META}.Patch`:
        return {
          description: 'Patch is provided to give a concrete name and type to the Kubernetes PATCH request body.',
          type: 'object',
        };
      case WELL_KNOWN.quantity:
        return {
          description: "A fixed-point number with a suffix, such as '250m', '1.5', '2Gi' or '1e3'.",
          ...(this.dialect === 'v2' ? { type: 'string' } : { oneOf: [{ type: 'string' }, { type: 'number' }] }),
        };
      case WELL_KNOWN.intOrString:
        return {
          description: 'IntOrString is a type that can hold an int32 or a string.',
          format: 'int-or-string',
          ...(this.dialect === 'v2' ? { type: 'string' } : { oneOf: [{ type: 'integer' }, { type: 'string' }] }),
        };
      case WELL_KNOWN.rawExtension:
        return { description: 'An object of any kind.', type: 'object' };
      case JSON_NAME:
        return { description: 'Any valid JSON value.' };
      case `${CRD_PREFIX}.JSONSchemaPropsOrArray`:
        return {
          description:
            'JSONSchemaPropsOrArray represents a value that can either be a JSONSchemaProps or an array of JSONSchemaProps.',
        };
      case `${CRD_PREFIX}.JSONSchemaPropsOrBool`:
        return { description: 'JSONSchemaPropsOrBool represents JSONSchemaProps or a boolean value.' };
      case `${CRD_PREFIX}.JSONSchemaPropsOrStringArray`:
        return { description: 'JSONSchemaPropsOrStringArray represents a JSONSchemaProps or a string array.' };
      default:
        return undefined;
    }
  }

  /** The kind of a CustomResourceDefinition, with the parts that every object has. */
  #custom(schema: Readonly<Json>): Json {
    // kubectl takes named properties for the only ones in version 2: where anything goes, nothing is named.
    if (this.dialect === 'v2' && schema['x-kubernetes-preserve-unknown-fields'] === true) return { type: 'object' };
    const own = this.dialect === 'v2' ? withoutV3Features(schema) : structuredClone(schema);
    const properties = isObject(own['properties']) ? own['properties'] : {};
    return {
      ...own,
      type: 'object',
      properties: {
        ...properties,
        apiVersion: { description: TYPE_META_DOCS['apiVersion'], type: 'string' },
        kind: { description: TYPE_META_DOCS['kind'], type: 'string' },
        metadata: this.#described(`${META}.ObjectMeta`, OBJECT_META_DOC),
      },
    };
  }

  #customList(item: string, kind: string): Json {
    return {
      description: `${kind}List is a list of ${kind}`,
      type: 'object',
      required: ['items'],
      properties: {
        apiVersion: { description: TYPE_META_DOCS['apiVersion'], type: 'string' },
        kind: { description: TYPE_META_DOCS['kind'], type: 'string' },
        metadata: this.#described(`${META}.ListMeta`, 'Standard list metadata.'),
        items: { description: `List of ${kind} objects.`, type: 'array', items: this.ref(item) },
      },
    };
  }

  #described(name: string, description: string): Json {
    const ref = this.ref(name);
    return this.dialect === 'v3' ? { allOf: [ref], description } : { ...ref, description };
  }
}

const OBJECT_META_DOC =
  "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
const NOT_IN_V2 = ['oneOf', 'anyOf', 'allOf', 'not', 'default', 'nullable', 'x-kubernetes-validations'];

/** OpenAPI version 2 cannot say everything: what it lacks is left out, so that no client refuses valid objects. */
function withoutV3Features(schema: Readonly<Json>): Json {
  const result: Json = { ...schema };
  const openEnded =
    schema['x-kubernetes-preserve-unknown-fields'] === true || schema['x-kubernetes-int-or-string'] === true;
  if (openEnded || schema['nullable'] === true) {
    for (const key of ['type', 'properties', 'items', 'additionalProperties', 'required']) delete result[key];
  }
  for (const key of NOT_IN_V2) delete result[key];
  if (isObject(result['properties'])) {
    result['properties'] = Object.fromEntries(
      Object.entries(result['properties']).map(([key, value]) => [
        key,
        isObject(value) ? withoutV3Features(value) : value,
      ]),
    );
  }
  for (const key of ['items', 'additionalProperties']) {
    const inner = result[key];
    if (isObject(inner)) result[key] = withoutV3Features(inner);
  }
  return result;
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
