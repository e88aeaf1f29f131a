// SPDX-License-Identifier: Apache-2.0
// Decodes `application/vnd.kubernetes.protobuf` request bodies into the JSON form of the object, driven by the same types as
// everything else. Values that Go's JSON encoder would leave out are left out, so that both encodings store the same bytes.
import protobuf from 'protobufjs/minimal.js';
import type { KubeObject } from '../resources/definition.ts';
import { canonicalQuantity } from './quantity.ts';
import type { TypeSchema } from './schema.ts';
import { definitionOfKind, typeByName } from './schema.ts';
import { microTimeOf, timeOfSeconds } from './time.ts';

/** The first four bytes of every such body. */
const MAGIC = Buffer.from('k8s\0');
const META = 'io.k8s.apimachinery.pkg.apis.meta.v1';

type Reader = protobuf.Reader;
type JsonObject = Record<string, unknown>;
/** Reads one value; `previous` is what an earlier occurrence of the field left. */
type ValueReader = (reader: Reader, wireType: number, previous: unknown) => unknown;

/** The body is no Kubernetes protobuf, or of a kind that is not known; the message is fit for a 400 answer. */
export class ProtobufError extends Error {}

/**
 * @param body with the `k8s\0` prefix and the `runtime.Unknown` envelope.
 * @throws ProtobufError
 */
export function decodeProtobuf(body: Buffer): KubeObject {
  if (!body.subarray(0, 4).equals(MAGIC)) {
    throw new ProtobufError('provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]');
  }
  try {
    return decodeEnvelope(protobuf.Reader.create(body.subarray(4)));
  } catch (error) {
    if (error instanceof ProtobufError) throw error;
    throw new ProtobufError(`protobuf body is damaged: ${(error as Error).message}`);
  }
}

function decodeEnvelope(reader: Reader): KubeObject {
  let apiVersion = '';
  let kind = '';
  let raw: Uint8Array = new Uint8Array();
  let encoding = '';
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    switch (tag >>> 3) {
      case 1: {
        const end = reader.uint32() + reader.pos;
        while (reader.pos < end) {
          const inner = reader.uint32();
          if (inner >>> 3 === 1) apiVersion = reader.string();
          else if (inner >>> 3 === 2) kind = reader.string();
          else reader.skipType(inner & 7);
        }
        break;
      }
      case 2:
        raw = reader.bytes();
        break;
      case 3:
        encoding = reader.string();
        break;
      default:
        reader.skipType(tag & 7);
    }
  }
  if (encoding !== '') throw new ProtobufError(`protobuf body with content encoding ${encoding} is not supported`);
  const type = typeOfKind(apiVersion, kind);
  const object = readMessage(messageOf(type), protobuf.Reader.create(raw), raw.length, {});
  return { apiVersion, kind, ...object } as KubeObject;
}

function typeOfKind(apiVersion: string, kind: string): TypeSchema {
  const slash = apiVersion.indexOf('/');
  const group = slash === -1 ? '' : apiVersion.slice(0, slash);
  // Options travel under the version of the group that the request goes to.
  const name = definitionOfKind(group, apiVersion.slice(slash + 1), kind) ?? `${META}.${kind}`;
  const type = typeByName(name);
  if (type === undefined) {
    throw new ProtobufError(`no kind ${JSON.stringify(kind)} is registered for version ${JSON.stringify(apiVersion)}`);
  }
  return type;
}

interface MessageField {
  readonly name: string;
  readonly read: ValueReader;
  /** Drops Go's zero value. */
  readonly dropZero: boolean;
  /** Fields of an inlined struct go into the object itself. */
  readonly inline: boolean;
}

/** Fields by number. */
type Message = ReadonlyMap<number, MessageField>;

const messages = new WeakMap<TypeSchema, Message>();

function messageOf(type: TypeSchema): Message {
  const base = type.base;
  let message = messages.get(base);
  if (message === undefined) {
    message = compileMessage(base);
    messages.set(base, message);
  }
  return message;
}

function compileMessage(type: TypeSchema): Message {
  const fields = new Map<number, MessageField>();
  for (const field of type.fields.values()) {
    if (field.protobuf === 0) continue;
    const fieldType = field.type;
    let read: ValueReader | undefined;
    fields.set(field.protobuf, {
      name: field.name,
      read: (reader, wireType, previous) => (read ??= readerOf(fieldType))(reader, wireType, previous),
      dropZero: field.omitEmpty && !field.pointer && fieldType.shape !== 'struct',
      inline: false,
    });
  }
  for (const { type: inner, protobuf: number } of type.embedded) {
    fields.set(number, {
      name: '',
      read: (reader, _wireType, previous) =>
        readMessage(messageOf(inner), reader, reader.uint32() + reader.pos, previous as JsonObject),
      dropZero: false,
      inline: true,
    });
  }
  return fields;
}

