// SPDX-License-Identifier: Apache-2.0
// What the API server knows of a resource beyond its schema. One value of `ResourceDefinition` declares one resource: its
// names, defaults, rules, strategy, selectable fields and printer columns. The request handlers are generic over it.
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { ObjectMeta } from '../../machinery/api-types.ts';

/** Any API object as it travels: JSON with the three parts that all objects share. */
export interface KubeObject {
  apiVersion: string;
  kind: string;
  metadata: ObjectMeta;
  [key: string]: unknown;
}

/** One problem of one field, as apimachinery's `field.Error` words it; `Invalid` status causes are made of these. */
export interface FieldError {
  readonly type:
    | 'Required value'
    | 'Invalid value'
    | 'Unsupported value'
    | 'Duplicate value'
    | 'Not found'
    | 'Forbidden'
    | 'Too long'
    | 'Too many'
    | 'Internal error';
  /** Path as kubectl prints it: `spec.containers[0].image`. */
  readonly field: string;
  readonly value?: unknown;
  readonly detail: string;
}

export interface UserInfo {
  readonly name: string;
  readonly uid?: string;
  readonly groups: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>>;
}

/** Who asks for what; built once per request by the server. */
export interface RequestContext {
  readonly user: UserInfo;
  readonly verb: string;
  readonly group: string;
  readonly version: string;
  readonly resource: string;
  readonly subresource?: string;
  readonly namespace?: string;
  readonly name?: string;
  readonly dryRun: boolean;
  readonly fieldManager: string;
  readonly query: URLSearchParams;
  /** Adds a `Warning: 299` header to the response. */
  warn(text: string): void;
  readonly registry: Registry;
}

/**
 * Read and write access to stored objects for strategies, admission plugins and subresource handlers. Objects are the
 * storage version. Reads come from the watch cache and must not be mutated.
 * Errors: `StatusError` (cluster/apiserver/status.ts).
 */
export interface Registry {
  /** `resource` is `pods` or `deployments.apps`. */
  get(resource: string, namespace: string | undefined, name: string): KubeObject | undefined;
  list(resource: string, namespace?: string): readonly KubeObject[];
  create(resource: string, object: KubeObject, context?: Partial<RequestContext>): Promise<KubeObject>;
  /** Reads, lets `mutate` change a copy, writes with optimistic concurrency and retries conflicts. */
  update(
    resource: string,
    namespace: string | undefined,
    name: string,
    mutate: (object: KubeObject) => KubeObject | undefined,
    options?: { subresource?: string; resourceVersion?: string; uid?: string; context?: Partial<RequestContext> },
  ): Promise<KubeObject>;
  delete(
    resource: string,
    namespace: string | undefined,
    name: string,
    options?: {
      uid?: string;
      resourceVersion?: string;
      gracePeriodSeconds?: number;
      propagationPolicy?: string;
      dryRun?: boolean;
    },
  ): Promise<KubeObject>;
  definition(resource: string): ResourceDefinition | undefined;
}

/** A column of `kubectl get`, as `Table.columnDefinitions` has it. */
export interface Column {
  readonly name: string;
  readonly type: 'string' | 'integer' | 'number' | 'boolean' | 'date';
  readonly format?: string;
  readonly description?: string;
  /** 0 is always shown, 1 only with `-o wide`. */
  readonly priority?: number;
}

/** JSON paths of the parts that the `scale` subresource shows. */
export interface ScalePaths {
  readonly specReplicas: string;
  readonly statusReplicas: string;
  /** Path of the selector: a LabelSelector, a map, or a string already in query form. */
  readonly selector?: string;
}

/** A request for a subresource that is more than a view of the object, such as `binding`, `log` or `exec`. */
export interface SubresourceRequest {
  readonly context: RequestContext;
  readonly method: string;
  /** The parent object (storage version). */
  readonly parent: KubeObject;
  /** The decoded body for POST, PUT and PATCH. */
  readonly body?: KubeObject;
  readonly raw: IncomingMessage;
  /** Rest of the path behind the subresource, for proxies. */
  readonly rest: string;
  /** Set for HTTP/1.1 upgrade requests. */
  readonly upgrade?: { readonly socket: Duplex; readonly head: Buffer };
}

/** What a subresource answers: an object, or `handled` when it has written to the raw response or socket by itself. */
export type SubresourceResponse =
  | { readonly status: number; readonly object: KubeObject }
  | { readonly status: number; readonly headers: Record<string, string>; readonly stream: NodeJS.ReadableStream }
  | 'handled';

export interface SubresourceDefinition {
  readonly kind: string;
  readonly group?: string;
  readonly version?: string;
  /** Verbs for discovery and authorization, e.g. `['create']` for eviction, `['get', 'create']` for exec. */
  readonly verbs: readonly string[];
  handle(request: SubresourceRequest): Promise<SubresourceResponse>;
}

/** A subresource that shows the whole object and updates a part of it; GET, PUT and PATCH work as on `status`. */
export interface ViewDefinition {
  readonly prepareForUpdate?: (object: KubeObject, old: KubeObject, context: RequestContext) => void;
  readonly validateUpdate?: (object: KubeObject, old: KubeObject, context: RequestContext) => FieldError[];
}

