// SPDX-License-Identifier: Apache-2.0
// Brings one pod to what is wanted, one step at a time: no two steps of a pod ever overlap. Its life: running (sync until it must end),
// ending (stop everything), ended (clean up; a pod that was deleted then leaves the API), gone.
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Container, Pod, PodStatus } from '../../machinery/api-types.ts';
import { describeError, logger } from '../../machinery/log.ts';
import { containerResources, possiblePodCgroups } from '../cgroups/pod-cgroups.ts';
import { startContainer, StartError } from '../containers/start-container.ts';
import { grpcMessage } from '../grpc/service-client.ts';
import type { MountedVolume } from '../volumes/volume-manager.ts';
import { VolumeError } from '../volumes/volume-manager.ts';
import { goDuration } from './back-off.ts';
import { computePodActions } from './pod-actions.ts';
import type { PodActions, StartAction, StopAction } from './pod-actions.ts';
import type { PodContext } from './pod-context.ts';
import { definitionOf, graceSecondsOf, identityOf, isSidecar, isTerminalPhase, specOf } from './pod-facts.ts';
import type { PodIdentity } from './pod-facts.ts';
import { latestRecord } from './pod-runtime.ts';
import type { ContainerRecord, PodRuntime } from './pod-runtime.ts';
import { computePodStatus } from './pod-status.ts';
import type { PodStatusInput, WaitingReason } from './pod-status.ts';
import { ensurePodCgroup, logDirectory, sandboxConfigOf, startSandbox } from './start-sandbox.ts';
import { Grace, stopContainer, stopPod } from './stop-pod.ts';

export type Verdict = NonNullable<PodStatusInput['verdict']>;

const log = logger('pod');
const syncMs = 60_000;
/** Volumes that may grow, or that their driver publishes again and again, are looked at this often. */
const volumeLookMs = 3_000;
const retryMs = 1_000;
const maxRetryMs = 30_000;
const deadContainersKept = 1;

export class PodWorker {
  readonly identity: PodIdentity;
  readonly #context: PodContext;
  #pod: Pod;
  #life: 'running' | 'ending' | 'ended' | 'gone' = 'running';
  /** The API (or the manifest folder) no longer has the pod. */
  #removed = false;
  #admitted = false;
  #verdict: Verdict | undefined;
  #disruption: WaitingReason | undefined;
  #grace: Grace | undefined;
  #graceOverride: number | undefined;
  /** The pod was at its end before this kubelet saw it: its status is history. */
  readonly #settled: boolean;
  #waiting = new Map<string, WaitingReason>();
  /** What each running container was last given, by container id. */
  readonly #given = new Map<string, string>();
  #volumes: Map<string, MountedVolume> | undefined;
  #volumesStale = false;
  #volumesCheckedAt = 0;
  #status: PodStatus;
  #interrupt = new AbortController();
  #due = false;
  #active: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #failures = 0;
  /** Waiting for containers to end. */
  #stopping = false;
  #showing = false;

  constructor(context: PodContext, pod: Pod) {
    this.#context = context;
    this.#pod = pod;
    this.identity = identityOf(pod);
    this.#status = context.shownAs(pod)?.status ?? pod.status ?? {};
    this.#settled = isTerminalPhase(this.#status.phase);
    context.objects.follow(pod);
  }

  get pod(): Pod {
    return this.#pod;
  }

  get status(): PodStatus {
    return this.#status;
  }

  /** True until the pod's resources are free again. */
  get holdsResources(): boolean {
    return this.#life === 'running' || this.#life === 'ending';
  }

  /** Accepted by admission: it counts when later pods ask for room. */
  get admitted(): boolean {
    return this.#admitted;
  }

  update(pod: Pod): void {
    const before = this.#pod;
    this.#pod = pod;
    this.#context.objects.follow(pod);
    const metadataChanged =
      JSON.stringify([before.metadata.labels, before.metadata.annotations]) !==
      JSON.stringify([pod.metadata.labels, pod.metadata.annotations]);
    if (metadataChanged) this.#volumesStale = true;
    if (pod.metadata.deletionTimestamp !== undefined) this.#hurry(graceSecondsOf(pod));
    this.poke();
  }

