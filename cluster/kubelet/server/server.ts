// SPDX-License-Identifier: Apache-2.0
// The kubelet's HTTPS API on :10250, and its health port. Paths and parameters are upstream's, since API servers and monitoring call them.
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import { join, normalize } from 'node:path';
import type { Duplex } from 'node:stream';
import type { Client } from '../../machinery/client.ts';
import { describeError, logger } from '../../machinery/log.ts';
import type { KubeletConfiguration } from '../configuration.ts';
import { grpcMessage } from '../grpc/service-client.ts';
import type { Housekeeping } from '../node/housekeeping.ts';
import type { NodeAgent } from '../node/node-agent.ts';
import type { PodContext } from '../pods/pod-context.ts';
import { specOf } from '../pods/pod-facts.ts';
import type { PodManager } from '../pods/pod-manager.ts';
import type { ContainerRecord } from '../pods/pod-runtime.ts';
import type { PodWorker } from '../pods/pod-worker.ts';
import type { CsiVolumes } from '../volumes/csi-volumes.ts';
import { Gatekeeper } from './authentication.ts';
import { readContainerLog } from './container-log.ts';
import { servingCertificate } from './self-signed.ts';
import { isWebSocket, servePortForward, serveRemoteCommand } from './streaming.ts';
import { StatsReader } from './stats.ts';

export interface ServerOptions {
  readonly config: KubeletConfiguration;
  readonly client: Client;
  readonly context: PodContext;
  readonly manager: PodManager;
  readonly agent: NodeAgent;
  readonly housekeeping: Housekeeping;
  readonly nodeName: string;
  readonly csi: CsiVolumes;
}

const log = logger('server');

/** An answer other than success, with its HTTP status. */
class HttpError extends Error {
  override readonly name = 'HttpError';
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export async function startServer(options: ServerOptions, signal: AbortSignal): Promise<{ address: string }> {
  const { config } = options;
  const handlers = new Handlers(options);
  const gatekeeper = new Gatekeeper(options.client, config, options.nodeName);
  const tls = serverTls(options);
  const server = createServer({ ...tls, requestCert: true, rejectUnauthorized: false }, (request, response) => {
    void (async () => {
      try {
        const decision = await gatekeeper.decide(request, new URL(request.url ?? '/', 'https://node').pathname);
        if (!decision.allowed) throw new HttpError(decision.status, decision.message);
        await handlers.request(request, response);
      } catch (error) {
        const status = error instanceof HttpError ? error.status : 500;
        if (response.headersSent) response.destroy();
        else response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' }).end(describeError(error));
      }
    })();
  });
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on('error', () => socket.destroy());
    void (async () => {
      try {
        const decision = await gatekeeper.decide(request, new URL(request.url ?? '/', 'https://node').pathname);
        if (!decision.allowed) throw new HttpError(decision.status, decision.message);
        await handlers.upgrade(request, socket, head);
      } catch (error) {
        const status = error instanceof HttpError ? error.status : 500;
        const text = error instanceof HttpError ? error.message : grpcMessage(error);
        socket.end(
          `HTTP/1.1 ${status} Error\r\nContent-Type: text/plain\r\nContent-Length: ${Buffer.byteLength(text)}\r\nConnection: close\r\n\r\n${text}`,
        );
      }
    })();
  });
  server.on('tlsClientError', (error) => log.debug('TLS handshake failed', { error }));
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) =>
      reject(new Error(`cannot listen on ${config.address}:${config.port}`, { cause: error })),
    );
    server.listen(config.port, config.address, resolve);
  });
  if (config.healthzPort > 0) {
    const health = createHttpServer((request, response) => {
      const fine = request.url?.startsWith('/healthz');
      response.writeHead(fine ? 200 : 404, { 'content-type': 'text/plain' }).end(fine ? 'ok' : '404 page not found\n');
    });
    health.on('error', (error) => log.warn('health port is not available', { port: config.healthzPort, error }));
    health.listen(config.healthzPort, config.healthzBindAddress);
    signal.addEventListener('abort', () => health.close());
  }
  signal.addEventListener('abort', () => {
    server.close();
    server.closeAllConnections();
  });
  return { address: `${config.address}:${config.port}` };
}

