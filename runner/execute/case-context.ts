// SPDX-License-Identifier: Apache-2.0
/** Builds the context of one attempt of a case, and takes apart afterwards what the case built, in reverse order. */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { KubernetesObject } from '@kubernetes/client-node';
import { ApiException } from '@kubernetes/client-node';
import type { ProbeFleet } from '../../probes/agent/probe-fleet.ts';
import type {
  Case,
  CaseContext,
  ClusterFacts,
  Evidence,
  ImageReferences,
  Progress,
  WaitOptions,
} from '../../suites/case.ts';
import type { KubeClients } from '../../suites/kube-clients.ts';
import { messageOf } from '../problem.ts';
import type { Recorder } from '../results/recorder.ts';
import { RequestFailed, resourceOf } from '../target/discovery.ts';
import { pause } from '../target/pause.ts';
import { isInconclusive, readableMessage, SkipCase } from './failure.ts';
import { objectsOf, withLabels } from './manifests.ts';
import { createNamespace, deleteNamespace } from './namespaces.ts';
import { runLabels } from './run-labels.ts';

const hookTimeoutMs = 60_000;

/** What all cases of a run share. */
export interface RunEnvironment {
  readonly runId: string;
  readonly kube: KubeClients;
  readonly fleet: ProbeFleet;
  readonly cluster: ClusterFacts;
  readonly images: ImageReferences;
  readonly recorder: Recorder;
  /** True: what a failed case made is left for people to look at (`--no-cleanup`). */
  readonly keepFailed: boolean;
}

export interface Attempt {
  readonly context: CaseContext;
  /** The step begun last that is still going on, with those around it, joined by ` > `. */
  currentStep(): string | undefined;
  /** The step in which `error` was thrown, if it was in one. */
  stepOf(error: unknown): string | undefined;
  /** Runs the failure hooks, latest first. Never throws; returns what went wrong. */
  afterFailure(error: Error): Promise<string[]>;
  /** Runs the teardown hooks, latest first, and deletes what the case made unless it is to be kept. Never throws; returns what went wrong. */
  tearDown(end: { readonly failed: boolean }): Promise<string[]>;
}

export function beginAttempt(
  one: Case,
  environment: RunEnvironment,
  attempt: { readonly number: number; readonly signal: AbortSignal },
): Attempt {
  const { kube, recorder, runId } = environment;
  const { signal } = attempt;
  const failureHooks: ((error: Error) => Promise<void>)[] = [];
  const teardownHooks: (() => Promise<void>)[] = [];
  let kept = false;
  const running: string[] = [];
  const enclosingSteps = new AsyncLocalStorage<readonly string[]>();
  const stepOfError = new WeakMap<object, string>();
  const namespaces: string[] = [];

  const own = (object: KubernetesObject): void => {
    teardownHooks.push(async () => {
      if (!kept) await deleteObject(kube, object);
    });
  };

  const newNamespace: CaseContext['namespace'] = async (purpose = '', options = {}) => {
    signal.throwIfAborted();
    const words = `${one.id} ${purpose}`;
    const name = await createNamespace(kube, { ...options, runId, purpose: words, signal });
    namespaces.push(name);
    teardownHooks.push(async () => {
      if (!kept) await deleteNamespace(kube, name);
    });
    return name;
  };

  let homeNamespace: Promise<string> | undefined;
  const probes = environment.fleet.forCase({
    caseId: one.id,
    namespace: async () => namespaces[0] ?? (homeNamespace ??= newNamespace()),
    attach: async (evidence) => recorder.attach(one.id, attempt.number, evidence),
    onFailure: (hook) => void failureHooks.push(hook),
    onTeardown: (hook) => void teardownHooks.push(hook),
    signal,
  });

  const context: CaseContext = {
    caseId: one.id,
    runId,
    kube,
    probes,
    cluster: environment.cluster,
    images: environment.images,
    signal,
    namespace: newNamespace,
    own,
    async apply<T extends KubernetesObject>(
      source: Parameters<CaseContext['apply']>[0],
      options?: { readonly namespace?: string },
    ) {
      const created: T[] = [];
      for (const object of objectsOf(source)) {
        signal.throwIfAborted();
        const labelled = withLabels(object, runLabels(runId));
        const resource = await resourceOf(kube, object.apiVersion ?? '', object.kind ?? '');
        const { namespaced } = resource;
        const namespace = options?.namespace ?? object.metadata?.namespace ?? namespaces[0];
        if (namespaced && namespace !== undefined) labelled.metadata = { ...labelled.metadata, namespace };
        // As it stands: the typed client would drop fields whose names are words of its language, such as `default` and `from`.
        const path = resource.path(namespaced ? namespace : undefined);
        const response = await kube.request({ method: 'POST', path, body: labelled, signal });
        if (response.status !== 201) throw new RequestFailed(response.status, `POST ${path}`, response.body.toString());
        const stored = response.json() as KubernetesObject;
        if (!namespaced || namespace === undefined || !namespaces.includes(namespace)) own(stored);
        created.push(stored as T);
      }
      return created;
    },
    waitFor: (description, condition, options) => waitFor(description, condition, { ...options, signal }),
    async step(name, body) {
      signal.throwIfAborted();
      const path = [...(enclosingSteps.getStore() ?? []), name];
      const label = path.join(' > ');
      const start = performance.now();
      const end = (passed: boolean): void => {
        running.splice(running.lastIndexOf(label), 1);
        const durationMs = Math.round(performance.now() - start);
        recorder.record({ type: 'step-finished', caseId: one.id, name: label, passed, durationMs });
      };
      running.push(label);
      try {
        const value = await enclosingSteps.run(path, body);
        end(true);
        return value;
      } catch (error) {
        if (typeof error === 'object' && error !== null && !stepOfError.has(error)) stepOfError.set(error, label);
        end(false);
        throw error;
      }
    },
    attach: async (evidence: Evidence) => recorder.attach(one.id, attempt.number, evidence),
    measure: (figure) => void recorder.record({ type: 'figure-measured', caseId: one.id, ...figure }),
    flake: (what) => void recorder.record({ type: 'flake-observed', caseId: one.id, what }),
    onFailure: (hook) => void failureHooks.push(hook),
    onTeardown: (hook) => void teardownHooks.push(hook),
    log: (message) => void recorder.record({ type: 'message-logged', level: 'info', message, caseId: one.id }),
    skip(reason): never {
      throw new SkipCase(reason);
    },
  };

  return {
    context,
    currentStep: () => running.at(-1),
    stepOf: (error) => (typeof error === 'object' && error !== null ? stepOfError.get(error) : undefined),
    afterFailure: (error) =>
      runHooks(
        'failure hook',
        failureHooks.map((hook) => () => hook(error)),
      ),
    tearDown(end) {
      kept = end.failed && environment.keepFailed;
      return runHooks('teardown', teardownHooks);
    },
  };
}

