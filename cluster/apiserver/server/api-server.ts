// SPDX-License-Identifier: Apache-2.0
// The HTTPS front: HTTP/2 and HTTP/1.1 on one port, who is asking, may they, and which part of the server answers.
import http2 from 'node:http2';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import type { Logger } from '../../machinery/log.ts';
import type { Authenticator, ClientIdentity } from '../authentication/authenticate.ts';
import { impersonate } from '../authentication/impersonation.ts';
import type { AccessAttributes } from '../resources/config.ts';
import type { UserInfo } from '../resources/definition.ts';
import { asStatusError, forbidden } from '../status.ts';
import type { StatusError } from '../status.ts';
import type { Aggregator } from './aggregation.ts';
import type { Core } from './core.ts';
import { Http1Exchange, Http2Exchange } from './exchange.ts';
import { sendStatus } from './exchange.ts';
import type { Exchange } from './exchange.ts';
import { serveResource } from './handlers.ts';
import type { ApiMetrics } from './metrics.ts';
import { requestInfo } from './request-info.ts';
import type { RequestInfo } from './request-info.ts';
import { serveUpgrade } from './upgrades.ts';

export interface ApiServerOptions {
  readonly core: Core;
  readonly aggregator: Pick<Aggregator, 'find' | 'serve'>;
  readonly authenticator: Authenticator;
  readonly metrics: ApiMetrics;
  readonly log: Logger;
  readonly tls: { readonly cert: Buffer; readonly key: Buffer; readonly ca: Buffer };
  /** Answers what is not a resource; false when the path is unknown. */
  readonly servePath: (exchange: Exchange, user: UserInfo) => Promise<boolean>;
}

const shutdownGraceMs = 5_000;
const keepAliveMs = 30_000;

export class ApiServer {
  readonly #options: ApiServerOptions;
  readonly #server: http2.Http2SecureServer;
  readonly #stop = new AbortController();
  readonly #sessions = new Map<http2.Http2Session, ClientIdentity>();
  readonly #sockets = new WeakMap<object, ClientIdentity>();