export interface ResourceVersion {
  readonly version: string;
  /** Name in the schema, e.g. `io.k8s.api.apps.v1.Deployment`. */
  readonly schema: string;
  /** Conversion from and to the storage version (the first of `versions`); identity when absent. */
  readonly fromStorage?: (object: KubeObject) => KubeObject;
  readonly toStorage?: (object: KubeObject) => KubeObject;
  /** Fields of this version's form for field selectors, where versions differ in them; else those of the definition. */
  readonly selectableFields?: (object: KubeObject) => Readonly<Record<string, string>>;
  readonly deprecated?: string;
}

export interface ResourceDefinition {
  /** API group; the empty string is core. */
  readonly group: string;
  readonly plural: string;
  readonly singular: string;
  readonly kind: string;
  readonly namespaced: boolean;
  readonly shortNames?: readonly string[];
  readonly categories?: readonly string[];
  /** Served versions; the first is the storage and the preferred version. */
  readonly versions: readonly [ResourceVersion, ...ResourceVersion[]];
  /** Verbs that it has; all when absent. */
  readonly verbs?: readonly string[];

  /** Fills in defaults, in place, on what a client sent and on what is read from an older client. */
  readonly default?: (object: KubeObject) => void;
  /** Clears what a client may not set (status, generation...) before a create, in place. */
  readonly prepareForCreate?: (object: KubeObject, context: RequestContext) => void;
  /** Same before an update: copies status from `old`, keeps immutable fields. Generation is bumped by the generic code when spec changed. */
  readonly prepareForUpdate?: (object: KubeObject, old: KubeObject, context: RequestContext) => void;
  readonly validate?: (object: KubeObject, context: RequestContext) => FieldError[];
  readonly validateUpdate?: (object: KubeObject, old: KubeObject, context: RequestContext) => FieldError[];
  /** Present when the resource has a `status` subresource. */
  readonly status?: ViewDefinition;
  /** Further subresources of the same shape: `finalize`, `approval`, `ephemeralcontainers`, `resize`. */
  readonly views?: Readonly<Record<string, ViewDefinition>>;
  /** Shares the stored objects of another resource (`events` for events.k8s.io) by `fromStorage` and `toStorage`. */
  readonly storedAs?: string;
  /** Called in place when a delete sets `deletionTimestamp` and waits; a namespace's phase becomes Terminating. */
  readonly markForDeletion?: (object: KubeObject) => void;
  /** Finalizers besides `metadata.finalizers` that keep a deleted object: a namespace's `spec.finalizers`. */
  readonly finalizers?: (object: KubeObject) => readonly string[];
  readonly scale?: ScalePaths;
  readonly subresources?: Readonly<Record<string, SubresourceDefinition>>;
  /** Answers a create of a resource that is never stored (TokenReview, SubjectAccessReview...). */
  readonly review?: (object: KubeObject, context: RequestContext) => Promise<KubeObject>;
  /** Takes addresses and ports before a write; the returned function gives them back when the write fails. */
  readonly allocate?: (object: KubeObject, old: KubeObject | undefined, context: RequestContext) => Promise<() => void>;
  /** Gives addresses and ports back after the object has gone from the store. */
  readonly release?: (object: KubeObject, registry: Registry) => Promise<void>;
  /** Grace period in seconds for a delete, or 0 for at once; absent means at once. Sets `deletionGracePeriodSeconds`. */
  readonly gracePeriodSeconds?: (object: KubeObject, requested: number | undefined) => number;
  /** Values for field selectors beyond metadata.name and metadata.namespace, e.g. `{ 'spec.nodeName': ... }`. */
  readonly selectableFields?: (object: KubeObject) => Readonly<Record<string, string>>;
  /** Columns between NAME and AGE; NAME and AGE themselves are included here too. */
  readonly columns?: readonly Column[];
  /** Cells in the order of `columns`. `now` in milliseconds since the epoch. */
  readonly cells?: (object: KubeObject, now: number) => unknown[];
  /** True for a resource from a CustomResourceDefinition. */
  readonly custom?: boolean;
}

/** One step of admission. Plugins run in order, all `mutate` before all `validate`; the first refusal (StatusError) wins. */
export interface AdmissionPlugin {
  /** Name as upstream's `--enable-admission-plugins` spells it. */
  readonly name: string;
  readonly mutate?: (attributes: AdmissionAttributes) => Promise<void> | void;
  readonly validate?: (attributes: AdmissionAttributes) => Promise<void> | void;
  /** Asked in place of both about connections (exec, attach, portforward, proxy); `object` holds their options. */
  readonly connect?: (attributes: AdmissionAttributes) => Promise<void> | void;
}

export interface AdmissionAttributes {
  readonly operation: 'CREATE' | 'UPDATE' | 'DELETE' | 'CONNECT';
  readonly definition: ResourceDefinition;
  readonly context: RequestContext;
  /** The new object; absent for DELETE. May be changed in place by `mutate`. */
  readonly object?: KubeObject;
  readonly old?: KubeObject;
}
