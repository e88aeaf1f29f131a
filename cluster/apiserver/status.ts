// SPDX-License-Identifier: Apache-2.0
// The errors of the API: `StatusError` carries the `Status` object that a client gets, with the codes, reasons and wordings
// that kubectl and client-go look for. Everything that refuses a request throws one of these.
import type { Status, StatusCause } from '../machinery/api-types.ts';
import type { FieldError } from './resources/definition.ts';

/** Group and plural name, as error messages spell them: `pods`, `deployments.apps`. */
export interface GroupResource {
  readonly group: string;
  readonly plural: string;
}

/** Group and kind, as validation messages spell them: `Pod`, `Deployment.apps`. */
export interface GroupKind {
  readonly group: string;
  readonly kind: string;
}

export class StatusError extends Error {
  readonly code: number;
  readonly reason: string;
  readonly status: Status;

  constructor(code: number, reason: string, message: string, details?: Status['details']) {
    super(message);
    this.name = 'StatusError';
    this.code = code;
    this.reason = reason;
    this.status = {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Failure',
      message,
      ...(reason === '' ? {} : { reason }),
      ...(details === undefined ? {} : { details }),
      code,
    };
  }
}

/** True for a `StatusError` with the given reason, e.g. `isReason(error, 'NotFound')`. */
export function isReason(error: unknown, reason: string): error is StatusError {
  return error instanceof StatusError && error.reason === reason;
}

export function qualified(name: string, group: string): string {
  return group === '' ? name : `${name}.${group}`;
}

function details(resource: GroupResource, name: string): NonNullable<Status['details']> {
  return {
    ...(name === '' ? {} : { name }),
    ...(resource.group === '' ? {} : { group: resource.group }),
    ...(resource.plural === '' ? {} : { kind: resource.plural }),
  };
}

export function notFound(resource: GroupResource, name: string): StatusError {
  const message = `${qualified(resource.plural, resource.group)} ${JSON.stringify(name)} not found`;
  return new StatusError(404, 'NotFound', message, details(resource, name));
}

/** For a path or a resource type that the server does not have. */
export function pathNotFound(): StatusError {
  return new StatusError(404, 'NotFound', 'the server could not find the requested resource', {});
}

export function alreadyExists(resource: GroupResource, name: string): StatusError {
  const message = `${qualified(resource.plural, resource.group)} ${JSON.stringify(name)} already exists`;
  return new StatusError(409, 'AlreadyExists', message, details(resource, name));
}

const modifiedMessage = 'the object has been modified; please apply your changes to the latest version and try again';

export function conflict(resource: GroupResource, name: string, why: string = modifiedMessage): StatusError {
  const message = `Operation cannot be fulfilled on ${qualified(resource.plural, resource.group)} ${JSON.stringify(name)}: ${why}`;
  return new StatusError(409, 'Conflict', message, details(resource, name));
}

export function invalid(kind: GroupKind, name: string, errors: readonly FieldError[]): StatusError {
  const causes = errors.map((error) => ({
    reason: causeReasons[error.type],
    message: fieldErrorBody(error),
    field: error.field,
  }));
  const texts = [...new Set(errors.map((error) => `${error.field}: ${fieldErrorBody(error)}`))];
  const text = texts.length === 1 ? texts[0] : `[${texts.join(', ')}]`;
  const message = `${qualified(kind.kind, kind.group)} ${JSON.stringify(name)} is invalid: ${text}`;
  return new StatusError(422, 'Invalid', message, {
    ...(name === '' ? {} : { name }),
    ...(kind.group === '' ? {} : { group: kind.group }),
    kind: kind.kind,
    causes,
  });
}

const causeReasons: Readonly<Record<FieldError['type'], string>> = {
  'Required value': 'FieldValueRequired',
  'Invalid value': 'FieldValueInvalid',
  'Unsupported value': 'FieldValueNotSupported',
  'Duplicate value': 'FieldValueDuplicate',
  'Not found': 'FieldValueNotFound',
  Forbidden: 'FieldValueForbidden',
  'Too long': 'FieldValueTooLong',
  'Too many': 'FieldValueTooMany',
  'Internal error': 'InternalError',
};