  constructor(options: ApiServerOptions) {
    this.#options = options;
    this.#server = http2.createSecureServer({
      ...options.tls,
      allowHTTP1: true,
      requestCert: true,
      rejectUnauthorized: false,
      minVersion: 'TLSv1.2',
      settings: { maxConcurrentStreams: 1_000, initialWindowSize: 1024 * 1024 },
      // One connection carries all watches of a component: node's defaults would refuse new streams while watchers are
      // behind, and end connections whose clients close many watches at once.
      maxSessionMemory: 2_048,
      streamResetBurst: 10_000,
      streamResetRate: 1_000,
    });
    this.#listen();
  }

  async listen(port: number, host: string): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#server.once('error', reject);
    this.#server.listen(port, host, resolve);
    await promise;
    this.#server.removeListener('error', reject);
  }

  /** Ends watches, lets running requests finish for a few seconds, then closes. */
  async close(): Promise<void> {
    this.#stop.abort();
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const session of this.#sessions.keys()) {
      session.close();
    }
    const timer = setTimeout(() => {
      for (const session of this.#sessions.keys()) {
        session.destroy();
      }
      (this.#server as unknown as { closeAllConnections?: () => void }).closeAllConnections?.();
    }, shutdownGraceMs);
    await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, shutdownGraceMs + 500).unref())]);
    clearTimeout(timer);
  }

  #listen(): void {
    const server = this.#server;
    server.on('secureConnection', (socket) => {
      socket.setNoDelay(true);
      socket.setKeepAlive(true, keepAliveMs);
    });
    server.on('session', (session) => {
      this.#sessions.set(session, this.#identify(session.socket as TLSSocket));
      session.on('close', () => this.#sessions.delete(session));
      session.on('error', () => session.destroy());
    });
    server.on('request', (request, response) => {
      const plain = request as unknown as IncomingMessage;
      const identity = this.#identityOf(plain.socket as TLSSocket);
      void this.#serve(new Http1Exchange(plain, response as unknown as ServerResponse), identity);
    });
    // A listener for `request` also puts node's compatibility layer under HTTP/2 streams: those go their own way here.
    server.removeAllListeners('stream');
    server.on('stream', (stream, headers) => {
      const session = stream.session;
      const identity = session === undefined ? undefined : this.#sessions.get(session);
      stream.on('error', () => {});
      void this.#serve(new Http2Exchange(stream, headers, identity?.address ?? ''), identity ?? { address: '' });
    });
    server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      socket.on('error', () => socket.destroy());
      const authenticate = (info: RequestInfo) => this.#admit(request, info);
      void serveUpgrade(this.#options.core, { request, socket, head, authenticate, stop: this.#stop.signal });
    });
    server.on('tlsClientError', () => {});
    server.on('clientError', (_error: Error, socket: Duplex) => socket.destroy());
  }

  #identityOf(socket: TLSSocket): ClientIdentity {
    let identity = this.#sockets.get(socket);
    if (identity === undefined) {
      identity = this.#identify(socket);
      this.#sockets.set(socket, identity);
    }
    return identity;
  }

  #identify(socket: TLSSocket): ClientIdentity {
    const address = socket.remoteAddress ?? '';
    const certificate = socket.getPeerCertificate();
    if (certificate === null || Object.keys(certificate).length === 0) {
      return { address };
    }
    if (!socket.authorized) {
      const reason = String(socket.authorizationError ?? 'unknown');
      return { address, certificateError: `x509: ${reason}` };
    }
    return { address, certificate };
  }

  async #serve(exchange: Exchange, identity: ClientIdentity): Promise<void> {
    const info = requestInfo(exchange.method, exchange.path, exchange.query);
    const { metrics, core, log } = this.#options;
    const done = metrics.begin(exchange, info);
    try {
      const user = await this.#userOf(exchange, identity, info);
      const other = info.kind === 'resource' ? this.#options.aggregator.find(info.group, info.version) : undefined;
      if (other !== undefined) {
        await this.#options.aggregator.serve(exchange, user, other);
      } else if (info.kind === 'resource') {
        await serveResource(core, { exchange, info, user, stop: this.#stop.signal });
      } else if (!(await this.#options.servePath(exchange, user))) {
        exchange.respond(404, 'text/plain; charset=utf-8', Buffer.from('404 page not found\n'));
      }
    } catch (error) {
      const status = asStatusError(error);
      if (status.code >= 500) {
        log.error(`${exchange.method} ${exchange.url}`, error);
      }
      sendStatus(exchange, status);
    } finally {
      done();
    }
  }

  async #admit(request: IncomingMessage, info: RequestInfo): Promise<UserInfo> {
    const identity = this.#identityOf(request.socket as TLSSocket);
    const header = (name: string) => {
      const value = request.headers[name];
      return Array.isArray(value) ? value.join(', ') : value;
    };
    return this.#userOf({ header, headers: request.headers, path: request.url ?? '/' }, identity, info);
  }

  /** Authenticates, impersonates and authorizes. Throws 401 and 403. */
  async #userOf(
    request: Pick<Exchange, 'header' | 'headers' | 'path'>,
    identity: ClientIdentity,
    info: RequestInfo,
  ): Promise<UserInfo> {
    const { core, authenticator } = this.#options;
    const authenticated = await authenticator.authenticate(request, identity);
    const real = authenticated ?? { name: 'system:anonymous', groups: ['system:unauthenticated'] };
    const user = await impersonate(request.headers, real, core.authorize);
    const attributes = attributesOf(user, info);
    const decision = await core.authorize(attributes);
    if (!decision.allowed) {
      throw refusal(attributes, decision.reason ?? '');
    }
    return user;
  }
}

function attributesOf(user: UserInfo, info: RequestInfo): AccessAttributes {
  if (info.kind === 'path') {
    return { user, verb: info.verb, path: info.path };
  }
  return {
    user,
    verb: info.verb,
    group: info.group,
    version: info.version,
    resource: info.resource,
    ...(info.subresource === '' ? {} : { subresource: info.subresource }),
    ...(info.namespace === '' ? {} : { namespace: info.namespace }),
    ...(info.name === '' ? {} : { name: info.name }),
  };
}

function refusal(attributes: AccessAttributes, reason: string): StatusError {
  const { user, verb, group = '', resource = '', subresource, namespace = '', name = '', path } = attributes;
  const suffix = reason === '' ? '' : `: ${reason}`;
  if (path !== undefined) {
    return forbidden(
      { group: '', plural: '' },
      '',
      `User ${JSON.stringify(user.name)} cannot ${verb} path ${JSON.stringify(path)}${suffix}`,
    );
  }
  const what = subresource === undefined ? resource : `${resource}/${subresource}`;
  const where = namespace === '' ? 'at the cluster scope' : `in the namespace ${JSON.stringify(namespace)}`;
  const why = `User ${JSON.stringify(user.name)} cannot ${verb} resource ${JSON.stringify(what)} in API group ${JSON.stringify(group)} ${where}${suffix}`;
  return forbidden({ group, plural: resource }, name, why);
}