function serverTls(options: ServerOptions): { cert: Buffer | string; key: Buffer | string; ca?: Buffer } {
  const { config, nodeName, context } = options;
  const ca = config.clientCAFile === '' ? {} : { ca: readFileSync(config.clientCAFile) };
  if (config.tlsCertFile !== '') {
    return { cert: readFileSync(config.tlsCertFile), key: readFileSync(config.tlsPrivateKeyFile), ...ca };
  }
  return { ...servingCertificate(join(context.rootDir, 'pki'), [nodeName, ...context.node.ips]), ...ca };
}

class Handlers {
  readonly #options: ServerOptions;
  readonly #stats: StatsReader;

  constructor(options: ServerOptions) {
    this.#options = options;
    this.#stats = new StatsReader(options);
  }

  async request(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'https://node');
    const [, first = '', ...rest] = url.pathname.split('/').map(decodeURIComponent);
    const text = (body: string, type = 'text/plain; version=0.0.4; charset=utf-8'): void =>
      void response.writeHead(200, { 'content-type': type }).end(body);
    const json = (body: unknown): void => text(JSON.stringify(body), 'application/json');
    switch (first) {
      case 'healthz':
        return text('ok', 'text/plain; charset=utf-8');
      case 'containerLogs':
        return this.#containerLogs(rest, url.searchParams, { request, response });
      case 'pods':
        return json({
          kind: 'PodList',
          apiVersion: 'v1',
          metadata: {},
          items: [...this.#options.manager.workers()].map((worker) => ({ ...worker.pod, status: worker.status })),
        });
      case 'runningpods':
        return json(await this.#runningPods());
      case 'configz':
        return json({ kubeletconfig: { ...this.#options.config.raw } });
      case 'metrics':
        return text(await this.#stats.metrics(rest[0] ?? ''));
      case 'stats':
        if (rest[0] === 'summary') return json(await this.#stats.summary());
        break;
      case 'run':
        return this.#run(rest, url.searchParams, response);
      case 'logs':
        return this.#nodeLogs(rest.join('/'), response);
      case 'exec':
      case 'attach':
      case 'portForward':
        throw new HttpError(400, 'Upgrade request required');
      default:
        break;
    }
    throw new HttpError(404, '404 page not found');
  }

  async upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const url = new URL(request.url ?? '/', 'https://node');
    const [, first = '', namespace = '', name = '', ...rest] = url.pathname.split('/').map(decodeURIComponent);
    const { runtime } = this.#options.context;
    const query = url.searchParams;
    if (first === 'portForward') {
      const worker = this.#worker(namespace, name, rest[0]);
      const pod = await this.#options.context.reader.read(worker.identity);
      const sandbox = pod.sandboxes.find((record) => record.ready);
      if (sandbox === undefined) throw new HttpError(500, `pod ${name} has no running sandbox`);
      const ports = [...query.getAll('port'), ...query.getAll('ports')]
        .flatMap((text) => text.split(','))
        .map(Number)
        .filter((port) => port > 0);
      return servePortForward(
        { request, socket, head },
        await runtime.portForward(sandbox.id, isWebSocket(request) ? ports : []),
      );
    }
    if (first !== 'exec' && first !== 'attach') throw new HttpError(404, '404 page not found');
    const uid = rest.length > 1 ? rest[0] : undefined;
    const containerName = rest.at(-1) ?? '';
    const { record } = await this.#container({ namespace, name, uid, containerName }, true);
    const flag = (...names: string[]): boolean => names.some((key) => ['1', 'true'].includes(query.get(key) ?? ''));
    const tty = flag('tty');
    const streams = {
      stdin: flag('input', 'stdin'),
      stdout: flag('output', 'stdout'),
      stderr: flag('error', 'stderr') && !tty,
      tty,
    };
    if (!streams.stdin && !streams.stdout && !streams.stderr)
      throw new HttpError(400, 'you must specify at least 1 of stdin, stdout, stderr');
    const target = { containerId: record.id, ...streams };
    const runtimeUrl =
      first === 'exec' ? await runtime.exec({ ...target, cmd: query.getAll('command') }) : await runtime.attach(target);
    return serveRemoteCommand({ request, socket, head }, runtimeUrl, streams);
  }

  #worker(namespace: string, name: string, uid?: string): PodWorker {
    const worker = this.#options.manager.find(namespace, name, uid);
    if (worker === undefined) throw new HttpError(404, `pod "${name}" not found in namespace "${namespace}"`);
    return worker;
  }

  async #container(
    target: { namespace: string; name: string; uid?: string | undefined; containerName: string },
    mustRun: boolean,
  ): Promise<{ worker: PodWorker; record: ContainerRecord }> {
    const worker = this.#worker(target.namespace, target.name, target.uid);
    const runtime = await this.#options.context.reader.read(worker.identity);
    const record = runtime.containers.find(
      (candidate) => candidate.name === target.containerName && (!mustRun || candidate.state === 'running'),
    );
    if (record === undefined)
      throw new HttpError(mustRun ? 404 : 400, `container not found ("${target.containerName}")`);
    return { worker, record };
  }

  async #containerLogs(
    path: readonly string[],
    query: URLSearchParams,
    http: { request: IncomingMessage; response: ServerResponse },
  ): Promise<void> {
    const [namespace = '', name = '', containerName = ''] = path;
    const worker = this.#worker(namespace, name);
    const spec = specOf(worker.pod);
    const known = [...spec.containers, ...(spec.initContainers ?? []), ...(spec.ephemeralContainers ?? [])];
    if (!known.some((container) => container.name === containerName)) {
      throw new HttpError(404, `container "${containerName}" not found in pod "${name}"`);
    }
    const { reader } = this.#options.context;
    const runtime = await reader.read(worker.identity);
    const records = runtime.containers.filter((record) => record.name === containerName);
    const previous = query.get('previous') === 'true';
    const [latest, before] = records;
    const status = [
      ...(worker.status.containerStatuses ?? []),
      ...(worker.status.initContainerStatuses ?? []),
      ...(worker.status.ephemeralContainerStatuses ?? []),
    ].find((one) => one.name === containerName);
    // The run before is what the status calls the last state: while a container waits to be restarted, that is its newest run.
    const lastId = status?.lastState?.terminated?.containerID?.replace(/^[^:]*:\/\//, '');
    const current = latest?.state === 'created' && before ? before : latest;
    const record = previous ? records.find((one) => one.id === lastId) : current;
    if (record === undefined) {
      if (previous)
        throw new HttpError(400, `previous terminated container "${containerName}" in pod "${name}" not found`);
      const reason = status?.state?.waiting?.reason;
      const why =
        reason === undefined
          ? 'is waiting to start'
          : reason === 'ContainerCreating' || reason === 'PodInitializing'
            ? `is waiting to start: ${reason}`
            : `is waiting to start: ${waitingWords(reason, status?.state?.waiting?.message)}`;
      throw new HttpError(400, `container "${containerName}" in pod "${name}" ${why}`);
    }
    const number = (key: string): number | undefined => (query.get(key) === null ? undefined : Number(query.get(key)));
    const sinceSeconds = number('sinceSeconds');
    const sinceTime = query.get('sinceTime');
    const stream = query.get('stream');
    const follow = query.get('follow') === 'true';
    if (!existsSync(record.logPath)) throw new HttpError(404, `the log of container "${containerName}" is gone`);
    const stop = new AbortController();
    http.response.on('close', () => stop.abort());
    http.response.writeHead(200, { 'content-type': 'text/plain' });
    http.response.flushHeaders();
    await readContainerLog(
      record.logPath,
      {
        follow,
        tailLines: number('tailLines'),
        limitBytes: number('limitBytes'),
        since: sinceTime
          ? Date.parse(sinceTime)
          : sinceSeconds === undefined
            ? undefined
            : Date.now() - sinceSeconds * 1000,
        timestamps: query.get('timestamps') === 'true',
        stream: stream === 'Stdout' ? 'stdout' : stream === 'Stderr' ? 'stderr' : undefined,
      },
      {
        signal: stop.signal,
        sink: {
          write(chunk) {
            if (http.response.write(chunk) || stop.signal.aborted) return;
            return new Promise((resolve) => {
              const done = (): void => {
                http.response.off('drain', done);
                stop.signal.removeEventListener('abort', done);
                resolve();
              };
              http.response.on('drain', done);
              stop.signal.addEventListener('abort', done, { once: true });
            });
          },
        },
        isRunning: async () => {
          const now = await reader.read(worker.identity);
          return now.containers.some((candidate) => candidate.id === record.id && candidate.state === 'running');
        },
      },
    );
    http.response.end();
  }

  async #run(path: readonly string[], query: URLSearchParams, response: ServerResponse): Promise<void> {
    const [namespace = '', name = '', ...rest] = path;
    const uid = rest.length > 1 ? rest[0] : undefined;
    const { record } = await this.#container({ namespace, name, uid, containerName: rest.at(-1) ?? '' }, true);
    const command = (query.get('cmd') ?? '').split(' ').filter((part) => part !== '');
    const result = await this.#options.context.runtime.execSync(record.id, command, 0);
    response.writeHead(200, { 'content-type': 'text/plain' }).end(Buffer.concat([result.stdout, result.stderr]));
  }

  async #runningPods(): Promise<unknown> {
    const held = await this.#options.context.reader.list();
    const items = [...held].flatMap(([uid, pod]) => {
      const running = pod.containers.filter((container) => container.state === 'CONTAINER_RUNNING');
      const labels = running[0]?.labels ?? {};
      if (running.length === 0) return [];
      return [
        {
          metadata: { uid, name: labels['io.kubernetes.pod.name'], namespace: labels['io.kubernetes.pod.namespace'] },
          spec: {
            containers: running.map((container) => ({ name: container.metadata?.name, image: container.imageRef })),
          },
          status: {},
        },
      ];
    });
    return { kind: 'PodList', apiVersion: 'v1', metadata: {}, items };
  }

  /** Files below /var/log, and listings of its folders. */
  #nodeLogs(path: string, response: ServerResponse): void {
    const root = '/var/log';
    const target = normalize(join(root, path));
    if (target !== root && !target.startsWith(`${root}/`)) throw new HttpError(400, `"${path}" leads out of ${root}`);
    if (!existsSync(target)) throw new HttpError(404, `no file ${path} in ${root}`);
    if (statSync(target).isDirectory()) {
      const links = readdirSync(target, { withFileTypes: true }).map((entry) => {
        const name = entry.name + (entry.isDirectory() ? '/' : '');
        return `<a href="${encodeURI(name)}">${name}</a>\n`;
      });
      response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(`<pre>\n${links.join('')}</pre>\n`);
      return;
    }
    response.writeHead(200, { 'content-type': 'text/plain; charset=utf-8' }).end(readFileSync(target));
  }
}

/** What `kubectl logs` says of a container whose image can't be had, and the like. */
function waitingWords(reason: string, message: string | undefined): string {
  if (reason === 'ImagePullBackOff' || reason === 'ErrImagePull') return 'trying and failing to pull image';
  return message ? `${reason}: ${message}` : reason;
}
