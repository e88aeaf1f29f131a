// SPDX-License-Identifier: Apache-2.0
// Starts one container: image, configuration, create, start, postStart. Fails with a StartError that carries what the pod's status shows.
import { existsSync, mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { Container, Pod } from '../../machinery/api-types.ts';
import { describeError } from '../../machinery/log.ts';
import { containerResources } from '../cgroups/pod-cgroups.ts';
import type { SandboxConfig } from '../cri/runtime.ts';
import { grpcMessage } from '../grpc/service-client.ts';
import type { RegistrySecret } from '../images/credentials.ts';
import { ImageError } from '../images/image-manager.ts';
import type { StartAction } from '../pods/pod-actions.ts';
import type { PodContext } from '../pods/pod-context.ts';
import { identityOf, specOf } from '../pods/pod-facts.ts';
import { logDirectory } from '../pods/start-sandbox.ts';
import { configMapData, secretData } from '../volumes/file-content.ts';
import type { MountedVolume } from '../volumes/volume-manager.ts';
import { logFile, makeContainerConfig } from './container-config.ts';
import { containerMounts } from './container-mounts.ts';
import { ConfigurationError, makeEnvironment } from './environment.ts';
import { runHook } from './lifecycle-hooks.ts';

export class StartError extends Error {
  override readonly name = 'StartError';
  readonly reason: string;
  /** When another attempt makes sense; 0 for "by the usual rules". */
  readonly retryAfterMs: number;

  constructor(reason: string, message: string, retryAfterMs = 0) {
    super(message);
    this.reason = reason;
    this.retryAfterMs = retryAfterMs;
  }
}

export interface StartRequest {
  readonly pod: Pod;
  readonly action: StartAction;
  readonly sandboxId: string;
  readonly sandboxConfig: SandboxConfig;
  readonly podIPs: readonly string[];
  readonly volumes: ReadonlyMap<string, MountedVolume>;
  /** The container that an ephemeral one looks at. */
  readonly targetContainerId: string | undefined;
  readonly signal: AbortSignal;
}

/** Returns the id of the running container. Errors: StartError. */
export async function startContainer(context: PodContext, request: StartRequest): Promise<string> {
  const { pod, action } = request;
  const { container, attempt } = action;
  const onEvent = (type: 'Normal' | 'Warning', reason: string, message: string): void =>
    context.event(pod, { type, reason, message, container: containerPath(action) });
  let config;
  try {
    const [image, environment] = await Promise.all([
      (async () => {
        const secrets = await pullSecrets(context, pod);
        return context.images.ensure({
          pod,
          container,
          secrets,
          sandboxConfig: request.sandboxConfig,
          onEvent,
          signal: request.signal,
        });
      })(),
      environmentOf(context, request),
    ]);
    const { mounts, devices } = containerMounts({
      pod,
      container,
      environment,
      volumes: request.volumes,
      podFolder: context.volumes.podFolder(identityOf(pod).uid),
      podIPs: request.podIPs,
      clusterDomain: context.config.clusterDomain,
    });
    mkdirSync(join(logDirectory(context.config, pod), container.name), { recursive: true, mode: 0o755 });
    config = makeContainerConfig({
      pod,
      container,
      attempt,
      imageId: image.id,
      imageUser: image.user,
      environment,
      mounts,
      devices,
      resources: containerResources(pod, container as Container, context.node.memoryBytes),
      unified: context.cgroups.version === 2 ? { 'memory.oom.group': '1' } : {},
      seccompRoot: join(context.rootDir, 'seccomp'),
      seccompDefault: context.config.seccompDefault,
      targetContainerId: request.targetContainerId,
    });
  } catch (error) {
    if (error instanceof ImageError) throw new StartError(error.reason, error.message, error.retryAfterMs);
    onEvent('Warning', 'Failed', `Error: ${describeError(error)}`);
    const reason = error instanceof ConfigurationError ? 'CreateContainerConfigError' : 'CreateContainerError';
    throw new StartError(reason, describeError(error));
  }

  const containerId = await createAndStart(context, { ...request, config, onEvent });
  linkLog(context, request, containerId);
  const hook = container.lifecycle?.postStart;
  if (hook) {
    try {
      await runHook(context.runtime, hook, {
        pod,
        container,
        containerId,
        podIP: request.podIPs[0] ?? '',
        timeoutSeconds: 0,
      });
    } catch (error) {
      const message = `PostStartHook failed: ${grpcMessage(error)}`;
      onEvent('Warning', 'FailedPostStartHook', message);
      onEvent('Normal', 'Killing', `FailedPostStartHook`);
      await context.runtime.stopContainer(containerId, specOf(pod).terminationGracePeriodSeconds ?? 30);
      throw new StartError('PostStartHookError', message);
    }
  }
  return containerId;
}

interface Creation extends StartRequest {
  readonly config: ReturnType<typeof makeContainerConfig>;
  readonly onEvent: (type: 'Normal' | 'Warning', reason: string, message: string) => void;
}

async function createAndStart(context: PodContext, request: Creation): Promise<string> {
  const { onEvent, sandboxId, config, sandboxConfig } = request;
  let containerId: string;
  try {
    containerId = await context.runtime.createContainer(sandboxId, config, sandboxConfig);
  } catch (error) {
    onEvent('Warning', 'Failed', `Error: ${grpcMessage(error)}`);
    throw new StartError('CreateContainerError', grpcMessage(error));
  }
  onEvent('Normal', 'Created', `Created container: ${request.action.container.name}`);
  try {
    await context.runtime.startContainer(containerId);
  } catch (error) {
    onEvent('Warning', 'Failed', `Error: ${grpcMessage(error)}`);
    throw new StartError('RunContainerError', grpcMessage(error));
  }
  onEvent('Normal', 'Started', `Started container ${request.action.container.name}`);
  return containerId;
}

/** `spec.containers{name}`, the part of the pod that an event is about. */
function containerPath(action: StartAction): string {
  const list = { init: 'initContainers', app: 'containers', ephemeral: 'ephemeralContainers' }[action.kind];
  return `spec.${list}{${action.container.name}}`;
}

async function environmentOf(context: PodContext, request: StartRequest): Promise<Map<string, string>> {
  const { pod, action } = request;
  const { namespace } = identityOf(pod);
  const { container } = action;
  const configMaps = new Map<string, Record<string, Buffer> | undefined>();
  const secrets = new Map<string, Record<string, Buffer> | undefined>();
  const names = (kind: 'configMap' | 'secret'): (string | undefined)[] => [
    ...(container.envFrom ?? []).map((source) => (kind === 'configMap' ? source.configMapRef : source.secretRef)?.name),
    ...(container.env ?? []).map(
      ({ valueFrom }) => (kind === 'configMap' ? valueFrom?.configMapKeyRef : valueFrom?.secretKeyRef)?.name,
    ),
  ];
  for (const name of names('configMap')) {
    if (name === undefined || configMaps.has(name)) continue;
    const object = await context.objects.configMap(namespace, name);
    configMaps.set(name, object && configMapData(object));
  }
  for (const name of names('secret')) {
    if (name === undefined || secrets.has(name)) continue;
    const object = await context.objects.secret(namespace, name);
    secrets.set(name, object && secretData(object));
  }
  return makeEnvironment({
    pod,
    container: container as Container,
    podIPs: request.podIPs,
    hostIPs: context.node.ips,
    allocatable: context.node.allocatable,
    services: await context.services(namespace),
    configMap: (name) => configMaps.get(name),
    secret: (name) => secrets.get(name),
  });
}

async function pullSecrets(context: PodContext, pod: Pod): Promise<RegistrySecret[]> {
  const { namespace } = identityOf(pod);
  const found = await Promise.all(
    (specOf(pod).imagePullSecrets ?? []).map(({ name }) => context.objects.secret(namespace, name ?? '')),
  );
  return found.flatMap((secret) => (secret ? [{ type: secret.type ?? '', data: secretData(secret) }] : []));
}

/** /var/log/containers/POD_NAMESPACE_CONTAINER-ID.log, where log collectors look. */
function linkLog(context: PodContext, request: StartRequest, containerId: string): void {
  const { name, namespace } = identityOf(request.pod);
  const { container, attempt } = request.action;
  const folder = '/var/log/containers';
  const link = join(folder, `${name}_${namespace}_${container.name}-${containerId}.log`);
  try {
    if (!existsSync(folder)) mkdirSync(folder, { recursive: true });
    rmSync(link, { force: true });
    symlinkSync(join(logDirectory(context.config, request.pod), logFile(container.name, attempt)), link);
  } catch {
    // Only a convenience for others: the pod runs without it.
  }
}
