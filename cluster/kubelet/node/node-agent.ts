// SPDX-License-Identifier: Apache-2.0
// Registers the node, keeps its status true and its lease fresh. A status is written when something changed and otherwise every few minutes; the
// lease is the heartbeat. Nothing here gives up when the API server is away.
import { setTimeout as pause } from 'node:timers/promises';
import type { ContainerImage, Lease, Node, NodeRuntimeHandler, NodeStatus, Taint } from '../../machinery/api-types.ts';
import { isAlreadyExists, isConflict, isNotFound } from '../../machinery/client.ts';
import type { Client } from '../../machinery/client.ts';
import { logger } from '../../machinery/log.ts';
import { toAmounts } from '../../machinery/pod-resources.ts';
import { resources } from '../../machinery/resources.ts';
import type { KubeletConfiguration } from '../configuration.ts';
import type { Runtime } from '../cri/runtime.ts';
import type { Image } from '../grpc/runtime-v1.types.ts';
import { architecture, capacity, systemInfo } from './machine.ts';
import type { Capacity } from './machine.ts';
import { allocatableOf, computeNodeStatus, statusDiffers } from './node-status.ts';

export interface NodeAgentOptions {
  readonly client: Client;
  readonly runtime: Runtime;
  readonly config: KubeletConfiguration;
  readonly name: string;
  readonly ips: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly taints: readonly Taint[];
  readonly version: string;
  readonly rootDir: string;
  readonly pressure: () => { memory: boolean; disk: boolean; pid: boolean };
  readonly volumesInUse: () => string[];
  readonly onNetworkReady: () => void;
}

const log = logger('node');
const maxImages = 50;
const leaseNamespace = 'kube-node-lease';

export class NodeAgent {
  readonly #options: NodeAgentOptions;
  readonly #capacity: Capacity;
  readonly #reserved: Record<string, number>;
  readonly #startedAt = Date.now();
  #node: Node | undefined;
  #written: NodeStatus | undefined;
  #writtenAt = 0;
  #runtimeVersion = '';
  #handlers: NodeRuntimeHandler[] = [];
  #networkProblem: string | undefined = 'the container runtime has not reported its network yet';
  #runtimeProblem: string | undefined = 'container runtime status check may not have completed yet';
  #wake = new AbortController();
  #podCidr = '';

  constructor(options: NodeAgentOptions) {
    this.#options = options;
    this.#capacity = capacity(options.rootDir);
    this.#reserved = reservedAmounts(options.config, this.#capacity);
  }

  get node(): Node | undefined {
    return this.#node;
  }

