// SPDX-License-Identifier: Apache-2.0
// Answers requests for resources: finds the definition, decodes what was sent, runs the verb and encodes the result.
import { converting } from '../extensions/conversion.ts';
import type { KubeObject, RequestContext, UserInfo } from '../resources/definition.ts';
import {
  badRequest,
  deleted,
  invalid,
  isReason,
  methodNotAllowed,
  methodNotSupported,
  pathNotFound,
} from '../status.ts';
import { duplicatesIn, expectObject, parseBody } from './body.ts';
import type { Entry } from '../store/entry.ts';
import type { Served } from './catalog.ts';
import { toServed, toStored } from './core.ts';
import type { Core } from './core.ts';
import type { Exchange } from './exchange.ts';
import { deleteOptions } from './delete-options.ts';
import { negotiate, requirePlain } from './negotiation.ts';
import { patchObject, patchValue, plainPatchType } from './patches.ts';
import { freshEnough, getEntry, listEntries } from './reads.ts';
import type { Page } from './reads.ts';
import { encodeEntry, encodeList, encodeObject } from './representation.ts';
import type { View } from './representation.ts';
import type { ResourceRequest } from './request-info.ts';
import { isCollection } from './request-info.ts';
import { applyScale, scaleOf } from './scale.ts';
import { selection } from './selection.ts';
import { serveSubresource } from './subresources.ts';
import { serveWatch } from './watches.ts';
import { createObject, deleteObject, updateObject } from './writes.ts';
import type { WriteOutcome } from './writes.ts';

const json = 'application/json';
/** Deletes of a collection that are under way together; etcd commits them in one go. */
const deleteBatch = 16;

export interface ResourceCall {
  readonly exchange: Exchange;
  readonly info: ResourceRequest;
  readonly user: UserInfo;
  /** Aborted when the server stops; ends watches. */
  readonly stop: AbortSignal;
}

/** Throws StatusError for everything that is refused. */
export async function serveResource(core: Core, call: ResourceCall): Promise<void> {
  const { info, exchange } = call;
  const served = core.catalog.find(info.group, info.version, info.resource);
  if (served === undefined) {
    throw pathNotFound();
  }
  const { definition } = served;
  if (!definition.namespaced && info.namespace !== '' && definition.plural !== 'namespaces') {
    throw pathNotFound();
  }
  const context = requestContext(core, call, served);
  if (served.version.deprecated !== undefined) {
    context.warn(served.version.deprecated);
  }
  if (info.subresource !== '') {
    return serveUnder(core, served, call, context);
  }
  if (definition.verbs !== undefined && !definition.verbs.includes(info.verb)) {
    throw methodNotSupported(definition, info.verb);
  }
  if (definition.namespaced && info.namespace === '' && !readsAll.has(info.verb)) {
    throw info.verb === 'get' || info.name !== '' ? pathNotFound() : methodNotAllowed();
  }
  const view = (): View => ({
    served,
    representation: negotiate(exchange.header('accept')),
    includeObject: context.query.get('includeObject') ?? '',
  });
  switch (info.verb) {
    case 'get': {
      const entry = await getEntry(core, served, {
        namespace: namespaceOf(served, info),
        name: info.name,
        resourceVersion: context.query.get('resourceVersion'),
      });
      return exchange.respond(200, json, await converting(() => encodeEntry(view(), entry)));
    }
    case 'list': {
      const page = await selectedEntries(core, served, info.namespace, context);
      const objects = (): KubeObject[] => page.entries.map((entry) => entry.object);
      const body = await converting(() => encodeList(view(), page.entries, page.metadata), objects);
      return exchange.respond(200, json, body);
    }
    case 'watch':
      return serveWatch(core, exchange, {
        view: view(),
        namespace: namespaceOf(served, info),
        query: context.query,
        stop: call.stop,
      });
    case 'create':
      return create(core, served, call, context);
    case 'update':
      return update(core, served, call, context);
    case 'patch':
      return patch(core, served, call, context);
    case 'delete':
      return remove(core, served, call, context);
    case 'deletecollection':
      return removeAll(core, served, call, context);
    default:
      throw methodNotAllowed();
  }
}

const readsAll = new Set(['list', 'watch']);

/** The namespace part of the object's key; a Namespace is addressed like one of its own objects but lives outside. */
function namespaceOf(served: Served, info: ResourceRequest): string {
  return served.definition.namespaced ? info.namespace : '';
}

async function create(core: Core, served: Served, call: ResourceCall, context: RequestContext): Promise<void> {
  const { exchange, info } = call;
  if (!isCollection(info)) {
    throw methodNotAllowed();
  }
  const { definition } = served;
  const object = await readObject(served, call, context);
  if (definition.review !== undefined) {
    requirePlain(exchange.header('accept'));
    const stored = toStored(served, object);
    definition.default?.(stored);
    const errors = definition.validate?.(stored, context) ?? [];
    if (errors.length > 0) {
      throw invalid(definition, object.metadata.name ?? '', errors);
    }
    const reviewed = await definition.review(stored, context);
    return sendObject(exchange, 201, toServed(served, reviewed));
  }
  const outcome = await createObject(
    core,
    served,
    { object: await converting(() => toStored(served, object)) },
    context,
  );
  await send(exchange, served, 201, outcome);
}

