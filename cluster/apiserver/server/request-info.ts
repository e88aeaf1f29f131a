// SPDX-License-Identifier: Apache-2.0
// What a request is about, read off its method, path and query; authorization and routing both work on this. Pure.

export interface ResourceRequest {
  readonly kind: 'resource';
  readonly verb: string;
  readonly group: string;
  readonly version: string;
  readonly resource: string;
  readonly subresource: string;
  readonly namespace: string;
  readonly name: string;
  /** Path behind the subresource, for proxies; without a leading slash. */
  readonly rest: string;
}

export interface PathRequest {
  readonly kind: 'path';
  readonly verb: string;
  readonly path: string;
}

export type RequestInfo = ResourceRequest | PathRequest;

const namespaceSubresources = new Set(['status', 'finalize']);

/** `path` is without the query. */
export function requestInfo(method: string, path: string, query: URLSearchParams): RequestInfo {
  const plain: PathRequest = { kind: 'path', verb: method.toLowerCase(), path };
  const parts = path.split('/').slice(1);
  let at: number;
  let group: string;
  if (parts[0] === 'api') {
    group = '';
    at = 1;
  } else if (parts[0] === 'apis') {
    group = parts[1] ?? '';
    at = 2;
  } else {
    return plain;
  }
  const version = parts[at] ?? '';
  at += 1;
  if (version === '' || (parts[at] ?? '') === '') {
    return plain;
  }
  // The old form of watches: /api/v1/watch/pods.
  const watchPrefix = parts[at] === 'watch';
  if (watchPrefix) {
    at += 1;
  }
  const segments = parts.slice(at).map(decode);
  let namespace = '';
  let rest = segments;
  if (segments[0] === 'namespaces' && segments.length > 1) {
    namespace = segments[1] ?? '';
    if (segments.length > 2 && !namespaceSubresources.has(segments[2] ?? '')) {
      rest = segments.slice(2);
    }
  }
  const [resource = '', name = '', subresource = '', ...tail] = rest;
  const watching = watchPrefix || isTrue(query.get('watch'));
  return {
    kind: 'resource',
    verb: verbOf(method, name, watching, watchPrefix),
    group,
    version,
    resource,
    subresource,
    namespace,
    name: name === '' ? nameFromFieldSelector(query.get('fieldSelector')) : name,
    rest: tail.join('/'),
  };
}

/** True when the request goes to a collection, although authorization sees the name of a field selector. */
export function isCollection(info: ResourceRequest): boolean {
  return info.verb === 'list' || info.verb === 'watch' || info.verb === 'deletecollection' || info.name === '';
}

export function isTrue(value: string | null): boolean {
  return value !== null && ['1', 'true', 't', 'T', 'TRUE', 'True'].includes(value);
}

function verbOf(method: string, name: string, watching: boolean, watchPrefix: boolean): string {
  switch (method) {
    case 'POST':
      return 'create';
    case 'GET':
    case 'HEAD':
      if (name === '' || watchPrefix) {
        return watching ? 'watch' : 'list';
      }
      return 'get';
    case 'PUT':
      return 'update';
    case 'PATCH':
      return 'patch';
    case 'DELETE':
      return name === '' ? 'deletecollection' : 'delete';
    default:
      return method.toLowerCase();
  }
}

/** A list of one object by name counts as a request for that name, as RBAC's resourceNames and the node authorizer need. */
function nameFromFieldSelector(selector: string | null): string {
  const match = selector === null ? null : /(?:^|,)metadata\.name==?([^,]+)(?:,|$)/.exec(selector);
  return match?.[1] ?? '';
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}
