// SPDX-License-Identifier: Apache-2.0
// HTTP/2 connections to one API server: opened on demand, shared by all requests and watches, a further one when the
// server's limit of concurrent streams is reached, pinged while in use, and replaced when they break.
import { connect, constants } from 'node:http2';
import type { ClientHttp2Session, ClientHttp2Stream, IncomingHttpHeaders } from 'node:http2';
import type { Endpoint } from './kubeconfig.ts';

export interface Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** `processed` is false when the server has certainly not acted on the request. */
export type Outcome = { readonly reply: Reply } | { readonly error: Error; readonly processed: boolean };

type ResponseHeaders = IncomingHttpHeaders & { readonly ':status'?: number | undefined };

interface Connection {
  readonly session: ClientHttp2Session;
  /** Settles when the server's settings, and with them its limit of streams, are known. */
  readonly ready: Promise<void>;
  limit: number;
  streams: number;
}

const connectTimeout = 10_000;
const requestTimeout = 60_000;
const pingInterval = 30_000;
const pingTimeout = 15_000;

export class Connections {
  readonly #endpoint: Endpoint;
  readonly #userAgent: string;
  #open: Connection[] = [];
  closed = false;

  constructor(endpoint: Endpoint, userAgent: string) {
    this.#endpoint = endpoint;
    this.#userAgent = userAgent;
  }