async function update(core: Core, served: Served, call: ResourceCall, context: RequestContext): Promise<void> {
  const { info } = call;
  const object = await readObject(served, call, context);
  const view = info.subresource === '' ? undefined : info.subresource;
  const stored = await converting(() => toStored(served, object));
  let used = false;
  const outcome = await updateObject(
    core,
    served,
    {
      namespace: namespaceOf(served, info),
      name: info.name,
      ...(view === undefined ? {} : { view }),
      async change() {
        // The pipeline changes what it is given: a second attempt needs what the client sent.
        const again = (): KubeObject => toStored(served, expectObject(served, parseSent(call), context));
        const next = used ? await converting(again) : stored;
        used = true;
        return place(served, info, next);
      },
    },
    context,
  );
  await send(call.exchange, served, 200, outcome);
}

async function patch(core: Core, served: Served, call: ResourceCall, context: RequestContext): Promise<void> {
  const { exchange, info } = call;
  const outcome = await patchObject(
    core,
    served,
    {
      namespace: namespaceOf(served, info),
      name: info.name,
      view: info.subresource === '' ? undefined : info.subresource,
      contentType: exchange.header('content-type'),
      body: await exchange.body(),
    },
    context,
  );
  await send(exchange, served, outcome.created ? 201 : 200, outcome);
}

async function remove(core: Core, served: Served, call: ResourceCall, context: RequestContext): Promise<void> {
  const { exchange, info } = call;
  const options = deleteOptions(await exchange.body(), exchange.header('content-type'), context.query);
  const dry = { ...context, dryRun: context.dryRun || options.dryRun };
  const request = { namespace: namespaceOf(served, info), name: info.name, ...options };
  const { object, gone } = await deleteObject(core, served, request, dry);
  if (gone) {
    sendObject(exchange, 200, deleted(served.definition, info.name, object.metadata.uid));
  } else {
    sendObject(exchange, 200, await converting(() => toServed(served, object)));
  }
}

async function removeAll(core: Core, served: Served, call: ResourceCall, context: RequestContext): Promise<void> {
  const { exchange, info } = call;
  const options = deleteOptions(await exchange.body(), exchange.header('content-type'), context.query);
  const selected = selection(served, info.namespace, context.query);
  await freshEnough(core, '');
  const page = await selectedEntries(core, served, info.namespace, context);
  const dry = { ...context, dryRun: context.dryRun || options.dryRun };
  const removeOne = async (entry: Entry): Promise<void> => {
    const request = {
      ...options,
      namespace: entry.namespace,
      name: entry.name,
      still: (current: Entry) => selected.matches(current),
    };
    // Nothing is done before the selector has seen the object.
    await converting(() => deleteObject(core, served, request, dry)).catch((error: unknown) => {
      if (!isReason(error, 'NotFound')) {
        throw error;
      }
    });
  };
  for (let at = 0; at < page.entries.length; at += deleteBatch) {
    await Promise.all(page.entries.slice(at, at + deleteBatch).map(removeOne));
  }
  const view = { served, representation: negotiate(exchange.header('accept')), includeObject: '' };
  const objects = (): KubeObject[] => page.entries.map((entry) => entry.object);
  exchange.respond(200, json, await converting(() => encodeList(view, page.entries, page.metadata), objects));
}

/** Field selectors may be about a form that has to be asked for. */
async function selectedEntries(
  core: Core,
  served: Served,
  namespace: string,
  { query }: RequestContext,
): Promise<Page> {
  const all = (): KubeObject[] =>
    core.store
      .cache(served.storedAs)
      .list(namespace)
      .map((entry) => entry.object);
  return converting(() => listEntries(core, served, namespace, query), all);
}

/** `status`, other views, `scale`, and what the definition handles by itself. */
async function serveUnder(core: Core, served: Served, call: ResourceCall, context: RequestContext): Promise<void> {
  const { definition } = served;
  const { info, exchange } = call;
  const own = definition.subresources?.[info.subresource];
  if (own !== undefined) {
    return serveSubresource(core, { served, own, call, context });
  }
  if (info.subresource === 'scale' && definition.scale !== undefined) {
    return serveScale(core, served, call, context);
  }
  const isView = info.subresource === 'status' ? definition.status : definition.views?.[info.subresource];
  if (isView === undefined || info.rest !== '') {
    throw pathNotFound();
  }
  switch (info.verb) {
    case 'get': {
      const at = { namespace: namespaceOf(served, info), name: info.name };
      const entry = await getEntry(core, served, { ...at, resourceVersion: context.query.get('resourceVersion') });
      const representation = negotiate(exchange.header('accept'));
      const plain = { served, representation, includeObject: '' };
      return exchange.respond(200, json, await converting(() => encodeEntry(plain, entry)));
    }
    case 'update':
      return update(core, served, call, context);
    case 'patch':
      return patch(core, served, call, context);
    default:
      throw methodNotAllowed();
  }
}

