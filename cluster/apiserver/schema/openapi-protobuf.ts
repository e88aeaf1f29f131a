// SPDX-License-Identifier: Apache-2.0
// Encodes the OpenAPI v2 document as `application/com.github.proto-openapi.spec.v2@v1.0+protobuf`, the only form of it that
// kubectl asks for. The field numbers are those of gnostic's openapi.v2 messages.
import protobuf from 'protobufjs/minimal.js';
import type { Json } from './openapi-schemas.ts';

type Writer = protobuf.Writer;

const LENGTH_DELIMITED = 2;

/** @param document what `openapiV2` returned. */
export function encodeOpenapiV2(document: Json): Buffer {
  const writer = protobuf.Writer.create();
  text(writer, 1, document['swagger']);
  message(writer, 2, (info) => {
    const { title, version } = objectOf(document['info']);
    text(info, 1, title);
    text(info, 2, version);
  });
  message(writer, 8, (paths) => named(paths, 2, objectOf(document['paths']), pathItem));
  message(writer, 9, (definitions) => named(definitions, 1, objectOf(document['definitions']), schema));
  const bytes = writer.finish();
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

const METHOD_FIELDS: Readonly<Record<string, number>> = { get: 2, put: 3, post: 4, delete: 5, patch: 8 };

function pathItem(writer: Writer, item: Json): void {
  for (const [method, field] of Object.entries(METHOD_FIELDS)) {
    const value = item[method];
    if (value !== undefined) message(writer, field, (inner) => operation(inner, objectOf(value)));
  }
  for (const one of listOf(item['parameters'])) message(writer, 9, (inner) => parameter(inner, objectOf(one)));
}

function operation(writer: Writer, value: Json): void {
  texts(writer, 1, value['tags']);
  text(writer, 3, value['description']);
  text(writer, 5, value['operationId']);
  texts(writer, 6, value['produces']);
  texts(writer, 7, value['consumes']);
  for (const one of listOf(value['parameters'])) message(writer, 8, (inner) => parameter(inner, objectOf(one)));
  message(writer, 9, (responses) => {
    named(responses, 1, objectOf(value['responses']), (inner, response) => {
      message(inner, 1, (body) => {
        text(body, 1, response['description']);
        const answer = response['schema'];
        if (answer !== undefined) message(body, 2, (item) => message(item, 1, (one) => schema(one, objectOf(answer))));
      });
    });
  });
  texts(writer, 10, value['schemes']);
  extensions(writer, 13, value);
}

/** A ParametersItem around a Parameter around a body, query or path parameter. */
function parameter(writer: Writer, value: Json): void {
  message(writer, 1, (outer) => {
    if (value['in'] === 'body') {
      message(outer, 1, (body) => {
        text(body, 1, value['description']);
        text(body, 2, value['name']);
        text(body, 3, value['in']);
        flag(body, 4, value['required']);
        message(body, 5, (inner) => schema(inner, objectOf(value['schema'])));
      });
      return;
    }
    const query = value['in'] === 'query';
    message(outer, 2, (plain) => {
      message(plain, query ? 3 : 4, (inner) => {
        flag(inner, 1, value['required']);
        text(inner, 2, value['in']);
        text(inner, 3, value['description']);
        text(inner, 4, value['name']);
        text(inner, query ? 6 : 5, value['type']);
        flag(inner, query ? 20 : 19, value['uniqueItems']);
      });
    });
  });
}

const NUMBERS: ReadonlyArray<readonly [number, string]> = [
  [6, 'multipleOf'],
  [7, 'maximum'],
  [9, 'minimum'],
];
const COUNTS: ReadonlyArray<readonly [number, string]> = [
  [11, 'maxLength'],
  [12, 'minLength'],
  [14, 'maxItems'],
  [15, 'minItems'],
  [17, 'maxProperties'],
  [18, 'minProperties'],
];
const FLAGS: ReadonlyArray<readonly [number, string]> = [
  [8, 'exclusiveMaximum'],
  [10, 'exclusiveMinimum'],
  [16, 'uniqueItems'],
];

function schema(writer: Writer, value: Json): void {
  text(writer, 1, value['$ref']);
  text(writer, 2, value['format']);
  text(writer, 3, value['title']);
  text(writer, 4, value['description']);
  if (value['default'] !== undefined) message(writer, 5, (inner) => any(inner, value['default']));
  for (const [field, name] of NUMBERS) {
    const number = value[name];
    if (typeof number === 'number') writer.uint32((field << 3) | 1).double(number);
  }
  for (const [field, name] of COUNTS) {
    const number = value[name];
    if (typeof number === 'number') writer.uint32(field << 3).int64(number);
  }
  for (const [field, name] of FLAGS) flag(writer, field, value[name]);
  text(writer, 13, value['pattern']);
  texts(writer, 19, value['required']);
  for (const one of listOf(value['enum'])) message(writer, 20, (inner) => any(inner, one));
  const additional = value['additionalProperties'];
  if (typeof additional === 'boolean') message(writer, 21, (inner) => flag(inner, 2, additional));
  else if (additional !== undefined) {
    message(writer, 21, (inner) => message(inner, 1, (one) => schema(one, objectOf(additional))));
  }
  const type = value['type'];
  if (typeof type === 'string') message(writer, 22, (inner) => text(inner, 1, type));
  const items = value['items'];
  if (items !== undefined) message(writer, 23, (inner) => message(inner, 1, (one) => schema(one, objectOf(items))));
  const properties = value['properties'];
  if (properties !== undefined) message(writer, 25, (inner) => named(inner, 1, objectOf(properties), schema));
  extensions(writer, 31, value);
}

/** Vendor extensions travel as YAML text, of which JSON is a part. */
function extensions(writer: Writer, field: number, value: Json): void {
  for (const [name, extension] of Object.entries(value)) {
    if (!name.startsWith('x-')) continue;
    message(writer, field, (inner) => {
      text(inner, 1, name);
      message(inner, 2, (one) => any(one, extension));
    });
  }
}

function any(writer: Writer, value: unknown): void {
  text(writer, 2, JSON.stringify(value));
}

function named(writer: Writer, field: number, entries: Json, write: (writer: Writer, value: Json) => void): void {
  for (const [name, value] of Object.entries(entries)) {
    message(writer, field, (inner) => {
      text(inner, 1, name);
      message(inner, 2, (one) => write(one, objectOf(value)));
    });
  }
}

function message(writer: Writer, field: number, write: (inner: Writer) => void): void {
  writer.uint32((field << 3) | LENGTH_DELIMITED).fork();
  write(writer);
  writer.ldelim();
}

function text(writer: Writer, field: number, value: unknown): void {
  if (typeof value === 'string' && value !== '') writer.uint32((field << 3) | LENGTH_DELIMITED).string(value);
}

function texts(writer: Writer, field: number, values: unknown): void {
  for (const value of listOf(values)) text(writer, field, value);
}

function flag(writer: Writer, field: number, value: unknown): void {
  if (value === true) writer.uint32(field << 3).bool(true);
}

function objectOf(value: unknown): Json {
  return typeof value === 'object' && value !== null ? (value as Json) : {};
}

function listOf(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}
