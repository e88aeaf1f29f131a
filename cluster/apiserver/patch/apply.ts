// SPDX-License-Identifier: Apache-2.0
// Server-side apply and the tracking of field owners: who owns which field, and what happens when two want the same.
import type { ManagedFieldsEntry } from '../../machinery/api-types.ts';
import type { KubeObject } from '../resources/definition.ts';
import type { TypeSchema } from '../schema/schema.ts';
import { copy, equal } from '../server/json.ts';
import type { FieldSet } from './field-set.ts';
import { EMPTY, difference, equalSets, intersection, isEmpty, pathsOf, union, without } from './field-set.ts';
import type { Manager, Managers } from './managed-fields.ts';
import {
  describeManager,
  identityOf,
  isReset,
  readManagers,
  withoutServerFields,
  writeManagers,
} from './managed-fields.ts';
import { PatchError } from './patch-error.ts';
import { claimedFields, compare, mergeTyped, prune } from './typed-value.ts';

const LAST_APPLIED = 'kubectl.kubernetes.io/last-applied-configuration';
const BEFORE_FIRST_APPLY = 'before-first-apply';

export interface ApplyOptions {
  /** Undefined for custom resources without a schema: every list is then one piece. */
  readonly schema: TypeSchema | undefined;
  readonly live: KubeObject | undefined;
  /** What the client applies, decoded but without defaults. */
  readonly config: KubeObject;
  readonly manager: string;
  readonly force: boolean;
  readonly subresource?: string;
  /** Time for changed entries, as the API writes times. */
  readonly now: string;
  /** Defaults of the resource, for the merged object. What they add belongs to nobody. */
  readonly prepare?: (object: KubeObject) => KubeObject;
}

export interface ApplyConflict {
  /** With its operation: `"kubectl" using apps/v1`. */
  readonly manager: string;
  /** Sorted paths: `.spec.replicas`. */
  readonly fields: string[];
}

/**
 * Merges the configuration into the live object, removes what the manager applied before and nobody claims any more, and
 * writes the new owners. An apply that changes nothing gives an object equal to the live one, entry times included.
 * @throws PatchError 400 when the configuration carries managedFields.
 */
export function serverSideApply(options: ApplyOptions): { object: KubeObject } | { conflicts: ApplyConflict[] } {
  const { schema, live, config, manager, now } = options;
  if ((config.metadata?.managedFields ?? []).length > 0) {
    throw new PatchError(400, 'metadata.managedFields must be nil');
  }
  const managers = liveManagers(options);
  const self = {
    manager,
    operation: 'Apply',
    apiVersion: config.apiVersion,
    subresource: options.subresource ?? '',
  } as const;
  const identity = identityOf(self);
  const former = managers.get(identity);
  const claims = withoutIgnored(withoutServerFields(claimedFields(schema, config)), options);
  managers.set(identity, { ...self, time: former?.time, fields: claims });

  const liveBare = live === undefined ? undefined : withManagedFields(live, undefined);
  const merged = mergeTyped(schema, liveBare, config);
  const owned = [...managers.values()].map((one) => one.fields).reduce(union, EMPTY);
  const pruned = (
    former === undefined ? merged : prune(schema, merged, { former: former.fields, owned: keepIdentity(owned) })
  ) as KubeObject;

  const { changed, removed } = compare(schema, liveBare, pruned);
  const conflicts = takeOver(managers, identity, { changed, removed });
  if (conflicts.length > 0 && !options.force && !mayTakeOver(options, conflicts)) {
    return { conflicts: conflicts.map((one) => ({ manager: describeManager(one), fields: pathsOf(one.fields) })) };
  }
  const sameObject = liveBare !== undefined && equal(liveBare, pruned);
  if (former === undefined || !sameObject || !equalSets(former.fields, claims)) {
    managers.set(identity, { ...self, time: now, fields: claims });
  }
  // Everything below shares structure with the live object, which must not change.
  const object = copy(withLastApplied(pruned, options));
  const prepared = options.prepare === undefined ? object : options.prepare(object);
  return { object: withManagedFields(prepared, writeManagers(managers)) };
}

/** A Status message for the conflicts, and the causes that go with it, as kubectl users know them. */
export function conflictStatus(conflicts: readonly ApplyConflict[]): {
  message: string;
  causes: Array<{ reason: string; message: string; field: string }>;
} {
  const causes = conflicts.flatMap(({ manager, fields }) =>
    fields.map((field) => ({ reason: 'FieldManagerConflict', message: `conflict with ${manager}`, field })),
  );
  const [only] = causes;
  if (causes.length === 1 && only !== undefined) {
    return { message: `Apply failed with 1 conflict: ${only.message}: ${only.field}`, causes };
  }
  const parts = conflicts.map(
    ({ manager, fields }) => `conflicts with ${manager}:\n${fields.map((field) => `- ${field}`).join('\n')}`,
  );
  return { message: `Apply failed with ${causes.length} conflicts: ${parts.join('\n')}`, causes };
}

export interface TrackOptions {
  readonly schema: TypeSchema | undefined;
  /** The stored object; undefined for a create. */
  readonly old: KubeObject | undefined;
  readonly object: KubeObject;
  readonly manager: string;
  readonly operation: 'Update';
  readonly subresource?: string;
  readonly now: string;
}

