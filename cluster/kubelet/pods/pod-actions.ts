// SPDX-License-Identifier: Apache-2.0
// Decides what to do next for a running pod: from its definition and what the runtime holds to a list of actions. Pure; the worker carries
// the actions out. The order rules are those of the pod lifecycle: sandbox, then init containers one by one (sidecars stay), then the
// others together.
import type { Container, EphemeralContainer, Pod } from '../../machinery/api-types.ts';
import { definitionOf, isSidecar, specOf } from './pod-facts.ts';
import { latestRecord } from './pod-runtime.ts';
import type { ContainerRecord, PodRuntime } from './pod-runtime.ts';

export type ProbeVerdict = 'success' | 'failure' | 'unknown';

export interface ProbeVerdicts {
  liveness(containerId: string): ProbeVerdict;
  startup(containerId: string): ProbeVerdict;
}

export interface StopAction {
  readonly record: ContainerRecord;
  readonly reason: string;
  readonly message: string;
  /** Which probe demands it: its own grace period then wins over the pod's. */
  readonly probe?: 'livenessProbe' | 'startupProbe';
}

export interface StartAction {
  readonly kind: 'init' | 'app' | 'ephemeral';
  readonly container: Container | EphemeralContainer;
  readonly attempt: number;
  /** The exited run that this one replaces; crash back-off counts from its end. */
  readonly previous: ContainerRecord | undefined;
}

export interface PodActions {
  /** Nothing is left to run: stop what runs, then the sandbox. */
  readonly finish: boolean;
  /** Stop the sandboxes that can't be used any more (with all in them) and make a new one with this attempt number. */
  readonly createSandbox: { readonly attempt: number } | undefined;
  readonly sandboxId: string | undefined;
  readonly stop: readonly StopAction[];
  readonly start: readonly StartAction[];
}

export function computePodActions(pod: Pod, runtime: PodRuntime, probes: ProbeVerdicts): PodActions {
  const spec = specOf(pod);
  const sandbox = usableSandbox(pod, runtime);
  const nothing = { createSandbox: undefined, sandboxId: sandbox?.id, stop: [], start: [] };

  if (sandbox === undefined) {
    const ranBefore = runtime.containers.length > 0;
    const pending = spec.containers.filter((container) => {
      const record = latestRecord(runtime, container.name);
      return record === undefined || record.state !== 'exited' || mayRestart(pod, container, record.exitCode);
    });
    const attempt = runtime.sandboxes.reduce((highest, record) => Math.max(highest, record.attempt + 1), 0);
    if (pending.length === 0 || (ranBefore && attempt > 0 && spec.restartPolicy === 'Never')) {
      return { ...nothing, finish: runtime.sandboxes.some((record) => record.ready) || ranBefore };
    }
    const first = spec.initContainers?.[0];
    const start = first
      ? [startOf('init', first, runtime)]
      : pending.map((container) => startOf('app', container, runtime));
    return { ...nothing, finish: false, createSandbox: { attempt }, start };
  }

  const current: PodRuntime = {
    ...runtime,
    containers: runtime.containers.filter((record) => record.sandboxId === sandbox.id),
  };
  const plan: { stop: StopAction[]; start: StartAction[] } = { stop: [], start: [] };
  for (const container of spec.ephemeralContainers ?? []) {
    if (!latestRecord(runtime, container.name)) plan.start.push(startOf('ephemeral', container, runtime));
  }
  const init = planInit(pod, { current, runtime, probes }, plan);
  if (init === 'failed') return { ...nothing, finish: true };
  if (init === 'waiting') return { ...nothing, finish: false, ...plan };

  let kept = 0;
  for (const container of spec.containers) {
    const record = latestRecord(current, container.name);
    const decision = decide(pod, container, record, probes);
    if (decision === 'keep') kept++;
    if (decision === 'done') continue;
    if (typeof decision === 'object') plan.stop.push(decision);
    if (decision === 'start' || (typeof decision === 'object' && mayRestart(pod, container, 1, decision))) {
      plan.start.push(startOf('app', container, runtime));
    }
  }
  const appStarts = plan.start.some((action) => action.kind === 'app');
  if (kept === 0 && !appStarts && plan.stop.length === 0) return { ...nothing, finish: true };
  return { ...nothing, finish: false, ...plan };
}

/** The newest sandbox when it is alive and fits the pod's network. */
function usableSandbox(pod: Pod, runtime: PodRuntime) {
  const newest = runtime.sandboxes[0];
  if (newest === undefined || !newest.ready) return undefined;
  const hostNetwork = specOf(pod).hostNetwork ?? false;
  if (newest.hostNetwork !== hostNetwork) return undefined;
  return !hostNetwork && newest.ips.length === 0 ? undefined : newest;
}