function readMessage(message: Message, reader: Reader, end: number, object: JsonObject): JsonObject {
  while (reader.pos < end) {
    const tag = reader.uint32();
    const field = message.get(tag >>> 3);
    if (field === undefined) {
      reader.skipType(tag & 7);
      continue;
    }
    if (field.inline) {
      field.read(reader, tag & 7, object);
      continue;
    }
    const value = field.read(reader, tag & 7, object[field.name]);
    if (value === undefined || (field.dropZero && isZero(value))) continue;
    object[field.name] = value;
  }
  return object;
}

function isZero(value: unknown): boolean {
  return value === '' || value === 0 || value === false;
}

function readerOf(type: TypeSchema): ValueReader {
  switch (type.shape) {
    case 'struct': {
      const base = type.base;
      return (reader, _wireType, previous) =>
        readMessage(messageOf(base), reader, reader.uint32() + reader.pos, (previous as JsonObject | undefined) ?? {});
    }
    case 'list':
      return type.protobufWrapped ? wrappedListReader(type) : listReader(type);
    case 'map':
      return mapReader(type);
    case 'string':
      return (reader) => reader.string();
    case 'boolean':
      return (reader) => reader.bool();
    case 'integer':
      return integerReader(type);
    case 'number':
      return (reader, wireType) => (wireType === 5 ? reader.float() : reader.double());
    case 'bytes':
      return (reader) => base64Of(reader.bytes());
    case 'time':
      return (reader) => {
        const { seconds, nanos } = readTimestamp(reader);
        return seconds === 0 && nanos === 0 ? undefined : timeOfSeconds(seconds);
      };
    case 'microTime':
      return (reader) => {
        const { seconds, nanos } = readTimestamp(reader);
        return seconds === 0 && nanos === 0 ? undefined : microTimeOf(seconds, nanos);
      };
    case 'duration':
      return (reader) => durationText(readNumberField(reader, 1));
    case 'quantity':
      return (reader) => canonicalQuantity(readStringField(reader) || '0');
    case 'intOrString':
      return readIntOrString;
    case 'schemaOr':
      return schemaOrReader(type);
    case 'rawExtension':
    case 'fieldsV1':
    case 'any':
      return readRawJson;
  }
}

/** `JSONSchemaPropsOrArray`, `OrBool` and `OrStringArray` differ in what their two fields hold. */
function schemaOrReader(type: TypeSchema): ValueReader {
  const schema = type.element;
  if (schema === undefined) throw new Error(`schema: ${type.goType} has no element type`);
  return (reader) => {
    const end = reader.uint32() + reader.pos;
    const readSchema = (): unknown => readMessage(messageOf(schema), reader, reader.uint32() + reader.pos, {});
    let value: unknown;
    const list: unknown[] = [];
    while (reader.pos < end) {
      const tag = reader.uint32();
      if ((tag & 7) === 0) value ??= reader.bool();
      else if (tag >>> 3 === 1 || type.goType.endsWith('OrBool')) value = readSchema();
      else list.push(type.goType.endsWith('OrArray') ? readSchema() : reader.string());
    }
    return list.length > 0 ? list : value;
  };
}

function integerReader(type: TypeSchema): ValueReader {
  const unsigned = type.base.goType.startsWith('uint');
  return (reader) => numberOf(unsigned ? reader.uint64() : reader.int64());
}

function listReader(type: TypeSchema): ValueReader {
  const element = type.element;
  if (element === undefined) throw new Error(`schema: list ${type.goType} has no element type`);
  const read = readerOf(element);
  const packable = element.shape === 'integer' || element.shape === 'boolean' || element.shape === 'number';
  return (reader, wireType, previous) => {
    const list = (previous as unknown[] | undefined) ?? [];
    if (packable && wireType === 2) {
      const end = reader.uint32() + reader.pos;
      while (reader.pos < end) list.push(read(reader, 0, undefined));
    } else {
      list.push(read(reader, wireType, undefined) ?? null);
    }
    return list;
  };
}

/** `message ExtraValue { repeated string items = 1; }` */
function wrappedListReader(type: TypeSchema): ValueReader {
  const read = listReader(type);
  return (reader, _wireType, previous) => {
    let list: unknown = previous ?? [];
    const end = reader.uint32() + reader.pos;
    while (reader.pos < end) {
      const tag = reader.uint32();
      if (tag >>> 3 === 1) list = read(reader, tag & 7, list);
      else reader.skipType(tag & 7);
    }
    return list;
  };
}

