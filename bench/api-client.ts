// SPDX-License-Identifier: Apache-2.0
/**
 * A bare HTTP/2 client for API servers: it must cost the machine as little as it can, since it shares its cores with what is measured,
 * and it is nobody's subject. No retries: a request that fails ends the benchmark.
 */
import { readFileSync } from 'node:fs';
import { connect, type ClientHttp2Session } from 'node:http2';
import { KubeConfig } from '@kubernetes/client-node';

/** Plain data, so that it can be handed to another process. */
export interface Endpoint {
  readonly server: string;
  /** PEM; absent with `insecure-skip-tls-verify`. */
  readonly ca?: string;
  readonly certificate?: string;
  readonly key?: string;
  readonly token?: string;
}

export interface Reply {
  readonly status: number;
  readonly body: Buffer;
}

export interface Watch {
  /** Resolves when the server, or `close`, ended it. */
  readonly ended: Promise<void>;
  close(): void;
}

/** Errors: a kubeconfig that cannot be read, or that needs a plugin for its credentials. */
export function endpointOf(kubeconfig: string): Endpoint {
  const config = new KubeConfig();
  config.loadFromFile(kubeconfig);
  const cluster = config.getCurrentCluster();
  const user = config.getCurrentUser();
  if (cluster === null || user === null) throw new Error(`${kubeconfig} has no usable current context`);
  if (user.exec !== undefined || user.authProvider !== undefined) {
    throw new Error(`${kubeconfig}: user "${user.name}" needs a plugin; use a token or a client certificate`);
  }
  const text = (data: string | undefined, file: string | undefined): string | undefined =>
    data !== undefined ? Buffer.from(data, 'base64').toString() : file && readFileSync(file, 'utf8');
  const ca = text(cluster.caData, cluster.caFile);
  const certificate = text(user.certData, user.certFile);
  const key = text(user.keyData, user.keyFile);
  return {
    server: cluster.server.replace(/\/$/, ''),
    ...(ca !== undefined && !cluster.skipTLSVerify && { ca }),
    ...(certificate !== undefined && { certificate }),
    ...(key !== undefined && { key }),
    ...(user.token !== undefined && { token: user.token }),
  };
}

export class ApiClient {
  readonly #endpoint: Endpoint;
  readonly #sessions: ClientHttp2Session[];
  #next = 0;

  /** Requests go over `connections` connections in turn. */
  constructor(endpoint: Endpoint, connections = 1) {
    this.#endpoint = endpoint;
    this.#sessions = Array.from({ length: connections }, () => this.#connect());
  }

  async request(method: string, path: string, body?: unknown, contentType = 'application/json'): Promise<Reply> {
    const { promise, resolve, reject } = Promise.withResolvers<Reply>();
    const bytes = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
    const stream = this.#session().request(
      {
        ':method': method,
        ':path': path,
        accept: 'application/json',
        ...this.#credentials(),
        ...(bytes && { 'content-type': contentType, 'content-length': String(bytes.length) }),
      },
      { endStream: bytes === undefined },
    );
    let status = 0;
    const chunks: Buffer[] = [];
    stream.on('response', (headers) => (status = headers[':status'] ?? 0));
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('end', () => resolve({ status, body: Buffer.concat(chunks) }));
    stream.on('error', reject);
    stream.on('close', () => reject(new Error(`${method} ${path}: the connection was lost`)));
    if (bytes) stream.end(bytes);
    return promise;
  }

  /** Errors: an answer other than 2xx, with the server's words. */
  async json<T>(method: string, path: string, body?: unknown, contentType?: string): Promise<T> {
    const reply = await this.request(method, path, body, contentType);
    if (reply.status < 200 || reply.status > 299) {
      throw new Error(`${method} ${path} answered ${reply.status}: ${reply.body.toString().slice(0, 500)}`);
    }
    return JSON.parse(reply.body.toString()) as T;
  }

  /** Resolves once the server has accepted the watch; `path` holds the query. Chunks come as they arrive, not cut into lines. */
  async watch(path: string, onChunk: (chunk: Buffer) => void): Promise<Watch> {
    const accepted = Promise.withResolvers<void>();
    const ended = Promise.withResolvers<void>();
    const stream = this.#session().request({ ':path': path, accept: 'application/json', ...this.#credentials() });
    stream.on('response', (headers) => {
      if (headers[':status'] === 200) accepted.resolve();
      else accepted.reject(new Error(`watch ${path} answered ${headers[':status']}`));
    });
    stream.on('data', onChunk);
    stream.on('error', (error) => accepted.reject(error));
    stream.on('close', () => {
      accepted.reject(new Error(`watch ${path}: the connection was lost`));
      ended.resolve();
    });
    await accepted.promise;
    return { ended: ended.promise, close: () => stream.close() };
  }

  close(): void {
    for (const session of this.#sessions) session.destroy();
  }

  #session(): ClientHttp2Session {
    const index = this.#next++ % this.#sessions.length;
    const session = this.#sessions[index];
    if (session !== undefined && !session.closed && !session.destroyed) return session;
    const fresh = this.#connect();
    this.#sessions[index] = fresh;
    return fresh;
  }

  #connect(): ClientHttp2Session {
    const { server, ca, certificate, key } = this.#endpoint;
    const session = connect(server, {
      ...(ca === undefined ? { rejectUnauthorized: false } : { ca }),
      ...(certificate !== undefined && { cert: certificate }),
      ...(key !== undefined && { key }),
      settings: { initialWindowSize: 1 << 20 },
    });
    session.once('connect', () => session.setLocalWindowSize(16 << 20));
    // Every stream reports the failure itself.
    session.on('error', () => {});
    return session;
  }

  #credentials(): { authorization?: string } {
    const { token } = this.#endpoint;
    return token === undefined ? {} : { authorization: `Bearer ${token}` };
  }
}

/** Cuts chunks into lines; give `push` to a watch. */
export class Lines {
  readonly #onLine: (line: string) => void;
  #rest = '';

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine;
  }

  readonly push = (chunk: Buffer): void => {
    const lines = (this.#rest + chunk.toString()).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) this.#onLine(line);
  };
}
