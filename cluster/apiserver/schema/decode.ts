// SPDX-License-Identifier: Apache-2.0
// Checks a JSON value against an API type as Go's decoder would: types, integer ranges, base64, times, quantities. Works in
// place on the freshly parsed value and compiles one closure per type, since every request body passes through here.
import type { KubeObject } from '../resources/definition.ts';
import { canonicalQuantity } from './quantity.ts';
import type { FieldSchema, TypeSchema } from './schema.ts';
import { canonicalMicroTime, canonicalTime } from './time.ts';

export type FieldValidation = 'Ignore' | 'Warn' | 'Strict';

export interface Decoded {
  /** The same object, pruned and normalised. */
  readonly object: KubeObject;
  /** Paths such as `spec.containers[0].foo`; empty in mode Ignore. */
  readonly unknownFields: string[];
  /** What upstream's JSON decoder says; only the first counts there. The object is unusable when there is one. */
  readonly errors: string[];
}

/** Upstream gives up collecting strict errors at this number. */
const MAX_UNKNOWN_FIELDS = 100;

interface Context {
  readonly path: Array<string | number>;
  /** Go name of the innermost struct. */
  struct: string;
  readonly unknown: string[] | undefined;
  readonly errors: string[];
}

/** Returns the value to store, or undefined for "absent". */
type Decoder = (value: unknown, context: Context) => unknown;
type JsonObject = Record<string, unknown>;

/**
 * Prunes unknown fields from `value`, in place, and normalises what is left to what upstream would write: null is absent,
 * zero values that Go omits are absent, times have whole seconds, quantities are canonical.
 */
export function decodeObject(type: TypeSchema, value: unknown, mode: FieldValidation): Decoded {
  if (type.custom !== undefined) return type.custom.decode(value, mode);
  const context: Context = { path: [], struct: '', unknown: mode === 'Ignore' ? undefined : [], errors: [] };
  const object = decoderOf(type)(value, context) as KubeObject;
  return { object, unknownFields: context.unknown ?? [], errors: context.errors };
}

const decoders = new WeakMap<TypeSchema, Decoder>();

function decoderOf(type: TypeSchema): Decoder {
  const base = type.base;
  let decoder = decoders.get(base);
  if (decoder === undefined) {
    decoder = compile(base);
    decoders.set(base, decoder);
  }
  return decoder;
}

function compile(type: TypeSchema): Decoder {
  switch (type.shape) {
    case 'struct':
      return structDecoder(type);
    case 'list':
      return listDecoder(type);
    case 'map':
      return mapDecoder(type);
    case 'string':
      return scalarDecoder(type, 'string');
    case 'boolean':
      return scalarDecoder(type, 'boolean');
    case 'integer':
      return integerDecoder(type);
    case 'number':
      return scalarDecoder(type, 'number');
    case 'bytes':
      return bytesDecoder(type);
    case 'time':
      return textDecoder(canonicalTime);
    case 'microTime':
      return textDecoder(canonicalMicroTime);
    case 'duration':
      return textDecoder(checkedDuration);
    case 'quantity':
      return quantityDecoder;
    case 'intOrString':
      return intOrStringDecoder;
    case 'schemaOr':
      return schemaOrDecoder(type);
    case 'rawExtension':
    case 'fieldsV1':
    case 'any':
      return (value) => value ?? undefined;
  }
}

interface CompiledField {
  readonly name: string;
  readonly decode: Decoder;
  readonly dropZero: boolean;
}

function structDecoder(type: TypeSchema): Decoder {
  let fields: Map<string, CompiledField> | undefined;
  const structName = type.goType.slice(type.goType.lastIndexOf('.') + 1);
  return (value, context) => {
    if (!isObject(value)) return value === null ? {} : mismatch(value, type, context);
    fields ??= compileFields(type.fields);
    const outer = context.struct;
    context.struct = structName;
    for (const key in value) {
      const field = fields.get(key);
      if (field === undefined) {
        delete value[key];
        if (context.unknown !== undefined && context.unknown.length < MAX_UNKNOWN_FIELDS) {
          context.unknown.push(pathText(context.path, key));
        }
        continue;
      }
      const current = value[key];
      if (current === null) {
        delete value[key];
        continue;
      }
      context.path.push(key);
      const decoded = field.decode(current, context);
      context.path.pop();
      if (decoded === undefined || (field.dropZero && isZero(decoded))) delete value[key];
      else if (decoded !== current) value[key] = decoded;
    }
    context.struct = outer;
    return value;
  };
}