  /** The pod is no longer wanted by its source and must go, without anything left to tell the API. */
  remove(last: Pod): void {
    this.#removed = true;
    this.#pod = last;
    this.#hurry(Math.max(1, graceSecondsOf(last)));
    this.poke();
  }

  /** Ends the pod from the node's side, as eviction does. */
  evict(verdict: Verdict, options: { graceSeconds: number; disruption?: WaitingReason }): void {
    if (this.#life !== 'running' || this.#verdict !== undefined) return;
    this.#verdict = verdict;
    this.#disruption = options.disruption;
    this.#graceOverride = options.graceSeconds;
    this.#hurry(options.graceSeconds);
    this.poke();
  }

  /** What a volume was made from changed. */
  volumesChanged(): void {
    this.#volumesStale = true;
    this.poke();
  }

  /** Something changed: look at the pod again, soon. */
  poke(): void {
    if (this.#life === 'gone') return;
    this.#due = true;
    if (this.#stopping) void this.#showEnding();
    this.#active ??= this.#run().finally(() => {
      this.#active = undefined;
      if (this.#due) this.poke();
    });
  }

  /** Stops looking after the pod; its containers stay as they are. */
  async abandon(): Promise<void> {
    this.#life = 'gone';
    clearTimeout(this.#timer);
    this.#interrupt.abort();
    await this.#active;
  }

  /** Containers may take minutes to end: what probes say meanwhile is shown, so that traffic stops in time. */
  async #showEnding(): Promise<void> {
    if (this.#showing || this.#settled) return;
    this.#showing = true;
    try {
      while (this.#stopping && this.#due) {
        this.#due = false;
        const runtime = await this.#context.reader.read(this.identity);
        if (this.#stopping) this.#publish(runtime);
      }
    } catch (error) {
      log.warn('cannot show how a pod ends', { pod: this.identity.name, error: describeError(error) });
    } finally {
      this.#showing = false;
    }
  }

  #hurry(graceSeconds: number): void {
    this.#grace?.shorten(graceSeconds);
    this.#interrupt.abort();
  }

  async #run(): Promise<void> {
    while (this.#due && this.#life !== 'gone') {
      this.#due = false;
      clearTimeout(this.#timer);
      let nextMs: number;
      try {
        nextMs = await this.#step();
        this.#failures = 0;
      } catch (error) {
        this.#failures++;
        nextMs = Math.min(retryMs * 2 ** Math.min(this.#failures - 1, 6), maxRetryMs);
        if (!this.#interrupt.signal.aborted) this.#reportFailure(error);
        else nextMs = 0;
      }
      if (nextMs === 0) this.#due = true;
      else if (nextMs < Infinity && !this.#due) this.#timer = setTimeout(() => this.poke(), nextMs);
    }
  }

  #reportFailure(error: unknown): void {
    const { namespace, name } = this.identity;
    log.warn('pod step failed, will try again', {
      pod: `${namespace}/${name}`,
      step: this.#life,
      error: describeError(error),
    });
    if (error instanceof VolumeError) {
      this.#context.event(this.#pod, { type: 'Warning', reason: 'FailedMount', message: error.message });
    } else if (this.#life === 'running') {
      this.#context.event(this.#pod, {
        type: 'Warning',
        reason: 'FailedSync',
        message: `error determining status: ${grpcMessage(error)}`,
      });
    } else
      this.#context.event(this.#pod, {
        type: 'Warning',
        reason: 'FailedKillPod',
        message: `error killing pod: ${grpcMessage(error)}`,
      });
  }

  /** One step; returns the milliseconds until the next look, 0 for at once, Infinity for "only when poked". */
  async #step(): Promise<number> {
    switch (this.#life) {
      case 'running':
        return this.#stepRunning();
      case 'ending':
        return this.#stepEnding();
      case 'ended':
        return this.#stepEnded();
      default:
        return Infinity;
    }
  }

  async #stepRunning(): Promise<number> {
    const { reader } = this.#context;
    if (this.#interrupt.signal.aborted) this.#interrupt = new AbortController();
    const pod = this.#pod;
    let runtime = await reader.read(this.identity);
    if (this.#mustEnd()) {
      this.#life = 'ending';
      return 0;
    }
    if (!this.#admitted && !this.#admit(runtime)) {
      this.#life = 'ending';
      return 0;
    }
    this.#updateProbes(runtime, false);
    this.#publish(runtime);

    const actions = computePodActions(pod, runtime, this.#context.probes);
    if (actions.finish) {
      this.#life = 'ending';
      return 0;
    }
    await this.#resize(runtime);
    const waitMs = await this.#carryOut(actions, runtime);
    runtime = await reader.read(this.identity);
    this.#updateProbes(runtime, false);
    this.#publish(runtime);
    await this.#dropDeadContainers(runtime);
    if (this.#interrupt.signal.aborted) return 0;
    return Math.min(waitMs, this.#lookMs() * (0.9 + Math.random() * 0.2), this.#deadlineMs());
  }

  /** Deleted, removed, evicted, out of time, or already at its end when the kubelet (re)started. */
  #mustEnd(): boolean {
    if (this.#removed || this.#verdict !== undefined || this.#pod.metadata.deletionTimestamp !== undefined) return true;
    if (isTerminalPhase(this.#status.phase)) return true;
    if (this.#deadlineMs() <= 0) {
      this.#verdict = {
        phase: 'Failed',
        reason: 'DeadlineExceeded',
        message: 'Pod was active on the node longer than the specified deadline',
      };
      this.#context.event(this.#pod, { type: 'Normal', reason: 'DeadlineExceeded', message: this.#verdict.message });
      return true;
    }
    return false;
  }

  #deadlineMs(): number {
    const seconds = specOf(this.#pod).activeDeadlineSeconds;
    const start = this.#status.startTime;
    if (seconds === undefined || start === undefined) return Infinity;
    return Date.parse(start) + seconds * 1000 - Date.now();
  }

  #admit(runtime: PodRuntime): boolean {
    // A pod that this node ran before the kubelet's restart was admitted then.
    const rejection = runtime.sandboxes.length > 0 ? undefined : this.#context.admit(this.#pod);
    if (rejection === undefined) {
      this.#admitted = true;
      return true;
    }
    this.#verdict = { phase: 'Failed', reason: rejection.reason, message: `Pod was rejected: ${rejection.message}` };
    this.#context.event(this.#pod, { type: 'Warning', reason: rejection.reason, message: rejection.message });
    return false;
  }

  async #carryOut(actions: PodActions, runtime: PodRuntime): Promise<number> {
    const pod = this.#pod;
    if (actions.createSandbox && !specOf(pod).hostNetwork) {
      const problem = this.#context.networkProblem();
      if (problem !== undefined) {
        this.#context.event(pod, {
          type: 'Warning',
          reason: 'NetworkNotReady',
          message: `network is not ready: ${problem}`,
        });
        return 500;
      }
    }
    if (actions.createSandbox || actions.start.length > 0 || this.#volumes === undefined)
      await this.#prepareVolumes(runtime);
    else if (this.#volumesStale || this.#volumesDue()) await this.#refreshVolumes(runtime);
    await this.#stopSome(actions.stop, runtime);

    let { sandboxId } = actions;
    let podIPs = runtime.sandboxes.find((record) => record.id === sandboxId)?.ips ?? [];
    let attempt = runtime.sandboxes[0]?.attempt ?? 0;
    if (actions.createSandbox) {
      await this.#replaceSandbox(runtime);
      attempt = actions.createSandbox.attempt;
      try {
        sandboxId = await startSandbox(this.#context, pod, attempt);
      } catch (error) {
        const message = `Failed to create pod sandbox: ${grpcMessage(error)}`;
        this.#context.event(pod, { type: 'Warning', reason: 'FailedCreatePodSandBox', message });
        throw error;
      }
      const fresh = await this.#context.reader.read(this.identity);
      podIPs = fresh.sandboxes.find((record) => record.id === sandboxId)?.ips ?? [];
      this.#publish(fresh);
    } else if (actions.start.length > 0) ensurePodCgroup(this.#context, pod);
    if (sandboxId === undefined) return Infinity;
    const ips = specOf(pod).hostNetwork ? this.#context.node.ips : podIPs;
    let waitMs = Infinity;
    const sandboxConfig = actions.start.length > 0 ? sandboxConfigOf(this.#context, pod, attempt) : {};
    for (const action of actions.start) {
      if (this.#interrupt.signal.aborted) return 0;
      waitMs = Math.min(waitMs, await this.#start(action, { runtime, sandboxId, sandboxConfig, podIPs: ips }));
    }
    return waitMs;
  }

  async #start(
    action: StartAction,
    place: {
      runtime: PodRuntime;
      sandboxId: string;
      sandboxConfig: ReturnType<typeof sandboxConfigOf>;
      podIPs: readonly string[];
    },
  ): Promise<number> {
    const pod = this.#pod;
    const { crashBackOff } = this.#context;
    const { name } = action.container;
    const key = `${this.identity.uid}/${name}/${definitionOf(action.container)}`;
    const ended = place.runtime.containers.find((record) => record.name === name && record.state === 'exited');
    if (ended !== undefined) {
      const remaining = crashBackOff.remaining(key, ended.finishedAt / 1e6, Date.now());
      if (remaining > 0) {
        const { namespace, name: podName, uid } = this.identity;
        const where = `restarting failed container=${name} pod=${podName}_${namespace}(${uid})`;
        this.#waiting.set(name, {
          reason: 'CrashLoopBackOff',
          message: `back-off ${goDuration(crashBackOff.delay(key))} ${where}`,
        });
        this.#context.event(pod, {
          type: 'Warning',
          reason: 'BackOff',
          message: `Back-off ${where.replace('container=', 'container ').replace('pod=', 'in pod ')}`,
          container: `spec.${action.kind === 'init' ? 'initContainers' : 'containers'}{${name}}`,
        });
        return remaining + 10;
      }
      crashBackOff.raise(key, Date.now());
    }
    try {
      const target = (action.container as { targetContainerName?: string }).targetContainerName;
      await startContainer(this.#context, {
        pod,
        action: { ...action, attempt: Math.max(action.attempt, this.#attemptsBefore(name)) },
        sandboxId: place.sandboxId,
        sandboxConfig: place.sandboxConfig,
        podIPs: place.podIPs,
        volumes: this.#volumes ?? new Map(),
        targetContainerId: target ? latestRecord(place.runtime, target)?.id : undefined,
        signal: this.#interrupt.signal,
      });
      this.#waiting.delete(name);
      return Infinity;
    } catch (error) {
      if (!(error instanceof StartError)) throw error;
      if (this.#interrupt.signal.aborted) return 0;
      this.#waiting.set(name, { reason: error.reason, message: error.message });
      return error.retryAfterMs || (error.reason.startsWith('RunContainer') ? 1_000 : 5_000);
    }
  }

  /** Runs that the API knows of but the runtime has forgotten, as after a reboot, still count. */
  #attemptsBefore(name: string): number {
    const all = [this.#status.containerStatuses, this.#status.initContainerStatuses];
    const known = all.flatMap((list) => list ?? []).find((status) => status.name === name);
    return known?.containerID === undefined ? 0 : known.restartCount + 1;
  }

  async #prepareVolumes(runtime: PodRuntime): Promise<void> {
    this.#volumesStale = false;
    this.#volumesCheckedAt = Date.now();
    this.#volumes = await this.#context.volumes.setUp(this.#pod, this.#volumeContext(runtime));
  }

  async #refreshVolumes(runtime: PodRuntime): Promise<void> {
    this.#volumesStale = false;
    this.#volumesCheckedAt = Date.now();
    await this.#context.volumes.refresh(this.#pod, this.#volumeContext(runtime));
  }

  /** How often the pod is looked at without a reason. */
  #lookMs(): number {
    return this.#context.volumes.wantAttention(this.identity.uid) ? volumeLookMs : syncMs;
  }

  #volumesDue(): boolean {
    return (
      Date.now() - this.#volumesCheckedAt >= this.#lookMs() * 0.8 ||
      Date.now() >= this.#context.tokens.nextRenewal(this.identity.uid)
    );
  }

  #volumeContext(runtime: PodRuntime) {
    const { node } = this.#context;
    return {
      podIPs: runtime.sandboxes.find((record) => record.ready)?.ips ?? [],
      hostIPs: node.ips,
      allocatable: node.allocatable,
      signal: this.#interrupt.signal,
    };
  }

