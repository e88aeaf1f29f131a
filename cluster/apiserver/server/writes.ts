// SPDX-License-Identifier: Apache-2.0
// Every change of stored objects: create, update and delete with the order of steps that resources/README.md promises to
// declarations, with optimistic concurrency, finalizers and graceful deletion. Objects here are in the stored form.
import { randomBytes, randomUUID } from 'node:crypto';
import { trackManagedFields } from '../patch/apply.ts';
import type {
  AdmissionAttributes,
  FieldError,
  KubeObject,
  RequestContext,
  ResourceDefinition,
} from '../resources/definition.ts';
import { typeByName } from '../schema/schema.ts';
import { alreadyExists, badRequest, conflict, invalid, isReason, notFound } from '../status.ts';
import type { Entry } from '../store/entry.ts';
import type { Served } from './catalog.ts';
import { timestamp } from './core.ts';
import type { Core } from './core.ts';
import { copy, equal } from './json.ts';

/** Events leave etcd by themselves after this time, as upstream's `--event-ttl`. */
const eventTtlSeconds = 3600;
const updateAttempts = 10;
const generatedNameAttempts = 8;
const nameCharacters = 'bcdfghjklmnpqrstvwxz2456789';

export interface WriteOutcome {
  readonly object: KubeObject;
  /** Present when the object is in the store, absent for dry runs. */
  readonly entry?: Entry;
}

export interface CreateRequest {
  readonly object: KubeObject;
  /** Set by server-side apply, which does its own bookkeeping of managers. */
  readonly tracked?: boolean;
}

/** Takes `request.object` over. */
export async function createObject(
  core: Core,
  served: Served,
  request: CreateRequest,
  context: RequestContext,
): Promise<WriteOutcome> {
  const { definition } = served;
  const { object } = request;
  const { metadata } = object;
  if (metadata.resourceVersion !== undefined && metadata.resourceVersion !== '') {
    throw badRequest('resourceVersion should not be set on objects to be created');
  }
  delete metadata.resourceVersion;
  delete metadata.selfLink;
  delete metadata.deletionTimestamp;
  delete metadata.deletionGracePeriodSeconds;
  metadata.uid = randomUUID();
  metadata.creationTimestamp = timestamp();
  definition.default?.(object);
  await mutate(core, { operation: 'CREATE', definition, context, object });
  definition.default?.(object);
  const generate = (metadata.name ?? '') === '' && (metadata.generateName ?? '') !== '';
  for (let attempt = 1; ; attempt += 1) {
    if (generate) {
      metadata.name = generateName(metadata.generateName ?? '');
    }
    try {
      // Strategies derive labels and selectors from the name, so it is there before they run.
      return await finishCreate(core, served, generate ? { ...request, object: copy(object) } : request, context);
    } catch (error) {
      if (!generate || attempt >= generatedNameAttempts || !isReason(error, 'AlreadyExists')) {
        throw error;
      }
    }
  }
}

async function finishCreate(
  core: Core,
  served: Served,
  request: CreateRequest,
  context: RequestContext,
): Promise<WriteOutcome> {
  const { definition } = served;
  const { object } = request;
  definition.prepareForCreate?.(object, context);
  if (hasGeneration(definition, object)) {
    object.metadata.generation = 1;
  }
  const name = object.metadata.name ?? '';
  const namespace = object.metadata.namespace ?? '';
  if (name === '') {
    const missing: FieldError = {
      type: 'Required value',
      field: 'metadata.name',
      detail: 'name or generateName is required',
    };
    throw invalid(definition, name, [missing]);
  }
  refuse(definition, name, definition.validate?.(object, context));
  await validate(core, { operation: 'CREATE', definition, context, object });
  const existing = core.store.cache(served.storedAs).get(namespace, name);
  if (existing !== undefined) {
    throw alreadyExists(definition, name);
  }
  const undo = await definition.allocate?.(object, undefined, context);
  try {
    const tracked = request.tracked === true ? object : track(served, { old: undefined, object, context });
    if (context.dryRun) {
      undo?.();
      return { object: tracked };
    }
    const result = await core.store.create(served.storedAs, tracked, ttl(served));
    if (!result.succeeded) {
      throw alreadyExists(definition, name);
    }
    return { object: result.entry.object, entry: result.entry };
  } catch (error) {
    undo?.();
    throw error;
  }
}