function mapReader(type: TypeSchema): ValueReader {
  const element = type.element;
  if (element === undefined) throw new Error(`schema: map ${type.goType} has no element type`);
  const read = readerOf(element);
  return (reader, _wireType, previous) => {
    const map = (previous as JsonObject | undefined) ?? {};
    const end = reader.uint32() + reader.pos;
    let key = '';
    let value: unknown;
    while (reader.pos < end) {
      const tag = reader.uint32();
      if (tag >>> 3 === 1) key = reader.string();
      else if (tag >>> 3 === 2) value = read(reader, tag & 7, undefined);
      else reader.skipType(tag & 7);
    }
    // A label named __proto__ must become a key, not a prototype.
    Object.defineProperty(map, key, {
      value: value ?? emptyOf(element),
      enumerable: true,
      configurable: true,
      writable: true,
    });
    return map;
  };
}

function emptyOf(type: TypeSchema): unknown {
  switch (type.shape) {
    case 'string':
    case 'bytes':
      return '';
    case 'boolean':
      return false;
    case 'integer':
    case 'number':
      return 0;
    case 'quantity':
      return '0';
    case 'struct':
    case 'map':
      return {};
    default:
      return null;
  }
}

function readTimestamp(reader: Reader): { seconds: number; nanos: number } {
  const end = reader.uint32() + reader.pos;
  let seconds = 0;
  let nanos = 0;
  while (reader.pos < end) {
    const tag = reader.uint32();
    if (tag >>> 3 === 1) seconds = numberOf(reader.int64());
    else if (tag >>> 3 === 2) nanos = reader.int32();
    else reader.skipType(tag & 7);
  }
  return { seconds, nanos };
}

function readNumberField(reader: Reader, field: number): number {
  const end = reader.uint32() + reader.pos;
  let value = 0;
  while (reader.pos < end) {
    const tag = reader.uint32();
    if (tag >>> 3 === field) value = numberOf(reader.int64());
    else reader.skipType(tag & 7);
  }
  return value;
}

function readStringField(reader: Reader): string {
  const end = reader.uint32() + reader.pos;
  let value = '';
  while (reader.pos < end) {
    const tag = reader.uint32();
    if (tag >>> 3 === 1) value = reader.string();
    else reader.skipType(tag & 7);
  }
  return value;
}

function readIntOrString(reader: Reader): unknown {
  const end = reader.uint32() + reader.pos;
  let type = 0;
  let number = 0;
  let text = '';
  while (reader.pos < end) {
    const tag = reader.uint32();
    if (tag >>> 3 === 1) type = numberOf(reader.int64());
    else if (tag >>> 3 === 2) number = reader.int32();
    else if (tag >>> 3 === 3) text = reader.string();
    else reader.skipType(tag & 7);
  }
  return type === 0 ? number : text;
}

/** RawExtension, FieldsV1 and JSON carry JSON text in field 1. */
function readRawJson(reader: Reader): unknown {
  const end = reader.uint32() + reader.pos;
  let value: unknown;
  while (reader.pos < end) {
    const tag = reader.uint32();
    if (tag >>> 3 === 1) {
      const bytes = reader.bytes();
      if (bytes.length > 0) value = JSON.parse(Buffer.from(bytes).toString('utf8')) as unknown;
    } else {
      reader.skipType(tag & 7);
    }
  }
  return value ?? undefined;
}

function base64Of(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
}

/** Without the `long` package the reader returns numbers, with it it returns halves. */
function numberOf(value: number | { low: number; high: number; unsigned: boolean }): number {
  if (typeof value === 'number') return value;
  return (value.unsigned ? value.high >>> 0 : value.high) * 2 ** 32 + (value.low >>> 0);
}

/** Nanoseconds as Go's Duration.String has them: `1h2m3.5s`. */
function durationText(nanoseconds: number): string {
  if (nanoseconds === 0) return '0s';
  const sign = nanoseconds < 0 ? '-' : '';
  const total = Math.abs(nanoseconds);
  if (total < 1e3) return `${sign}${total}ns`;
  if (total < 1e6) return `${sign}${total / 1e3}µs`;
  if (total < 1e9) return `${sign}${total / 1e6}ms`;
  const hours = Math.floor(total / 3.6e12);
  const minutes = Math.floor((total % 3.6e12) / 6e10);
  const seconds = (total % 6e10) / 1e9;
  if (hours > 0) return `${sign}${hours}h${minutes}m${seconds}s`;
  return minutes > 0 ? `${sign}${minutes}m${seconds}s` : `${sign}${seconds}s`;
}