function compileFields(fields: ReadonlyMap<string, FieldSchema>): Map<string, CompiledField> {
  const compiled = new Map<string, CompiledField>();
  for (const field of fields.values()) {
    const type = field.type;
    // Compiled on first use: most requests touch few of the types that a Pod can reach.
    let decoder: Decoder | undefined;
    const decode: Decoder = (value, context) => (decoder ??= decoderOf(type))(value, context);
    const dropZero = field.omitEmpty && !field.pointer && type.shape !== 'struct';
    compiled.set(field.name, { name: field.name, decode, dropZero });
  }
  return compiled;
}

function listDecoder(type: TypeSchema): Decoder {
  const element = type.element;
  if (element === undefined) throw new Error(`schema: list ${type.goType} has no element type`);
  let decode: Decoder | undefined;
  return (value, context) => {
    if (!Array.isArray(value)) return mismatch(value, type, context);
    decode ??= decoderOf(element);
    for (let i = 0; i < value.length; i++) {
      const current: unknown = value[i];
      context.path.push(i);
      const decoded = current === null ? zeroOf(element) : decode(current, context);
      context.path.pop();
      if (decoded !== current) value[i] = decoded;
    }
    return value;
  };
}

function mapDecoder(type: TypeSchema): Decoder {
  const element = type.element;
  if (element === undefined) throw new Error(`schema: map ${type.goType} has no element type`);
  let decode: Decoder | undefined;
  return (value, context) => {
    if (!isObject(value)) return mismatch(value, type, context);
    decode ??= decoderOf(element);
    for (const key in value) {
      const current = value[key];
      context.path.push(`\0${key}`);
      const decoded = current === null ? zeroOf(element) : decode(current, context);
      context.path.pop();
      if (decoded !== current) value[key] = decoded;
    }
    return value;
  };
}

function schemaOrDecoder(type: TypeSchema): Decoder {
  const schema = type.element;
  if (schema === undefined) throw new Error(`schema: ${type.goType} has no element type`);
  const decode: Decoder = (value, context) => {
    if (isObject(value)) return decoderOf(schema)(value, context);
    if (Array.isArray(value)) return (value as unknown[]).map((item) => decode(item, context));
    return typeof value === 'boolean' || typeof value === 'string' ? value : mismatch(value, type, context);
  };
  return decode;
}

function scalarDecoder(type: TypeSchema, jsonType: 'string' | 'boolean' | 'number'): Decoder {
  return (value, context) => (typeof value === jsonType ? value : mismatch(value, type, context));
}

const RANGES: Readonly<Record<string, readonly [number, number]>> = {
  int32: [-(2 ** 31), 2 ** 31 - 1],
  uint32: [0, 2 ** 32 - 1],
  uint8: [0, 255],
  uint64: [0, 2 ** 64],
};

function integerDecoder(type: TypeSchema): Decoder {
  const scalar = type.base.name === '' ? type.goType : 'int64';
  const [low, high] = RANGES[scalar] ?? [-(2 ** 63), 2 ** 63];
  return (value, context) => {
    if (typeof value !== 'number') return mismatch(value, type, context);
    if (!Number.isInteger(value) || value < low || value > high) {
      context.errors.push(mismatchText(`number ${String(value)}`, type, context));
      return undefined;
    }
    return value;
  };
}

function bytesDecoder(type: TypeSchema): Decoder {
  return (value, context) => {
    if (typeof value !== 'string') return mismatch(value, type, context);
    const bad = badBase64Byte(value);
    if (bad === undefined) return value;
    context.errors.push(`illegal base64 data at input byte ${bad}`);
    return undefined;
  };
}

