// SPDX-License-Identifier: Apache-2.0
// The API client of every component: JSON over few HTTP/2 connections that reconnect by themselves. It guarantees that
// an answer other than 2xx becomes an `ApiError`, that what may safely be sent again is (reads; anything the server has
// certainly not processed; 429 and 503 with Retry-After), and that no more than `maxInFlight` requests are under way.
import type { ListMeta, Status } from './api-types.ts';
import { Connections } from './connections.ts';
import type { Reply } from './connections.ts';
import { inClusterEndpoint, readKubeconfig } from './kubeconfig.ts';
import type { Endpoint } from './kubeconfig.ts';
import { apiVersionOf, resourcePath } from './resources.ts';
import type { Resource } from './resources.ts';

export interface ListOptions {
  namespace?: string | undefined;
  labelSelector?: string | undefined;
  fieldSelector?: string | undefined;
  resourceVersion?: string | undefined;
  resourceVersionMatch?: string | undefined;
  limit?: number | undefined;
  continue?: string | undefined;
  timeoutSeconds?: number | undefined;
}

export interface PatchRequest {
  namespace?: string | undefined;
  type: 'merge' | 'strategic' | 'json' | 'apply';
  body: unknown;
  subresource?: string | undefined;
  fieldManager?: string | undefined;
  force?: boolean | undefined;
}

export interface DeleteRequest {
  namespace?: string | undefined;
  gracePeriodSeconds?: number | undefined;
  propagationPolicy?: string | undefined;
  uid?: string | undefined;
  resourceVersion?: string | undefined;
}

export interface WatchEvent<T> {
  type: string;
  object: T;
}

const patchTypes = {
  merge: 'application/merge-patch+json',
  strategic: 'application/strategic-merge-patch+json',
  json: 'application/json-patch+json',
  apply: 'application/apply-patch+yaml',
} as const;

const maxAttempts = 10;

/** A `Status` answer of the API server. `reason` is Kubernetes' (`NotFound`, `Conflict`, `Expired`...). */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly code: number;
  readonly reason: string;
  readonly status: Status;

  constructor(status: Status) {
    super(status.message || `the server answered ${status.code ?? 'nothing'} ${status.reason ?? ''}`.trimEnd());
    this.code = status.code ?? 0;
    this.reason = status.reason ?? '';
    this.status = status;
  }
}

export function isNotFound(error: unknown): boolean {
  return error instanceof ApiError && error.code === 404;
}

/** A write lost against another one, or its preconditions did not hold. */
export function isConflict(error: unknown): boolean {
  return error instanceof ApiError && error.code === 409 && error.reason !== 'AlreadyExists';
}

export function isAlreadyExists(error: unknown): boolean {
  return error instanceof ApiError && error.reason === 'AlreadyExists';
}

export class Client {
  readonly #endpoint: Endpoint;
  readonly #options: { userAgent?: string; maxInFlight?: number };
  readonly #connections: Connections;
  readonly #bearer: (() => Promise<string>) | undefined;
  /** Connections without a client certificate, shared by all clients made by `actingAs`. */
  #tokenConnections: Connections | undefined;
  readonly #waiting: (() => void)[] = [];
  #free: number;

  constructor(
    endpoint: Endpoint,
    options: { userAgent?: string; maxInFlight?: number } = {},
    shared?: { connections: Connections; bearer: () => Promise<string> },
  ) {
    this.#endpoint = endpoint;
    this.#options = options;
    this.#connections = shared?.connections ?? new Connections(endpoint, options.userAgent ?? 'plumbline');
    this.#bearer = shared?.bearer;
    this.#free = options.maxInFlight ?? 100;
  }

  /** A client of the same server with another identity. All such clients share their connections; close this one to end them. */
  actingAs(bearer: () => Promise<string>): Client {
    const endpoint: Endpoint = {
      server: this.#endpoint.server,
      tls: () => {
        const { cert: _, key: __, ...tls } = this.#endpoint.tls();
        return tls;
      },
      token: () => undefined,
    };
    this.#tokenConnections ??= new Connections(endpoint, this.#options.userAgent ?? 'plumbline');
    return new Client(endpoint, this.#options, { connections: this.#tokenConnections, bearer });
  }

  /** Errors: what is wrong with the file; connecting happens at the first request. */
  static fromKubeconfig(path: string, options?: { userAgent?: string }): Client {
    return new Client(readKubeconfig(path), options);
  }

  static inCluster(options?: { userAgent?: string }): Client {
    return new Client(inClusterEndpoint(), options);
  }

  async get<T>(resource: Resource, name: string, namespace?: string): Promise<T> {
    return this.#json<T>('GET', resourcePath(resource, { namespace, name }));
  }

  /** One page when `limit` is set, all otherwise. Items of built-in kinds carry no `kind` and `apiVersion`. */
  async list<T>(resource: Resource, options: ListOptions = {}): Promise<{ items: T[]; metadata: ListMeta }> {
    const list = await this.#json<{ items?: T[] | null; metadata?: ListMeta }>(
      'GET',
      resourcePath(resource, options) + listQuery(options),
    );
    return { items: list.items ?? [], metadata: list.metadata ?? {} };
  }

  /** `name` is the parent's for a subresource (`pods/NAME/binding`, `serviceaccounts/NAME/token`). */
  async create<T>(
    resource: Resource,
    object: object,
    options: { namespace?: string | undefined; subresource?: string; name?: string } = {},
  ): Promise<T> {
    const { metadata } = object as { metadata?: { namespace?: string } };
    const path = resourcePath(resource, { ...options, namespace: options.namespace ?? metadata?.namespace });
    return this.#json<T>('POST', path, options.subresource ? object : withKind(resource, object));
  }

