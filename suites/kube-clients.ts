// SPDX-License-Identifier: Apache-2.0
/**
 * The clients that a case works with: @kubernetes/client-node's typed APIs over one connection pool, and the few things it leaves
 * out (raw requests, exec with an exit code, a watch that is an async iterable). Implemented in runner/target/kube-clients.ts.
 * Errors of the typed APIs are client-node's `ApiException` (`code`, `body`); those of the methods here are too.
 */
import type {
  ApiextensionsV1Api,
  AppsV1Api,
  AuthenticationV1Api,
  AuthorizationV1Api,
  AutoscalingV2Api,
  BatchV1Api,
  CertificatesV1Api,
  CoordinationV1Api,
  CoreV1Api,
  CustomObjectsApi,
  DiscoveryV1Api,
  EventsV1Api,
  KubeConfig,
  KubernetesObject,
  KubernetesObjectApi,
  NetworkingV1Api,
  NodeV1Api,
  PolicyV1Api,
  RbacAuthorizationV1Api,
  SchedulingV1Api,
  StorageV1Api,
} from '@kubernetes/client-node';
import type { Progress } from './case.ts';

export interface KubeClients {
  readonly config: KubeConfig;
  readonly core: CoreV1Api;
  readonly apps: AppsV1Api;
  readonly batch: BatchV1Api;
  readonly networking: NetworkingV1Api;
  readonly discovery: DiscoveryV1Api;
  readonly storage: StorageV1Api;
  readonly rbac: RbacAuthorizationV1Api;
  readonly policy: PolicyV1Api;
  readonly scheduling: SchedulingV1Api;
  readonly coordination: CoordinationV1Api;
  readonly autoscaling: AutoscalingV2Api;
  readonly certificates: CertificatesV1Api;
  readonly authentication: AuthenticationV1Api;
  readonly authorization: AuthorizationV1Api;
  readonly apiextensions: ApiextensionsV1Api;
  readonly events: EventsV1Api;
  readonly node: NodeV1Api;
  readonly custom: CustomObjectsApi;
  /** Any kind, by apiVersion and kind. */
  readonly objects: KubernetesObjectApi;

  /** One HTTP request as it is: for tables, protobuf, wrong input, metrics, proxies. Resolves whatever the status code. */
  request(request: RawRequest): Promise<RawResponse>;

  /** Runs a command in a container to its end. Rejects only if the exec itself failed; a non-zero exit code is a result. */
  exec(command: readonly string[], target: ExecTarget): Promise<ExecResult>;

  /** Events of a watch from `resourceVersion` (or from now), until the signal, or until the server ends it. BOOKMARK and ERROR included. */
  watch<T extends KubernetesObject>(path: string, options: WatchOptions): AsyncIterable<WatchEvent<T>>;

  /**
   * Gets an object and watches it until `condition` says `done`; re-lists when the watch ends. `undefined` stands for "not there", so
   * that deletion can be waited for. At the deadline fails with `description` and the last `pending` state.
   */
  waitForObject<T extends KubernetesObject, R>(
    object: ObjectReference,
    condition: (object: T | undefined) => Progress<R>,
    options: { readonly description: string; readonly timeoutMs?: number; readonly signal?: AbortSignal },
  ): Promise<R>;
}

export interface ObjectReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly namespace?: string;
}

export interface RawRequest {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE' | 'HEAD' | 'OPTIONS';
  /** Path and query, starting with `/`. */
  readonly path: string;
  /** A string or bytes are sent as they are; anything else as JSON. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  /** Default 30 000. */
  readonly timeoutMs?: number;
}

export interface RawResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
  /** The body parsed as JSON; throws a SyntaxError that shows the start of the body otherwise. */
  json(): unknown;
}

export interface ExecTarget {
  readonly namespace: string;
  readonly pod: string;
  readonly container?: string;
  readonly stdin?: string | Uint8Array;
  readonly signal?: AbortSignal;
  /** Default 30 000. */
  readonly timeoutMs?: number;
}

export interface ExecResult {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number;
}

export interface WatchOptions {
  readonly query?: Readonly<Record<string, string | number | boolean>>;
  readonly signal: AbortSignal;
}

export interface WatchEvent<T> {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR';
  readonly object: T;
}
