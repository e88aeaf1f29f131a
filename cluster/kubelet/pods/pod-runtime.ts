// SPDX-License-Identifier: Apache-2.0
// What the runtime holds of one pod, read fresh from CRI. Details of a container are asked for once per state, since neither a running nor
// an exited container's facts change, so a reading costs two cheap lists.
import { readFile } from 'node:fs/promises';
import {
  containerNameLabel,
  definitionAnnotation,
  podNameLabel,
  podNamespaceLabel,
  podUidLabel,
  restartCountAnnotation,
  terminationMessagePathAnnotation,
  terminationMessagePolicyAnnotation,
} from '../cri/labels.ts';
import type { Runtime } from '../cri/runtime.ts';
import type { Container, ContainerStatus, PodSandbox } from '../grpc/runtime-v1.types.ts';
import { grpcCode, grpcStatus } from '../grpc/service-client.ts';
import { lastLogLines } from '../server/container-log.ts';

export interface SandboxRecord {
  readonly id: string;
  readonly ready: boolean;
  readonly attempt: number;
  /** Nanoseconds since the epoch, as are all times here. */
  readonly createdAt: number;
  readonly ips: readonly string[];
  readonly hostNetwork: boolean;
}

export type ContainerPhase = 'created' | 'running' | 'exited' | 'unknown';

export interface ContainerRecord {
  readonly id: string;
  readonly name: string;
  readonly sandboxId: string;
  /** How often this container was started before in the same pod. */
  readonly attempt: number;
  readonly state: ContainerPhase;
  readonly createdAt: number;
  readonly startedAt: number;
  readonly finishedAt: number;
  readonly exitCode: number;
  readonly reason: string;
  readonly message: string;
  readonly image: string;
  readonly imageId: string;
  /** Fingerprint of the definition it was made from; empty when another kubelet made it. */
  readonly definition: string;
  readonly logPath: string;
  readonly user: { readonly uid: number; readonly gid: number; readonly groups: readonly number[] } | undefined;
}

export interface PodRuntime {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  /** Newest first. */
  readonly sandboxes: readonly SandboxRecord[];
  /** Newest first. */
  readonly containers: readonly ContainerRecord[];
}

export function latestRecord(runtime: PodRuntime, containerName: string): ContainerRecord | undefined {
  return runtime.containers.find((record) => record.name === containerName);
}

export class PodRuntimeReader {
  readonly #runtime: Runtime;
  /** `containerId:state` to its details; entries of vanished containers are dropped with each listing. */
  readonly #details = new Map<string, ContainerRecord>();
  readonly #sandboxIps = new Map<string, { ips: string[]; hostNetwork: boolean }>();

  constructor(runtime: Runtime) {
    this.#runtime = runtime;
  }

