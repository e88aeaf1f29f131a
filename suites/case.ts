// SPDX-License-Identifier: Apache-2.0
/**
 * The contract between a case and the runner. A case is a value made by `defineCase`: metadata that the planner reads and a
 * body that the runner wraps into a mocha `it`. Importing a case file has no side effect.
 *
 * A file `suites/<area>/<name>.cases.ts` exports cases: every export that is a case, or an array of cases, is found by the
 * runner. The body judges with chai; it passes by returning, fails by throwing, and never asks which cluster it runs on:
 * what it cannot do without is declared in `needs`, and the runner skips it with the reason.
 *
 * ```ts
 * export const clusterIpFromPod = defineCase(
 *   { id: 'services.cluster-ip.from-pod', area: 'services', title: 'A ClusterIP answers from a pod on another node',
 *     description: 'A pod MUST reach every ready endpoint through the ClusterIP.', requirements: ['001-10.3'],
 *     modes: ['quick', 'network', 'full'], needs: ['two-nodes'] },
 *   async (t) => {
 *     const namespace = await t.namespace();
 *     await t.apply({ fixture: 'services/echo', values: { namespace, replicas: 2 } });
 *     const ready = await t.waitFor('the Deployment echo to be available', async () => {
 *       const deployment = await t.kube.apps.readNamespacedDeployment({ name: 'echo', namespace });
 *       return deployment.status?.availableReplicas === 2 ? done(deployment) : pending(`available: ${deployment.status?.availableReplicas ?? 0}`);
 *     });
 *     expect(ready.spec?.replicas).to.equal(2);
 *   },
 * );
 * ```
 */
import type { KubernetesObject, V1Node } from '@kubernetes/client-node';
import type { CaseProbes } from '../probes/agent/probe-fleet.ts';
import type { KubeClients } from './kube-clients.ts';

/** The folders of `suites/`; the first part of every case id. */
export const areas = [
  'api',
  'workloads',
  'nodes',
  'scheduler',
  'dns',
  'services',
  'network',
  'network-policy',
  'ingress',
  'storage',
  'etcd',
  'security',
] as const;
export type Area = (typeof areas)[number];

/**
 * `quick`: under a minute, proves that the cluster works. `network`: the data path. `policy`: every generated policy case. `full`: everything,
 * but of the generated policy cases only those that are in `network` as well.
 */
export const modes = ['quick', 'network', 'policy', 'full'] as const;
export type Mode = (typeof modes)[number];

/**
 * What a case cannot do without. The runner finds out once per run whether each holds (`runner/target/features.ts`); a case whose need
 * is not met is reported as skipped, with the reason in words.
 */
export const needs = {
  'two-nodes': 'at least two Ready nodes that accept ordinary pods',
  'three-nodes': 'at least three Ready nodes, control-plane nodes included',
  'control-plane-pods': 'a control-plane node that lists its components as pods or answers on their ports',
  'node-probe': 'privileged probe pods in the host network (left out by --no-node-probes)',
  'default-storage-class': 'a StorageClass marked as default',
  'volume-expansion': 'a default StorageClass with allowVolumeExpansion',
  'network-policy': 'a network plugin that enforces NetworkPolicy (found out by a probe, not by its name)',
  'cluster-network-policy': 'an API server that serves ClusterNetworkPolicy of policy.networking.k8s.io/v1alpha2',
  'ingress-controller': 'an IngressClass with a controller',
  'load-balancer': 'Services of type LoadBalancer get an address',
  'metrics-api': 'the aggregated API metrics.k8s.io',
  'etcd-metrics': 'etcd metrics that can be read by a probe on the control-plane node',
  'pod-security-admission': 'a server that enforces Pod Security levels on labelled namespaces',
  ipv6: 'pods with an IPv6 address',
  'cluster-dns': 'a Service kube-dns in kube-system',
} as const;
export type Need = keyof typeof needs;

export interface CaseMetadata {
  /** Stable, dotted, lower case: `<area>.<subject>.<behaviour>`. A published name: never reused for something else. */
  readonly id: string;
  readonly area: Area;
  /** One line in words, the name in every report. Unique. No variable parts. */
  readonly title: string;
  /** What the cluster MUST do, and how this is measured: two or three sentences for the reader of a report. */
  readonly description: string;
  /** Rows of the requirement documents that this case exercises, such as `001-10.3`. */
  readonly requirements: readonly string[];
  /** Modes that include the case. `full` is implied by every one but `policy`. */
  readonly modes: readonly Mode[];
  readonly needs?: readonly Need[];
  /** Words that `--focus` finds as `#word`. */
  readonly tags?: readonly string[];
  /** Runs with nothing beside it: it kills, cordons, drains, fills or restarts something that others count on. Default false. */
  readonly serial?: boolean;
  /** Named things of which only one case may use each at a time, such as `default-storage-class`. Cheaper than `serial`. */
  readonly locks?: readonly string[];
  /**
   * Named things that take longer to make than to use, made when first needed and then handed from case to case, such as `policy-world`. Where
   * few of a run's cases share one, they take turns, so that it is not made once for each.
   */
  readonly shares?: readonly string[];
  /** Time for the body, namespaces and waiting included; clean-up is not counted. Default 120 000. */
  readonly timeoutMs?: number;
}

