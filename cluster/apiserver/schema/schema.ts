// SPDX-License-Identifier: Apache-2.0
// The type model of the API: what each Kubernetes type looks like in JSON and protobuf, and how patches and server-side
// apply treat its parts. Built lazily from the generated data, one type at a time, when somebody asks for it.
import type { AliasData, FieldFacts, SchemaData, StructData } from './data.ts';
import type { Decoded, FieldValidation } from './decode.ts';
import extra from './types-extra.json' with { type: 'json' };
import generated from './types.json' with { type: 'json' };

export { decodeObject } from './decode.ts';
export type { Decoded, FieldValidation } from './decode.ts';

export type Shape =
  | 'struct'
  | 'list'
  | 'map'
  | 'string'
  | 'boolean'
  | 'integer'
  | 'number'
  | 'bytes'
  | 'time'
  | 'microTime'
  | 'duration'
  | 'quantity'
  | 'intOrString'
  | 'rawExtension'
  | 'fieldsV1'
  /** A JSON schema, or a list, boolean or list of strings instead of it. */
  | 'schemaOr'
  | 'any';

export interface FieldSchema {
  readonly name: string;
  readonly type: TypeSchema;
  readonly required: boolean;
  /** Left out of JSON when it has Go's zero value. */
  readonly omitEmpty: boolean;
  /** A pointer in Go: a zero value is kept. */
  readonly pointer: boolean;
  /** Protobuf field number; 0 when the field does not travel in protobuf. */
  readonly protobuf: number;
  readonly default?: unknown;
}

/** Facts that strategic merge patch needs of a field's type. */
export interface PatchFacts {
  readonly mergeKey?: string;
  readonly merge: boolean;
  readonly replace: boolean;
  readonly retainKeys: boolean;
}

export interface TypeSchema {
  /** `io.k8s.api.core.v1.Pod`; for lists, maps and scalars the definition of the alias, or the empty string. */
  readonly name: string;
  readonly shape: Shape;
  /** As Go's decoder names it in errors: `v1.Pod`, `[]v1.Container`, `int32`. */
  readonly goType: string;
  /** Fields of a struct by JSON name, inlined ones and apiVersion and kind included. */
  readonly fields: ReadonlyMap<string, FieldSchema>;
  /** Structs that are embedded messages in protobuf although their fields are inlined in JSON. */
  readonly embedded: readonly { readonly type: TypeSchema; readonly protobuf: number }[];
  /** Has apiVersion and kind. */
  readonly object: boolean;
  /** Element of a list, value of a map. */
  readonly element?: TypeSchema;
  /** How server-side apply treats a list; atomic unless declared otherwise. */
  readonly listType: 'atomic' | 'set' | 'map';
  readonly listMapKeys: readonly string[];
  /** Whether the list type was declared. */
  readonly listDeclared: boolean;
  /** Server-side apply owns a struct or map as a whole. */
  readonly atomic: boolean;
  readonly patch: PatchFacts;
  readonly enum?: readonly string[];
  /** A list alias that protobuf wraps into a message of its own. */
  readonly protobufWrapped: boolean;
  /** The same type without what a field declares about it: one value per type, for caches. */
  readonly base: TypeSchema;
  /** Set for the kinds of CustomResourceDefinitions. */
  readonly custom?: CustomType;
}

/** What a CustomResourceDefinition adds to a type. */
export interface CustomType {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly listKind: string;
  /** Whether the version has the status subresource. */
  readonly statusSubresource: boolean;
  /** The `openAPIV3Schema` of the version. */
  readonly openapi: Readonly<Record<string, unknown>>;
  /** Pruning by the structural schema, in place. */
  readonly decode: (value: unknown, mode: FieldValidation) => Decoded;
}

const DATA: readonly SchemaData[] = [generated as unknown as SchemaData, extra as unknown as SchemaData];
const NO_FIELDS: ReadonlyMap<string, FieldSchema> = new Map();
const NO_PATCH: PatchFacts = { merge: false, replace: false, retainKeys: false };