  /** All pods that the runtime holds, sandboxes and containers undetailed: what exists, in which state. */
  async list(): Promise<Map<string, { sandboxes: PodSandbox[]; containers: Container[] }>> {
    const [sandboxes, containers] = await Promise.all([this.#runtime.listSandboxes(), this.#runtime.listContainers()]);
    const pods = new Map<string, { sandboxes: PodSandbox[]; containers: Container[] }>();
    const entry = (uid: string) => {
      let pod = pods.get(uid);
      if (pod === undefined) pods.set(uid, (pod = { sandboxes: [], containers: [] }));
      return pod;
    };
    for (const sandbox of sandboxes) {
      const uid = sandbox.labels[podUidLabel];
      if (uid !== undefined) entry(uid).sandboxes.push(sandbox);
    }
    for (const container of containers) {
      const uid = container.labels[podUidLabel];
      if (uid !== undefined) entry(uid).containers.push(container);
    }
    const alive = new Set(containers.map((container) => container.id));
    for (const key of this.#details.keys()) if (!alive.has(key.slice(0, key.indexOf(':')))) this.#details.delete(key);
    const present = new Set(sandboxes.map((sandbox) => sandbox.id));
    for (const id of this.#sandboxIps.keys()) if (!present.has(id)) this.#sandboxIps.delete(id);
    return pods;
  }

  /** The pod's fresh state; empty lists when the runtime has nothing of it. */
  async read(pod: { uid: string; name: string; namespace: string }): Promise<PodRuntime> {
    const { sandboxes, containers } = await this.#runtime.listPod(pod.uid);
    const first = sandboxes[0];
    const details = await Promise.all(containers.map((container) => this.#container(container)));
    return {
      uid: pod.uid,
      name: pod.name || (first?.labels[podNameLabel] ?? ''),
      namespace: pod.namespace || (first?.labels[podNamespaceLabel] ?? ''),
      sandboxes: (await Promise.all(sandboxes.map((sandbox) => this.#sandbox(sandbox))))
        .filter((record) => record !== undefined)
        .toSorted((a, b) => b.createdAt - a.createdAt),
      containers: details
        .filter((record) => record !== undefined)
        .toSorted((a, b) => b.createdAt - a.createdAt || b.attempt - a.attempt),
    };
  }

  async #sandbox(sandbox: PodSandbox): Promise<SandboxRecord | undefined> {
    const ready = sandbox.state === 'SANDBOX_READY';
    let network = this.#sandboxIps.get(sandbox.id);
    if (network === undefined && ready) {
      try {
        const status = await this.#runtime.sandboxStatus(sandbox.id);
        const { ip, additionalIps } = status.network ?? { ip: '', additionalIps: [] };
        network = {
          ips: [ip, ...additionalIps.map((extra) => extra.ip)].filter((address) => address !== ''),
          hostNetwork: status.linux?.namespaces?.options?.network === 'NODE',
        };
        this.#sandboxIps.set(sandbox.id, network);
      } catch (error) {
        if (grpcCode(error) === grpcStatus.NOT_FOUND) return undefined;
        throw error;
      }
    }
    return {
      id: sandbox.id,
      ready,
      attempt: sandbox.metadata?.attempt ?? 0,
      createdAt: sandbox.createdAt,
      ips: ready ? (network?.ips ?? []) : [],
      hostNetwork: network?.hostNetwork ?? false,
    };
  }

  async #container(container: Container): Promise<ContainerRecord | undefined> {
    const key = `${container.id}:${container.state}`;
    const known = this.#details.get(key);
    if (known !== undefined) return known;
    let status: ContainerStatus;
    try {
      status = await this.#runtime.containerStatus(container.id);
    } catch (error) {
      if (grpcCode(error) === grpcStatus.NOT_FOUND) return undefined;
      throw error;
    }
    const record = await containerRecord(container, status);
    // A status can be newer than the list it belongs to; only keep it under its own state.
    this.#details.set(`${container.id}:${status.state}`, record);
    return record;
  }
}

const phases: Record<string, ContainerPhase> = {
  CONTAINER_CREATED: 'created',
  CONTAINER_RUNNING: 'running',
  CONTAINER_EXITED: 'exited',
};

async function containerRecord(container: Container, status: ContainerStatus): Promise<ContainerRecord> {
  const state = phases[status.state] ?? 'unknown';
  const annotations = status.annotations;
  const linuxUser = status.user?.linux;
  return {
    id: container.id,
    name: status.labels[containerNameLabel] ?? status.metadata?.name ?? '',
    sandboxId: container.podSandboxId,
    attempt: Number(annotations[restartCountAnnotation] ?? status.metadata?.attempt ?? 0),
    state,
    createdAt: status.createdAt,
    startedAt: status.startedAt,
    finishedAt: status.finishedAt,
    exitCode: status.exitCode,
    reason: status.reason,
    message: state === 'exited' ? await terminationMessage(status) : status.message,
    image: status.image?.userSpecifiedImage || status.image?.image || '',
    imageId: status.imageRef,
    definition: annotations[definitionAnnotation] ?? '',
    logPath: status.logPath,
    user: linuxUser ? { uid: linuxUser.uid, gid: linuxUser.gid, groups: linuxUser.supplementalGroups } : undefined,
  };
}

const maxTerminationMessage = 4096;

/** What the container left in its termination message file, else (by policy, on failure) the end of its log, else the runtime's words. */
async function terminationMessage(status: ContainerStatus): Promise<string> {
  const path = status.annotations[terminationMessagePathAnnotation];
  const mount = status.mounts.find((candidate) => candidate.containerPath === path);
  if (mount !== undefined) {
    try {
      const text = (await readFile(mount.hostPath)).subarray(0, maxTerminationMessage).toString('utf8');
      if (text !== '') return text;
    } catch {
      // The file goes with the pod's directory; then there is no message to report.
    }
  }
  const fallback = status.annotations[terminationMessagePolicyAnnotation] === 'FallbackToLogsOnError';
  if (fallback && status.exitCode !== 0 && status.logPath !== '') {
    const tail = await lastLogLines(status.logPath, { lines: 80, bytes: 2048 });
    if (tail !== '') return tail;
  }
  return status.message;
}
