// SPDX-License-Identifier: Apache-2.0
// The proxy subresource of pods, services and nodes: plain HTTP to what they listen on, upgrades included.
import http, { type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import https from 'node:https';
import net from 'node:net';
import { PassThrough } from 'node:stream';
import tls from 'node:tls';
import type { Pod } from '../../../machinery/api-types.ts';
import { badRequest, serviceUnavailable } from '../../status.ts';
import type { KubeletCredentials } from '../config.ts';
import type { SubresourceDefinition, SubresourceRequest, SubresourceResponse } from '../definition.ts';
import { agentOf, dialError, dialKubelet, kubeletAddress } from './kubelet.ts';
import { join, requestHead } from './kubelet-streams.ts';
import { readyEndpoint } from './service-endpoints.ts';

const verbs = ['create', 'delete', 'get', 'patch', 'update'];
const hopByHop = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'authorization',
  'host',
]);
const linkAttribute =
  /(\s(?:href|src|action|background|cite|codebase|data|longdesc|usemap)=)(["'])(\/[^"'/][^"']*|\/)\2/gi;
// A kept connection may turn out to be closed, and a request with a body cannot be sent again.
const plain = new http.Agent({ keepAlive: false });
const insecure = new https.Agent({ keepAlive: false, rejectUnauthorized: false });

interface Target {
  readonly host: string;
  readonly port: number;
  readonly scheme: 'http' | 'https';
  /** Set when the other end is a kubelet. */
  readonly kubelet?: KubeletCredentials;
}

interface Segment {
  readonly scheme: 'http' | 'https';
  readonly name: string;
  readonly port: string;
}

export const podProxy: SubresourceDefinition = {
  kind: 'PodProxyOptions',
  verbs,
  async handle(request) {
    const pod = request.parent as unknown as Pod;
    const segment = parseSegment(request.context.name ?? '');
    const host = pod.status?.podIPs?.[0]?.ip ?? pod.status?.podIP ?? '';
    if (host === '') {
      throw badRequest('address not allowed');
    }
    const first = pod.spec?.containers.flatMap((container) => container.ports ?? [])[0]?.containerPort;
    const port = segment.port === '' ? (first ?? (segment.scheme === 'https' ? 443 : 80)) : Number(segment.port);
    return proxy(request, { host, port, scheme: segment.scheme });
  },
};

export const serviceProxy: SubresourceDefinition = {
  kind: 'ServiceProxyOptions',
  verbs,
  async handle(request) {
    const segment = parseSegment(request.context.name ?? '');
    const { host, port } = readyEndpoint(request.parent, segment.port, request.context.registry);
    return proxy(request, { host, port, scheme: segment.scheme });
  },
};

export function nodeProxy(kubelet: KubeletCredentials): SubresourceDefinition {
  return {
    kind: 'NodeProxyOptions',
    verbs,
    async handle(request) {
      const segment = parseSegment(request.context.name ?? '');
      const address = kubeletAddress(request.parent.metadata.name ?? '', request.context);
      if (segment.port !== '' && Number(segment.port) !== address.port) {
        return proxy(request, { host: address.host, port: Number(segment.port), scheme: segment.scheme });
      }
      return proxy(request, { ...address, scheme: 'https', kubelet });
    },
  };
}

/** `web`, `web:80`, `web:http`, `https:web:` or `https:web:443`. */
export function parseSegment(segment: string): Segment {
  const parts = segment.split(':');
  const [one = '', two = '', three = ''] = parts;
  if (parts.length === 1) {
    return { scheme: 'http', name: one, port: '' };
  }
  if (parts.length === 2) {
    return { scheme: 'http', name: one, port: two };
  }
  if (parts.length > 3 || (one !== 'http' && one !== 'https' && one !== '')) {
    throw badRequest(`invalid service request ${JSON.stringify(segment)}`);
  }
  return { scheme: one === 'https' ? 'https' : 'http', name: two, port: three };
}

