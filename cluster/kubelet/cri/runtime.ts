// SPDX-License-Identifier: Apache-2.0
// The container runtime as the kubelet sees it: CRI runtime.v1 over a unix socket. Guarantees typed requests and answers, a deadline on
// every call, and that "not found" on stop and remove counts as done.
import descriptor from '../grpc/runtime-v1.descriptor.json' with { type: 'json' };
import eventsDescriptor from '../grpc/containerd-events.descriptor.json' with { type: 'json' };
import type { Envelope } from '../grpc/containerd-events.types.ts';
import type {
  AuthConfig,
  Container,
  ContainerConfig,
  ContainerEventResponse,
  ContainerStats,
  ContainerStatus,
  ExecSyncResponse,
  FilesystemUsage,
  Image,
  LinuxContainerResources,
  PodSandbox,
  PodSandboxConfig,
  PodSandboxStatus,
  StatusResponse,
  VersionResponse,
} from '../grpc/runtime-v1.types.ts';
import { connectService, grpcCode, grpcStatus } from '../grpc/service-client.ts';
import type { Outgoing, ServiceClient } from '../grpc/service-client.ts';
import { podUidLabel } from './labels.ts';

export type SandboxConfig = Outgoing<PodSandboxConfig>;
export type ContainerConfiguration = Outgoing<ContainerConfig>;

export interface ExecResult {
  readonly exitCode: number;
  readonly stdout: Buffer;
  readonly stderr: Buffer;
}

export class Runtime {
  readonly endpoint: string;
  readonly #runtime: ServiceClient;
  readonly #images: ServiceClient;

  /** `endpoint` is `unix:///path/to.sock`. */
  constructor(endpoint: string) {
    this.endpoint = endpoint;
    this.#runtime = connectService(descriptor, 'runtime.v1.RuntimeService', endpoint);
    this.#images = connectService(descriptor, 'runtime.v1.ImageService', endpoint);
  }

  close(): void {
    this.#runtime.close();
    this.#images.close();
  }

  version(): Promise<VersionResponse> {
    return this.#runtime.call('Version', { version: 'v1' }, { timeoutMs: 5_000 });
  }

  status(): Promise<StatusResponse> {
    return this.#runtime.call('Status', { verbose: false }, { timeoutMs: 5_000 });
  }

  async updatePodCidr(podCidr: string): Promise<void> {
    await this.#runtime.call('UpdateRuntimeConfig', { runtimeConfig: { networkConfig: { podCidr } } });
  }

