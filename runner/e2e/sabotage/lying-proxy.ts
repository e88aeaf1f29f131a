// SPDX-License-Identifier: Apache-2.0
/**
 * A way to the API server that can lie: it changes requests, answers and watch events as a broken cluster would. It listens on the
 * loopback only and wants a token of its own; with that it asks the server as the kubeconfig's user, with any other it passes the
 * request on as it came, so that tokens of service accounts are judged by the server.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type OutgoingHttpHeaders, type ServerResponse } from 'node:http';
import { Agent, request as httpsRequest, type RequestOptions } from 'node:https';
import type { Duplex } from 'node:stream';
import { connect } from 'node:tls';
import { parse, stringify } from 'yaml';

/** JSON of the API, as loose as it is on the wire. */
export interface Json {
  [field: string]: Json | Json[] | string | number | boolean | null | undefined;
}

/** A request on its way to the server. Lies change `url` and `body` in place. */
export interface Call {
  readonly method: string;
  readonly url: URL;
  /** Of the object that the path names; `plumb-...` for those of a run. */
  readonly namespace: string | undefined;
  /** Plural of the kind, such as `pods`. */
  readonly resource: string;
  readonly name: string | undefined;
  readonly subresource: string | undefined;
  readonly contentType: string;
  body: Json | undefined;
}

export interface Answer {
  status: number;
  body: Json;
}

export interface Lie {
  /** Changes the request, or answers in the server's place. */
  readonly request?: (call: Call) => Answer | 'forget' | undefined | void;
  /** Changes the answer. */
  readonly answer?: (call: Call, answer: Answer) => void;
  /** False for a watch event that is to be lost. */
  readonly event?: (call: Call, event: Json) => boolean;
}

export interface LyingProxy {
  /** Path of a kubeconfig that leads here. */
  readonly kubeconfig: string;
  close(): void;
}

/** What a case then says proves nothing. */
export const proxyTrouble = 'the lying proxy could not reach the API server';

interface Upstream {
  readonly server: URL;
  readonly tls: { readonly ca: string; readonly cert: string; readonly key: string };
  readonly asUser: Agent;
  readonly asCaller: Agent;
}

