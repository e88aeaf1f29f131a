// SPDX-License-Identifier: Apache-2.0
// HTTP/1.1 upgrades (exec, attach, port-forward, proxied WebSockets): the same checks as every request, then the raw socket
// goes to the subresource's handler.
import { STATUS_CODES } from 'node:http';
import type { IncomingMessage } from 'node:http';
import type { Writable } from 'node:stream';
import type { Duplex } from 'node:stream';
import type { UserInfo } from '../resources/definition.ts';
import { asStatusError, pathNotFound } from '../status.ts';
import type { Core } from './core.ts';
import { Exchange, sendStatus } from './exchange.ts';
import type { Headers } from './exchange.ts';
import { requestContext } from './handlers.ts';
import { requestInfo } from './request-info.ts';
import type { RequestInfo } from './request-info.ts';
import { serveSubresource } from './subresources.ts';

export interface UpgradeCall {
  readonly request: IncomingMessage;
  readonly socket: Duplex;
  readonly head: Buffer;
  readonly authenticate: (info: RequestInfo) => Promise<UserInfo>;
  readonly stop: AbortSignal;
}

/** Never throws: refusals are written to the socket as plain HTTP responses. */
export async function serveUpgrade(core: Core, call: UpgradeCall): Promise<void> {
  const { request, socket, head, authenticate, stop } = call;
  const exchange = new UpgradeExchange(request, socket);
  try {
    const info = requestInfo(exchange.method, exchange.path, exchange.query);
    const user = await authenticate(info);
    const served = info.kind === 'resource' ? core.catalog.find(info.group, info.version, info.resource) : undefined;
    const own = info.kind === 'resource' ? served?.definition.subresources?.[info.subresource] : undefined;
    if (info.kind !== 'resource' || served === undefined || own === undefined) {
      throw pathNotFound();
    }
    const resourceCall = { exchange, info, user, stop };
    const context = requestContext(core, resourceCall, served);
    await serveSubresource(core, { served, own, call: resourceCall, context, upgrade: { socket, head } });
  } catch (error) {
    sendStatus(exchange, asStatusError(error));
  }
}

/** Answers an upgrade request with an ordinary response and closes the connection. */
class UpgradeExchange extends Exchange {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  readonly remoteAddress: string;
  readonly http2 = false;
  readonly #request: IncomingMessage;
  readonly #socket: Duplex;

  constructor(request: IncomingMessage, socket: Duplex) {
    super();
    this.#request = request;
    this.#socket = socket;
    this.method = request.method ?? 'GET';
    this.url = request.url ?? '/';
    this.headers = request.headers;
    this.remoteAddress = request.socket.remoteAddress ?? '';
  }

  begin(status: number, headers: Headers): Writable {
    this.status = status;
    this.#socket.write(head(status, headers));
    return this.#socket;
  }

  onClose(listener: () => void): void {
    this.#socket.once('close', listener);
  }

  request(): IncomingMessage {
    return this.#request;
  }

  protected source(): NodeJS.ReadableStream {
    return this.#request;
  }

  protected send(status: number, headers: Headers, body: Buffer): void {
    if (this.#socket.writable) {
      this.#socket.end(
        Buffer.concat([Buffer.from(head(status, { ...headers, 'content-length': String(body.length) })), body]),
      );
    }
  }
}

function head(status: number, headers: Headers): string {
  const lines = Object.entries(headers).flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value]).map((one) => `${name}: ${one}`),
  );
  return `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${lines.join('\r\n')}\r\nconnection: close\r\n\r\n`;
}
