// SPDX-License-Identifier: Apache-2.0
// One request and its response, the same for HTTP/1.1 and HTTP/2. HTTP/2 goes through node's stream API, which is a third
// faster than its compatibility layer.
import type { IncomingMessage, ServerResponse } from 'node:http';
import http2 from 'node:http2';
import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import type { Writable } from 'node:stream';
import { gzip } from 'node:zlib';
import { badRequest, requestEntityTooLarge } from '../status.ts';
import type { StatusError } from '../status.ts';

export type Headers = Record<string, string | string[]>;

const gzipFromBytes = 128 * 1024;
/** As upstream: etcd takes 1.5 MiB, and encodings differ. */
const bodyLimit = 3 * 1024 * 1024;

export abstract class Exchange {
  abstract readonly method: string;
  /** Path and query as they were sent. */
  abstract readonly url: string;
  abstract readonly headers: IncomingHttpHeaders;
  abstract readonly remoteAddress: string;
  abstract readonly http2: boolean;
  readonly started = performance.now();
  readonly warnings: string[] = [];
  /** Status of the response, once it has begun. */
  status = 0;
  bytesSent = 0;
  #path: string | undefined;
  #query: URLSearchParams | undefined;

  get path(): string {
    if (this.#path === undefined) {
      const mark = this.url.indexOf('?');
      this.#path = mark < 0 ? this.url : this.url.slice(0, mark);
    }
    return this.#path;
  }

  get query(): URLSearchParams {
    if (this.#query === undefined) {
      const mark = this.url.indexOf('?');
      this.#query = new URLSearchParams(mark < 0 ? '' : this.url.slice(mark + 1));
    }
    return this.#query;
  }

  header(name: string): string | undefined {
    const value = this.headers[name];
    return Array.isArray(value) ? value.join(', ') : value;
  }

  /** Begins a response without a known length. */
  abstract begin(status: number, headers: Headers): Writable;
  abstract onClose(listener: () => void): void;
  /** The request as node's own object, for proxies. */
  abstract request(): IncomingMessage;
  protected abstract source(): NodeJS.ReadableStream;
  protected abstract send(status: number, headers: Headers, body: Buffer): void;

  /** The whole request body. Throws 413. */
  async body(): Promise<Buffer> {
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
    const chunks: Buffer[] = [];
    let length = 0;
    let complete = false;
    this.source()
      .on('data', (chunk: Buffer) => {
        length += chunk.length;
        if (length > bodyLimit) {
          reject(requestEntityTooLarge(`limit is ${bodyLimit}`));
        } else {
          chunks.push(chunk);
        }
      })
      .on('end', () => {
        complete = true;
        resolve(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks));
      })
      .on('error', reject);
    this.onClose(() => {
      if (!complete) {
        reject(badRequest('the client went away'));
      }
    });
    return promise;
  }

  /** Sends a whole response, compressed when it is large and the client takes it. */
  respond(status: number, contentType: string, body: Buffer, extra: Headers = {}): void {
    const headers: Headers = { 'content-type': contentType, ...this.common(), ...extra };
    this.status = status;
    if (body.length < gzipFromBytes || !acceptsGzip(this.header('accept-encoding'))) {
      this.bytesSent = body.length;
      this.send(status, headers, body);
      return;
    }
    gzip(body, { level: 1 }, (error, compressed) => {
      if (error === null) {
        headers['content-encoding'] = 'gzip';
        headers['vary'] = 'Accept-Encoding';
      }
      this.bytesSent = error === null ? compressed.length : body.length;
      this.send(status, headers, error === null ? compressed : body);
    });
  }

  protected common(): Headers {
    const headers: Headers = { 'cache-control': 'no-cache, private' };
    if (this.warnings.length > 0) {
      headers['warning'] = this.warnings.map((text) => `299 - ${JSON.stringify(text)}`);
    }
    return headers;
  }
}

function acceptsGzip(header: string | undefined): boolean {
  return header !== undefined && /\bgzip\b(?!\s*;\s*q=0(?:\.0*)?(?:,|$))/.test(header);
}

export class Http1Exchange extends Exchange {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly remoteAddress: string;
  readonly http2 = false;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;

  constructor(request: IncomingMessage, response: ServerResponse) {
    super();
    this.#request = request;
    this.#response = response;
    this.method = request.method ?? 'GET';
    this.url = request.url ?? '/';
    this.headers = request.headers;
    this.remoteAddress = request.socket.remoteAddress ?? '';
  }

  begin(status: number, headers: Headers): Writable {
    this.status = status;
    this.#response.writeHead(status, { ...this.common(), ...headers });
    this.#response.flushHeaders();
    return this.#response;
  }

  onClose(listener: () => void): void {
    this.#response.once('close', listener);
  }

  request(): IncomingMessage {
    return this.#request;
  }

  protected source(): NodeJS.ReadableStream {
    return this.#request;
  }

  protected send(status: number, headers: Headers, body: Buffer): void {
    this.#response.writeHead(status, { ...headers, 'content-length': String(body.length) });
    this.#response.end(this.method === 'HEAD' ? undefined : body);
  }
}

export class Http2Exchange extends Exchange {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly remoteAddress: string;
  readonly http2 = true;
  readonly #stream: ServerHttp2Stream;
  readonly #http2Headers: http2.IncomingHttpHeaders;

  constructor(stream: ServerHttp2Stream, headers: http2.IncomingHttpHeaders, remoteAddress: string) {
    super();
    this.#stream = stream;
    this.#http2Headers = headers;
    this.method = String(headers[':method'] ?? 'GET');
    this.url = String(headers[':path'] ?? '/');
    this.headers = headers;
    this.remoteAddress = remoteAddress;
  }

  begin(status: number, headers: Headers): Writable {
    this.status = status;
    if (!this.#stream.destroyed && !this.#stream.headersSent) {
      this.#stream.respond({ ':status': status, ...this.common(), ...headers });
    }
    return this.#stream;
  }

  onClose(listener: () => void): void {
    this.#stream.once('close', listener);
  }

  request(): IncomingMessage {
    const request = new http2.Http2ServerRequest(this.#stream, this.#http2Headers, {}, []);
    return request as unknown as IncomingMessage;
  }

  protected source(): NodeJS.ReadableStream {
    return this.#stream;
  }

  protected send(status: number, headers: Headers, body: Buffer): void {
    if (this.#stream.destroyed || this.#stream.headersSent) {
      return;
    }
    this.#stream.respond({ ':status': status, ...headers, 'content-length': String(body.length) });
    this.#stream.end(this.method === 'HEAD' ? undefined : body);
  }
}

/** Sends a refusal, unless a response has begun already. */
export function sendStatus(exchange: Exchange, error: StatusError): void {
  if (exchange.status !== 0) {
    return;
  }
  const retry = error.status.details?.retryAfterSeconds;
  const extra: Headers = retry === undefined ? {} : { 'retry-after': String(retry) };
  exchange.respond(error.code, 'application/json', Buffer.from(JSON.stringify(error.status)), extra);
}