async function serveScale(core: Core, served: Served, call: ResourceCall, context: RequestContext): Promise<void> {
  const { info, exchange } = call;
  const paths = served.definition.scale;
  if (paths === undefined) {
    throw pathNotFound();
  }
  const at = { namespace: namespaceOf(served, info), name: info.name };
  if (info.verb === 'get') {
    const entry = await getEntry(core, served, { ...at, resourceVersion: null });
    return sendObject(exchange, 200, scaleOf(entry.object, paths));
  }
  if (info.verb !== 'update' && info.verb !== 'patch') {
    throw methodNotAllowed();
  }
  const body = await exchange.body();
  const contentType = exchange.header('content-type');
  const wanted = (current: KubeObject): KubeObject => {
    if (info.verb === 'update') {
      return parseBody(body, contentType) as KubeObject;
    }
    const type = plainPatchType(contentType);
    const patched = patchValue(undefined, {
      type: type === 'application/strategic-merge-patch+json' ? 'application/merge-patch+json' : type,
      original: scaleOf(current, paths),
      patch: JSON.parse(body.toString()) as unknown,
    });
    if (patched.metadata.resourceVersion === current.metadata.resourceVersion) {
      delete patched.metadata.resourceVersion;
    }
    return patched;
  };
  const change = (current: KubeObject): KubeObject => applyScale(current, wanted(current), paths);
  const outcome = await updateObject(core, served, { ...at, change, trackedAs: 'scale' }, context);
  sendObject(exchange, 200, scaleOf(outcome.object, paths));
}

const bodies = new WeakMap<Exchange, Buffer>();

async function readObject(served: Served, call: ResourceCall, context: RequestContext): Promise<KubeObject> {
  const body = await call.exchange.body();
  bodies.set(call.exchange, body);
  const duplicates = duplicatesIn(body, call.exchange.header('content-type'), context.query);
  const object = expectObject(served, parseSent(call), context, duplicates);
  return call.info.verb === 'create' ? placeNew(served, call.info, object) : object;
}

function parseSent({ exchange }: ResourceCall): unknown {
  return parseBody(bodies.get(exchange) ?? Buffer.alloc(0), exchange.header('content-type'));
}

function placeNew(served: Served, info: ResourceRequest, object: KubeObject): KubeObject {
  const { metadata } = object;
  if (!served.definition.namespaced) {
    delete metadata.namespace;
    return object;
  }
  if (metadata.namespace !== undefined && metadata.namespace !== '' && metadata.namespace !== info.namespace) {
    throw badRequest('the namespace of the provided object does not match the namespace sent on the request');
  }
  metadata.namespace = info.namespace;
  return object;
}

function place(served: Served, info: ResourceRequest, object: KubeObject): KubeObject {
  const { metadata } = object;
  metadata.name ??= info.name;
  if (metadata.name !== info.name) {
    throw badRequest(`the name of the object (${metadata.name}) does not match the name on the URL (${info.name})`);
  }
  return placeNew(served, info, object);
}

export function requestContext(core: Core, call: ResourceCall, served: Served): RequestContext {
  const { info, exchange, user } = call;
  const { query } = exchange;
  return {
    user,
    verb: info.verb,
    group: info.group,
    version: info.version,
    resource: info.resource,
    ...(info.subresource === '' ? {} : { subresource: info.subresource }),
    ...(served.definition.namespaced && info.namespace !== '' ? { namespace: info.namespace } : {}),
    ...(info.name === '' ? {} : { name: info.name }),
    dryRun: readDryRun(query),
    fieldManager: fieldManager(exchange),
    query,
    warn: (text) => void (exchange.warnings.includes(text) || exchange.warnings.push(text)),
    registry: core.registry,
  };
}

function readDryRun(query: URLSearchParams): boolean {
  const values = query.getAll('dryRun').filter((value) => value !== '');
  if (values.some((value) => value !== 'All')) {
    throw badRequest(`dryRun: Unsupported value: "${values.join(',')}": supported values: "All"`);
  }
  return values.length > 0;
}

/** As upstream: the parameter, or the first part of the user agent. */
function fieldManager(exchange: Exchange): string {
  const given = exchange.query.get('fieldManager');
  return given !== null && given !== ''
    ? given
    : (exchange.header('user-agent')?.split('/')[0] ?? 'unknown').slice(0, 128);
}

async function send(exchange: Exchange, served: Served, status: number, outcome: WriteOutcome): Promise<void> {
  const view: View = {
    served,
    representation: negotiate(exchange.header('accept')),
    includeObject: exchange.query.get('includeObject') ?? '',
  };
  const { entry, object } = outcome;
  const body = await converting(() => (entry === undefined ? encodeObject(view, object) : encodeEntry(view, entry)));
  exchange.respond(status, json, body);
}

function sendObject(exchange: Exchange, status: number, object: object): void {
  exchange.respond(status, json, Buffer.from(JSON.stringify(object)));
}
