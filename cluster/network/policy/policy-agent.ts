// SPDX-License-Identifier: Apache-2.0
// Keeps the policy table of this node equal to the cluster's NetworkPolicies and ClusterNetworkPolicies, Pods, Nodes and
// Namespaces. Until all of these are known nothing is touched: rules of an agent that ended stay in force.

import { isIP } from 'node:net';

import { Informer } from '../../machinery/informer.ts';
import { logger } from '../../machinery/log.ts';
import { exponentialBuckets, metrics } from '../../machinery/metrics.ts';
import { resources } from '../../machinery/resources.ts';
import { LiveTable } from '../nft/live-table.ts';
import { SyncLoop } from '../nft/sync-loop.ts';
import { CniAttachments, resultsDirectory } from './cni-attachments.ts';
import { ClusterPolicies } from './cluster-policies.ts';
import { PolicyCompiler } from './compile.ts';
import { policyPod, withAttachments } from './policy-pods.ts';
import type { Namespace, NetworkPolicy, Node, Pod } from '../../machinery/api-types.ts';
import type { Client } from '../../machinery/client.ts';
import type { PolicyPod } from './policy-pods.ts';
import type { PolicyNode } from './policy-sets.ts';

const log = logger('network-policy');
const syncSeconds = metrics.histogram(
  'plumb_policy_sync_duration_seconds',
  'Time from the start of a compilation to rules in force',
  exponentialBuckets(0.001, 2, 14),
);
const syncFailures = metrics.counter('plumb_policy_sync_failures_total', 'Rule sets that could not be applied');

/** The attachments on disk are compared with what is known this often, should the watch have missed one. */
const rescanMs = 30_000;

export interface PolicyAgentOptions {
  readonly client: Client;
  readonly nodeName: string;
  /** Started by whoever gives it. */
  readonly nodes: Informer<Node>;
}

export class PolicyAgent {
  readonly #options: PolicyAgentOptions;
  readonly #policies: Informer<NetworkPolicy>;
  readonly #clusterPolicies: ClusterPolicies;
  readonly #nodes: Informer<Node>;
  readonly #compiler = new PolicyCompiler();
  readonly #namespaces: Informer<Namespace>;
  readonly #pods: Informer<Pod>;
  readonly #byUid = new Map<string, PolicyPod>();
  readonly #attachments: CniAttachments;
  readonly #live = new LiveTable();
  readonly #loop: SyncLoop;
  #enforcedCIDRs = '';
  /** Called after the next successful run, or with the reason why there will be none. */
  readonly #waiting: ((failure?: Error) => void)[] = [];
  #rescan: NodeJS.Timeout | undefined;
  #podCIDRs: readonly string[] = [];
  #lastError: unknown = new Error('policies, pods and namespaces have not been listed yet');

