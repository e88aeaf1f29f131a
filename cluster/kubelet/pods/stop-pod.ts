// SPDX-License-Identifier: Apache-2.0
// Ends containers with grace: preStop within the grace period, then the stop signal, then SIGKILL. A shorter grace that is asked for while a
// stop is under way takes effect at once.
import { setTimeout as pause } from 'node:timers/promises';
import type { Container, LifecycleHandler, Pod } from '../../machinery/api-types.ts';
import { runHook } from '../containers/lifecycle-hooks.ts';
import { grpcCode, grpcMessage, grpcStatus } from '../grpc/service-client.ts';
import type { PodContext } from './pod-context.ts';
import { isSidecar, specOf } from './pod-facts.ts';
import type { ContainerRecord, PodRuntime } from './pod-runtime.ts';

/** A deadline that can be brought forward. */
export class Grace {
  #deadline: number;
  #changed = new AbortController();

  constructor(seconds: number) {
    this.#deadline = Date.now() + seconds * 1000;
  }

  get remainingSeconds(): number {
    return Math.max(0, (this.#deadline - Date.now()) / 1000);
  }

  /** Aborts when the deadline is brought forward; a new signal counts from then on. */
  get changed(): AbortSignal {
    return this.#changed.signal;
  }

  shorten(seconds: number): void {
    const deadline = Date.now() + seconds * 1000;
    if (deadline >= this.#deadline) return;
    this.#deadline = deadline;
    const changed = this.#changed;
    this.#changed = new AbortController();
    changed.abort();
  }
}

export interface StopRequest {
  readonly pod: Pod;
  readonly record: ContainerRecord;
  readonly grace: Grace;
  readonly podIP: string;
  /** For the Killing event. */
  readonly message?: string;
}

/** The signal must have had at least this long after a preStop that used up the whole grace. */
const minimumSeconds = 2;

export async function stopContainer(context: PodContext, request: StopRequest): Promise<void> {
  const { pod, record, grace } = request;
  const container = containerNamed(pod, record.name);
  const message = request.message ?? `Stopping container ${record.name}`;
  context.event(pod, { type: 'Normal', reason: 'Killing', message, container: `spec.containers{${record.name}}` });
  const preStop = container?.lifecycle?.preStop;
  let least = 0;
  if (preStop && container && grace.remainingSeconds > 0) {
    await runPreStop(context, { ...request, container, preStop });
    least = minimumSeconds;
  }
  for (;;) {
    const { changed } = grace;
    try {
      await context.runtime.stopContainer(record.id, Math.max(least, Math.ceil(grace.remainingSeconds)), changed);
      return;
    } catch (error) {
      if (!changed.aborted || grpcCode(error) !== grpcStatus.CANCELLED) throw error;
      least = 0;
    }
  }
}

async function runPreStop(
  context: PodContext,
  request: StopRequest & { container: Container; preStop: LifecycleHandler },
): Promise<void> {
  const { pod, record, container, grace } = request;
  const ended = new AbortController();
  const timeoutSeconds = Math.max(1, Math.ceil(grace.remainingSeconds));
  const hook = runHook(context.runtime, request.preStop, {
    pod,
    container,
    containerId: record.id,
    podIP: request.podIP,
    timeoutSeconds,
  }).catch((error: unknown) => {
    if (ended.signal.aborted) return;
    context.event(pod, {
      type: 'Warning',
      reason: 'FailedPreStopHook',
      message: `PreStopHook failed: ${grpcMessage(error)}`,
      container: `spec.containers{${record.name}}`,
    });
  });
  const outOfTime = (async () => {
    while (grace.remainingSeconds > 0 && !ended.signal.aborted) {
      const signal = AbortSignal.any([grace.changed, ended.signal]);
      await pause(grace.remainingSeconds * 1000, undefined, { signal }).catch(() => undefined);
    }
  })();
  await Promise.race([hook, outOfTime]);
  ended.abort();
}

/** Ends all running containers: the ordinary ones together, then sidecars in reverse order, then the sandboxes. */
export async function stopPod(
  context: PodContext,
  request: { pod: Pod; runtime: PodRuntime; grace: Grace; message?: string },
): Promise<void> {
  const { pod, runtime, grace } = request;
  const podIP = runtime.sandboxes.find((record) => record.ready)?.ips[0] ?? '';
  const running = runtime.containers.filter((record) => record.state === 'running' || record.state === 'unknown');
  const sidecars = new Map(
    (specOf(pod).initContainers ?? []).filter(isSidecar).map((container, index) => [container.name, index]),
  );
  const message = request.message === undefined ? {} : { message: request.message };
  const stop = (record: ContainerRecord): Promise<void> =>
    stopContainer(context, { pod, record, grace, podIP, ...message });
  await settleAll(running.filter((record) => !sidecars.has(record.name)).map(stop));
  const ordered = running
    .filter((record) => sidecars.has(record.name))
    .toSorted((a, b) => (sidecars.get(b.name) ?? 0) - (sidecars.get(a.name) ?? 0));
  for (const record of ordered) await stop(record);
  await settleAll(runtime.sandboxes.map((sandbox) => context.runtime.stopSandbox(sandbox.id)));
}

/** Waits for all, then throws the first failure: one stuck container must not keep the others from being stopped. */
async function settleAll(work: readonly Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(work)) if (result.status === 'rejected') throw result.reason;
}

function containerNamed(pod: Pod, name: string): Container | undefined {
  const spec = specOf(pod);
  return [...spec.containers, ...(spec.initContainers ?? [])].find((container) => container.name === name);
}