  get allocatable(): Record<string, number> {
    return allocatableOf(this.#capacity, this.#options.config.maxPods, this.#reserved);
  }

  get memoryBytes(): number {
    return this.#capacity.memoryBytes;
  }

  get capacity(): Capacity {
    return this.#capacity;
  }

  /** Why pods get no network; undefined when they do. */
  networkProblem(): string | undefined {
    return this.#networkProblem;
  }

  /** The Node as a watch saw it. */
  observe(node: Node): void {
    this.#node = node;
    const podCidr = node.spec?.podCIDR ?? '';
    if (podCidr !== '' && podCidr !== this.#podCidr) {
      this.#podCidr = podCidr;
      this.#options.runtime
        .updatePodCidr(podCidr)
        .catch((error: unknown) => log.warn('runtime did not take the pod CIDR', { error }));
    }
  }

  /** Computes and, if needed, writes the status now rather than at the next tick. */
  refresh(): void {
    const wake = this.#wake;
    this.#wake = new AbortController();
    wake.abort();
  }

  /** Runs until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    await this.#register(signal);
    await Promise.all([this.#keepStatus(signal), this.#keepLease(signal)]);
  }

  async #register(signal: AbortSignal): Promise<void> {
    const { client, name, config } = this.#options;
    let delay = 100;
    while (!signal.aborted) {
      try {
        await this.#checkRuntime();
        const status = await this.#computeStatus({});
        if (config.registerNode) {
          try {
            this.#node = await client.create<Node>(resources.nodes, { ...this.#initialNode(), status });
            log.info('registered node', { node: name });
          } catch (error) {
            if (!isAlreadyExists(error)) throw error;
            this.#node = await this.#reconcileMetadata(await client.get<Node>(resources.nodes, name));
          }
        } else this.#node = await client.get<Node>(resources.nodes, name);
        return;
      } catch (error) {
        log.warn('cannot register node, will try again', { node: name, error });
        await pause(delay, undefined, { signal }).catch(() => undefined);
        delay = Math.min(delay * 2, 5_000);
      }
    }
  }

  #initialNode(): Node {
    const { name, labels, taints } = this.#options;
    return {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: {
        name,
        labels: { ...this.#ownLabels(), ...labels },
        annotations: { 'volumes.kubernetes.io/controller-managed-attach-detach': 'true' },
      },
      spec: taints.length > 0 ? { taints: [...taints] } : {},
    };
  }

  #ownLabels(): Record<string, string> {
    return {
      'kubernetes.io/hostname': this.#options.name,
      'kubernetes.io/os': 'linux',
      'kubernetes.io/arch': architecture(),
      'beta.kubernetes.io/os': 'linux',
      'beta.kubernetes.io/arch': architecture(),
    };
  }

  /** An existing Node keeps what others wrote; labels that are the kubelet's to say are put right. */
  async #reconcileMetadata(node: Node): Promise<Node> {
    const labels = this.#ownLabels();
    const wrong = Object.entries(labels).some(([key, value]) => node.metadata.labels?.[key] !== value);
    if (!wrong) return node;
    return this.#options.client.patch<Node>(resources.nodes, this.#options.name, {
      type: 'strategic',
      body: { metadata: { labels } },
    });
  }

  async #keepStatus(signal: AbortSignal): Promise<void> {
    const { config } = this.#options;
    while (!signal.aborted) {
      const wake = this.#wake.signal;
      try {
        await this.#checkRuntime();
        await this.#writeStatus();
      } catch (error) {
        log.warn('cannot update node status, will try again', { error });
      }
      // Until everything is ready, look often: others wait for this node.
      const settled =
        this.#runtimeProblem === undefined && this.#networkProblem === undefined && this.#written !== undefined;
      const period = settled ? config.nodeStatusUpdateMs : Date.now() - this.#startedAt < 60_000 ? 100 : 1_000;
      await pause(period, undefined, { signal: AbortSignal.any([signal, wake]) }).catch(() => undefined);
    }
  }

  async #writeStatus(): Promise<void> {
    const { client, name, config } = this.#options;
    const now = Date.now();
    const live = this.#node?.status ?? {};
    const status = await this.#computeStatus(live);
    const due = now - this.#writtenAt >= config.nodeStatusReportMs;
    if (!due && this.#written !== undefined && !statusDiffers(status, this.#written) && !statusDiffers(status, live))
      return;
    // The list is merged by type, of which there may be two addresses: it has to be replaced as a whole.
    const addresses = [...(status.addresses ?? []), { $patch: 'replace' }];
    const patch: Record<string, unknown> = { ...status, addresses };
    if (live.volumesInUse !== undefined && status.volumesInUse === undefined) patch['volumesInUse'] = null;
    this.#node = await client
      .patch<Node>(resources.nodes, name, { type: 'strategic', subresource: 'status', body: { status: patch } })
      .catch(async (error: unknown) => {
        if (isNotFound(error) && config.registerNode) await this.#register(new AbortController().signal);
        throw error;
      });
    this.#written = status;
    this.#writtenAt = now;
  }

  async #computeStatus(previous: NodeStatus): Promise<NodeStatus> {
    const { config, ips, name, runtime, version } = this.#options;
    const problems = [
      this.#runtimeProblem,
      this.#networkProblem && `container runtime network not ready: ${this.#networkProblem}`,
    ];
    const images = this.#runtimeProblem === undefined ? await runtime.listImages() : [];
    return computeNodeStatus(
      {
        name,
        ips,
        capacity: this.#capacity,
        reserved: this.#reserved,
        maxPods: config.maxPods,
        port: config.port,
        info: systemInfo({ runtime: this.#runtimeVersion, kubelet: version }),
        images: imageList(images),
        runtimeHandlers: this.#handlers,
        volumesInUse: this.#options.volumesInUse(),
        problems: problems.filter((problem) => problem !== undefined),
        pressure: this.#options.pressure(),
        extendedResources: extendedResources(previous),
      },
      previous,
      Date.now(),
    );
  }

  async #checkRuntime(): Promise<void> {
    const { runtime } = this.#options;
    const hadNetwork = this.#networkProblem === undefined;
    try {
      if (this.#runtimeVersion === '') {
        const { runtimeName, runtimeVersion } = await runtime.version();
        this.#runtimeVersion = `${runtimeName}://${runtimeVersion.replace(/^v/, '')}`;
      }
      const answer = await runtime.status();
      const conditions = answer.status?.conditions ?? [];
      const problem = (type: string): string | undefined => {
        const found = conditions.find((one) => one.type === type);
        if (found === undefined) return `${type} is not reported`;
        return found.status ? undefined : `${type}=false reason:${found.reason} message:${found.message}`;
      };
      this.#runtimeProblem = problem('RuntimeReady');
      this.#networkProblem = problem('NetworkReady');
      this.#handlers = answer.runtimeHandlers.map((handler) => ({
        name: handler.name,
        features: {
          recursiveReadOnlyMounts: handler.features?.recursiveReadOnlyMounts ?? false,
          userNamespaces: handler.features?.userNamespaces ?? false,
        },
      }));
    } catch (error) {
      this.#runtimeProblem = `container runtime is down: ${error instanceof Error ? error.message : String(error)}`;
      throw error;
    } finally {
      if (!hadNetwork && this.#networkProblem === undefined) this.#options.onNetworkReady();
    }
  }

  async #keepLease(signal: AbortSignal): Promise<void> {
    const { client, name, config } = this.#options;
    const period = (config.nodeLeaseDurationSeconds * 1000) / 4;
    let lease: Lease | undefined;
    while (!signal.aborted) {
      let wait = period;
      try {
        const spec = {
          holderIdentity: name,
          leaseDurationSeconds: config.nodeLeaseDurationSeconds,
          renewTime: new Date().toISOString().replace('Z', '000Z'),
        };
        if (lease === undefined) lease = await this.#openLease(spec);
        else lease = await client.update<Lease>(resources.leases, { ...lease, spec: { ...lease.spec, ...spec } });
      } catch (error) {
        lease = undefined;
        wait = isConflict(error) ? 0 : Math.min(period, 1_000);
        log.debug('cannot renew node lease', { error });
      }
      await pause(wait * (1 + Math.random() * 0.04), undefined, { signal }).catch(() => undefined);
    }
  }

  async #openLease(spec: NonNullable<Lease['spec']>): Promise<Lease> {
    const { client, name } = this.#options;
    const uid = this.#node?.metadata.uid ?? '';
    const owner = { apiVersion: 'v1', kind: 'Node', name, uid };
    try {
      const existing = await client.get<Lease>(resources.leases, name, leaseNamespace);
      return await client.update<Lease>(resources.leases, {
        ...existing,
        metadata: { ...existing.metadata, ownerReferences: [owner] },
        spec: { ...existing.spec, ...spec },
      });
    } catch (error) {
      if (!isNotFound(error)) throw error;
      return client.create<Lease>(resources.leases, {
        metadata: { name, namespace: leaseNamespace, ownerReferences: [owner] },
        spec,
      });
    }
  }
}

