// SPDX-License-Identifier: Apache-2.0
// The measurements of HTTP, TCP and gRPC probes. HTTP answers carry status and output; TCP and gRPC throw on failure. All end by their
// time-out, and none keeps a connection.
import { request as httpRequest } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import descriptor from '../grpc/health.descriptor.json' with { type: 'json' };
import type { HealthCheckResponse } from '../grpc/health.types.ts';
import { connectService, grpcCode, grpcMessage, grpcStatus } from '../grpc/service-client.ts';

export interface HttpProbe {
  readonly host: string;
  readonly port: number;
  readonly path: string;
  readonly scheme: string;
  readonly headers: readonly { readonly name: string; readonly value: string }[];
  readonly timeoutMs: number;
  readonly userAgent: string;
}

export interface HttpOutcome {
  /** Undefined when there was no answer; `output` then says why. */
  readonly status: number | undefined;
  readonly output: string;
}

const maxBody = 10 * 1024;
const maxRedirects = 10;

/** Follows redirects on the same host; one that leads elsewhere is the answer itself. */
export async function probeHttp(probe: HttpProbe): Promise<HttpOutcome> {
  const deadline = Date.now() + probe.timeoutMs;
  const host = probe.host.includes(':') ? `[${probe.host}]` : probe.host;
  let url = new URL(
    probe.path.startsWith('/') ? probe.path : `/${probe.path}`,
    `${probe.scheme.toLowerCase()}://${host}:${probe.port}`,
  );
  const shown = url.toString();
  try {
    for (let hops = 0; ; hops++) {
      const { status, location, body } = await fetchOnce(url, probe, deadline - Date.now());
      const next = location !== undefined && status >= 300 && status < 400 ? new URL(location, url) : undefined;
      if (next === undefined || next.hostname !== url.hostname) return { status, output: body };
      if (hops >= maxRedirects)
        return { status: undefined, output: `Get "${shown}": stopped after ${maxRedirects} redirects` };
      url = next;
    }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { status: undefined, output: `Get "${shown}": ${reason}` };
  }
}

async function fetchOnce(
  url: URL,
  probe: HttpProbe,
  timeoutMs: number,
): Promise<{ status: number; location: string | undefined; body: string }> {
  const headers: Record<string, string[]> = {};
  for (const { name, value } of probe.headers) (headers[name] ??= []).push(value);
  const has = (name: string): boolean => Object.keys(headers).some((key) => key.toLowerCase() === name);
  if (!has('user-agent')) headers['User-Agent'] = [probe.userAgent];
  if (!has('accept')) headers['Accept'] = ['*/*'];
  for (const [name, values] of Object.entries(headers))
    if (values[0] === '' && values.length === 1) delete headers[name];
  const options = {
    rejectUnauthorized: false,
    agent: false as const,
    method: 'GET',
    hostname: url.hostname.replaceAll(/^\[|\]$/g, ''),
    port: url.port,
    path: url.pathname + url.search,
    headers: { Connection: 'close', ...headers },
  };
  const { request } = url.protocol === 'https:' ? await import('node:https') : { request: httpRequest };
  return new Promise((resolve, reject) => {
    const outgoing = request(options, (response: IncomingMessage) => {
      let body = '';
      const finish = (): void => {
        clearTimeout(timer);
        resolve({ status: response.statusCode ?? 0, location: response.headers.location, body });
        outgoing.destroy();
      };
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        body += chunk;
        if (body.length >= maxBody) {
          body = body.slice(0, maxBody);
          finish();
        }
      });
      response.on('end', finish);
      response.on('error', finish);
    });
    const timer = setTimeout(
      () => outgoing.destroy(new Error('context deadline exceeded (Client.Timeout exceeded while awaiting headers)')),
      Math.max(1, timeoutMs),
    );
    outgoing.on('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    outgoing.end();
  });
}

export function probeTcp(host: string, port: number, timeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port });
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new Error(`dial tcp ${host}:${port}: i/o timeout`));
    }, timeoutMs);
    socket.once('connect', () => {
      clearTimeout(timer);
      socket.destroy();
      resolve();
    });
    socket.once('error', (error) => {
      clearTimeout(timer);
      reject(new Error(`dial tcp ${host}:${port}: ${error.message}`));
    });
  });
}

export async function probeGrpc(options: {
  host: string;
  port: number;
  service: string;
  timeoutMs: number;
}): Promise<void> {
  const host = options.host.includes(':') ? `[${options.host}]` : options.host;
  const address = `${host}:${options.port}`;
  const client = connectService(descriptor, 'grpc.health.v1.Health', address);
  try {
    const answer = await client.call<HealthCheckResponse>('Check', { service: options.service }, options);
    if (answer.status !== 'SERVING') throw new Error(`service unhealthy (responded with "${answer.status}")`);
  } catch (error) {
    switch (grpcCode(error)) {
      case grpcStatus.UNIMPLEMENTED:
        throw new Error('this server does not implement the grpc health protocol (grpc.health.v1.Health)', {
          cause: error,
        });
      case grpcStatus.DEADLINE_EXCEEDED:
      case grpcStatus.UNAVAILABLE:
        throw new Error(
          `timeout: failed to connect service "${address}" within ${options.timeoutMs}ms: ${grpcMessage(error)}`,
          { cause: error },
        );
      default:
        throw error;
    }
  } finally {
    client.close();
  }
}
