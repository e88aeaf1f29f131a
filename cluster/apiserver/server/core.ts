// SPDX-License-Identifier: Apache-2.0
// What the request handlers share: where objects are, which resources there are, and who may intervene in a write.
import type { AdmissionPlugin, KubeObject, Registry, RequestContext, UserInfo } from '../resources/definition.ts';
import type { AccessAttributes, AccessDecision } from '../resources/config.ts';
import type { Store } from '../store/store.ts';
import type { Catalog, Served } from './catalog.ts';

export interface Core {
  readonly store: Store;
  readonly catalog: Catalog;
  readonly registry: Registry;
  readonly plugins: readonly AdmissionPlugin[];
  readonly authorize: (attributes: AccessAttributes) => AccessDecision | Promise<AccessDecision>;
}

/** The API server acting for itself: bootstrap objects, allocators, subresource handlers. */
const systemUser: UserInfo = { name: 'system:apiserver', groups: ['system:masters'] };

/** A context for writes that no request asked for, or on behalf of the request in `from`. */
export function internalContext(core: Core, served: Served, from?: Partial<RequestContext>): RequestContext {
  return {
    user: systemUser,
    verb: 'update',
    dryRun: false,
    fieldManager: 'kube-apiserver',
    query: new URLSearchParams(),
    warn: () => {},
    registry: core.registry,
    ...from,
    group: served.definition.group,
    version: served.version.version,
    resource: served.definition.plural,
  };
}

/** Stored form to what the served version shows. Never changes its argument. */
export function toServed(served: Served, object: KubeObject): KubeObject {
  return served.version.fromStorage === undefined ? object : served.version.fromStorage(object);
}

/** What a client sent in the served version, to the stored form. May change its argument. */
export function toStored(served: Served, object: KubeObject): KubeObject {
  return served.version.toStorage === undefined ? object : served.version.toStorage(object);
}

/** `2026-11-21T13:52:11Z`: whole seconds, as all times of the API. */
export function timestamp(milliseconds = Date.now()): string {
  return `${new Date(milliseconds).toISOString().slice(0, 19)}Z`;
}
