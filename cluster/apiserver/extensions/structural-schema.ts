// SPDX-License-Identifier: Apache-2.0
// Structural schemas of custom resources: what every walker over them shares, and the type that patches and OpenAPI see.
import type { JSONSchemaProps } from '../../machinery/api-types.ts';
import type { FieldSchema, Shape, TypeSchema } from '../schema/schema.ts';
import { typeByName } from '../schema/schema.ts';

export type JsonObject = Record<string, unknown>;
export type JsonSchema = JSONSchemaProps;

export const OBJECT_META = 'io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta';

export function itemsOf(schema: JsonSchema): JsonSchema | undefined {
  return isObject(schema.items) ? schema.items : undefined;
}

/** The schema of keys that `properties` does not name; true when any value is allowed. */
export function additionalOf(schema: JsonSchema): JsonSchema | boolean | undefined {
  const additional = schema.additionalProperties;
  if (typeof additional === 'boolean') return additional;
  return isObject(additional) ? additional : undefined;
}

/** The schema of one key of an object; undefined when the schema says nothing about it. */
export function propertyOf(schema: JsonSchema, key: string): JsonSchema | undefined {
  const own = schema.properties;
  if (own !== undefined && Object.hasOwn(own, key)) return own[key];
  const additional = additionalOf(schema);
  return typeof additional === 'object' ? additional : undefined;
}

/** A built-in type for the whole kind, so that patches, server-side apply and OpenAPI treat it like any other. */
export function typeOfSchema(schema: JsonSchema, name: string): TypeSchema {
  const root = typeOf(schema, name);
  const fields = new Map(root.fields);
  const text = plain('string', 'string');
  fields.set('apiVersion', field('apiVersion', text));
  fields.set('kind', field('kind', text));
  const metadata = typeByName(OBJECT_META);
  if (metadata !== undefined) fields.set('metadata', field('metadata', metadata));
  return self({ ...root, name, shape: 'struct', fields, object: true, atomic: false });
}

function typeOf(schema: JsonSchema, goType: string): TypeSchema {
  const atomic = schema['x-kubernetes-map-type'] === 'atomic';
  if (schema['x-kubernetes-int-or-string'] === true) return plain('intOrString', goType);
  switch (schema.type) {
    case 'array': {
      const items = itemsOf(schema);
      const listType = schema['x-kubernetes-list-type'];
      return self({
        ...plain('list', goType),
        ...(items === undefined ? {} : { element: typeOf(items, `${goType}[]`) }),
        listType: listType === 'map' || listType === 'set' ? listType : 'atomic',
        listMapKeys: schema['x-kubernetes-list-map-keys'] ?? [],
        listDeclared: listType !== undefined,
      });
    }
    case 'string':
      return plain('string', goType);
    case 'integer':
      return plain('integer', goType);
    case 'number':
      return plain('number', goType);
    case 'boolean':
      return plain('boolean', goType);
    default:
      break;
  }
  const additional = additionalOf(schema);
  if (schema.properties !== undefined) {
    const fields = new Map<string, FieldSchema>();
    for (const [key, property] of Object.entries(schema.properties)) {
      fields.set(key, field(key, typeOf(property, `${goType}.${key}`), property.default));
    }
    return self({ ...plain('struct', goType), fields, atomic });
  }
  if (typeof additional === 'object') {
    return self({ ...plain('map', goType), element: typeOf(additional, `${goType}.*`), atomic });
  }
  return self({ ...plain('any', goType), atomic });
}

function field(name: string, type: TypeSchema, defaultValue?: unknown): FieldSchema {
  return {
    name,
    type,
    required: false,
    omitEmpty: true,
    pointer: true,
    protobuf: 0,
    ...(defaultValue === undefined ? {} : { default: defaultValue }),
  };
}

function plain(shape: Shape, goType: string): TypeSchema {
  return self({
    name: '',
    shape,
    goType,
    fields: new Map(),
    embedded: [],
    object: false,
    listType: 'atomic',
    listMapKeys: [],
    listDeclared: false,
    atomic: false,
    patch: { merge: false, replace: false, retainKeys: false },
    protobufWrapped: false,
  });
}

function self(parts: Omit<TypeSchema, 'base'>): TypeSchema {
  const type: TypeSchema = {
    ...parts,
    get base() {
      return type;
    },
  };
  return type;
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** `spec.list[2].name` from its parts; keys that are no identifiers are bracketed as field paths have them. */
export function childPath(path: string, key: string): string {
  return path === '' ? key : `${path}.${key}`;
}
