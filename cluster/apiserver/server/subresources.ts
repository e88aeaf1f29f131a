// SPDX-License-Identifier: Apache-2.0
// Hands requests for subresources that a definition handles by itself (binding, eviction, log, exec, proxy...) to their
// handlers, and sends what these answer.
import type { Duplex } from 'node:stream';
import type { KubeObject, RequestContext, SubresourceDefinition } from '../resources/definition.ts';
import { definitionOfKind } from '../schema/schema.ts';
import { methodNotAllowed, methodNotSupported } from '../status.ts';
import { parseBody, prune } from './body.ts';
import type { Served } from './catalog.ts';
import { admitConnection, isConnection } from './connect.ts';
import type { Core } from './core.ts';
import type { ResourceCall } from './handlers.ts';
import { getEntry } from './reads.ts';

const bodyMethods = new Set(['POST', 'PUT', 'PATCH']);
/** The handler wants the body as a stream, whatever the method. */
const streaming = new Set(['proxy', 'exec', 'attach', 'portforward', 'log']);

export interface SubresourceCall {
  readonly served: Served;
  readonly own: SubresourceDefinition;
  readonly call: ResourceCall;
  readonly context: RequestContext;
  /** Set for HTTP/1.1 upgrades. */
  readonly upgrade?: { readonly socket: Duplex; readonly head: Buffer };
}

export async function serveSubresource(core: Core, request: SubresourceCall): Promise<void> {
  const { served, own, call, context, upgrade } = request;
  const { info, exchange } = call;
  if (info.name === '') {
    throw methodNotAllowed();
  }
  // What is behind a proxy may know OPTIONS, although no API does.
  if (!own.verbs.includes(info.verb) && !(info.subresource === 'proxy' && info.verb === 'options')) {
    throw methodNotSupported(served.definition, info.verb);
  }
  const namespace = served.definition.namespaced ? info.namespace : '';
  const parent = await getEntry(core, served, {
    namespace,
    name: parentName(info.subresource, info.name),
    resourceVersion: null,
  });
  if (isConnection(own)) {
    await admitConnection(core, { served, own, context, path: info.rest });
  }
  const wantsBody = bodyMethods.has(exchange.method) && upgrade === undefined && !streaming.has(info.subresource);
  const body = wantsBody ? await readBody(request) : undefined;
  const response = await own.handle({
    context,
    method: exchange.method,
    parent: parent.object,
    ...(body === undefined ? {} : { body }),
    raw: exchange.request(),
    rest: info.rest,
    ...(upgrade === undefined ? {} : { upgrade }),
  });
  if (response === 'handled') {
    return;
  }
  if ('stream' in response) {
    const out = exchange.begin(response.status, response.headers);
    response.stream.pipe(out);
    response.stream.on('error', () => out.destroy());
    exchange.onClose(() => (response.stream as { destroy?: () => void }).destroy?.());
    return;
  }
  exchange.respond(response.status, 'application/json', Buffer.from(JSON.stringify(response.object)));
}

/** The body as the subresource's own kind: `TokenRequest`, `Eviction`, `Binding`. */
async function readBody({ served, own, call, context }: SubresourceCall): Promise<KubeObject | undefined> {
  const value = parseBody(await call.exchange.body(), call.exchange.header('content-type'));
  if (typeof value !== 'object' || value === null) {
    return undefined;
  }
  const group = own.group ?? served.definition.group;
  const schema = definitionOfKind(group, own.version ?? served.version.version, own.kind);
  return schema === undefined
    ? (value as KubeObject)
    : prune({ ...served, version: { version: served.version.version, schema } }, value, context);
}

/** Proxies are addressed as `scheme:name:port`, `name:port` or `name`. */
function parentName(subresource: string, name: string): string {
  if (subresource !== 'proxy') {
    return name;
  }
  const parts = name.split(':');
  return (parts.length === 3 ? parts[1] : parts[0]) ?? name;
}