async function runHooks(what: string, hooks: readonly (() => Promise<void>)[]): Promise<string[]> {
  const troubles: string[] = [];
  for (const hook of hooks.toReversed()) {
    const clock = new AbortController();
    try {
      await Promise.race([
        hook(),
        pause(hookTimeoutMs, clock.signal).then(() => {
          if (!clock.signal.aborted) throw new Error(`did not end within ${hookTimeoutMs} ms`);
        }),
      ]);
    } catch (error) {
      troubles.push(`${what}: ${readableMessage(error)}`);
    } finally {
      clock.abort();
    }
  }
  return troubles;
}

async function deleteObject(kube: KubeClients, object: KubernetesObject): Promise<void> {
  const { apiVersion, kind, metadata } = object;
  if (apiVersion === undefined || kind === undefined || metadata?.name === undefined) {
    throw new Error('cannot delete an object without apiVersion, kind and name');
  }
  const resource = await resourceOf(kube, apiVersion, kind);
  const path = `${resource.path(metadata.namespace)}/${metadata.name}?propagationPolicy=Background`;
  const response = await kube.request({ method: 'DELETE', path });
  if (response.status >= 300 && response.status !== 404 && response.status !== 409) {
    throw new Error(
      `deleting ${kind} ${metadata.name}: the API server answered ${response.status}: ${response.body.toString().slice(0, 300)}`,
    );
  }
}

async function waitFor<T>(
  description: string,
  condition: (signal: AbortSignal) => Promise<Progress<T>>,
  options: WaitOptions & { readonly signal: AbortSignal },
): Promise<T> {
  const timeoutMs = options.timeoutMs ?? 60_000;
  const intervalMs = options.intervalMs ?? 250;
  const started = performance.now();
  let state = 'nothing seen yet';
  while (performance.now() - started < timeoutMs) {
    options.signal.throwIfAborted();
    try {
      const progress = await condition(options.signal);
      if (progress.done) return progress.value;
      state = progress.state;
    } catch (error) {
      options.signal.throwIfAborted();
      const notThere = error instanceof ApiException && error.code === 404;
      if (!notThere && !isInconclusive(error)) throw error;
      state = `${notThere ? 'not there' : messageOf(error)}`;
    }
    await pause(intervalMs, options.signal);
  }
  options.signal.throwIfAborted();
  throw new Error(`waited ${timeoutMs} ms for ${description}; last state: ${state}`);
}
