// SPDX-License-Identifier: Apache-2.0
// Logs, exec, attach and port-forward: the API server picks the container and the node, then passes the bytes through.
import type { IncomingMessage } from 'node:http';
import { Readable, type Duplex } from 'node:stream';
import type { Pod } from '../../../machinery/api-types.ts';
import { badRequest, invalid, StatusError } from '../../status.ts';
import type { KubeletCredentials } from '../config.ts';
import type { FieldError, SubresourceDefinition, SubresourceRequest, SubresourceResponse } from '../definition.ts';
import { invalid as invalidField, forbidden as forbiddenField } from '../validation/fields.ts';
import { askKubelet, dialKubelet, kubeletAddress } from './kubelet.ts';

type StreamKind = 'exec' | 'attach' | 'portforward';

const kubeletPaths: Readonly<Record<StreamKind, string>> = {
  exec: 'exec',
  attach: 'attach',
  portforward: 'portForward',
};
const optionKinds: Readonly<Record<StreamKind, string>> = {
  exec: 'PodExecOptions',
  attach: 'PodAttachOptions',
  portforward: 'PodPortForwardOptions',
};
/** Query parameters of the API and what the kubelet calls them. */
const streamParameters = { stdin: 'input', stdout: 'output', stderr: 'error', tty: 'tty' } as const;
const logParameters = [
  'follow',
  'previous',
  'timestamps',
  'sinceSeconds',
  'sinceTime',
  'tailLines',
  'limitBytes',
  'stream',
] as const;

export function podLog(credentials: KubeletCredentials): SubresourceDefinition {
  return {
    kind: 'Pod',
    verbs: ['get'],
    handle: async (request) => readLog(request, credentials),
  };
}

export function podStream(kind: StreamKind, credentials: KubeletCredentials): SubresourceDefinition {
  return {
    kind: optionKinds[kind],
    verbs: ['create', 'get'],
    handle: async (request) => tunnel(kind, request, credentials),
  };
}

async function readLog(request: SubresourceRequest, credentials: KubeletCredentials): Promise<SubresourceResponse> {
  const { context } = request;
  const pod = request.parent as unknown as Pod;
  const { query } = context;
  const errors = validateLogOptions(query);
  if (errors.length > 0) {
    throw invalid({ group: '', kind: 'PodLogOptions' }, pod.metadata.name ?? '', errors);
  }
  const container = chooseContainer(pod, query.get('container') ?? '');
  const nodeName = pod.spec?.nodeName ?? '';
  if (nodeName === '') {
    // Not on a node yet: an empty log, as upstream answers.
    return textResponse(200, '');
  }
  const parameters = new URLSearchParams();
  for (const name of logParameters) {
    const value = query.get(name);
    if (value !== null && value !== '' && value !== 'false') {
      parameters.set(name, value);
    }
  }
  const path = `/containerLogs/${segments(pod)}/${encodeURIComponent(container)}${questionMark(parameters)}`;
  const response = await askKubelet(credentials, kubeletAddress(nodeName, context), { method: 'GET', path });
  const status = response.statusCode ?? 502;
  if (status !== 200) {
    const text = await bodyText(response);
    throw new StatusError(
      status,
      status === 404 ? 'NotFound' : status === 400 ? 'BadRequest' : 'InternalError',
      text.trim(),
    );
  }
  return { status, headers: { 'content-type': 'text/plain' }, stream: response };
}

async function tunnel(
  kind: StreamKind,
  request: SubresourceRequest,
  credentials: KubeletCredentials,
): Promise<SubresourceResponse> {
  const pod = request.parent as unknown as Pod;
  const { context, upgrade, raw } = request;
  const { query } = context;
  const parameters = kind === 'portforward' ? portParameters(query) : streamQuery(kind, query);
  const container =
    kind === 'portforward' ? '' : `/${encodeURIComponent(chooseContainer(pod, query.get('container') ?? ''))}`;
  const nodeName = pod.spec?.nodeName ?? '';
  if (nodeName === '') {
    throw badRequest(`pod ${pod.metadata.name} does not have a host assigned`);
  }
  if (upgrade === undefined) {
    throw badRequest('Upgrade request required');
  }
  const address = kubeletAddress(nodeName, context);
  const path = `/${kubeletPaths[kind]}/${segments(pod)}${container}${questionMark(parameters)}`;
  const backend = await dialKubelet(credentials, address);
  backend.write(requestHead(raw, path, `${address.host}:${address.port}`));
  join(upgrade.socket, backend, upgrade.head);
  return 'handled';
}

/** Joins the two ends; when one goes, the other goes too. */
export function join(client: Duplex, backend: Duplex, head: Buffer): void {
  if (head.length > 0) {
    backend.write(head);
  }
  client.pipe(backend).pipe(client);
  for (const [one, other] of [
    [client, backend],
    [backend, client],
  ] as const) {
    one.on('error', () => other.destroy());
    one.on('close', () => other.destroy());
  }
}

