// SPDX-License-Identifier: Apache-2.0
// The small HTTP server that every component has for its supervisor and for monitoring: /healthz, /livez, /readyz
// (`?verbose` lists the checks) and /metrics.
import { createServer as createHttpServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { describeError } from './log.ts';
import { contentType, metrics } from './metrics.ts';

export interface HealthServerOptions {
  /** `host:port`, `:port` or `[v6]:port`. */
  readonly address: string;
  /** HTTPS when given, plain HTTP otherwise. */
  readonly tls?: { readonly cert: Buffer | string; readonly key: Buffer | string };
  /** A check fails by throwing or rejecting; its message is shown. */
  readonly checks?: Readonly<Record<string, () => void | Promise<void>>>;
  /** Checks that count for /readyz only. */
  readonly readyChecks?: Readonly<Record<string, () => void | Promise<void>>>;
  /** Further paths. */
  readonly routes?: Readonly<Record<string, (request: IncomingMessage, response: ServerResponse) => void>>;
}

/** Listens until `signal` aborts; resolves with the port. Errors: the address and why it cannot be had. */
export async function startHealthServer(options: HealthServerOptions, signal: AbortSignal): Promise<number> {
  const { host, port } = parseAddress(options.address);
  const handle = (request: IncomingMessage, response: ServerResponse): void => void answer(options, request, response);
  const server: Server = options.tls ? createHttpsServer(options.tls, handle) : createHttpServer(handle);
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(new Error(`cannot listen on ${options.address}`, { cause: error })));
    server.listen(port, host, resolve);
  });
  signal.addEventListener('abort', () => {
    server.close();
    server.closeAllConnections();
  });
  const address = server.address();
  return typeof address === 'object' && address ? address.port : port;
}

async function answer(options: HealthServerOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://localhost');
  const route = options.routes?.[url.pathname];
  if (route) {
    route(request, response);
    return;
  }
  switch (url.pathname) {
    case '/metrics':
      response.writeHead(200, { 'content-type': contentType }).end(metrics.render());
      return;
    case '/healthz':
    case '/livez':
      await report({
        response,
        path: url.pathname,
        checks: { ...options.checks },
        verbose: url.searchParams.has('verbose'),
      });
      return;
    case '/readyz':
      await report({
        response,
        path: url.pathname,
        checks: { ...options.checks, ...options.readyChecks },
        verbose: url.searchParams.has('verbose'),
      });
      return;
    default:
      response.writeHead(404, { 'content-type': 'text/plain' }).end('404 page not found\n');
  }
}

async function report(options: {
  response: ServerResponse;
  path: string;
  checks: Record<string, () => void | Promise<void>>;
  verbose: boolean;
}): Promise<void> {
  const { response, path } = options;
  const lines = ['[+]ping ok'];
  let failed = false;
  for (const [name, check] of Object.entries(options.checks)) {
    try {
      await check();
      lines.push(`[+]${name} ok`);
    } catch (error) {
      failed = true;
      lines.push(`[-]${name} failed: ${describeError(error)}`);
    }
  }
  const name = path.slice(1);
  const detail = `${lines.join('\n')}\n${name} check ${failed ? 'failed' : 'passed'}\n`;
  response
    .writeHead(failed ? 500 : 200, { 'content-type': 'text/plain; charset=utf-8', 'x-content-type-options': 'nosniff' })
    .end(failed || options.verbose ? detail : 'ok');
}

function parseAddress(address: string): { host?: string; port: number } {
  const match = /^(?:\[([^\]]*)\]|([^:]*)):(\d+)$/.exec(address);
  if (!match) throw new Error(`"${address}" is not host:port`);
  const host = match[1] ?? match[2];
  return { port: Number(match[3]), ...(host && { host }) };
}