export interface UpdateRequest {
  readonly namespace: string;
  readonly name: string;
  /** `status`, one of the definition's views, or absent for the object as a whole. `raw` writes what `change` returns as it is. */
  readonly view?: string;
  readonly raw?: boolean;
  /**
   * Makes the new state from the present one, which it must not change. Undefined leaves the object as it is. Called again
   * when somebody else was faster. A resourceVersion in the result must be the present one.
   */
  readonly change: (current: KubeObject) => KubeObject | undefined | Promise<KubeObject | undefined>;
  /** Set by server-side apply, which does its own bookkeeping of managers. */
  readonly tracked?: boolean;
  /** Subresource that managedFields name, for one that is no view: `scale`. */
  readonly trackedAs?: string;
}

/** Writers that lost a race take turns per object, instead of losing again and again to each other. */
const turns = new Map<string, Promise<void>>();

export async function updateObject(
  core: Core,
  served: Served,
  request: UpdateRequest,
  context: RequestContext,
): Promise<WriteOutcome> {
  const { definition } = served;
  const { namespace, name } = request;
  const cache = core.store.cache(served.storedAs);
  let current = cache.get(namespace, name);
  let leave: (() => void) | undefined;
  try {
    for (let attempt = 1; ; attempt += 1) {
      if (current === undefined) {
        throw notFound(definition, name);
      }
      const next = await request.change(current.object);
      if (next === undefined) {
        return { object: current.object, entry: current };
      }
      const explicit = checkIdentity(definition, current, next);
      const attempted = await attemptUpdate(core, served, { request, current, next, context });
      if (isOutcome(attempted)) {
        return attempted;
      }
      if (attempt >= updateAttempts || (explicit && attempted?.revision !== current.revision)) {
        throw conflict(definition, name);
      }
      current = attempted;
      if (current !== undefined && leave === undefined) {
        leave = await takeTurn(current.key);
        current = cache.get(namespace, name);
      }
    }
  } finally {
    leave?.();
  }
}

/** Resolves when nobody else holds the key; the returned function gives it on. */
async function takeTurn(key: string): Promise<() => void> {
  const before = turns.get(key);
  const { promise, resolve } = Promise.withResolvers<void>();
  const mine = (before ?? Promise.resolve()).then(() => promise);
  turns.set(key, mine);
  await before;
  return () => {
    resolve();
    if (turns.get(key) === mine) {
      turns.delete(key);
    }
  };
}

function isOutcome(value: Entry | undefined | WriteOutcome): value is WriteOutcome {
  return value !== undefined && !('key' in value);
}

/** Refuses stale or foreign objects; true when the client named the version that it had seen. */
function checkIdentity(definition: ResourceDefinition, current: Entry, next: KubeObject): boolean {
  const { metadata } = next;
  const version = metadata.resourceVersion ?? '';
  const explicit = version !== '' && version !== '0';
  if (explicit && version !== String(current.revision)) {
    throw conflict(definition, current.name);
  }
  const uid = current.object.metadata.uid;
  if (metadata.uid !== undefined && metadata.uid !== '' && metadata.uid !== uid) {
    throw conflict(
      definition,
      current.name,
      `Precondition failed: UID in precondition: ${metadata.uid}, UID in object meta: ${uid}`,
    );
  }
  return explicit;
}

/** Returns what the store holds instead when somebody else was faster. */
async function attemptUpdate(
  core: Core,
  served: Served,
  step: { request: UpdateRequest; current: Entry; next: KubeObject; context: RequestContext },
): Promise<WriteOutcome | Entry | undefined> {
  const { definition } = served;
  const { request, current, context } = step;
  const old = current.object;
  const object = keepSystemFields(step.next, old);
  const view = request.view === 'status' ? definition.status : definition.views?.[request.view ?? ''];
  const whole = request.view === undefined;
  if (request.raw !== true) {
    definition.default?.(object);
    if (whole) {
      definition.prepareForUpdate?.(object, old, context);
    } else {
      view?.prepareForUpdate?.(object, old, context);
    }
    await mutate(core, { operation: 'UPDATE', definition, context, object, old });
    definition.default?.(object);
    const check = whole ? definition.validateUpdate : view?.validateUpdate;
    refuse(definition, current.name, check?.(object, old, context));
    await validate(core, { operation: 'UPDATE', definition, context, object, old });
  }
  // Subresources that write by themselves, such as binding, carry out what is wanted and do not change it.
  if (request.raw !== true) {
    bumpGeneration(definition, object, old);
  }
  const undo = whole && request.raw !== true ? await definition.allocate?.(object, old, context) : undefined;
  try {
    const tracked =
      request.tracked === true
        ? object
        : track(served, { old, object, context, view: request.trackedAs ?? request.view });
    tracked.metadata.resourceVersion = String(current.revision);
    if (equal(tracked, old)) {
      undo?.();
      return { object: old, entry: current };
    }
    if (context.dryRun) {
      undo?.();
      return { object: tracked };
    }
    if (mayGo(definition, tracked)) {
      return await removeEntry(core, served, current);
    }
    const result = await core.store.update(served.storedAs, tracked, current.revision, ttl(served));
    if (result.succeeded) {
      return { object: result.entry.object, entry: result.entry };
    }
    undo?.();
    return result.current;
  } catch (error) {
    undo?.();
    throw error;
  }
}