async function proxy(request: SubresourceRequest, target: Target): Promise<SubresourceResponse> {
  const { raw, upgrade, rest } = request;
  const [path = '', query = ''] = splitOnce(raw.url ?? '', '?');
  const prefix = proxyPrefix(path);
  const missingSlash = rest === '' && !path.endsWith('/');
  if (missingSlash && upgrade === undefined && (request.method === 'GET' || request.method === 'HEAD')) {
    const location = `${path}/${query === '' ? '' : `?${query}`}`;
    return { status: 301, headers: { location }, stream: new PassThrough().end() };
  }
  const behind = path.slice(prefix.length);
  const backendPath = `${behind === '' ? '/' : behind}${query === '' ? '' : `?${query}`}`;
  if (upgrade !== undefined) {
    const backend = await dial(target);
    backend.write(requestHead(raw, backendPath, `${target.host}:${target.port}`));
    join(upgrade.socket, backend, upgrade.head);
    return 'handled';
  }
  const response = await send(raw, request.method, { ...target, path: backendPath });
  return rewritten(response, prefix, target);
}

/** The path up to and with the subresource, whose place tells it from objects that are called `proxy` too. */
export function proxyPrefix(path: string): string {
  const parts = path.split('/');
  const resource = parts[3] === 'namespaces' ? 5 : 3;
  return parts.slice(0, resource + 3).join('/');
}

async function dial(target: Target): Promise<net.Socket> {
  if (target.kubelet !== undefined) {
    return dialKubelet(target.kubelet, target);
  }
  const { promise, resolve, reject } = Promise.withResolvers<net.Socket>();
  const { host, port } = target;
  const socket =
    target.scheme === 'https'
      ? tls.connect({ host, port, rejectUnauthorized: false }, () => resolve(socket))
      : net.connect({ host, port }, () => resolve(socket));
  socket.once('error', (error) => reject(dialError(target, error)));
  return promise;
}

async function send(raw: IncomingMessage, method: string, target: Target & { path: string }): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const { host, port, path } = target;
  const headers: http.OutgoingHttpHeaders = {
    ...passedOn(raw.headers),
    host: `${host}:${port}`,
    'x-forwarded-host': raw.headers.host ?? raw.headers[':authority'] ?? '',
  };
  const agent = target.kubelet === undefined ? insecure : agentOf(target.kubelet);
  const sent =
    target.scheme === 'https'
      ? https.request({ host, port, path, method, headers, agent })
      : http.request({ host, port, path, method, headers, agent: plain });
  sent.on('response', resolve);
  sent.on('error', (error) => reject(unreachable(target, error)));
  raw.pipe(sent);
  return promise;
}

function unreachable({ host, port }: Target, error: Error): Error {
  const code = (error as NodeJS.ErrnoException).code;
  const why = code === 'ECONNREFUSED' ? 'connect: connection refused' : error.message;
  return serviceUnavailable(`error trying to reach service: dial tcp ${host}:${port}: ${why}`);
}

/** Headers that are not about one connection only, nor for this server alone. */
export function passedOn(headers: IncomingHttpHeaders): Record<string, string> {
  const passed: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined && !name.startsWith(':') && !hopByHop.has(name) && !name.startsWith('impersonate-')) {
      passed[name] = Array.isArray(value) ? value.join(', ') : value;
    }
  }
  return passed;
}

/** Redirects and links of a page lead through the proxy again. */
async function rewritten(response: IncomingMessage, prefix: string, target: Target): Promise<SubresourceResponse> {
  const headers = passedOn(response.headers);
  const status = response.statusCode ?? 502;
  const { location } = headers;
  if (location !== undefined) {
    headers['location'] = throughProxy(location, prefix, target);
  }
  const isHtml = headers['content-type']?.startsWith('text/html') === true;
  if (!isHtml || headers['content-encoding'] !== undefined) {
    return { status, headers, stream: response };
  }
  const chunks: Buffer[] = [];
  for await (const chunk of response) {
    chunks.push(chunk as Buffer);
  }
  const page = Buffer.concat(chunks)
    .toString()
    .replaceAll(
      linkAttribute,
      (_, name: string, quote: string, path: string) => `${name}${quote}${prefix}${path}${quote}`,
    );
  delete headers['content-length'];
  return { status, headers, stream: new PassThrough().end(page) };
}

function throughProxy(location: string, prefix: string, { host, port }: Target): string {
  const url = URL.parse(location, `http://${host}:${port}/`);
  if (url === null || url.hostname !== host || url.pathname.startsWith(`${prefix}/`)) {
    return location;
  }
  return `${prefix}${url.pathname}${url.search}${url.hash}`;
}

function splitOnce(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
}