/** Resources that others (device plugins, people) added stay. */
function extendedResources(status: NodeStatus): Record<string, string> {
  return Object.fromEntries(Object.entries(status.capacity ?? {}).filter(([name]) => name.includes('/')));
}

function imageList(images: readonly Image[]): ContainerImage[] {
  return images
    .map((image) => ({ names: [...image.repoDigests, ...image.repoTags].slice(0, 5), sizeBytes: image.size }))
    .filter(({ names }) => names.length > 0)
    .toSorted((a, b) => b.sizeBytes - a.sizeBytes)
    .slice(0, maxImages);
}

function reservedAmounts(config: KubeletConfiguration, machine: Capacity): Record<string, number> {
  const reserved: Record<string, number> = {};
  for (const list of [config.systemReserved, config.kubeReserved]) {
    for (const [name, amount] of Object.entries(toAmounts(list))) reserved[name] = (reserved[name] ?? 0) + amount;
  }
  const threshold = (signal: string, total: number): number => {
    const text = config.evictionHard[signal];
    if (text === undefined) return 0;
    return text.endsWith('%')
      ? Math.floor((total * Number.parseFloat(text)) / 100)
      : (toAmounts({ value: text })['value'] ?? 0);
  };
  reserved['memory'] = (reserved['memory'] ?? 0) + threshold('memory.available', machine.memoryBytes);
  reserved['ephemeral-storage'] =
    (reserved['ephemeral-storage'] ?? 0) + threshold('nodefs.available', machine.ephemeralBytes);
  return reserved;
}