/** Offset that Go's base64 decoder would complain about, or undefined when the text is fine. */
function badBase64Byte(text: string): number | undefined {
  if (text.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(text)) return undefined;
  // Go skips line breaks.
  const bad = text.search(/[^A-Za-z0-9+/\r\n=]/);
  if (bad !== -1) return bad;
  const compact = text.replace(/[\r\n]/g, '');
  if (compact.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(compact)) return undefined;
  const padding = compact.indexOf('=');
  return padding === -1 ? Math.floor(text.length / 4) * 4 : padding;
}

/** @param canonical returns the normal form or throws an Error with upstream's wording. */
function textDecoder(canonical: (text: string) => string | undefined): Decoder {
  return (value, context) => {
    if (typeof value !== 'string') {
      context.errors.push(`json: cannot unmarshal ${jsonKind(value)} into Go value of type string`);
      return undefined;
    }
    try {
      return canonical(value);
    } catch (error) {
      context.errors.push((error as Error).message);
      return undefined;
    }
  };
}

function checkedDuration(text: string): string {
  if (
    /^[+-]?(\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))*$|^[+-]?0$/.test(text)
  ) {
    return text;
  }
  throw new Error(`time: invalid duration ${JSON.stringify(text)}`);
}

const quantityDecoder: Decoder = (value, context) => {
  if (typeof value !== 'string' && typeof value !== 'number') {
    context.errors.push("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'");
    return undefined;
  }
  try {
    return canonicalQuantity(String(value));
  } catch (error) {
    context.errors.push((error as Error).message);
    return undefined;
  }
};

const intOrStringDecoder: Decoder = (value, context) => {
  if (typeof value === 'string') return value;
  if (typeof value === 'number' && Number.isInteger(value) && Math.abs(value) < 2 ** 31) return value;
  const kind = typeof value === 'number' ? `number ${String(value)}` : jsonKind(value);
  context.errors.push(`json: cannot unmarshal ${kind} into Go value of type int32`);
  return undefined;
};

function mismatch(value: unknown, type: TypeSchema, context: Context): undefined {
  context.errors.push(mismatchText(jsonKind(value), type, context));
  return undefined;
}

function mismatchText(kind: string, type: TypeSchema, context: Context): string {
  const fields = context.path.filter((step) => typeof step === 'string' && !step.startsWith('\0'));
  const where = fields.length === 0 ? 'Go value' : `Go struct field ${context.struct}.${fields.join('.')}`;
  return `json: cannot unmarshal ${kind} into ${where} of type ${type.goType}`;
}

function jsonKind(value: unknown): string {
  if (Array.isArray(value)) return 'array';
  if (typeof value === 'boolean') return 'bool';
  return typeof value;
}

/** `spec.containers[0].foo`; map keys join like fields, as in upstream's strict decoder. */
function pathText(path: ReadonlyArray<string | number>, last: string): string {
  let text = '';
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`;
    else text += (text === '' ? '' : '.') + (step.startsWith('\0') ? step.slice(1) : step);
  }
  return text === '' ? last : `${text}.${last}`;
}

function isZero(value: unknown): boolean {
  if (value === '' || value === 0 || value === false) return true;
  if (typeof value !== 'object' || value === null) return false;
  if (Array.isArray(value)) return value.length === 0;
  for (const _ in value) return false;
  return true;
}

/** What a JSON null leaves in a Go slice or map of that element type. */
function zeroOf(type: TypeSchema): unknown {
  switch (type.shape) {
    case 'string':
    case 'bytes':
      return '';
    case 'boolean':
      return false;
    case 'integer':
    case 'number':
    case 'intOrString':
      return 0;
    case 'quantity':
      return '0';
    case 'struct':
      return {};
    case 'list':
    case 'map':
    case 'time':
    case 'microTime':
    case 'duration':
    case 'rawExtension':
    case 'fieldsV1':
    case 'schemaOr':
    case 'any':
      return null;
  }
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