export interface Case extends CaseMetadata {
  readonly run: (t: CaseContext) => Promise<void>;
}

const caseBrand: unique symbol = Symbol('plumbline.case');

/** Makes a case. Throws a TypeError naming the case where the metadata contradict themselves, so that a bad file fails at load. */
export function defineCase(metadata: CaseMetadata, run: (t: CaseContext) => Promise<void>): Case {
  const complain = (what: string): never => {
    throw new TypeError(`case ${metadata.id}: ${what}`);
  };
  if (!/^[a-z0-9]+(-[a-z0-9]+)*(\.[a-z0-9]+(-[a-z0-9]+)*)+$/.test(metadata.id))
    complain('the id must be dotted lower-case words');
  if (!metadata.id.startsWith(`${metadata.area}.`)) complain(`the id must start with its area "${metadata.area}."`);
  if (metadata.title.trim() === '' || metadata.title.includes('\n')) complain('the title must be one line');
  if (metadata.modes.length === 0) complain('modes must name at least one mode');
  return Object.freeze({ ...metadata, run, [caseBrand]: true });
}

export function isCase(value: unknown): value is Case {
  return typeof value === 'object' && value !== null && caseBrand in value;
}

/** What the command line says about cases that are made on request. */
export interface CaseParameters {
  /** First seed of random cases. */
  readonly seed: number;
  /** How many random cases are made. */
  readonly random: number;
}

/** Cases that are made when a run asks for them. Exported by a case file, like a case. */
export interface CaseSource {
  readonly make: (parameters: CaseParameters) => readonly Case[];
}

const sourceBrand: unique symbol = Symbol('plumbline.case-source');

export function caseSource(make: CaseSource['make']): CaseSource {
  return Object.freeze({ make, [sourceBrand]: true });
}

export function isCaseSource(value: unknown): value is CaseSource {
  return typeof value === 'object' && value !== null && sourceBrand in value;
}

// ---------------------------------------------------------------------------------------------------------------------
// What the body gets

export interface CaseContext {
  readonly caseId: string;
  /** Value of the label `plumbline.io/run-id` on everything that this run creates. */
  readonly runId: string;
  readonly kube: KubeClients;
  /** Probe pods; what a case starts here lives in its own namespaces and goes with them. */
  readonly probes: CaseProbes;
  /** What preflight saw: nodes sorted by name, server version. Read the API again where the state of now matters. */
  readonly cluster: ClusterFacts;
  readonly images: ImageReferences;
  /** Aborted at the case's deadline and on Ctrl-C. Pass it to everything that waits. */
  readonly signal: AbortSignal;

  /**
   * Creates a namespace `plumb-<case>-<purpose>-<random>` with the run's label and resolves, once its ServiceAccount `default` exists, to
   * its name. It is deleted at the end of the case, after what `onTeardown` registered later. Without `podSecurity` the level is `restricted`.
   */
  namespace(purpose?: string, options?: NamespaceOptions): Promise<string>;

  /**
   * Creates objects from manifests, in order, each labelled with the run's id (pod templates too), and returns what the server stored.
   * Cluster-scoped objects are deleted at the end of the case; namespaced ones go with their namespace, or, in a namespace that is not
   * the case's own, one by one. An object without a namespace goes to the first namespace the case made, if it has one.
   */
  apply<T extends KubernetesObject = KubernetesObject>(
    source: ManifestSource,
    options?: { readonly namespace?: string },
  ): Promise<T[]>;

  /** Registers for deletion an object that the case made by other means. */
  own(object: KubernetesObject): void;

  /**
   * Polls `condition` until it says `done(value)`, and resolves to the value. Fails at the deadline with `description` and the last
   * `pending(state)`. A thrown ApiException 404 and a broken connection count as pending; other errors end the wait.
   * For single objects prefer `t.kube.waitForObject`, which watches. Default: 60 s, every 250 ms.
   */
  waitFor<T>(
    description: string,
    condition: (signal: AbortSignal) => Promise<Progress<T>>,
    options?: WaitOptions,
  ): Promise<T>;