interface InitContext {
  /** Containers of the present sandbox only. */
  readonly current: PodRuntime;
  readonly runtime: PodRuntime;
  readonly probes: ProbeVerdicts;
}

function planInit(
  pod: Pod,
  context: InitContext,
  plan: { stop: StopAction[]; start: StartAction[] },
): 'done' | 'waiting' | 'failed' {
  const { current, runtime, probes } = context;
  const spec = specOf(pod);
  const containers = spec.initContainers ?? [];
  const initialized = spec.containers.some((container) => latestRecord(current, container.name) !== undefined);
  const lastSeen = containers.findLastIndex((container) => latestRecord(current, container.name) !== undefined);
  for (const [index, container] of containers.entries()) {
    const record = latestRecord(current, container.name);
    if (isSidecar(container)) {
      // While the app containers end for good, sidecars must not be revived.
      if (initialized && allAppsDone(pod, current)) continue;
      const decision = decide(pod, container, record, probes);
      if (typeof decision === 'object') plan.stop.push(decision);
      if (decision !== 'keep' && decision !== 'done') {
        plan.start.push(startOf('init', container, runtime));
        if (!initialized && index >= lastSeen) return 'waiting';
      } else if (!initialized && index >= lastSeen && !hasStarted(container, record, probes)) return 'waiting';
      continue;
    }
    if (initialized || index < lastSeen) continue;
    if (record?.state === 'running') {
      if (record.definition !== '' && record.definition !== definitionOf(container)) {
        plan.stop.push(definitionChanged(record));
        plan.start.push(startOf('init', container, runtime));
      }
      return 'waiting';
    }
    if (record?.state === 'exited' && record.exitCode === 0) continue;
    if (record?.state === 'exited' && !mayRestart(pod, container, record.exitCode)) return 'failed';
    plan.start.push(startOf('init', container, runtime));
    return 'waiting';
  }
  return 'done';
}

function allAppsDone(pod: Pod, current: PodRuntime): boolean {
  return specOf(pod).containers.every((container) => {
    const record = latestRecord(current, container.name);
    return record?.state === 'exited' && !mayRestart(pod, container, record.exitCode);
  });
}

function hasStarted(container: Container, record: ContainerRecord | undefined, probes: ProbeVerdicts): boolean {
  if (record?.state !== 'running') return false;
  return container.startupProbe === undefined || probes.startup(record.id) === 'success';
}

function decide(
  pod: Pod,
  container: Container,
  record: ContainerRecord | undefined,
  probes: ProbeVerdicts,
): 'start' | 'keep' | 'done' | StopAction {
  if (record === undefined) return 'start';
  if (record.state === 'exited') return mayRestart(pod, container, record.exitCode) ? 'start' : 'done';
  if (record.state !== 'running') {
    return {
      record,
      reason: 'Unknown',
      message: `Container ${record.name} is in an unknown state, try killing it before restart`,
    };
  }
  if (record.definition !== '' && record.definition !== definitionOf(container)) return definitionChanged(record);
  if (container.livenessProbe && probes.liveness(record.id) === 'failure') {
    const message = `Container ${record.name} failed liveness probe${mayRestart(pod, container, 1) ? ', will be restarted' : ''}`;
    return { record, reason: 'Unhealthy', message, probe: 'livenessProbe' };
  }
  if (container.startupProbe && probes.startup(record.id) === 'failure') {
    const message = `Container ${record.name} failed startup probe${mayRestart(pod, container, 1) ? ', will be restarted' : ''}`;
    return { record, reason: 'Unhealthy', message, probe: 'startupProbe' };
  }
  return 'keep';
}

function definitionChanged(record: ContainerRecord): StopAction {
  return { record, reason: 'Changed', message: `Container ${record.name} definition changed, will be restarted` };
}

/** Whether a container that ended with `exitCode` runs again. A changed definition or a run lost from sight always does. */
export function mayRestart(pod: Pod, container: Container, exitCode: number, stopped?: StopAction): boolean {
  if (stopped !== undefined && stopped.probe === undefined) return true;
  for (const rule of container.restartPolicyRules ?? []) {
    const { operator, values = [] } = rule.exitCodes ?? {};
    const matches = operator === 'In' ? values.includes(exitCode) : operator === 'NotIn' && !values.includes(exitCode);
    if (matches) return rule.action === 'Restart' || rule.action === 'RestartAllContainers';
  }
  const policy = container.restartPolicy ?? specOf(pod).restartPolicy ?? 'Always';
  return policy === 'Always' || (policy === 'OnFailure' && exitCode !== 0);
}

function startOf(
  kind: StartAction['kind'],
  container: Container | EphemeralContainer,
  runtime: PodRuntime,
): StartAction {
  const previous = latestRecord(runtime, container.name);
  return { kind, container, attempt: previous ? previous.attempt + 1 : 0, previous };
}
