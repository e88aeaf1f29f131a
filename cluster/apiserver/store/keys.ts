// SPDX-License-Identifier: Apache-2.0
// Where objects live in etcd: `/registry/pods/<namespace>/<name>` for core, `/registry/<group>/<plural>/...` for other groups.
// A key says by itself which resource it belongs to, so that objects of custom resources can be cached before their
// definition is known.

export const registryPrefix = '/registry/';

export interface ObjectKey {
  /** `pods` or `deployments.apps`. */
  readonly resource: string;
  /** Empty for cluster-scoped objects. */
  readonly namespace: string;
  readonly name: string;
}

/** Groups without a dot; every other group has one, and plural names never do. */
const shortGroups = new Set(['apps', 'batch', 'autoscaling', 'policy']);

export function resourcePrefix(resource: string): string {
  const dot = resource.indexOf('.');
  return dot < 0
    ? `${registryPrefix}${resource}/`
    : `${registryPrefix}${resource.slice(dot + 1)}/${resource.slice(0, dot)}/`;
}

export function objectKey(resource: string, namespace: string, name: string): string {
  return `${resourcePrefix(resource)}${namespace === '' ? '' : `${namespace}/`}${name}`;
}

/** Undefined for keys that are not objects of ours. */
export function parseKey(key: string): ObjectKey | undefined {
  if (!key.startsWith(registryPrefix)) {
    return undefined;
  }
  const parts = key.slice(registryPrefix.length).split('/');
  const first = parts[0] ?? '';
  const grouped = first.includes('.') || shortGroups.has(first);
  const resource = grouped ? `${parts[1] ?? ''}.${first}` : first;
  const rest = parts.slice(grouped ? 2 : 1);
  if (rest.length === 1) {
    return { resource, namespace: '', name: rest[0] ?? '' };
  }
  return rest.length === 2 ? { resource, namespace: rest[0] ?? '', name: rest[1] ?? '' } : undefined;
}

/** The end of the range of all keys that start with `prefix`. */
export function prefixEnd(prefix: string): Buffer {
  const end = Buffer.from(prefix);
  end.writeUInt8((end.at(-1) ?? 0) + 1, end.length - 1);
  return end;
}
