// SPDX-License-Identifier: Apache-2.0
/** Implements suites/kube-clients.ts on @kubernetes/client-node: typed APIs, raw requests, exec and watch over one connection pool. */
import {
  ApiException,
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
  IsomorphicFetchHttpLibrary,
  type KubeConfig,
  type KubernetesObject,
  KubernetesObjectApi,
  NetworkingV1Api,
  NodeV1Api,
  PolicyV1Api,
  RbacAuthorizationV1Api,
  RequestContext,
  type ResponseContext,
  SchedulingV1Api,
  StorageV1Api,
} from '@kubernetes/client-node';
import { execInPod } from '../../probes/agent/exec-in-pod.ts';
import { InconclusiveError } from '../../suites/case.ts';
import type {
  ExecResult,
  ExecTarget,
  KubeClients,
  RawRequest,
  RawResponse,
  WatchEvent,
  WatchOptions,
} from '../../suites/kube-clients.ts';
import { waitForObject } from './wait-for-object.ts';

const requestTimeoutMs = 30_000;
const http = new IsomorphicFetchHttpLibrary();

export function createKubeClients(config: KubeConfig): KubeClients {
  const clients: KubeClients = {
    config,
    core: config.makeApiClient(CoreV1Api),
    apps: config.makeApiClient(AppsV1Api),
    batch: config.makeApiClient(BatchV1Api),
    networking: config.makeApiClient(NetworkingV1Api),
    discovery: config.makeApiClient(DiscoveryV1Api),
    storage: config.makeApiClient(StorageV1Api),
    rbac: config.makeApiClient(RbacAuthorizationV1Api),
    policy: config.makeApiClient(PolicyV1Api),
    scheduling: config.makeApiClient(SchedulingV1Api),
    coordination: config.makeApiClient(CoordinationV1Api),
    autoscaling: config.makeApiClient(AutoscalingV2Api),
    certificates: config.makeApiClient(CertificatesV1Api),
    authentication: config.makeApiClient(AuthenticationV1Api),
    authorization: config.makeApiClient(AuthorizationV1Api),
    apiextensions: config.makeApiClient(ApiextensionsV1Api),
    events: config.makeApiClient(EventsV1Api),
    node: config.makeApiClient(NodeV1Api),
    custom: config.makeApiClient(CustomObjectsApi),
    objects: KubernetesObjectApi.makeApiClient(config),
    request: (request) => sendRequest(config, request),
    exec: (command, target) => exec(config, command, target),
    watch: <T extends KubernetesObject>(path: string, options: WatchOptions) => watchPath<T>(config, path, options),
    waitForObject: (reference, condition, options) => waitForObject(clients, reference, { ...options, condition }),
  };
  return clients;
}

async function sendRequest(config: KubeConfig, request: RawRequest): Promise<RawResponse> {
  const timeout = AbortSignal.timeout(request.timeoutMs ?? requestTimeoutMs);
  const signal = request.signal === undefined ? timeout : AbortSignal.any([request.signal, timeout]);
  const response = await open(config, request, signal);
  const body = Buffer.from(await new Response(response.body.stream()).arrayBuffer());
  return {
    status: response.httpStatusCode,
    headers: response.headers,
    body,
    json: () => {
      try {
        return JSON.parse(body.toString()) as unknown;
      } catch {
        throw new SyntaxError(
          `${request.method ?? 'GET'} ${request.path} answered ${response.httpStatusCode} with something that is not JSON: ${body.toString().slice(0, 200)}`,
        );
      }
    },
  };
}

async function open(config: KubeConfig, request: RawRequest, signal: AbortSignal): Promise<ResponseContext> {
  const cluster = config.getCurrentCluster();
  if (cluster === null) throw new InconclusiveError('the kubeconfig has no current cluster');
  const context = new RequestContext(cluster.server.replace(/\/$/, '') + request.path, request.method ?? 'GET');
  await config.applySecurityAuthentication(context);
  context.setHeaderParam('Accept', 'application/json');
  context.setHeaderParam('User-Agent', 'plumb');
  if (request.body !== undefined) {
    context.setHeaderParam('Content-Type', 'application/json');
    // undici takes bytes too; client-node's type does not know.
    context.setBody((isRaw(request.body) ? request.body : JSON.stringify(request.body)) as string);
  }
  for (const [name, value] of Object.entries(request.headers ?? {})) {
    for (const given of ['Accept', 'User-Agent', 'Content-Type']) {
      if (name.toLowerCase() === given.toLowerCase()) Reflect.deleteProperty(context.getHeaders(), given);
    }
    context.setHeaderParam(name, value);
  }
  context.setSignal(signal);
  return http.send(context).toPromise();
}

function isRaw(body: unknown): boolean {
  return typeof body === 'string' || body instanceof Uint8Array;
}

async function exec(config: KubeConfig, command: readonly string[], target: ExecTarget): Promise<ExecResult> {
  const { container = '', signal = new AbortController().signal, ...rest } = target;
  const { stdout, stderr, exitCode } = await execInPod(config, command, { ...rest, container, signal });
  return { stdout: stdout.toString(), stderr, exitCode };
}

async function* watchPath<T extends KubernetesObject>(
  config: KubeConfig,
  path: string,
  options: WatchOptions,
): AsyncGenerator<WatchEvent<T>> {
  const query = new URLSearchParams({ watch: 'true', allowWatchBookmarks: 'true' });
  for (const [name, value] of Object.entries(options.query ?? {})) query.set(name, String(value));
  const separator = path.includes('?') ? '&' : '?';
  const response = await open(config, { path: `${path}${separator}${query.toString()}` }, options.signal);
  if (response.httpStatusCode !== 200) {
    const text = await response.body.text();
    throw new ApiException(response.httpStatusCode, `watch ${path}`, text, response.headers);
  }
  const stream = response.body.stream();
  if (stream === null) return;
  const decoder = new TextDecoder();
  let rest = '';
  try {
    for await (const chunk of stream as unknown as AsyncIterable<Uint8Array>) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) if (line !== '') yield JSON.parse(line) as WatchEvent<T>;
    }
  } catch (error) {
    if (!options.signal.aborted) throw error;
  }
}