  async request(request: {
    method: string;
    path: string;
    body: Buffer | undefined;
    headers: Record<string, string>;
  }): Promise<Outcome> {
    let connection: Connection;
    try {
      connection = await this.#connection();
    } catch (error) {
      return { error: asError(error), processed: false };
    }
    return new Promise((resolve) => {
      let stream: ClientHttp2Stream;
      try {
        stream = this.#openStream(connection, request);
      } catch (error) {
        resolve({ error: asError(error), processed: false });
        return;
      }
      let headers: ResponseHeaders | undefined;
      const chunks: Buffer[] = [];
      stream.setTimeout(requestTimeout, () => {
        stream.destroy(new Error(`${request.method} ${request.path}: no answer in ${requestTimeout / 1000} s`));
      });
      stream.on('response', (value) => {
        headers = value;
      });
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => {
        if (headers) resolve({ reply: { status: headers[':status'] ?? 0, headers, body: Buffer.concat(chunks) } });
      });
      let failure: Error | undefined;
      stream.on('error', (error) => {
        failure = error;
      });
      stream.on('close', () => {
        // A promise takes only its first outcome, so this counts only for a stream that ended before its answer did.
        const error = failure ?? new Error(`${request.method} ${request.path}: the connection was lost`);
        resolve({ error, processed: stream.rstCode !== constants.NGHTTP2_REFUSED_STREAM });
      });
    });
  }

  /** Delivers the lines of a response that never ends; a throw of `onLine` ends it and rejects. */
  async stream(
    path: string,
    onLine: (line: string) => void,
    options: { signal: AbortSignal; refused: (reply: Reply) => Error; headers?: Record<string, string> },
  ): Promise<void> {
    const { signal } = options;
    if (signal.aborted) return;
    const connection = await this.#connection();
    if (signal.aborted) return;
    await new Promise<void>((resolve, reject) => {
      const stream = this.#openStream(connection, { method: 'GET', path, headers: options.headers ?? {} });
      const lines = new LineSplitter(onLine);
      const refusal: Buffer[] = [];
      let headers: ResponseHeaders | undefined;
      let failure: Error | undefined;
      const abort = (): void => stream.close(constants.NGHTTP2_CANCEL);
      signal.addEventListener('abort', abort, { once: true });
      stream.on('response', (value) => {
        headers = value;
      });
      stream.on('data', (chunk: Buffer) => {
        if (failure) return;
        if (headers?.[':status'] !== 200) {
          refusal.push(chunk);
          return;
        }
        try {
          lines.push(chunk);
        } catch (error) {
          failure = asError(error);
          abort();
        }
      });
      stream.on('error', (error) => {
        failure ??= error;
      });
      stream.on('close', () => {
        signal.removeEventListener('abort', abort);
        if (signal.aborted) resolve();
        else if (failure) reject(failure);
        else if (!headers) reject(new Error(`watch ${path}: the connection was lost`));
        else if (headers[':status'] === 200) resolve();
        else reject(options.refused({ status: headers[':status'] ?? 0, headers, body: Buffer.concat(refusal) }));
      });
    });
  }

  close(): void {
    this.closed = true;
    for (const { session } of this.#open) session.destroy();
    this.#open = [];
  }

  #openStream(
    connection: Connection,
    request: { method: string; path: string; headers: Record<string, string>; body?: Buffer | undefined },
  ): ClientHttp2Stream {
    let stream: ClientHttp2Stream;
    try {
      const token = this.#endpoint.token();
      const headers = {
        ':method': request.method,
        ':path': request.path,
        accept: 'application/json',
        'user-agent': this.#userAgent,
        ...(token && { authorization: `Bearer ${token}` }),
        ...(request.body && { 'content-length': String(request.body.length) }),
        ...request.headers,
      };
      stream = connection.session.request(headers, { endStream: request.body === undefined });
    } catch (error) {
      connection.streams--;
      throw error;
    }
    stream.once('close', () => connection.streams--);
    if (request.body) stream.end(request.body);
    return stream;
  }

  /** A connection with one stream reserved, which `#openStream` takes. */
  async #connection(): Promise<Connection> {
    for (;;) {
      if (this.closed) throw new Error('the API client is closed');
      let connection = this.#open.find(({ session, streams, limit }) => !session.closed && streams < limit);
      if (!connection) {
        const session = this.#connect();
        connection = { session, ready: settled(session), limit: Infinity, streams: 0 };
        this.#open.push(connection);
      }
      await connection.ready;
      connection.limit = connection.session.remoteSettings?.maxConcurrentStreams ?? 100;
      if (connection.session.closed || connection.streams >= connection.limit) continue;
      connection.streams++;
      return connection;
    }
  }

  #connect(): ClientHttp2Session {
    const { server } = this.#endpoint;
    const session = connect(server, { ...this.#endpoint.tls(), settings: { initialWindowSize: 1 << 20 } });
    const timer = setTimeout(() => {
      session.destroy(new Error(`no connection to ${server} in ${connectTimeout / 1000} s`));
    }, connectTimeout);
    let pinger: NodeJS.Timeout | undefined;
    session.once('connect', () => {
      clearTimeout(timer);
      session.setLocalWindowSize(16 << 20);
      pinger = setInterval(() => this.#ping(session), pingInterval).unref();
    });
    // Every stream reports its own failure; without a listener the session's would end the process.
    session.on('error', () => {});
    session.once('goaway', () => this.#forget(session));
    session.once('close', () => {
      clearTimeout(timer);
      clearInterval(pinger);
      this.#forget(session);
    });
    return session;
  }

  #ping(session: ClientHttp2Session): void {
    const timer = setTimeout(() => {
      session.destroy(new Error(`${this.#endpoint.server} did not answer a ping in ${pingTimeout / 1000} s`));
    }, pingTimeout).unref();
    if (!session.ping(() => clearTimeout(timer))) clearTimeout(timer);
  }

  #forget(session: ClientHttp2Session): void {
    this.#open = this.#open.filter((connection) => connection.session !== session);
  }
}

function settled(session: ClientHttp2Session): Promise<void> {
  return new Promise((resolve, reject) => {
    let failure: Error | undefined;
    session.once('remoteSettings', () => resolve());
    session.once('error', (error: Error) => {
      failure = error;
      reject(error);
    });
    session.once('close', () => reject(failure ?? new Error('the connection was closed while it was being made')));
  });
}

/** Cuts a byte stream into lines without joining more than one line's chunks. */
class LineSplitter {
  readonly #onLine: (line: string) => void;
  #parts: Buffer[] = [];

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine;
  }

  push(chunk: Buffer): void {
    let start = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      const tail = chunk.subarray(start, end);
      const line = this.#parts.length === 0 ? tail : Buffer.concat([...this.#parts, tail]);
      this.#parts = [];
      start = end + 1;
      if (line.length > 0) this.#onLine(line.toString('utf8'));
    }
    if (start < chunk.length) this.#parts.push(chunk.subarray(start));
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