/** What clients cannot change: identity, creation, deletion. Managers are kept when the client leaves them out. */
function keepSystemFields(object: KubeObject, old: KubeObject): KubeObject {
  const metadata = object.metadata;
  const before = old.metadata;
  delete metadata.selfLink;
  for (const field of [
    'uid',
    'creationTimestamp',
    'deletionTimestamp',
    'deletionGracePeriodSeconds',
    'generation',
  ] as const) {
    if (before[field] === undefined) {
      delete metadata[field];
    } else {
      Object.assign(metadata, { [field]: before[field] });
    }
  }
  if (metadata.managedFields === undefined && before.managedFields !== undefined) {
    metadata.managedFields = before.managedFields;
  }
  return object;
}

export interface DeleteRequest {
  readonly namespace: string;
  readonly name: string;
  readonly uid?: string | undefined;
  readonly resourceVersion?: string | undefined;
  readonly gracePeriodSeconds?: number | undefined;
  readonly propagationPolicy?: string | undefined;
  /** Checked on the object that is about to go; false skips it. For deletecollection. */
  readonly still?: (entry: Entry) => boolean;
}

/** `gone` tells whether the object has left the store, or waits for its grace period or finalizers. */
export async function deleteObject(
  core: Core,
  served: Served,
  request: DeleteRequest,
  context: RequestContext,
): Promise<{ object: KubeObject; gone: boolean }> {
  const { definition } = served;
  let current = core.store.cache(served.storedAs).get(request.namespace, request.name);
  for (let attempt = 1; attempt <= updateAttempts; attempt += 1) {
    if (current === undefined) {
      throw notFound(definition, request.name);
    }
    if (request.still?.(current) === false) {
      return { object: current.object, gone: false };
    }
    checkPreconditions(definition, current, request);
    await validate(core, { operation: 'DELETE', definition, context, old: current.object });
    const { object, marked } = markForDeletion(definition, current.object, request);
    const gone = mayGo(definition, object);
    if (context.dryRun) {
      return { object, gone };
    }
    if (gone) {
      const removed = await removeEntry(core, served, current);
      if (isOutcome(removed)) {
        return { object: removed.object, gone: true };
      }
      current = removed;
    } else if (marked) {
      object.metadata.resourceVersion = String(current.revision);
      const result = await core.store.update(served.storedAs, object, current.revision, ttl(served));
      if (result.succeeded) {
        return { object: result.entry.object, gone: false };
      }
      current = result.current;
    } else {
      return { object: current.object, gone: false };
    }
  }
  throw conflict(definition, request.name);
}

function checkPreconditions(definition: ResourceDefinition, current: Entry, request: DeleteRequest): void {
  const uid = current.object.metadata.uid;
  if (request.uid !== undefined && request.uid !== uid) {
    const why = `Precondition failed: UID in precondition: ${request.uid}, UID in object meta: ${uid}`;
    throw conflict(definition, request.name, why);
  }
  const version = String(current.revision);
  if (request.resourceVersion !== undefined && request.resourceVersion !== version) {
    const why = `Precondition failed: ResourceVersion in precondition: ${request.resourceVersion}, ResourceVersion in object meta: ${version}`;
    throw conflict(definition, request.name, why);
  }
}

/** The object as the deletion leaves it; `marked` is false when nothing about it changes. Copies before it changes. */
function markForDeletion(
  definition: ResourceDefinition,
  current: KubeObject,
  request: DeleteRequest,
): { object: KubeObject; marked: boolean } {
  const object = copy(current);
  const { metadata } = object;
  const finalizers = finalizersFor(metadata.finalizers ?? [], request.propagationPolicy);
  if (finalizers.length > 0) {
    metadata.finalizers = finalizers;
  } else {
    delete metadata.finalizers;
  }
  const requested = request.gracePeriodSeconds;
  const grace = definition.gracePeriodSeconds?.(object, requested) ?? 0;
  const running = metadata.deletionGracePeriodSeconds;
  const begin = Date.parse(metadata.deletionTimestamp ?? '') - (running ?? 0) * 1000;
  if (metadata.deletionTimestamp === undefined) {
    metadata.deletionTimestamp = timestamp(Date.now() + grace * 1000);
    metadata.deletionGracePeriodSeconds = grace;
    if (metadata.generation !== undefined) {
      metadata.generation += 1;
    }
    definition.markForDeletion?.(object);
  } else if (requested !== undefined && running !== undefined && grace < running) {
    // A second delete can only shorten the time that is left.
    metadata.deletionTimestamp = timestamp(begin + grace * 1000);
    metadata.deletionGracePeriodSeconds = grace;
  }
  return { object, marked: !equal(object, current) };
}