/** One field error without its path: `Invalid value: "x": must be ...`. */
export function fieldErrorBody(error: FieldError): string {
  const bare = error.type === 'Required value' || error.type === 'Forbidden' || error.type === 'Internal error';
  const tooLong = error.type === 'Too long';
  const value = error.value === undefined ? 'null' : JSON.stringify(error.value);
  const head = bare || tooLong ? error.type : `${error.type}: ${value}`;
  return error.detail === '' ? head : `${head}: ${error.detail}`;
}

/** `why` is the part behind `is forbidden:`. */
export function forbidden(resource: GroupResource, name: string, why: string): StatusError {
  const what = qualified(resource.plural, resource.group);
  if (what === '') {
    return new StatusError(403, 'Forbidden', `forbidden: ${why}`, {});
  }
  const message = name === '' ? `${what} is forbidden: ${why}` : `${what} ${JSON.stringify(name)} is forbidden: ${why}`;
  return new StatusError(403, 'Forbidden', message, details(resource, name));
}

export function badRequest(message: string): StatusError {
  return new StatusError(400, 'BadRequest', message);
}

export function unauthorized(message = 'Unauthorized'): StatusError {
  return new StatusError(401, 'Unauthorized', message);
}

export function methodNotSupported(resource: GroupResource, verb: string): StatusError {
  const message = `${verb} is not supported on resources of kind "${qualified(resource.plural, resource.group)}"`;
  return new StatusError(405, 'MethodNotAllowed', message, details(resource, ''));
}

export function methodNotAllowed(): StatusError {
  return new StatusError(
    405,
    'MethodNotAllowed',
    'the server does not allow this method on the requested resource',
    {},
  );
}

export function notAcceptable(accepted: readonly string[]): StatusError {
  const message = `only the following media types are accepted: ${accepted.join(', ')}`;
  return new StatusError(406, 'NotAcceptable', message);
}

export function unsupportedMediaType(accepted: readonly string[]): StatusError {
  const message = `the body of the request was in an unknown format - accepted media types include: ${accepted.join(', ')}`;
  return new StatusError(415, 'UnsupportedMediaType', message);
}

export function requestEntityTooLarge(message: string): StatusError {
  return new StatusError(413, 'RequestEntityTooLarge', message);
}

/** 429, e.g. for an eviction that a disruption budget does not allow now. */
export function tooManyRequests(message: string, retryAfterSeconds: number, causes?: StatusCause[]): StatusError {
  return new StatusError(429, 'TooManyRequests', message, {
    ...(causes === undefined ? {} : { causes }),
    ...(retryAfterSeconds > 0 ? { retryAfterSeconds } : {}),
  });
}

export function expired(message: string): StatusError {
  return new StatusError(410, 'Expired', message);
}

/** A list or get that asked for a state newer than the server can reach in time. */
export function resourceVersionTooLarge(requested: number, current: number): StatusError {
  const message = `Timeout: Too large resource version: ${requested}, current: ${current}`;
  return new StatusError(504, 'Timeout', message, {
    causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }],
    retryAfterSeconds: 1,
  });
}

export function internalError(message: string): StatusError {
  return new StatusError(500, 'InternalError', `Internal error occurred: ${message}`, { causes: [{ message }] });
}

export function serviceUnavailable(message: string): StatusError {
  return new StatusError(503, 'ServiceUnavailable', message, { retryAfterSeconds: 1 });
}

export function timeout(message: string): StatusError {
  return new StatusError(504, 'Timeout', `Timeout: ${message}`, { retryAfterSeconds: 1 });
}

/** The answer to a delete that removed the object. */
export function deleted(resource: GroupResource, name: string, uid: string | undefined): Status {
  return {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Success',
    details: { ...details(resource, name), ...(uid === undefined ? {} : { uid }) },
  };
}

/** What a client gets for an error that nobody foresaw: 500. */
export function asStatusError(error: unknown): StatusError {
  return error instanceof StatusError ? error : internalError(error instanceof Error ? error.message : String(error));
}