  /** Replaces the object named by `metadata`; with `metadata.resourceVersion` set, fails with Conflict when it has changed. */
  async update<T>(resource: Resource, object: object, options: { subresource?: string } = {}): Promise<T> {
    const { metadata } = object as { metadata?: { name?: string; namespace?: string } };
    const path = resourcePath(resource, { ...options, name: metadata?.name ?? '', namespace: metadata?.namespace });
    return this.#json<T>('PUT', path, withKind(resource, object));
  }

  async patch<T>(resource: Resource, name: string, options: PatchRequest): Promise<T> {
    const query = new URLSearchParams();
    if (options.fieldManager) query.set('fieldManager', options.fieldManager);
    if (options.force !== undefined) query.set('force', String(options.force));
    const path = resourcePath(resource, { ...options, name }) + (query.size > 0 ? `?${query}` : '');
    return this.#json<T>('PATCH', path, options.body, patchTypes[options.type]);
  }

  async delete(resource: Resource, name: string, options: DeleteRequest = {}): Promise<void> {
    const { gracePeriodSeconds, propagationPolicy, uid, resourceVersion } = options;
    await this.#json('DELETE', resourcePath(resource, { namespace: options.namespace, name }), {
      kind: 'DeleteOptions',
      apiVersion: 'v1',
      ...(gracePeriodSeconds !== undefined && { gracePeriodSeconds }),
      ...(propagationPolicy && { propagationPolicy }),
      ...((uid || resourceVersion) && {
        preconditions: { ...(uid && { uid }), ...(resourceVersion && { resourceVersion }) },
      }),
    });
  }

  /**
   * Delivers events until the server ends the watch or `signal` aborts (both resolve). Errors: `ApiError` for a refused
   * watch and for an ERROR event (410 `Expired` above all), `Error` for a lost connection.
   */
  async watch<T>(
    resource: Resource,
    options: ListOptions & { allowWatchBookmarks?: boolean },
    onEvent: (event: WatchEvent<T>) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const query = listQuery({ ...options, watch: true });
    await this.#connections.stream(
      resourcePath(resource, options) + query,
      (line) => {
        const event = JSON.parse(line) as WatchEvent<T>;
        if (event.type === 'ERROR') throw new ApiError(event.object as Status);
        onEvent(event);
      },
      { signal, refused: statusError, headers: await this.#credentials() },
    );
  }

  /** A request as it is, whatever the answer's status; `body` may be text, bytes, or anything that becomes JSON. */
  async raw(
    method: string,
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<{ status: number; body: Buffer }> {
    return this.#send({ method, path, body: encodeBody(body), headers: headers ?? {} });
  }

  /** Ends the connections, and with them all watches. */
  close(): void {
    this.#connections.close();
    this.#tokenConnections?.close();
  }

  async #credentials(): Promise<Record<string, string>> {
    return this.#bearer ? { authorization: `Bearer ${await this.#bearer()}` } : {};
  }

  async #json<T>(method: string, path: string, body?: unknown, contentType = 'application/json'): Promise<T> {
    const headers = body === undefined ? {} : { 'content-type': contentType };
    const reply = await this.#send({ method, path, body: encodeBody(body), headers });
    if (reply.status < 200 || reply.status > 299) throw statusError(reply);
    return JSON.parse(reply.body.toString('utf8')) as T;
  }

  async #send(request: {
    method: string;
    path: string;
    body: Buffer | undefined;
    headers: Record<string, string>;
  }): Promise<Reply> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      for (let attempt = 1; ; attempt++) {
        const headers = { ...(await this.#credentials()), ...request.headers };
        const outcome = await this.#connections.request({ ...request, headers });
        if ('reply' in outcome) {
          const wait = retryAfter(outcome.reply);
          if (wait === undefined || attempt >= maxAttempts) return outcome.reply;
          await delay(wait);
        } else {
          const safe = request.method === 'GET' || !outcome.processed;
          if (!safe || attempt >= maxAttempts || this.#connections.closed) throw outcome.error;
          await delay(Math.min(50 * 2 ** attempt, 2000));
        }
      }
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free++;
    }
  }
}

function listQuery(options: ListOptions & { watch?: boolean; allowWatchBookmarks?: boolean }): string {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(options)) {
    if (key !== 'namespace' && value !== undefined && value !== '') query.set(key, String(value));
  }
  return query.size > 0 ? `?${query}` : '';
}

function withKind(resource: Resource, object: object): object {
  return 'kind' in object && 'apiVersion' in object
    ? object
    : { ...object, kind: resource.kind, apiVersion: apiVersionOf(resource) };
}

function encodeBody(body: unknown): Buffer | undefined {
  if (body === undefined || Buffer.isBuffer(body)) return body;
  return Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
}

/** Milliseconds to wait before sending the same request again, or undefined when the answer is final. */
function retryAfter(reply: Reply): number | undefined {
  if (reply.status !== 429 && reply.status < 500) return undefined;
  const seconds = Number(reply.headers['retry-after']);
  return Number.isFinite(seconds) && reply.headers['retry-after'] !== undefined ? seconds * 1000 : undefined;
}

function statusError(reply: Reply): ApiError {
  const text = reply.body.toString('utf8');
  try {
    const status = JSON.parse(text) as Status;
    if (status.kind === 'Status') return new ApiError({ ...status, code: status.code ?? reply.status });
  } catch {
    // Not JSON: an intermediary or a handler outside the API; its text is the message.
  }
  return new ApiError({
    status: 'Failure',
    code: reply.status,
    reason: reply.status === 404 ? 'NotFound' : reply.status === 401 ? 'Unauthorized' : 'InternalError',
    message: `the server answered ${reply.status}: ${text.slice(0, 500)}`,
  });
}

function delay(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