/** `makeLies` is called once: lies may remember things. The kubeconfig is written to `path`. */
export async function startLyingProxy(options: {
  readonly kubeconfig: string;
  readonly path: string;
  readonly lies: readonly Lie[];
}): Promise<LyingProxy> {
  const upstream = readUpstream(options.kubeconfig);
  const token = randomBytes(24).toString('hex');
  const sockets = new Set<Duplex>();
  const server = createServer((request, response) => {
    handle(request, response, { upstream, token, lies: options.lies }).catch((error: unknown) => {
      if (!response.headersSent) response.writeHead(502, { 'content-type': 'text/plain' });
      response.end(`${proxyTrouble}: ${String(error)}\n`);
    });
  });
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  server.on('upgrade', (request, socket, head) => {
    tunnel(request, { socket, head, upstream, token, lies: options.lies });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const document = {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'lies',
    // Plain HTTP on the loopback, which client-node takes only together with this word.
    clusters: [{ name: 'lies', cluster: { server: `http://127.0.0.1:${port}`, 'insecure-skip-tls-verify': true } }],
    users: [{ name: 'lies', user: { token } }],
    contexts: [{ name: 'lies', context: { cluster: 'lies', user: 'lies' } }],
  };
  writeFileSync(options.path, stringify(document), { mode: 0o600 });
  return {
    kubeconfig: options.path,
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
      upstream.asUser.destroy();
      upstream.asCaller.destroy();
    },
  };
}

interface Proxying {
  readonly upstream: Upstream;
  readonly token: string;
  readonly lies: readonly Lie[];
}

async function handle(request: IncomingMessage, response: ServerResponse, proxying: Proxying): Promise<void> {
  const { lies } = proxying;
  const raw = await collect(request);
  const call = readCall(request, raw);
  const before = JSON.stringify(call.body);
  for (const lie of lies) {
    const answered = lie.request?.(call);
    if (answered === undefined) continue;
    const answer = answered === 'forget' ? await liveObject(call, request, proxying) : answered;
    for (const other of lies.toReversed()) other.answer?.(call, answer);
    send(response, answer);
    return;
  }
  const isChanged = JSON.stringify(call.body) !== before;
  const body = isChanged ? Buffer.from(JSON.stringify(call.body)) : raw;
  const reply = await ask(request, { call, body, proxying });
  const isWatch = call.url.searchParams.get('watch') === 'true' || call.url.searchParams.get('follow') === 'true';
  if (isWatch) {
    response.writeHead(reply.statusCode ?? 502, passedHeaders(reply.headers));
    response.flushHeaders();
    response.on('close', () => reply.destroy());
    for await (const line of lines(reply)) {
      if (lies.every((lie) => lie.event?.(call, JSON.parse(line) as Json) !== false)) response.write(`${line}\n`);
    }
    response.end();
    return;
  }
  const text = await collect(reply);
  const isJson = (reply.headers['content-type'] ?? '').includes('json');
  if (!isJson || lies.every((lie) => lie.answer === undefined)) {
    response.writeHead(reply.statusCode ?? 502, passedHeaders(reply.headers));
    response.end(text);
    return;
  }
  const answer: Answer = { status: reply.statusCode ?? 502, body: JSON.parse(text.toString()) as Json };
  // The last that changed the request is the first to cover it up.
  for (const lie of lies.toReversed()) lie.answer?.(call, answer);
  send(response, answer);
}

/** What the server says of the object now: the answer to a change that is acknowledged and not made. */
async function liveObject(call: Call, request: IncomingMessage, proxying: Proxying): Promise<Answer> {
  const reading: Call = { ...call, method: 'GET', url: new URL(call.url.pathname, call.url), body: undefined };
  const reply = await ask(request, { call: reading, body: Buffer.alloc(0), proxying });
  return { status: reply.statusCode ?? 502, body: JSON.parse((await collect(reply)).toString()) as Json };
}

function ask(
  request: IncomingMessage,
  { call, body, proxying }: { readonly call: Call; readonly body: Buffer; readonly proxying: Proxying },
): Promise<IncomingMessage> {
  const { upstream, token } = proxying;
  const isOwn = request.headers.authorization === `Bearer ${token}`;
  const headers: OutgoingHttpHeaders = { ...request.headers, host: upstream.server.host };
  for (const name of ['connection', 'transfer-encoding', 'accept-encoding', 'content-length', 'keep-alive'])
    Reflect.deleteProperty(headers, name);
  if (isOwn) Reflect.deleteProperty(headers, 'authorization');
  if (body.length > 0) headers['content-length'] = body.length;
  const options: RequestOptions = {
    host: upstream.server.hostname,
    port: upstream.server.port,
    method: call.method,
    path: call.url.pathname + call.url.search,
    headers,
    agent: isOwn ? upstream.asUser : upstream.asCaller,
  };
  return new Promise((resolve, reject) => {
    const outgoing = httpsRequest(options, resolve);
    outgoing.on('error', (error: NodeJS.ErrnoException) => {
      // The server may close a kept connection in the moment in which it is used again; then it has not seen the request.
      if (outgoing.reusedSocket && error.code === 'ECONNRESET') resolve(ask(request, { call, body, proxying }));
      else reject(error);
    });
    outgoing.end(body);
  });
}

/** Exec and the like: after the request line, bytes both ways. */
function tunnel(
  request: IncomingMessage,
  { socket, head, upstream, token, lies }: Proxying & { readonly socket: Duplex; readonly head: Buffer },
): void {
  if (request.headers.authorization !== `Bearer ${token}`) {
    socket.end('HTTP/1.1 401 Unauthorized\r\n\r\n');
    return;
  }
  const call = readCall(request, Buffer.alloc(0));
  for (const lie of lies) lie.request?.(call);
  const far = connect(
    {
      host: upstream.server.hostname,
      port: Number(upstream.server.port),
      ...upstream.tls,
      ALPNProtocols: ['http/1.1'],
    },
    () => {
      const headers = Object.entries({ ...request.headers, host: upstream.server.host, authorization: undefined });
      const shown = headers.flatMap(([name, value]) => (value === undefined ? [] : [`${name}: ${String(value)}`]));
      far.write(`${call.method} ${call.url.pathname}${call.url.search} HTTP/1.1\r\n${shown.join('\r\n')}\r\n\r\n`);
      far.write(head);
      far.pipe(socket);
      socket.pipe(far);
    },
  );
  far.on('error', () => socket.destroy()).on('close', () => socket.destroy());
  socket.on('error', () => far.destroy()).on('close', () => far.destroy());
}

function readCall(request: IncomingMessage, raw: Buffer): Call {
  const url = new URL(request.url ?? '/', 'http://proxy');
  const found =
    /^\/(?:api\/v1|apis\/[^/]+\/[^/]+)(?:\/namespaces\/([^/]+)(?=\/))?\/([^/]+)(?:\/([^/]+))?(?:\/(.+))?$/.exec(
      url.pathname,
    );
  const [, namespace, resource = '', name, subresource] = found ?? [];
  const contentType = request.headers['content-type'] ?? '';
  return { method: request.method ?? 'GET', url, namespace, resource, name, subresource, contentType, body: read(raw) };
}

function read(raw: Buffer): Json | undefined {
  if (raw.length === 0) return undefined;
  try {
    return JSON.parse(raw.toString()) as Json;
  } catch {
    // YAML of an apply, or protobuf: passed on as it came.
    return undefined;
  }
}

function send(response: ServerResponse, answer: Answer): void {
  const body = Buffer.from(JSON.stringify(answer.body));
  response.writeHead(answer.status, { 'content-type': 'application/json', 'content-length': body.length });
  response.end(body);
}

function passedHeaders(headers: IncomingMessage['headers']): OutgoingHttpHeaders {
  const passed: OutgoingHttpHeaders = { ...headers };
  for (const name of ['connection', 'transfer-encoding', 'keep-alive', 'content-length'])
    Reflect.deleteProperty(passed, name);
  return passed;
}

async function collect(stream: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

async function* lines(stream: IncomingMessage): AsyncGenerator<string> {
  let rest = '';
  for await (const chunk of stream.setEncoding('utf8')) {
    const parts = (rest + String(chunk)).split('\n');
    rest = parts.pop() ?? '';
    for (const part of parts) if (part !== '') yield part;
  }
}

function readUpstream(path: string): Upstream {
  const document = parse(readFileSync(path, 'utf8')) as {
    clusters: { cluster: Record<string, string> }[];
    users: { user: Record<string, string> }[];
  };
  const cluster = document.clusters[0]?.cluster ?? {};
  const user = document.users[0]?.user ?? {};
  const decoded = (source: Record<string, string>, field: string): string =>
    Buffer.from(source[`${field}-data`] ?? '', 'base64').toString();
  const tls = {
    ca: decoded(cluster, 'certificate-authority'),
    cert: decoded(user, 'client-certificate'),
    key: decoded(user, 'client-key'),
  };
  return {
    server: new URL(cluster['server'] ?? ''),
    tls,
    asUser: new Agent({ ...tls, keepAlive: true }),
    asCaller: new Agent({ ca: tls.ca, keepAlive: true }),
  };
}