/** The client's request line and headers as the backend gets them; credentials stay here. */
export function requestHead(raw: IncomingMessage, path: string, host: string): string {
  const lines = [`${raw.method ?? 'GET'} ${path} HTTP/1.1`, `Host: ${host}`];
  for (let index = 0; index + 1 < raw.rawHeaders.length; index += 2) {
    const name = raw.rawHeaders[index] ?? '';
    const lower = name.toLowerCase();
    if (lower !== 'host' && lower !== 'authorization' && !lower.startsWith('impersonate-')) {
      const value = raw.rawHeaders[index + 1] ?? '';
      // A bearer token may also ride in a WebSocket subprotocol; the others still have to be negotiated.
      const safe = lower === 'sec-websocket-protocol' ? withoutBearer(value) : value;
      lines.push(`${name}: ${safe}`);
    }
  }
  return `${lines.join('\r\n')}\r\n\r\n`;
}

function withoutBearer(value: string): string {
  return value
    .split(',')
    .map((protocol) => protocol.trim())
    .filter((protocol) => !protocol.startsWith('base64url.bearer.authorization.k8s.io.'))
    .join(', ');
}

/** The container that was asked for, or the only one. Errors: 400 in upstream's words. */
export function chooseContainer(pod: Pod, asked: string): string {
  const names = (pod.spec?.containers ?? []).map(({ name }) => name);
  const init = (pod.spec?.initContainers ?? []).map(({ name }) => name);
  const ephemeral = (pod.spec?.ephemeralContainers ?? []).map(({ name }) => name);
  const name = pod.metadata.name ?? '';
  if (asked !== '') {
    if (![...names, ...init, ...ephemeral].includes(asked)) {
      throw badRequest(`container ${asked} is not valid for pod ${name}`);
    }
    return asked;
  }
  const [first] = names;
  if (first !== undefined && names.length === 1) {
    return first;
  }
  if (names.length === 0) {
    throw badRequest(`a container name must be specified for pod ${name}`);
  }
  throw badRequest(
    `a container name must be specified for pod ${name}, choose one of: [${names.join(' ')}]` +
      (init.length > 0 ? ` or one of the init containers: [${init.join(' ')}]` : '') +
      (ephemeral.length > 0 ? ` or one of the ephemeral containers: [${ephemeral.join(' ')}]` : ''),
  );
}

/**
 * What the kubelet is asked for an exec or attach. Clients may ask for a terminal and for stderr at once; the kubelet then gives both in one stream.
 * Throws a 400 when no stream, or for exec no command, is asked for.
 */
export function streamQuery(kind: StreamKind, query: URLSearchParams): URLSearchParams {
  const parameters = new URLSearchParams();
  const on = (name: string): boolean => ['true', '1', 't'].includes(query.get(name) ?? '');
  for (const [name, kubeletName] of Object.entries(streamParameters)) {
    if (on(name)) {
      parameters.set(kubeletName, '1');
    }
  }
  for (const command of query.getAll('command')) {
    parameters.append('command', command);
  }
  if (!on('stdin') && !on('stdout') && !on('stderr')) {
    throw badRequest('you must specify at least one of stdin, stdout, stderr');
  }
  if (kind === 'exec' && query.getAll('command').length === 0) {
    throw badRequest('you must specify at least one command for the container');
  }
  return parameters;
}

function portParameters(query: URLSearchParams): URLSearchParams {
  const parameters = new URLSearchParams();
  for (const ports of query.getAll('ports')) {
    parameters.append('port', ports);
  }
  return parameters;
}

function validateLogOptions(query: URLSearchParams): FieldError[] {
  const errors: FieldError[] = [];
  for (const [name, least] of [
    ['tailLines', 0],
    ['limitBytes', 1],
    ['sinceSeconds', 1],
  ] as const) {
    const text = query.get(name);
    if (text === null) {
      continue;
    }
    const value = Number(text);
    if (!Number.isInteger(value) || value < least) {
      errors.push(
        invalidField(
          name,
          Number.isNaN(value) ? text : value,
          `must be greater than ${least === 0 ? 'or equal to 0' : '0'}`,
        ),
      );
    }
  }
  if (query.has('sinceSeconds') && query.has('sinceTime')) {
    errors.push(forbiddenField('', 'at most one of `sinceTime` or `sinceSeconds` may be specified'));
  }
  return errors;
}

function segments(pod: Pod): string {
  return `${encodeURIComponent(pod.metadata.namespace ?? '')}/${encodeURIComponent(pod.metadata.name ?? '')}`;
}

function questionMark(parameters: URLSearchParams): string {
  return parameters.size === 0 ? '' : `?${parameters.toString()}`;
}

function textResponse(status: number, text: string): SubresourceResponse {
  return { status, headers: { 'content-type': 'text/plain' }, stream: Readable.from(text === '' ? [] : [text]) };
}

async function bodyText(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) {
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks).toString();
}