/**
 * Records in `metadata.managedFields` what a create, update or patch changed.
 * @returns a copy of `object` that differs only in its managedFields.
 */
export function trackManagedFields(options: TrackOptions): KubeObject {
  const { schema, old, object, now } = options;
  const sent = object.metadata.managedFields;
  const stored = old?.metadata.managedFields;
  const reset = options.subresource === undefined && isReset(sent);
  const managers = reset ? new Map<string, Manager>() : sentOrStored(options, sent, stored);
  // An object that nobody has ever tracked stays so until the first apply.
  if (old !== undefined && managers.size === 0) return withManagedFields(object, undefined);
  const { changed, removed } = compare(
    schema,
    old === undefined ? undefined : withManagedFields(old, undefined),
    withManagedFields(object, undefined),
  );
  const gained = withoutServerFields(changed);
  takeOver(managers, '', { changed, removed });
  if (!isEmpty(gained)) {
    const self = {
      manager: options.manager,
      operation: 'Update',
      apiVersion: object.apiVersion,
      subresource: options.subresource ?? '',
    } as const;
    const identity = identityOf(self);
    const former = managers.get(identity)?.fields ?? EMPTY;
    managers.set(identity, { ...self, time: now, fields: union(former, gained) });
  }
  return withManagedFields(object, writeManagers(managers));
}

function sentOrStored(
  options: TrackOptions,
  sent: readonly ManagedFieldsEntry[] | undefined,
  stored: readonly ManagedFieldsEntry[] | undefined,
): Managers {
  // A client may rewrite ownership on purpose, but one that knows nothing of it must not lose it.
  const fromClient = options.subresource === undefined ? readManagers(sent) : undefined;
  if (fromClient !== undefined && fromClient.size > 0) return fromClient;
  return readManagers(stored) ?? new Map();
}

function liveManagers({ schema, live }: ApplyOptions): Managers {
  const managers = readManagers(live?.metadata.managedFields) ?? new Map<string, Manager>();
  if (live === undefined || managers.size > 0) return managers;
  const { changed } = compare(schema, undefined, withManagedFields(live, undefined));
  const before: Manager = {
    manager: BEFORE_FIRST_APPLY,
    operation: 'Update',
    apiVersion: live.apiVersion,
    subresource: '',
    time: live.metadata.creationTimestamp,
    fields: withoutServerFields(changed),
  };
  managers.set(identityOf(before), before);
  return managers;
}

/**
 * Takes changed and removed fields away from all managers but `self`.
 * @returns what they lost to a change, that is, the conflicts.
 */
function takeOver(
  managers: Managers,
  self: string,
  { changed, removed }: { changed: FieldSet; removed: FieldSet },
): Manager[] {
  const conflicts: Manager[] = [];
  for (const [identity, manager] of managers) {
    if (identity === self) continue;
    const lost = intersection(manager.fields, changed);
    if (!isEmpty(lost)) conflicts.push({ ...manager, fields: lost });
    const kept = difference(difference(manager.fields, lost), removed);
    if (isEmpty(kept)) managers.delete(identity);
    else managers.set(identity, { ...manager, fields: kept });
  }
  return conflicts;
}

/** Who moves from client-side to server-side apply may take what the old configuration already said. */
function mayTakeOver({ schema, live, manager }: ApplyOptions, conflicts: readonly Manager[]): boolean {
  const text = live?.metadata.annotations?.[LAST_APPLIED];
  if (manager !== 'kubectl' || text === undefined) return false;
  try {
    const claims = claimedFields(schema, JSON.parse(text) as Record<string, unknown>);
    return conflicts.every((conflict) => isEmpty(difference(conflict.fields, claims)));
  } catch {
    return false;
  }
}

/** Keeps the annotation of client-side apply true, for objects that have it. */
function withLastApplied(object: KubeObject, { live, config, manager }: ApplyOptions): KubeObject {
  if (manager !== 'kubectl' || live?.metadata.annotations?.[LAST_APPLIED] === undefined) return object;
  const { [LAST_APPLIED]: _, ...annotations } = config.metadata.annotations ?? {};
  const applied = JSON.stringify({ ...config, metadata: { ...config.metadata, annotations } });
  return {
    ...object,
    metadata: { ...object.metadata, annotations: { ...object.metadata.annotations, [LAST_APPLIED]: applied } },
  };
}

/** An apply of the main resource cannot own status, nor one of a subresource the rest, where a strategy resets them. */
function withoutIgnored(fields: FieldSet, { schema, subresource }: ApplyOptions): FieldSet {
  if (schema === undefined || (schema.custom !== undefined && !schema.custom.statusSubresource)) return fields;
  if (subresource === 'status') return without(fields, ['f:spec']);
  return subresource === undefined && schema.fields.has('status') ? without(fields, ['f:status']) : fields;
}

/** Names and the like are in no set, and must not be pruned for it. */
function keepIdentity(owned: FieldSet): FieldSet {
  return owned['f:metadata'] === undefined ? { ...owned, 'f:metadata': { '.': EMPTY } } : owned;
}

function withManagedFields(object: KubeObject, entries: ManagedFieldsEntry[] | undefined): KubeObject {
  const { managedFields: _, ...metadata } = object.metadata;
  if (entries === undefined || entries.length === 0) return { ...object, metadata };
  return { ...object, metadata: { ...metadata, managedFields: entries } };
}
