// SPDX-License-Identifier: Apache-2.0
// PATCH on objects and their views: JSON patch, merge patch, strategic merge patch and server-side apply.
import type { KubeObject, RequestContext } from '../resources/definition.ts';
import { converting } from '../extensions/conversion.ts';
import { conflictStatus, serverSideApply } from '../patch/apply.ts';
import { PatchError } from '../patch/patch-error.ts';
import { applyPatch } from '../patch/patch.ts';
import { decodeObject, typeByName } from '../schema/schema.ts';
import { badRequest, invalid, isReason, notFound, StatusError, unsupportedMediaType } from '../status.ts';
import { fieldValidation, mediaType, parseJson, parseYamlDocument, prune } from './body.ts';
import type { Served } from './catalog.ts';
import { timestamp, toServed, toStored } from './core.ts';
import type { Core } from './core.ts';
import { copy } from './json.ts';
import { isTrue } from './request-info.ts';
import { createObject, updateObject } from './writes.ts';
import type { WriteOutcome } from './writes.ts';

const jsonPatch = 'application/json-patch+json';
const mergePatch = 'application/merge-patch+json';
const strategicMergePatch = 'application/strategic-merge-patch+json';
const applyYaml = 'application/apply-patch+yaml';

type PlainPatch = typeof jsonPatch | typeof mergePatch | typeof strategicMergePatch;

export interface PatchRequest {
  readonly namespace: string;
  readonly name: string;
  readonly view?: string | undefined;
  readonly contentType: string | undefined;
  readonly body: Buffer;
}

export interface PatchOutcome extends WriteOutcome {
  readonly created: boolean;
}

export async function patchObject(
  core: Core,
  served: Served,
  request: PatchRequest,
  context: RequestContext,
): Promise<PatchOutcome> {
  const type = patchType(served, request.contentType);
  if (type === applyYaml) {
    return applyObject(core, served, request, context);
  }
  const patch = parseJson(request.body.toString());
  const outcome = await updateObject(
    core,
    served,
    {
      namespace: request.namespace,
      name: request.name,
      ...(request.view === undefined ? {} : { view: request.view }),
      change: (current) =>
        converting(() => {
          const original = toServed(served, copy(current));
          const patched = patchValue(served, { type, original, patch });
          checkUnmoved(request, patched);
          return forgetVersion(toStored(served, prune(served, patched, context)), current);
        }),
    },
    context,
  );
  return { ...outcome, created: false };
}

/** Applies a patch of any plain type to a value that is not stored itself, such as a Scale. */
export function patchValue(
  served: Served | undefined,
  options: { type: PlainPatch; original: KubeObject; patch: unknown },
): KubeObject {
  const schema = served === undefined ? undefined : typeByName(served.version.schema);
  return refusing(() => applyPatch({ ...options, schema }));
}

/** Patches that cannot be applied are refused like everything else. */
function refusing<T>(act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw error instanceof PatchError ? new StatusError(error.code, error.reason, error.message) : error;
  }
}

/** For subresources that take no apply. Throws 415. */
export function plainPatchType(contentType: string | undefined): PlainPatch {
  const type = mediaType(contentType);
  if (type === jsonPatch || type === mergePatch || type === strategicMergePatch) {
    return type;
  }
  throw unsupportedMediaType([jsonPatch, mergePatch, strategicMergePatch]);
}

function patchType(served: Served, contentType: string | undefined): PlainPatch | typeof applyYaml {
  const type = mediaType(contentType);
  if (type === jsonPatch || type === mergePatch || type === applyYaml) {
    return type;
  }
  if (type === strategicMergePatch && served.definition.custom !== true) {
    return type;
  }
  const known = [jsonPatch, mergePatch, applyYaml];
  throw unsupportedMediaType(served.definition.custom === true ? known : [...known, strategicMergePatch]);
}