const SCALARS: Readonly<Record<string, { shape: Shape; goType: string }>> = {
  string: { shape: 'string', goType: 'string' },
  bool: { shape: 'boolean', goType: 'bool' },
  int: { shape: 'integer', goType: 'int' },
  int32: { shape: 'integer', goType: 'int32' },
  int64: { shape: 'integer', goType: 'int64' },
  uint32: { shape: 'integer', goType: 'uint32' },
  uint64: { shape: 'integer', goType: 'uint64' },
  byte: { shape: 'integer', goType: 'uint8' },
  float32: { shape: 'number', goType: 'float32' },
  float64: { shape: 'number', goType: 'float64' },
  bytes: { shape: 'bytes', goType: '[]uint8' },
  any: { shape: 'any', goType: 'interface {}' },
  json: { shape: 'any', goType: 'v1.JSON' },
  schemaOrArray: { shape: 'schemaOr', goType: 'v1.JSONSchemaPropsOrArray' },
  schemaOrBool: { shape: 'schemaOr', goType: 'v1.JSONSchemaPropsOrBool' },
  schemaOrStringArray: { shape: 'schemaOr', goType: 'v1.JSONSchemaPropsOrStringArray' },
  time: { shape: 'time', goType: 'v1.Time' },
  microTime: { shape: 'microTime', goType: 'v1.MicroTime' },
  duration: { shape: 'duration', goType: 'v1.Duration' },
  quantity: { shape: 'quantity', goType: 'resource.Quantity' },
  intOrString: { shape: 'intOrString', goType: 'intstr.IntOrString' },
  rawExtension: { shape: 'rawExtension', goType: 'runtime.RawExtension' },
  fieldsV1: { shape: 'fieldsV1', goType: 'v1.FieldsV1' },
};

const JSON_SCHEMA = 'io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps';

const byName = new Map<string, TypeSchema | undefined>();

/** The type of that definition name (`io.k8s.api.core.v1.Pod`), or undefined when there is none. */
export function typeByName(name: string): TypeSchema | undefined {
  if (byName.has(name)) return byName.get(name);
  const type = buildNamed(name);
  byName.set(name, type);
  return type;
}

/** Makes the kind of a CustomResourceDefinition known under its definition name, in place of an earlier version of it. */
export function registerCustomType(type: TypeSchema): void {
  byName.set(type.name, type);
}

/** All definition names of built-in types with their API group and version, in the order of the data. */
export function* definitionNames(): Iterable<{ name: string; group: string; version: string }> {
  for (const data of DATA) {
    for (const [prefix, { group, version, types }] of Object.entries(data)) {
      for (const type of Object.keys(types)) yield { name: `${prefix}.${type}`, group, version };
    }
  }
}

/** The definition name of a kind: `('apps', 'v1', 'Deployment')` -> `io.k8s.api.apps.v1.Deployment`. */
export function definitionOfKind(group: string, version: string, kind: string): string | undefined {
  for (const data of DATA) {
    for (const [prefix, pkg] of Object.entries(data)) {
      if (pkg.group !== group || pkg.version !== version) continue;
      const type = pkg.types[kind];
      if (type !== undefined && 'object' in type) return `${prefix}.${kind}`;
    }
  }
  return undefined;
}

function buildNamed(name: string): TypeSchema | undefined {
  const dot = name.lastIndexOf('.');
  const prefix = name.slice(0, dot);
  for (const data of DATA) {
    const type = data[prefix]?.types[name.slice(dot + 1)];
    if (type === undefined) continue;
    return 'alias' in type ? aliasType(name, prefix, type) : structType(name, prefix, type);
  }
  return undefined;
}

/** What a type is made of. The parts that refer to other types are functions, since types refer to each other in circles. */
interface Parts {
  readonly name?: string;
  readonly shape: Shape;
  readonly goType: () => string;
  readonly fields?: () => ReadonlyMap<string, FieldSchema>;
  readonly embedded?: () => readonly { type: TypeSchema; protobuf: number }[];
  readonly element?: () => TypeSchema;
  readonly object?: boolean;
  readonly listType?: 'atomic' | 'set' | 'map';
  readonly listMapKeys?: readonly string[];
  readonly atomic?: boolean;
  readonly patch?: PatchFacts;
  readonly enum?: readonly string[];
  readonly protobufWrapped?: boolean;
}

class Type implements TypeSchema {
  readonly name: string;
  readonly shape: Shape;
  readonly object: boolean;
  readonly listType: 'atomic' | 'set' | 'map';
  readonly listMapKeys: readonly string[];
  readonly listDeclared: boolean;
  readonly atomic: boolean;
  readonly patch: PatchFacts;
  readonly protobufWrapped: boolean;
  declare readonly enum?: readonly string[];
  declare readonly element?: TypeSchema;
  readonly base: TypeSchema;
  readonly parts: Parts;

  constructor(parts: Parts, base?: TypeSchema) {
    this.parts = parts;
    this.base = base ?? this;
    this.name = parts.name ?? '';
    this.shape = parts.shape;
    this.object = parts.object ?? false;
    this.listType = parts.listType ?? 'atomic';
    this.listMapKeys = parts.listMapKeys ?? [];
    this.listDeclared = parts.listType !== undefined;
    this.atomic = parts.atomic ?? false;
    this.patch = parts.patch ?? NO_PATCH;
    this.protobufWrapped = parts.protobufWrapped ?? false;
    if (parts.enum !== undefined) this.enum = parts.enum;
    if (parts.element !== undefined) Object.defineProperty(this, 'element', { get: parts.element });
  }

