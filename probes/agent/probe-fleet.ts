// SPDX-License-Identifier: Apache-2.0
/**
 * The seam between the runner and the probes. The runner makes one fleet per run and hands each case a view of it; the fleet knows
 * nothing about cases, verdicts or reports. Pods that a case starts live in its namespaces and go with them; node probes are
 * shared by the whole run.
 */
import { randomBytes } from 'node:crypto';
import { CoreV1Api, type KubeConfig, type V1Pod } from '@kubernetes/client-node';
import type { NodeAccess } from '../node-session/node-access.ts';
import { NodeSession, sessionCommand } from '../node-session/node-session.ts';
import { collectNodeState } from '../node-state/collect.ts';
import { recordFailingFlow, type FlowTracer } from '../trace/failing-flow.ts';
import { AgentHost, ProbeError, type RequestOptions } from './agent-host.ts';
import { execInPod } from './exec-in-pod.ts';
import { lastWarning } from './last-warning.ts';
import {
  controlCommand,
  nodeProbePod,
  probeContainer,
  probePod,
  stdioCommand,
  type PodOptions,
} from './pod-manifests.ts';
import type { Attach, AttemptRequest, MadeAttempt, NodeProbe, Prober, ProbePod, Receiver } from './prober.ts';
import type { Attempt, AttemptResult, Listen } from './protocol.ts';

export interface ProbeFleetOptions {
  /** Every request and exec stream of the fleet goes through it. Its connections are pooled. */
  readonly kubeConfig: KubeConfig;
  /** Probe image, such as `plumbline.local/probe:0.1.0`. */
  readonly image: string;
  /** Labels for everything the fleet creates, `plumbline.io/run-id` among them. */
  readonly labels: Readonly<Record<string, string>>;
  /** Makes a namespace of the run that lives until its end. `restricted` for ordinary probes, `privileged` for node probes. */
  readonly namespace: (purpose: string, podSecurity: 'restricted' | 'privileged') => Promise<string>;
  /** Names of Ready nodes that take ordinary pods. */
  readonly workers: readonly string[];
  /** False with --no-node-probes: asking for one is then an error that says so. */
  readonly nodeProbes: boolean;
  /** Follows the flow of a failed case and says where it ended; absent: failures get no trace. */
  readonly trace?: FlowTracer;
  readonly log: (message: string) => void;
  readonly signal: AbortSignal;
}

export interface ProbeFleet {
  forCase(scope: ProbeScope): CaseProbes;
  /** Closes all streams. Pods go with their namespaces, which the runner deletes. */
  close(): Promise<void>;
}

/** What the fleet may use on behalf of one case. */
export interface ProbeScope {
  readonly caseId: string;
  /** The namespace in which the case's own probe pods are started, unless the case names another. */
  readonly namespace: () => Promise<string>;
  readonly attach: Attach;
  /** Runs when the case has failed, before its namespaces go: the moment to capture the failing flow again. */
  readonly onFailure: (hook: (error: Error) => Promise<void>) => void;
  readonly onTeardown: (hook: () => Promise<void>) => void;
  readonly signal: AbortSignal;
}

export type StartPodOptions = Partial<Omit<PodOptions, 'image'>>;

/** What a case sees as `t.probes`. */
export interface CaseProbes {
  readonly scope: ProbeScope;
  /**
   * Starts a probe pod and resolves once its agent answers on all its ports (default tcp/8080 and udp/8080).
   * Errors: ProbeError saying what the pod waits for.
   */
  pod(options?: StartPodOptions): Promise<ProbePod>;
  /** Starts several at once; resolves in the given order. */
  pods(options: readonly StartPodOptions[]): Promise<ProbePod[]>;
  /**
   * Pods that several cases of the run use one after the other, such as the pods of a truth table: started by the first that asks, gone
   * with the run. The cases must hold a common lock (`locks`) and leave nothing behind in the namespaces.
   */
  shared(world: SharedWorld): Promise<ProbePod[]>;
  /** The run's privileged probe in the host network of a node. Errors: with --no-node-probes, one that says so. */
  node(name: string): Promise<NodeProbe>;
}

export interface SharedWorld {
  /** Names the world; the first definition wins. */
  readonly key: string;
  /** Pod Security level of its namespaces. Default `restricted`. */
  readonly podSecurity?: 'restricted' | 'privileged';
  readonly pods: readonly (Omit<StartPodOptions, 'namespace'> & {
    /** Pods of one purpose share a namespace. */
    readonly purpose: string;
  })[];
}