function finalizersFor(finalizers: readonly string[], policy: string | undefined): string[] {
  if (policy === undefined) {
    return [...finalizers];
  }
  const others = finalizers.filter((one) => one !== 'orphan' && one !== 'foregroundDeletion');
  switch (policy) {
    case 'Orphan':
      return [...others, 'orphan'];
    case 'Foreground':
      return [...others, 'foregroundDeletion'];
    default:
      return others;
  }
}

/** Nothing holds a deleted object any more: no finalizers, no grace period. */
function mayGo(definition: ResourceDefinition, object: KubeObject): boolean {
  const { metadata } = object;
  return (
    metadata.deletionTimestamp !== undefined &&
    (metadata.finalizers ?? []).length === 0 &&
    (definition.finalizers?.(object) ?? []).length === 0 &&
    (metadata.deletionGracePeriodSeconds ?? 0) === 0
  );
}

/** Returns what the store holds instead when somebody else was faster. */
async function removeEntry(core: Core, served: Served, current: Entry): Promise<WriteOutcome | Entry | undefined> {
  const result = await core.store.delete(served.storedAs, current);
  if (!result.succeeded) {
    return result.current;
  }
  await served.definition.release?.(current.object, core.registry);
  return { object: result.entry.object };
}

async function mutate(core: Core, attributes: AdmissionAttributes): Promise<void> {
  for (const plugin of core.plugins) {
    const pending = plugin.mutate?.(attributes);
    if (pending !== undefined) {
      await pending;
    }
  }
}

async function validate(core: Core, attributes: AdmissionAttributes): Promise<void> {
  for (const plugin of core.plugins) {
    const pending = plugin.validate?.(attributes);
    if (pending !== undefined) {
      await pending;
    }
  }
}

function refuse(definition: ResourceDefinition, name: string, errors: readonly FieldError[] | undefined): void {
  if (errors !== undefined && errors.length > 0) {
    throw invalid(definition, name, errors);
  }
}

function hasGeneration(definition: ResourceDefinition, object: KubeObject): boolean {
  return definition.custom === true || (definition.status !== undefined && object['spec'] !== undefined);
}

function bumpGeneration(definition: ResourceDefinition, object: KubeObject, old: KubeObject): void {
  if (!hasGeneration(definition, object)) {
    return;
  }
  const before = old.metadata.generation ?? 0;
  object.metadata.generation = wantedChanged(definition, object, old) ? before + 1 : before;
  if (object.metadata.generation === 0) {
    delete object.metadata.generation;
  }
}

/** Whether the wanted state differs: `spec`, or for custom resources everything that is neither metadata nor status. */
function wantedChanged(definition: ResourceDefinition, object: KubeObject, old: KubeObject): boolean {
  if (definition.custom !== true) {
    return !equal(object['spec'], old['spec']);
  }
  const { metadata: _a, status: statusAfter, ...after } = object;
  const { metadata: _b, status: statusBefore, ...before } = old;
  return !equal(after, before) || (definition.status === undefined && !equal(statusAfter, statusBefore));
}

function track(
  served: Served,
  write: { old: KubeObject | undefined; object: KubeObject; context: RequestContext; view?: string | undefined },
): KubeObject {
  return trackManagedFields({
    schema: typeByName(served.definition.versions[0].schema),
    old: write.old,
    object: write.object,
    manager: write.context.fieldManager,
    operation: 'Update',
    ...(write.view === undefined ? {} : { subresource: write.view }),
    now: timestamp(),
  });
}

function ttl(served: Served): number | undefined {
  return served.storedAs === 'events' ? eventTtlSeconds : undefined;
}

function generateName(base: string): string {
  const suffix = [...randomBytes(5)].map((byte) => nameCharacters[byte % nameCharacters.length]).join('');
  return `${base.slice(0, 63 - 5)}${suffix}`;
}