  get goType(): string {
    return this.parts.goType();
  }

  get fields(): ReadonlyMap<string, FieldSchema> {
    return this.parts.fields?.() ?? NO_FIELDS;
  }

  get embedded(): readonly { type: TypeSchema; protobuf: number }[] {
    return this.parts.embedded?.() ?? [];
  }
}

function once<T>(build: () => T): () => T {
  let value: T | undefined;
  return () => (value ??= build());
}

function structType(name: string, prefix: string, data: StructData): Type {
  return new Type({
    name,
    shape: 'struct',
    goType: once(() => goName(name)),
    object: data.object === true,
    atomic: data.atomic === true,
    fields: once(() => structFields(prefix, data)),
    embedded: once(() =>
      (data.inline ?? [])
        .filter(([, protobuf]) => protobuf !== 0)
        .map(([text, protobuf]) => ({ type: typeOf(text, prefix), protobuf })),
    ),
  });
}

function structFields(prefix: string, data: StructData): ReadonlyMap<string, FieldSchema> {
  const fields = new Map<string, FieldSchema>();
  for (const [text] of data.inline ?? []) {
    // The embedded message carries these, under the number of the embedding, so they have none here.
    for (const field of typeOf(text, prefix).fields.values()) {
      fields.set(field.name, Object.create(field, { protobuf: { value: 0, enumerable: true } }) as FieldSchema);
    }
  }
  for (const [name, text, flags, protobuf, facts] of data.fields) {
    const type = once(() => withFacts(typeOf(text, prefix), facts));
    fields.set(name, {
      name,
      get type() {
        return type();
      },
      required: flags.includes('r'),
      omitEmpty: flags.includes('o'),
      pointer: flags.includes('p'),
      protobuf,
      ...(facts !== undefined && 'default' in facts ? { default: facts.default } : {}),
    });
  }
  return fields;
}

function aliasType(name: string, prefix: string, data: AliasData): Type {
  const target = typeOf(data.alias, prefix);
  return new Type({
    ...target.parts,
    name,
    goType: once(() => goName(name)),
    protobufWrapped: target.shape === 'list',
    ...(data.enum === undefined ? {} : { enum: data.enum }),
  });
}

const anonymous = new Map<string, Type>();

/** Resolves a type text (see data.ts) as it stands in package `prefix`. */
function typeOf(text: string, prefix: string): Type {
  const list = text.startsWith('[]');
  if (list || text.startsWith('map:')) {
    const element = once(() => typeOf(text.slice(list ? 2 : 4), prefix));
    return new Type({
      shape: list ? 'list' : 'map',
      goType: once(() => `${list ? '[]' : 'map[string]'}${element().goType}`),
      element,
    });
  }
  const scalar = SCALARS[text];
  if (scalar !== undefined) {
    let type = anonymous.get(text);
    if (type === undefined) {
      type = new Type({
        shape: scalar.shape,
        goType: () => scalar.goType,
        // Go types of these say nothing about what is inside, so it is owned as one piece.
        atomic: scalar.shape === 'rawExtension' || scalar.shape === 'fieldsV1' || scalar.shape === 'any',
        ...(scalar.shape === 'schemaOr' ? { element: once(() => typeOf(JSON_SCHEMA, '')) } : {}),
      });
      anonymous.set(text, type);
    }
    return type;
  }
  const type = typeByName(text.includes('.') ? text : `${prefix}.${text}`);
  if (type === undefined) throw new Error(`schema data: ${prefix} refers to ${text}, which it lacks; generate it anew`);
  return type as Type;
}

/** A copy of the type that carries what a field declares about it; the type itself when that is nothing. */
function withFacts(type: Type, facts: FieldFacts | undefined): Type {
  if (facts === undefined) return type;
  const { list, keys, atomic, mergeKey, strategy } = facts;
  if (list === undefined && atomic === undefined && mergeKey === undefined && strategy === undefined) return type;
  const strategies = strategy?.split(',') ?? [];
  return new Type(
    {
      ...type.parts,
      ...(list === undefined ? {} : { listType: list }),
      ...(keys === undefined ? {} : { listMapKeys: keys }),
      ...(atomic === undefined ? {} : { atomic }),
      patch: {
        ...(mergeKey === undefined ? {} : { mergeKey }),
        merge: strategies.includes('merge'),
        replace: strategies.includes('replace'),
        retainKeys: strategies.includes('retainKeys'),
      },
    },
    type.base,
  );
}

/** `io.k8s.api.core.v1.Pod` -> `v1.Pod`. */
function goName(name: string): string {
  return name.split('.').slice(-2).join('.');
}