const defaultListen: readonly Listen[] = [
  { protocol: 'tcp', port: 8080 },
  { protocol: 'udp', port: 8080 },
];
const attemptTimeoutMs = 2_000;
const startTimeoutMs = 60_000;
const agentTimeoutMs = 15_000;
const concurrencyDefault = 32;
/** The quickest of this many answers says how clocks differ. */
const clockQuestions = 5;

export function createProbeFleet(options: ProbeFleetOptions): ProbeFleet {
  const { kubeConfig, image, signal } = options;
  const core = kubeConfig.makeApiClient(CoreV1Api);
  const hosts = new Set<AgentHost>();
  const nodeProbes = new Map<string, Promise<NodeProbe>>();
  const nodePods = new Map<string, { readonly namespace: string; readonly pod: string }>();
  const sessions = new Map<string, Promise<NodeSession>>();
  let nodeNamespace: Promise<string> | undefined;

  const hostFor = (namespace: string, pod: string, command: readonly string[]): AgentHost => {
    const host = new AgentHost(kubeConfig, { namespace, pod, container: probeContainer, command });
    hosts.add(host);
    return host;
  };

  const startNodeProbe = async (node: string): Promise<NodeProbe> => {
    if (!options.nodeProbes) {
      throw new ProbeError(`a probe on node ${node} is needed, but the run was started with --no-node-probes`);
    }
    const namespace = await (nodeNamespace ??= options.namespace('nodes', 'privileged'));
    const name = `node-${randomBytes(3).toString('hex')}`;
    const pod = await startPod(core, nodeProbePod({ name, namespace, image, labels: options.labels, node }), signal);
    const host = hostFor(namespace, name, stdioCommand);
    await host.connect({ timeoutMs: agentTimeoutMs, signal });
    options.log(`node probe ${namespace}/${name} runs on ${node}`);
    nodePods.set(node, { namespace, pod: name });
    return {
      ...prober({ kubeConfig, host, pod, signal, description: `node ${node}`, note: ignoreAttempt }),
      ...receiver(host, { timeoutMs: agentTimeoutMs, signal }),
    };
  };

  const nodeProbe = (node: string): Promise<NodeProbe> => {
    const known = nodeProbes.get(node);
    if (known !== undefined) return known;
    const started = startNodeProbe(node);
    nodeProbes.set(node, started);
    // A failed start must not be remembered: the node may come back.
    started.catch(() => nodeProbes.delete(node));
    return started;
  };

  const openSession = async (node: string): Promise<NodeSession> => {
    await nodeProbe(node);
    const { namespace = '', pod = '' } = nodePods.get(node) ?? {};
    return NodeSession.open(kubeConfig, { node, namespace, pod, container: probeContainer, command: sessionCommand });
  };
  const access: NodeAccess = {
    session: (node) => {
      const known = sessions.get(node) ?? openSession(node);
      sessions.set(node, known);
      known.then(
        (session) => session.onLost(() => sessions.delete(node)),
        () => sessions.delete(node),
      );
      return known;
    },
    state: async (node) => collectNodeState(await nodeProbe(node)),
  };

  const worlds = new Map<string, Promise<ProbePod[]>>();
  const startWorld = async (world: SharedWorld): Promise<ProbePod[]> => {
    const purposes = [...new Set(world.pods.map(({ purpose }) => purpose))];
    const names = await Promise.all(
      purposes.map((purpose) => options.namespace(`${world.key}-${purpose}`, world.podSecurity ?? 'restricted')),
    );
    return Promise.all(
      world.pods.map(({ purpose, ...wanted }) =>
        startProbe({ ...wanted, namespace: names[purposes.indexOf(purpose)] ?? '' }, { signal, note: ignoreAttempt }),
      ),
    );
  };

  const startProbe = async (
    wanted: StartPodOptions & { readonly namespace: string },
    owner: {
      readonly signal: AbortSignal;
      readonly note: (attempt: MadeAttempt) => void;
      readonly onTeardown?: ProbeScope['onTeardown'];
    },
  ): Promise<ProbePod> => {
    const name = wanted.name ?? `probe-${randomBytes(3).toString('hex')}`;
    const listen = wanted.listen ?? defaultListen;
    const labels = { ...wanted.labels, ...options.labels };
    const manifest = probePod({ ...wanted, name, image, listen, labels });
    const pod = await startPod(core, manifest, owner.signal);
    const host = hostFor(wanted.namespace, name, controlCommand);
    owner.onTeardown?.(async () => {
      host.close();
      hosts.delete(host);
    });
    await host.connect({ timeoutMs: agentTimeoutMs, signal: owner.signal });
    // The case's own signal is aborted when its body has ended; the failing flow is looked at again after that.
    const from = podProber({ kubeConfig, host, pod, signal, note: ignoreAttempt });
    const note = (attempt: MadeAttempt): void => owner.note({ ...attempt, from });
    return podProber({ kubeConfig, host, pod, signal: owner.signal, note });
  };

  const forCase = (scope: ProbeScope): CaseProbes => {
    const made: MadeAttempt[] = [];
    const pods: ProbePod[] = [];
    const note = (attempt: MadeAttempt): void => void made.push(attempt);
    const { trace } = options;
    if (trace !== undefined)
      scope.onFailure((error) =>
        recordFailingFlow({
          error,
          made,
          attach: scope.attach,
          access: options.nodeProbes ? access : undefined,
          trace,
        }),
      );
    const start = async (wanted: StartPodOptions = {}): Promise<ProbePod> => {
      const namespace = wanted.namespace ?? (await scope.namespace());
      const started = await startProbe(
        { ...wanted, namespace },
        { signal: scope.signal, note, onTeardown: scope.onTeardown },
      );
      pods.push(started);
      return started;
    };
    const shared = async (world: SharedWorld): Promise<ProbePod[]> => {
      const known = worlds.get(world.key) ?? startWorld(world);
      worlds.set(world.key, known);
      known.catch(() => worlds.delete(world.key));
      const mine = (await known).map((pod) => ({ ...pod, ...withNotes(pod, note) }));
      pods.push(...mine);
      return mine;
    };
    return {
      scope,
      pod: start,
      pods: (wanted) => Promise.all(wanted.map(start)),
      shared,
      node: async (name) => {
        const probe = await nodeProbe(name);
        return withNotes(probe, note);
      },
    };
  };

  return {
    forCase,
    close: async () => {
      for (const host of hosts) host.close();
      for (const one of await Promise.allSettled(sessions.values())) if (one.status === 'fulfilled') one.value.close();
    },
  };
}