  async listSandboxes(): Promise<PodSandbox[]> {
    return (await this.#runtime.call<{ items: PodSandbox[] }>('ListPodSandbox', {})).items;
  }

  /** Sandboxes and containers of one pod, found by label. */
  async listPod(uid: string): Promise<{ sandboxes: PodSandbox[]; containers: Container[] }> {
    const filter = { labelSelector: { [podUidLabel]: uid } };
    const [sandboxes, containers] = await Promise.all([
      this.#runtime.call<{ items: PodSandbox[] }>('ListPodSandbox', { filter }),
      this.#runtime.call<{ containers: Container[] }>('ListContainers', { filter }),
    ]);
    return { sandboxes: sandboxes.items, containers: containers.containers };
  }

  async sandboxStatus(podSandboxId: string): Promise<PodSandboxStatus> {
    const answer = await this.#runtime.call<{ status: PodSandboxStatus | null }>('PodSandboxStatus', { podSandboxId });
    if (answer.status === null) throw new Error(`runtime gave no status for pod sandbox ${podSandboxId}`);
    return answer.status;
  }

  /** Details that only a verbose status has: process id and network namespace of the sandbox, as the runtime's own JSON. */
  async sandboxInfo(podSandboxId: string): Promise<Record<string, string>> {
    return (
      await this.#runtime.call<{ info: Record<string, string> }>('PodSandboxStatus', { podSandboxId, verbose: true })
    ).info;
  }

  async runSandbox(config: SandboxConfig, runtimeHandler: string): Promise<string> {
    const request = { config, runtimeHandler };
    return (await this.#runtime.call<{ podSandboxId: string }>('RunPodSandbox', request, { timeoutMs: 240_000 }))
      .podSandboxId;
  }

  async stopSandbox(podSandboxId: string): Promise<void> {
    await goneIsDone(this.#runtime.call('StopPodSandbox', { podSandboxId }));
  }

  async removeSandbox(podSandboxId: string): Promise<void> {
    await goneIsDone(this.#runtime.call('RemovePodSandbox', { podSandboxId }));
  }

  async listContainers(): Promise<Container[]> {
    return (await this.#runtime.call<{ containers: Container[] }>('ListContainers', {})).containers;
  }

  async containerStatus(containerId: string): Promise<ContainerStatus> {
    const answer = await this.#runtime.call<{ status: ContainerStatus | null }>('ContainerStatus', { containerId });
    if (answer.status === null) throw new Error(`runtime gave no status for container ${containerId}`);
    return answer.status;
  }

  async createContainer(
    podSandboxId: string,
    config: ContainerConfiguration,
    sandboxConfig: SandboxConfig,
  ): Promise<string> {
    const request = { podSandboxId, config, sandboxConfig };
    return (await this.#runtime.call<{ containerId: string }>('CreateContainer', request)).containerId;
  }

  async startContainer(containerId: string): Promise<void> {
    await this.#runtime.call('StartContainer', { containerId });
  }

  /** Signals the container and kills it after `graceSeconds`; returns when it has exited. */
  async stopContainer(containerId: string, graceSeconds: number, signal?: AbortSignal): Promise<void> {
    const timeout = Math.max(0, Math.floor(graceSeconds));
    const options = { timeoutMs: 120_000 + timeout * 1000, ...(signal && { signal }) };
    await goneIsDone(this.#runtime.call('StopContainer', { containerId, timeout }, options));
  }

  async removeContainer(containerId: string): Promise<void> {
    await goneIsDone(this.#runtime.call('RemoveContainer', { containerId }));
  }

  async updateResources(containerId: string, linux: Outgoing<LinuxContainerResources>): Promise<void> {
    await this.#runtime.call('UpdateContainerResources', { containerId, linux });
  }

  async reopenLog(containerId: string): Promise<void> {
    await this.#runtime.call('ReopenContainerLog', { containerId });
  }

  /** Runs a command to its end; rejects with DEADLINE_EXCEEDED after `timeoutSeconds` (0 = no limit). */
  async execSync(containerId: string, cmd: readonly string[], timeoutSeconds: number): Promise<ExecResult> {
    const timeoutMs = timeoutSeconds > 0 ? timeoutSeconds * 1000 + 5_000 : 600_000;
    const request = { containerId, cmd, timeout: timeoutSeconds };
    return this.#runtime.call<ExecSyncResponse>('ExecSync', request, { timeoutMs });
  }

  /** Returns the URL of the runtime's streaming server for one exec. */
  async exec(options: ExecOptions & { cmd: readonly string[] }): Promise<string> {
    return (await this.#runtime.call<{ url: string }>('Exec', options)).url;
  }

  async attach(options: ExecOptions): Promise<string> {
    return (await this.#runtime.call<{ url: string }>('Attach', options)).url;
  }

  async portForward(podSandboxId: string, port: readonly number[]): Promise<string> {
    return (await this.#runtime.call<{ url: string }>('PortForward', { podSandboxId, port })).url;
  }

  async listContainerStats(): Promise<ContainerStats[]> {
    return (await this.#runtime.call<{ stats: ContainerStats[] }>('ListContainerStats', { filter: {} })).stats;
  }

  async listImages(): Promise<Image[]> {
    return (await this.#images.call<{ images: Image[] }>('ListImages', {})).images;
  }

  /** The image's record, or undefined when it is not on the node. */
  async imageStatus(image: string, runtimeHandler = ''): Promise<Image | undefined> {
    const request = { image: { image, runtimeHandler } };
    return (await this.#images.call<{ image: Image | null }>('ImageStatus', request)).image ?? undefined;
  }

  async pullImage(
    image: string,
    options: { auth?: Outgoing<AuthConfig> | undefined; sandboxConfig: SandboxConfig; signal?: AbortSignal },
  ): Promise<string> {
    const request = {
      image: { image },
      sandboxConfig: options.sandboxConfig,
      ...(options.auth && { auth: options.auth }),
    };
    const call = { timeoutMs: 3_600_000, ...(options.signal && { signal: options.signal }) };
    return (await this.#images.call<{ imageRef: string }>('PullImage', request, call)).imageRef;
  }

  async removeImage(image: string): Promise<void> {
    await goneIsDone(this.#images.call('RemoveImage', { image: { image } }));
  }

  async imageFilesystems(): Promise<FilesystemUsage[]> {
    return (await this.#images.call<{ imageFilesystems: FilesystemUsage[] }>('ImageFsInfo', {})).imageFilesystems;
  }

  /**
   * Calls `onEvent` whenever a container may have changed: CRI's own events where the runtime has them, else containerd's task events on
   * the same socket. Resolves when the stream ended or neither exists (`false` then: the caller must poll).
   */
  async watch(onEvent: () => void, signal: AbortSignal): Promise<boolean> {
    try {
      await this.#runtime.stream<ContainerEventResponse>('GetContainerEvents', {}, { onMessage: onEvent, signal });
      return true;
    } catch (error) {
      if (grpcCode(error) !== grpcStatus.UNIMPLEMENTED) return true;
    }
    const events = connectService(eventsDescriptor, 'containerd.services.events.v1.Events', this.endpoint);
    try {
      const filters = ['/tasks/exit', '/tasks/oom', '/tasks/start', '/tasks/paused'].map(
        (topic) => `topic==${JSON.stringify(topic)}`,
      );
      const onMessage = (event: Envelope): void => {
        if (event.namespace === 'k8s.io') onEvent();
      };
      await events.stream<Envelope>('Subscribe', { filters }, { onMessage, signal });
      return true;
    } catch (error) {
      return grpcCode(error) !== grpcStatus.UNIMPLEMENTED;
    } finally {
      events.close();
    }
  }
}

export interface ExecOptions {
  readonly containerId: string;
  readonly tty: boolean;
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
}

async function goneIsDone(call: Promise<unknown>): Promise<void> {
  try {
    await call;
  } catch (error) {
    if (grpcCode(error) !== grpcStatus.NOT_FOUND) throw error;
  }
}