  constructor(options: PolicyAgentOptions) {
    this.#options = options;
    const { client, nodes } = options;
    this.#nodes = nodes;
    this.#clusterPolicies = new ClusterPolicies(client, () => this.#request());
    this.#policies = new Informer<NetworkPolicy>(client, resources.networkPolicies);
    this.#namespaces = new Informer<Namespace>(client, resources.namespaces, {
      transform: ({ metadata: { name, uid, labels, resourceVersion } }) => ({
        metadata: {
          ...(name && { name }),
          ...(uid && { uid }),
          ...(labels && { labels }),
          ...(resourceVersion && { resourceVersion }),
        },
      }),
    });
    this.#pods = new Informer<Pod>(client, resources.pods, { transform: leanPod });
    this.#loop = new SyncLoop({
      settleMs: 2,
      retryMs: 1000,
      run: () => this.#sync(),
      onError: (error) => {
        this.#lastError = error;
        syncFailures.add();
        log.error('policies could not be enforced as they are now, trying again in 1 s', error);
      },
    });
    this.#attachments = new CniAttachments(resultsDirectory, () => this.#request());
    this.#policies.onChange(({ object, old }) => {
      if (old === undefined || JSON.stringify(old.spec) !== JSON.stringify(object.spec)) this.#request();
    });
    nodes.onChange(({ object, old }) => {
      if (old === undefined || JSON.stringify(policyNode(old)) !== JSON.stringify(policyNode(object))) this.#request();
    });
    this.#namespaces.onChange(({ object, old }) => {
      const labels = JSON.stringify(object.metadata.labels);
      if (old === undefined || JSON.stringify(old.metadata.labels) !== labels) this.#request();
    });
    this.#pods.onChange(({ type, object }) => {
      const uid = object.metadata.uid ?? '';
      const before = this.#byUid.get(uid);
      const after = type === 'deleted' ? undefined : policyPod(object);
      if (JSON.stringify(before) === JSON.stringify(after)) return;
      if (after === undefined) this.#byUid.delete(uid);
      else this.#byUid.set(uid, after);
      this.#request();
    });
  }

  /** Why the rules in force may not be those that the policies ask for; undefined when they are. */
  get lastError(): unknown {
    return this.#lastError;
  }

  /** Resolves when the cluster's policies, pods and namespaces are known. */
  async watch(signal: AbortSignal): Promise<void> {
    await this.#attachments.start();
    this.#rescan = setInterval(() => {
      this.#attachments.rescan().catch((error: unknown) => log.error('network attachments cannot be read', error));
    }, rescanMs);
    await Promise.all(
      [this.#policies, this.#clusterPolicies, this.#namespaces, this.#pods].map((informer) => informer.start(signal)),
    );
  }

  /** Resolves when rules are in force that guard these blocks, from which this node's pods have their addresses. */
  async enforce(podCIDRs: readonly string[]): Promise<void> {
    if (podCIDRs.join() === this.#enforcedCIDRs) return;
    this.#podCIDRs = podCIDRs;
    await new Promise<void>((resolve, reject) => {
      this.#waiting.push((failure) => (failure === undefined ? resolve() : reject(failure)));
      this.#request();
    });
    this.#enforcedCIDRs = podCIDRs.join();
  }

  async stop(): Promise<void> {
    for (const done of this.#waiting.splice(0)) done(new Error('the agent is stopping'));
    clearInterval(this.#rescan);
    this.#attachments.stop();
    await this.#loop.stop();
  }

  #request(): void {
    const sources = [this.#policies, this.#clusterPolicies, this.#namespaces, this.#pods, this.#nodes];
    if (sources.every(({ synced }) => synced)) this.#loop.request();
  }

  async #sync(): Promise<number | undefined> {
    const startedAt = performance.now();
    const waiting = this.#waiting.length;
    const table = this.#compiler.compile({
      policies: this.#policies.list(),
      clusterPolicies: this.#clusterPolicies.list(),
      nodes: this.#nodes.list().map(policyNode),
      pods: withAttachments(this.#byUid.values(), this.#attachments.list()),
      namespaces: new Map(this.#namespaces.list().map(({ metadata }) => [metadata.name ?? '', metadata.labels ?? {}])),
      nodeName: this.#options.nodeName,
      podCIDRs: this.#podCIDRs,
    });
    const { kind, refused } = await this.#live.apply(table);
    const seconds = (performance.now() - startedAt) / 1000;
    syncSeconds.observe(seconds);
    if (refused !== undefined) log.warn('a difference was refused, the table was written anew', { reason: refused });
    log.debug('enforced', { kind, seconds });
    this.#lastError = undefined;
    for (const done of this.#waiting.splice(0, waiting)) done();
    return this.#live.untidy ? 1000 : undefined;
  }
}

function policyNode({ metadata, status }: Node): PolicyNode {
  const addresses = (status?.addresses ?? []).map(({ address }) => address).filter((address) => isIP(address) !== 0);
  return { name: metadata.name ?? '', labels: metadata.labels ?? {}, addresses };
}

/** Only what `policyPod` reads: every node keeps every pod of the cluster. */
function leanPod({ metadata, spec, status }: Pod): Pod {
  const { name, namespace, uid, labels, resourceVersion } = metadata;
  const leanContainers = (containers: NonNullable<Pod['spec']>['containers'] | undefined) =>
    (containers ?? []).map(({ name, ports }) => ({ name, ...(ports && { ports }) }));
  return {
    metadata: {
      ...(name && { name }),
      ...(namespace && { namespace }),
      ...(uid && { uid }),
      ...(labels && { labels }),
      ...(resourceVersion && { resourceVersion }),
    },
    spec: {
      containers: leanContainers(spec?.containers),
      initContainers: leanContainers(spec?.initContainers),
      ...(spec?.nodeName && { nodeName: spec.nodeName }),
      ...(spec?.hostNetwork && { hostNetwork: true }),
    },
    status: {
      ...(status?.phase && { phase: status.phase }),
      ...(status?.podIP && { podIP: status.podIP }),
      ...(status?.podIPs && { podIPs: status.podIPs }),
    },
  };
}