async function applyObject(
  core: Core,
  served: Served,
  request: PatchRequest,
  context: RequestContext,
): Promise<PatchOutcome> {
  const { definition } = served;
  if ((context.query.get('fieldManager') ?? '') === '') {
    const detail = 'is required for apply patch';
    throw invalid({ group: 'meta.k8s.io', kind: 'PatchOptions' }, '', [
      { type: 'Required value', field: 'fieldManager', detail },
    ]);
  }
  const config = appliedConfig(served, request, context);
  const force = isTrue(context.query.get('force'));
  const merge = (live: KubeObject | undefined): KubeObject => {
    const result = refusing(() =>
      serverSideApply({
        schema: typeByName(served.version.schema),
        live: live === undefined ? undefined : toServed(served, copy(live)),
        config: copy(config),
        manager: context.fieldManager,
        force,
        ...(request.view === undefined ? {} : { subresource: request.view }),
        now: timestamp(),
        prepare(object) {
          const stored = toStored(served, object);
          definition.default?.(stored);
          return toServed(served, stored);
        },
      }),
    );
    if ('conflicts' in result) {
      const { message, causes } = conflictStatus(result.conflicts);
      throw new StatusError(409, 'Conflict', message, { causes });
    }
    return toStored(served, result.object);
  };
  for (;;) {
    try {
      const outcome = await updateObject(
        core,
        served,
        {
          namespace: request.namespace,
          name: request.name,
          ...(request.view === undefined ? {} : { view: request.view }),
          tracked: true,
          change: (current) => converting(() => forgetVersion(merge(current), current)),
        },
        context,
      );
      return { ...outcome, created: false };
    } catch (error) {
      if (!isReason(error, 'NotFound') || request.view !== undefined) {
        throw error;
      }
    }
    if (config.metadata.uid !== undefined) {
      throw notFound(definition, request.name);
    }
    try {
      const created = await createObject(
        core,
        served,
        { object: await converting(() => merge(undefined)), tracked: true },
        context,
      );
      return { ...created, created: true };
    } catch (error) {
      if (!isReason(error, 'AlreadyExists')) {
        throw error;
      }
    }
  }
}

function appliedConfig(served: Served, request: PatchRequest, context: RequestContext): KubeObject {
  const { value, duplicates } = parseYamlDocument(request.body.toString());
  const validation = fieldValidation(context.query);
  if (duplicates.length > 0 && validation === 'Strict') {
    throw badRequest(`error strict decoding YAML: yaml: unmarshal errors:\n  ${duplicates.join('\n  ')}`);
  }
  if (validation === 'Warn') {
    duplicates.forEach((text) => context.warn(text));
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw badRequest('error decoding YAML: the body is not an object');
  }
  const config = value as KubeObject;
  if (config.apiVersion !== served.apiVersion || config.kind !== served.definition.kind) {
    throw badRequest(
      `invalid object type: ${config.apiVersion}, Kind=${config.kind}; expected ${served.apiVersion}, Kind=${served.definition.kind}`,
    );
  }
  config.metadata ??= {};
  if (config.metadata.managedFields !== undefined) {
    throw badRequest('metadata.managedFields must be nil');
  }
  config.metadata.name ??= request.name;
  if (request.namespace !== '') {
    config.metadata.namespace ??= request.namespace;
  }
  checkUnmoved(request, config);
  checkDeclared(served, config);
  return prune(served, config, context);
}

/** Apply has no use for fields that nobody could own, whatever `fieldValidation` says. Throws 500, as upstream. */
function checkDeclared(served: Served, config: KubeObject): void {
  const type = typeByName(served.version.schema);
  const unknown = type === undefined ? [] : decodeObject(type, copy(config), 'Warn').unknownFields;
  if (unknown.length === 0) {
    return;
  }
  const { name = '', namespace = '' } = config.metadata;
  const lines = unknown.map((field) => `.${field}: field not declared in schema`);
  const problem = lines.length === 1 ? lines[0] : `errors:\n${lines.map((line) => `  ${line}`).join('\n')}`;
  const what = `${namespace}/${name}; ${served.apiVersion}, Kind=${served.definition.kind}`;
  throw new StatusError(500, '', `failed to create typed patch object (${what}): ${problem}`);
}

function checkUnmoved(request: PatchRequest, object: KubeObject): void {
  const { name, namespace } = object.metadata ?? {};
  if (name !== request.name) {
    throw badRequest(`the name of the object (${name ?? ''}) does not match the name on the URL (${request.name})`);
  }
  if (request.namespace !== '' && namespace !== request.namespace) {
    throw badRequest('the namespace of the provided object does not match the namespace sent on the request');
  }
}

/** A version that merely came from the present object is no demand: the patch may be tried again on a newer one. */
function forgetVersion(object: KubeObject, current: KubeObject): KubeObject {
  if (object.metadata.resourceVersion === current.metadata.resourceVersion) {
    delete object.metadata.resourceVersion;
  }
  return object;
}