  async #stopSome(stops: readonly StopAction[], runtime: PodRuntime): Promise<void> {
    const podIP = runtime.sandboxes.find((record) => record.ready)?.ips[0] ?? '';
    await Promise.all(
      stops.map(async (stop) => {
        const spec = specOf(this.#pod);
        const container = [...spec.containers, ...(spec.initContainers ?? [])].find(
          (one) => one.name === stop.record.name,
        );
        const own = stop.probe ? container?.[stop.probe]?.terminationGracePeriodSeconds : undefined;
        this.#grace = new Grace(own ?? spec.terminationGracePeriodSeconds ?? 30);
        await stopContainer(this.#context, {
          pod: this.#pod,
          record: stop.record,
          grace: this.#grace,
          podIP,
          message: stop.message,
        });
      }),
    );
  }

  /** Gives running containers what their definition now asks for, without a restart. */
  async #resize(runtime: PodRuntime): Promise<void> {
    const spec = specOf(this.#pod);
    for (const container of [...spec.containers, ...(spec.initContainers ?? []).filter(isSidecar)]) {
      const record = latestRecord(runtime, container.name);
      if (record?.state !== 'running') continue;
      const wanted = containerResources(this.#pod, container, this.#context.node.memoryBytes);
      const text = JSON.stringify(wanted);
      const given = this.#given.get(record.id);
      this.#given.set(record.id, text);
      // A container seen for the first time was made from this very definition.
      if (given === undefined || given === text) continue;
      ensurePodCgroup(this.#context, this.#pod);
      try {
        await this.#context.runtime.updateResources(record.id, wanted);
      } catch (error) {
        this.#given.set(record.id, given);
        throw error;
      }
    }
    for (const id of this.#given.keys())
      if (!runtime.containers.some((record) => record.id === id)) this.#given.delete(id);
  }

  /** Ends what is left in sandboxes that a new one replaces. */
  async #replaceSandbox(runtime: PodRuntime): Promise<void> {
    if (runtime.sandboxes.length === 0) return;
    if (runtime.sandboxes.some((record) => record.ready)) {
      this.#context.event(this.#pod, {
        type: 'Normal',
        reason: 'SandboxChanged',
        message: 'Pod sandbox changed, it will be killed and re-created.',
      });
    }
    await stopPod(this.#context, {
      pod: this.#pod,
      runtime,
      grace: new Grace(specOf(this.#pod).terminationGracePeriodSeconds ?? 30),
    });
    for (const sandbox of runtime.sandboxes) {
      const inUse = runtime.containers.some((record) => record.sandboxId === sandbox.id);
      if (!inUse) await this.#context.runtime.removeSandbox(sandbox.id);
    }
  }

  async #stepEnding(): Promise<number> {
    const { reader, probes } = this.#context;
    const runtime = await reader.read(this.identity);
    this.#updateProbes(runtime, true);
    if (!this.#settled) this.#publish(runtime, { ending: false });
    const seconds = this.#graceOverride ?? graceSecondsOf(this.#pod);
    this.#grace = new Grace(this.#removed ? Math.max(1, seconds) : seconds);
    this.#stopping = true;
    try {
      await stopPod(this.#context, { pod: this.#pod, runtime, grace: this.#grace });
    } finally {
      this.#stopping = false;
    }
    probes.stopPod(this.identity.uid);
    const after = await reader.read(this.identity);
    if (after.containers.some((record) => record.state === 'running')) return retryMs;
    if (!this.#settled) this.#publish(after, { ending: true });
    this.#life = 'ended';
    return 0;
  }

  async #stepEnded(): Promise<number> {
    const { uid } = this.identity;
    const context = this.#context;
    if (this.#volumes !== undefined || context.volumes.podsOnDisk().includes(uid)) {
      await context.volumes.tearDown(uid);
      this.#volumes = undefined;
    }
    if (context.cgroupNaming.driver !== 'systemd') {
      for (const path of possiblePodCgroups(uid, context.cgroupNaming)) await context.cgroups.remove(path);
    }
    const deleted = this.#pod.metadata.deletionTimestamp !== undefined;
    if (!deleted && !this.#removed) return Infinity;
    if (!this.#removed) {
      await context.statuses.flush(uid);
      await context.deleteFromApi(this.#pod);
    }
    await this.#erase();
    return Infinity;
  }

  /** Takes away the last traces: containers, sandboxes, logs, folders. */
  async #erase(): Promise<void> {
    const { uid } = this.identity;
    const context = this.#context;
    const runtime = await context.reader.read(this.identity);
    for (const sandbox of runtime.sandboxes) {
      await context.runtime.stopSandbox(sandbox.id);
      await context.runtime.removeSandbox(sandbox.id);
    }
    for (const record of runtime.containers) {
      if (!runtime.sandboxes.some((sandbox) => sandbox.id === record.sandboxId))
        await context.runtime.removeContainer(record.id);
    }
    await rm(logDirectory(context.config, this.#pod), { recursive: true, force: true });
    for (const record of runtime.containers) {
      await rm(`/var/log/containers/${this.identity.name}_${this.identity.namespace}_${record.name}-${record.id}.log`, {
        force: true,
      });
    }
    await context.volumes.removePod(uid);
    context.crashBackOff.forget(`${uid}/`);
    context.images.forgetPod(uid);
    context.statuses.forget(uid);
    this.#life = 'gone';
    context.finished(uid);
  }

  /** Keeps the newest ended run of each container, for its log and last state, and removes older ones. */
  async #dropDeadContainers(runtime: PodRuntime): Promise<void> {
    const seen = new Map<string, number>();
    for (const record of runtime.containers) {
      if (record.state === 'running') continue;
      const count = (seen.get(record.name) ?? 0) + 1;
      seen.set(record.name, count);
      if (count <= deadContainersKept) continue;
      await this.#context.runtime.removeContainer(record.id);
      await rm(
        record.logPath || join(logDirectory(this.#context.config, this.#pod), record.name, `${record.attempt}.log`),
        { force: true },
      );
    }
  }

  #updateProbes(runtime: PodRuntime, ending: boolean): void {
    const spec = specOf(this.#pod);
    const podIP = spec.hostNetwork
      ? (this.#context.node.ips[0] ?? '')
      : (runtime.sandboxes.find((record) => record.ready)?.ips[0] ?? '');
    const probed = [...spec.containers, ...(spec.initContainers ?? []).filter(isSidecar)];
    const targets = probed.flatMap((container) => {
      const record = latestRecord(runtime, container.name);
      return record?.state === 'running' ? [{ pod: this.#pod, container, record, podIP }] : [];
    });
    this.#context.probes.update(this.identity.uid, targets, {
      ending,
      wasReady: (name, id) =>
        [...(this.#status.containerStatuses ?? []), ...(this.#status.initContainerStatuses ?? [])].some(
          (status) => status.name === name && status.ready && status.containerID === `containerd://${id}`,
        ),
    });
  }

  #publish(runtime: PodRuntime, options: { ending: boolean } = { ending: false }): void {
    const context = this.#context;
    const shown = context.shownAs(this.#pod);
    const started = (container: Container, record: ContainerRecord): boolean =>
      container.startupProbe === undefined || context.probes.startup(record.id) === 'success';
    this.#status = computePodStatus({
      // Readiness gates are written by others: they are judged on what the API shows.
      pod: shown ? { ...this.#pod, ...(shown.status && { status: shown.status }) } : this.#pod,
      runtime,
      previous: this.#status,
      waiting: this.#waiting,
      started,
      ready: (container, record) =>
        container.readinessProbe === undefined || context.probes.readiness(record.id) === 'success',
      hostIPs: context.node.ips,
      ending: options.ending,
      verdict: options.ending || runtime.containers.length === 0 ? this.#verdict : undefined,
      disruption: this.#disruption,
      now: Date.now(),
    });
    if (shown) context.statuses.set(this.identity.uid, shown, this.#status);
    context.statusChanged(this.#pod, this.#status);
  }
}
