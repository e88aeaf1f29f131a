// SPDX-License-Identifier: Apache-2.0
// The book of who owns which fields: `metadata.managedFields` read into managers, and managers written back.
import type { ManagedFieldsEntry } from '../../machinery/api-types.ts';
import type { FieldSet } from './field-set.ts';
import { difference, isEmpty, union, sorted } from './field-set.ts';

export interface Manager {
  readonly manager: string;
  readonly operation: 'Apply' | 'Update';
  readonly apiVersion: string;
  readonly subresource: string;
  readonly time: string | undefined;
  readonly fields: FieldSet;
}

/** By identity; see `identityOf`. */
export type Managers = Map<string, Manager>;

/** More than this many Update managers are merged into one, oldest first. */
const MAX_UPDATE_MANAGERS = 10;
const ANCIENT = 'ancient-changes';

/** Fields that nobody owns: they are the object's identity or the server's own. */
const UNOWNED: FieldSet = {
  'f:apiVersion': {},
  'f:kind': {},
  'f:metadata': Object.fromEntries(
    [
      '.',
      'f:name',
      'f:namespace',
      'f:creationTimestamp',
      'f:selfLink',
      'f:uid',
      'f:clusterName',
      'f:generation',
      'f:managedFields',
      'f:resourceVersion',
    ].map((step) => [step, {}]),
  ),
};

export function withoutServerFields(fields: FieldSet): FieldSet {
  return difference(fields, UNOWNED);
}

/** An applier is the same whatever version it applies; an updater is another one in each version. */
export function identityOf(manager: Omit<Manager, 'time' | 'fields'>): string {
  const version = manager.operation === 'Apply' ? '' : manager.apiVersion;
  return JSON.stringify([manager.manager, manager.operation, version, manager.subresource]);
}

/** `[{}]` is how a client asks to forget all ownership. */
export function isReset(entries: readonly ManagedFieldsEntry[] | undefined): boolean {
  return entries?.length === 1 && Object.keys(entries[0] ?? {}).length === 0;
}

/** Undefined when an entry cannot be read; callers then keep what the stored object says. */
export function readManagers(entries: readonly ManagedFieldsEntry[] | undefined): Managers | undefined {
  const managers: Managers = new Map();
  for (const entry of entries ?? []) {
    const { operation, fieldsV1 } = entry;
    if (operation !== 'Apply' && operation !== 'Update') return undefined;
    if (typeof fieldsV1 !== 'object') return undefined;
    const manager: Manager = {
      manager: entry.manager ?? '',
      operation,
      apiVersion: entry.apiVersion ?? '',
      subresource: entry.subresource ?? '',
      time: entry.time,
      fields: fieldsV1 as FieldSet,
    };
    const identity = identityOf(manager);
    const same = managers.get(identity);
    managers.set(identity, same === undefined ? manager : { ...manager, fields: union(same.fields, manager.fields) });
  }
  return managers;
}

/** Sorted as upstream does: appliers first, then by time. Managers that own nothing are left out. */
export function writeManagers(managers: Managers): ManagedFieldsEntry[] {
  return capped([...managers.values()].filter((manager) => !isEmpty(manager.fields)))
    .toSorted(
      (a, b) =>
        compareText(a.operation, b.operation) ||
        compareText(a.time ?? '', b.time ?? '') ||
        compareText(a.manager, b.manager) ||
        compareText(a.apiVersion, b.apiVersion) ||
        compareText(a.subresource, b.subresource),
    )
    .map((manager) => ({
      manager: manager.manager,
      operation: manager.operation,
      apiVersion: manager.apiVersion,
      ...(manager.time === undefined ? {} : { time: manager.time }),
      fieldsType: 'FieldsV1',
      fieldsV1: sorted(manager.fields),
      ...(manager.subresource === '' ? {} : { subresource: manager.subresource }),
    }));
}

function capped(managers: Manager[]): Manager[] {
  const updaters = managers.filter((manager) => manager.operation === 'Update');
  const excess = updaters.length - MAX_UPDATE_MANAGERS;
  if (excess <= 0) return managers;
  const oldest = updaters
    .toSorted((a, b) => compareText(a.time ?? '', b.time ?? '') || compareText(a.manager, b.manager))
    .slice(0, excess + 1);
  const buckets = new Map<string, Manager>();
  for (const old of oldest) {
    const bucket = buckets.get(old.apiVersion);
    buckets.set(old.apiVersion, {
      ...old,
      manager: ANCIENT,
      subresource: '',
      fields: bucket === undefined ? old.fields : union(bucket.fields, old.fields),
    });
  }
  return [...managers.filter((manager) => !oldest.includes(manager)), ...buckets.values()];
}

/** As conflict messages name a manager: `"kubectl" with subresource "scale" using apps/v1`. */
export function describeManager(manager: Manager): string {
  const subresource = manager.subresource === '' ? '' : ` with subresource ${JSON.stringify(manager.subresource)}`;
  const version = manager.operation === 'Update' ? ` using ${manager.apiVersion}` : '';
  return `${JSON.stringify(manager.manager)}${subresource}${version}`;
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