async function startPod(core: CoreV1Api, manifest: V1Pod, signal: AbortSignal): Promise<V1Pod> {
  const namespace = manifest.metadata?.namespace ?? '';
  const name = manifest.metadata?.name ?? '';
  await core.createNamespacedPod({ namespace, body: manifest });
  const deadline = performance.now() + startTimeoutMs;
  for (let delayMs = 100; ; delayMs = Math.min(delayMs * 1.3, 500)) {
    signal.throwIfAborted();
    const pod = await core.readNamespacedPod({ namespace, name });
    const state = pod.status?.containerStatuses?.[0]?.state;
    if (pod.status?.podIP !== undefined && state?.running !== undefined) return pod;
    if (state?.terminated !== undefined) {
      throw new ProbeError(
        `probe pod ${namespace}/${name} ended: ${state.terminated.reason} ${state.terminated.message ?? ''}`,
      );
    }
    if (performance.now() > deadline) {
      throw new ProbeError(
        `probe pod ${namespace}/${name} did not start within ${startTimeoutMs / 1000} s: ${stateOf(pod)}${await lastWarning(core, pod)}`,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, delayMs));
  }
}

function stateOf(pod: V1Pod): string {
  const waiting = pod.status?.containerStatuses?.[0]?.state?.waiting;
  if (waiting !== undefined) return `${waiting.reason ?? 'waiting'} ${waiting.message ?? ''}`.trim();
  const unscheduled = pod.status?.conditions?.find((one) => one.type === 'PodScheduled' && one.status === 'False');
  return unscheduled === undefined ? `phase ${pod.status?.phase}` : `not scheduled: ${unscheduled.message}`;
}

interface ProberInput {
  readonly kubeConfig: KubeConfig;
  readonly host: AgentHost;
  readonly pod: V1Pod;
  readonly signal: AbortSignal;
  readonly note: (attempt: MadeAttempt) => void;
}

