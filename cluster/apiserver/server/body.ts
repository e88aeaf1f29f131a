// SPDX-License-Identifier: Apache-2.0
// Request bodies: JSON, YAML or protobuf to an object of the wanted type, with unknown fields pruned, warned about or refused
// as `fieldValidation` asks. Pure.
import { parseDocument } from 'yaml';
import type { KubeObject, RequestContext } from '../resources/definition.ts';
import { duplicateFields } from '../schema/duplicate-fields.ts';
import { decodeProtobuf } from '../schema/protobuf.ts';
import { decodeObject, typeByName } from '../schema/schema.ts';
import { badRequest, unsupportedMediaType } from '../status.ts';
import type { Served } from './catalog.ts';

type FieldValidation = 'Ignore' | 'Warn' | 'Strict';

const accepted = ['application/json', 'application/yaml', 'application/vnd.kubernetes.protobuf'];
const jsonSpace = new Set([0x20, 0x09, 0x0a, 0x0d]);

export function mediaType(contentType: string | undefined): string {
  return (contentType ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
}

/** The value in the body; undefined for an empty one. Throws 400 and 415. */
export function parseBody(body: Buffer, contentType: string | undefined): unknown {
  if (body.every((byte) => jsonSpace.has(byte))) {
    return undefined;
  }
  switch (mediaType(contentType)) {
    case '':
    case 'application/json':
      return parseJson(body.toString());
    case 'application/yaml':
      return parseYamlDocument(body.toString()).value;
    case 'application/vnd.kubernetes.protobuf':
      try {
        return decodeProtobuf(body);
      } catch (error) {
        throw badRequest(`the body is not a protobuf object that this server knows: ${(error as Error).message}`);
      }
    default:
      throw unsupportedMediaType(accepted);
  }
}

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw badRequest(`couldn't get version/kind; json parse error: ${(error as Error).message}`);
  }
}

/** The value, and what is said of keys that a map has twice: `line 9: key "foo" already set in map`. Throws 400. */
export function parseYamlDocument(text: string): { value: unknown; duplicates: string[] } {
  const document = parseDocument(text, { prettyErrors: false });
  const duplicates: string[] = [];
  for (const { code, message, pos } of document.errors) {
    if (code !== 'DUPLICATE_KEY') {
      throw badRequest(`error converting YAML to JSON: ${message}`);
    }
    const line = text.slice(0, pos[0]).split('\n').length;
    const key = /^(["']?)(.*?)\1\s*:/.exec(text.slice(pos[0]))?.[2] ?? '';
    duplicates.push(`line ${line}: key ${JSON.stringify(key)} already set in map`);
  }
  return { value: document.toJS() as unknown, duplicates };
}

/** Keys that a JSON body has twice; none for other forms, and none where nobody wants to know. */
export function duplicatesIn(body: Buffer, contentType: string | undefined, query: URLSearchParams): string[] {
  const type = mediaType(contentType);
  if ((type !== '' && type !== 'application/json') || fieldValidation(query) === 'Ignore') {
    return [];
  }
  return duplicateFields(body.toString());
}

/**
 * The object that a body holds, in the served version. Throws 400 when it is of another kind.
 * `duplicates` are the keys that its text has twice.
 */
export function expectObject(
  served: Served,
  value: unknown,
  context: RequestContext,
  duplicates: readonly string[] = [],
): KubeObject {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw badRequest('the body of the request is empty or not an object');
  }
  const object = value as Record<string, unknown>;
  const { kind } = served.definition;
  const gotKind = object['kind'] ?? kind;
  const gotVersion = object['apiVersion'] ?? served.apiVersion;
  if (gotKind !== kind || gotVersion !== served.apiVersion) {
    if (gotVersion === served.apiVersion || gotKind !== kind) {
      throw badRequest(
        `${kind} in version "${served.version.version}" cannot be handled as a ${kind}: got ${String(gotVersion)}, Kind=${String(gotKind)}`,
      );
    }
    throw badRequest(
      `the API version in the data (${String(gotVersion)}) does not match the expected API version (${served.apiVersion})`,
    );
  }
  object['kind'] = kind;
  object['apiVersion'] = served.apiVersion;
  object['metadata'] ??= {};
  return prune(served, object, context, duplicates);
}

/** Checks and prunes against the schema, in place. */
export function prune(
  served: Served,
  object: unknown,
  context: RequestContext,
  duplicates: readonly string[] = [],
): KubeObject {
  const type = typeByName(served.version.schema);
  if (type === undefined) {
    return object as KubeObject;
  }
  const mode = fieldValidation(context.query);
  const decoded = decodeObject(type, object, mode);
  if (decoded.errors.length > 0) {
    const { kind } = served.definition;
    throw badRequest(
      `${kind} in version "${served.version.version}" cannot be handled as a ${kind}: ${decoded.errors[0]}`,
    );
  }
  if (decoded.unknownFields.length > 0 || duplicates.length > 0) {
    const twice = duplicates.map((field) => `duplicate field "${field}"`);
    const unknown = decoded.unknownFields.map((field) => `unknown field "${field}"`);
    // As upstream: custom resources are parsed first and compared with their schema then, others are both at once.
    const texts = served.definition.custom === true ? [...twice, ...unknown] : [...unknown, ...twice];
    if (mode === 'Strict') {
      const { kind } = served.definition;
      throw badRequest(
        `${kind} in version "${served.version.version}" cannot be handled as a ${kind}: strict decoding error: ${texts.join(', ')}`,
      );
    }
    for (const text of texts) {
      context.warn(text);
    }
  }
  return decoded.object;
}

export function fieldValidation(query: URLSearchParams): FieldValidation {
  const value = query.get('fieldValidation');
  switch (value) {
    case null:
    case '':
    case 'Warn':
      return 'Warn';
    case 'Ignore':
    case 'Strict':
      return value;
    default:
      throw badRequest(`fieldValidation: Unsupported value: "${value}": supported values: "Ignore", "Strict", "Warn"`);
  }
}