  /** Names a part of the case: shown live, timed, and put in front of an error thrown inside. */
  step<T>(name: string, body: () => Promise<T>): Promise<T>;

  /** Writes a piece of evidence beside the result at once, so that it survives whatever comes after. */
  attach(evidence: Evidence): Promise<void>;

  /** Measured figure shown in the reports, such as `{ name: 'wal-fsync-p99', value: 4.1, unit: 'ms' }`. */
  measure(figure: Figure): void;

  /**
   * Something was wrong and came right without a change of the cluster, such as a cell of a table that was open, then closed, then open. The
   * case may go on and pass; it is counted, shown, and can fail the run (`--flake-budget`).
   */
  flake(what: string): void;

  /** Runs when, and only when, the body has failed, before teardown: the place to look again and `attach`. Latest first; each has 60 s. */
  onFailure(hook: (error: Error) => Promise<void>): void;

  /** Runs at the end in any case, latest first, also on Ctrl-C. Register before doing what must be undone. An error here is recorded. */
  onTeardown(hook: () => Promise<void>): void;

  /** A line for the record of this case; shown with `--verbose` and in reports. */
  log(message: string): void;

  /** Ends the case as skipped. Only for what no `need` can know beforehand. */
  skip(reason: string): never;
}

export interface ClusterFacts {
  /** `v1.36.0`. */
  readonly serverVersion: string;
  readonly minor: number;
  /** Every node, sorted by name. */
  readonly nodes: readonly V1Node[];
  /** Names of Ready nodes on which an ordinary pod without tolerations can be scheduled, sorted. */
  readonly workers: readonly string[];
  /** Names of nodes with the label node-role.kubernetes.io/control-plane, sorted. */
  readonly controlPlanes: readonly string[];
  /** ClusterIP of kube-system/kube-dns, or undefined where the cluster has none by that name. */
  readonly dnsServiceIp: string | undefined;
  /** `cluster.local`, as resolv.conf of a pod says. */
  readonly clusterDomain: string;
}

export interface ImageReferences {
  /** The project's image: agent, node, busybox, tcpdump and tools. Present on every node, or pullable. */
  readonly probe: string;
}

export interface NamespaceOptions {
  readonly labels?: Readonly<Record<string, string>>;
  /** Value of `pod-security.kubernetes.io/enforce`. Default `restricted`. */
  readonly podSecurity?: 'privileged' | 'baseline' | 'restricted';
}

/** An object of a type of client-node, or a literal with any fields. */
export type Manifest = KubernetesObject | (KubernetesObject & Readonly<Record<string, unknown>>);

/** An object, several, YAML text (any number of documents), or a file of fixtures/manifests without `.yaml`, rendered by handlebars. */
export type ManifestSource =
  | Manifest
  | readonly Manifest[]
  | string
  | { readonly fixture: string; readonly values?: Readonly<Record<string, unknown>> };

export type Progress<T> = { readonly done: true; readonly value: T } | { readonly done: false; readonly state: string };

/** The awaited thing has come. */
export function done<T>(value: T): Progress<T> {
  return { done: true, value };
}

/** Not yet; `state` says what was seen instead, for the message at the deadline. */
export function pending(state: string): Progress<never> {
  return { done: false, state };
}

export interface WaitOptions {
  readonly timeoutMs?: number;
  readonly intervalMs?: number;
}

export interface Evidence {
  /** File name within the case's evidence folder, with extension: `client.pcap`, `verdict.txt`, `matrix.json`. Repeats are numbered. */
  readonly name: string;
  readonly content: string | Uint8Array;
  /** Default by extension: .txt, .json, .yaml, .pcap, .svg, .html. */
  readonly mediaType?: string;
  /** One sentence for the list of evidence. */
  readonly summary?: string;
  /** `explanation` is shown in full at the top of a failure; at most one or two paragraphs. Default `detail`. */
  readonly role?: 'explanation' | 'detail';
}

export interface Figure {
  readonly name: string;
  readonly value: number;
  /** `ms`, `s`, `bytes`, `count`, `per-second`, `ratio`. */
  readonly unit: 'ms' | 's' | 'bytes' | 'count' | 'per-second' | 'ratio';
  /** What the case compared it with, where it did. */
  readonly limit?: number;
}

/**
 * The case could not find out: the prober, the harness or the way to the API broke, and nothing is said about the cluster. The runner
 * retries such a case once and records that it did; if it happens again the case is `inconclusive`, never `failed`.
 * Probes throw their own errors with `inconclusive: true`, which count the same.
 */
export class InconclusiveError extends Error {
  override readonly name = 'InconclusiveError';
  readonly inconclusive = true;
}