function prober(input: ProberInput & { readonly description: string }): Prober {
  const { kubeConfig, host, pod, signal, description, note } = input;
  const attempts = async (requests: readonly AttemptRequest[], concurrency: number): Promise<AttemptResult[]> => {
    if (requests.length === 0) return [];
    const complete = requests.map((request): Attempt => ({
      timeoutMs: attemptTimeoutMs,
      ...request,
      nonce: newNonce(),
    }));
    // Time for every round of a batch in which each attempt runs into its time-out.
    const longest = Math.max(...complete.map(({ timeoutMs }) => timeoutMs));
    const timeoutMs = Math.ceil(complete.length / concurrency) * longest + agentTimeoutMs;
    const { results } = await host.request('attempt', { attempts: complete, concurrency }, { timeoutMs, signal });
    const broken = results.find(({ outcome }) => outcome === 'prober-broken');
    if (broken !== undefined) throw new ProbeError(`${description} cannot probe: ${broken.error}`);
    for (const [index, result] of results.entries()) {
      const request = requests[index];
      if (request !== undefined) note({ from: self, request, result });
    }
    return [...results];
  };
  const self: Prober = {
    description,
    node: pod.spec?.nodeName ?? '',
    attempts: (requests, options = {}) => attempts(requests, options.concurrency ?? concurrencyDefault),
    attempt: async (request) => {
      const [result] = await attempts([request], 1);
      if (result === undefined) throw new ProbeError(`${description} gave no result`);
      return result;
    },
    dns: async (question) => {
      const complete = { timeoutMs: attemptTimeoutMs, ...question };
      const timeoutMs = complete.timeoutMs + agentTimeoutMs;
      const { results } = await host.request('dns', { questions: [complete] }, { timeoutMs, signal });
      const [result] = results;
      if (result === undefined || result.outcome === 'prober-broken') {
        throw new ProbeError(`${description} cannot ask DNS: ${result?.error ?? 'no result'}`);
      }
      return result;
    },
    resolve: (name, family = 0) => host.request('resolve', { name, family }, { timeoutMs: 30_000, signal }),
    exec: (command, options = {}) =>
      execInPod(kubeConfig, command, {
        namespace: pod.metadata?.namespace ?? '',
        pod: pod.metadata?.name ?? '',
        container: probeContainer,
        signal,
        ...options,
      }),
  };
  return self;
}

function podProber(input: ProberInput): ProbePod {
  const { host, pod, signal } = input;
  const name = pod.metadata?.name ?? '';
  const namespace = pod.metadata?.namespace ?? '';
  const options = { timeoutMs: agentTimeoutMs, signal };
  return {
    ...prober({ ...input, description: `pod ${namespace}/${name} on ${pod.spec?.nodeName}` }),
    name,
    namespace,
    ip: pod.status?.podIP ?? '',
    ips: (pod.status?.podIPs ?? []).map(({ ip }) => ip),
    labels: pod.metadata?.labels ?? {},
    ...receiver(host, options),
    stream: async (targets) => {
      const stream = newNonce();
      await host.request('stream-start', { stream, targets }, options);
      return {
        name: stream,
        stop: async () => (await host.request('stream-stop', { stream }, options)).outcomes,
      };
    },
    clockOffset: async () => {
      let best = { aheadMs: 0, uncertainMs: Infinity };
      for (let turn = 0; turn < clockQuestions; turn++) {
        const asked = performance.now();
        const { now } = await host.request('clock', {}, options);
        const answered = performance.now();
        const uncertainMs = (answered - asked) / 2;
        const aheadMs = now - (performance.timeOrigin + (asked + answered) / 2);
        if (uncertainMs < best.uncertainMs) best = { aheadMs, uncertainMs };
      }
      return best;
    },
  };
}

function receiver(host: AgentHost, options: RequestOptions): Receiver {
  return {
    listen: async (listen) => void (await host.request('listen', { listen }, options)),
    unlisten: async (listen) => void (await host.request('unlisten', { listen }, options)),
    receipts: async (nonces) => (await host.request('receipts', { nonces }, options)).receipts,
    receiptsOfStream: async (stream) => (await host.request('stream-receipts', { stream }, options)).receipts,
  };
}

/** A node probe is shared; the attempts made through it belong to the case that made them. */
function withNotes(probe: NodeProbe, note: (attempt: MadeAttempt) => void): NodeProbe {
  const attempts: Prober['attempts'] = async (requests, options) => {
    const results = await probe.attempts(requests, options);
    for (const [index, result] of results.entries()) {
      const request = requests[index];
      if (request !== undefined) note({ from: probe, request, result });
    }
    return results;
  };
  return {
    ...probe,
    attempts,
    attempt: async (request) => {
      const [result] = await attempts([request]);
      if (result === undefined) throw new ProbeError(`${probe.description} gave no result`);
      return result;
    },
  };
}

/** Attempts through a shared probe are noted by the view that a case has of it. */
function ignoreAttempt(): void {}

function newNonce(): string {
  return randomBytes(9).toString('hex');
}
