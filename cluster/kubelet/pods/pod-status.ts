// SPDX-License-Identifier: Apache-2.0
// Computes a pod's status from its definition, what the runtime holds and what probes say. Pure: the same inputs give the same status, and
// a phase that is final stays.
import type {
  Container,
  ContainerState,
  ContainerStatus,
  EphemeralContainer,
  Pod,
  PodCondition,
  PodStatus,
} from '../../machinery/api-types.ts';
import { isSidecar, isTerminalPhase, nanosToTime, qosClassOf, rfc3339, specOf } from './pod-facts.ts';
import type { ContainerRecord, PodRuntime } from './pod-runtime.ts';

export interface WaitingReason {
  readonly reason: string;
  readonly message: string;
}

export interface PodStatusInput {
  readonly pod: Pod;
  readonly runtime: PodRuntime;
  /** The status written before: keeps transition times, start time and what the runtime has forgotten. */
  readonly previous: PodStatus;
  /** Why a container by this name can't be started at the moment. */
  readonly waiting: ReadonlyMap<string, WaitingReason>;
  /** Whether the startup probe has succeeded (or there is none). */
  readonly started: (container: Container, record: ContainerRecord) => boolean;
  /** Whether the readiness probe succeeds (or there is none). */
  readonly ready: (container: Container, record: ContainerRecord) => boolean;
  readonly hostIPs: readonly string[];
  /** The pod will run no more: it was deleted, evicted, or ran into its deadline. */
  readonly ending: boolean;
  /** Set by admission, eviction and deadlines; wins over what containers say. */
  readonly verdict:
    | { readonly phase: 'Failed' | 'Succeeded'; readonly reason: string; readonly message: string }
    | undefined;
  readonly disruption?: WaitingReason | undefined;
  readonly now: number;
}

export function computePodStatus(input: PodStatusInput): PodStatus {
  const { pod, runtime, previous } = input;
  const spec = specOf(pod);
  const hasInit = (spec.initContainers?.length ?? 0) > 0;
  const initStatuses = (spec.initContainers ?? []).map((container) => containerStatus(container, 'init', input, false));
  const initDone = initStatuses.every((status, index) => initPassed(spec.initContainers?.[index], status));
  const statuses = spec.containers.map((container) => containerStatus(container, 'app', input, hasInit && !initDone));
  const ephemeral = (spec.ephemeralContainers ?? []).map((container) =>
    containerStatus(container, 'ephemeral', input, false),
  );

  const settled = isTerminalPhase(previous.phase) ? previous.phase : undefined;
  const phase = settled ?? input.verdict?.phase ?? phaseOf(pod, { statuses, initStatuses, ending: input.ending });
  const sandbox = runtime.sandboxes.find((record) => record.ready);
  const ips = spec.hostNetwork ? [...input.hostIPs] : [...(sandbox?.ips ?? [])];
  // Addresses outlive the sandbox, so that a finished pod still says where it was.
  const podIPs = ips.length > 0 ? ips.map((ip) => ({ ip })) : (previous.podIPs ?? []);
  const generation = pod.metadata.generation;

  const status: PodStatus = {
    ...(generation !== undefined && { observedGeneration: generation }),
    phase: phase ?? 'Pending',
    conditions: conditionsOf(input, {
      phase: phase ?? 'Pending',
      statuses,
      initStatuses,
      sandboxReady: sandbox !== undefined && ips.length > 0,
    }),
    ...(previous.nominatedNodeName !== undefined && { nominatedNodeName: previous.nominatedNodeName }),
    hostIP: input.hostIPs[0] ?? '',
    hostIPs: input.hostIPs.map((ip) => ({ ip })),
    ...(podIPs[0] && { podIP: podIPs[0].ip, podIPs }),
    startTime: previous.startTime ?? rfc3339(input.now),
    ...(initStatuses.length > 0 && { initContainerStatuses: initStatuses }),
    containerStatuses: statuses,
    ...(ephemeral.length > 0 && { ephemeralContainerStatuses: ephemeral }),
    qosClass: pod.status?.qosClass ?? qosClassOf(pod),
  };
  const reason = input.verdict?.reason ?? (settled ? previous.reason : undefined);
  const message = input.verdict?.message ?? (settled ? previous.message : undefined);
  if (reason) status.reason = reason;
  if (message) status.message = message;
  return status;
}

function initPassed(container: Container | undefined, status: ContainerStatus): boolean {
  if (container !== undefined && isSidecar(container)) return status.started === true;
  return status.state?.terminated?.exitCode === 0;
}

function containerStatus(
  container: Container | EphemeralContainer,
  kind: 'init' | 'app' | 'ephemeral',
  input: PodStatusInput,
  initializing: boolean,
): ContainerStatus {
  const records = input.runtime.containers.filter((record) => record.name === container.name);
  const [latest, before] = records;
  const hasInit = (specOf(input.pod).initContainers?.length ?? 0) > 0;
  const known = previousStatus(input.previous, container.name);
  const waiting = input.waiting.get(container.name);

  if (latest === undefined) {
    const defaultReason = hasInit || initializing ? 'PodInitializing' : 'ContainerCreating';
    const lost = lostState(known, input.ending);
    const state: ContainerState = lost ?? { waiting: withoutEmpty(waiting ?? { reason: defaultReason, message: '' }) };
    return {
      name: container.name,
      state,
      lastState: known?.lastState ?? {},
      ready: kind === 'init' && lost?.terminated?.exitCode === 0,
      restartCount: known?.restartCount ?? 0,
      image: known?.image || (container.image ?? ''),
      imageID: known?.imageID ?? '',
      ...(known?.containerID !== undefined && { containerID: known.containerID }),
      started: false,
      ...resourceFacts(container),
    };
  }

  const full = container as Container;
  const running = latest.state === 'running';
  const started = running && (kind === 'ephemeral' || input.started(full, latest));
  const replaced = waiting !== undefined && !running;
  const own = stateOf(latest);
  const past =
    replaced && own.terminated ? own : before ? stateOf(before) : known?.restartCount ? known.lastState : undefined;
  const state: ContainerState = replaced ? { waiting: withoutEmpty(waiting) } : own;
  const ready =
    kind === 'init' && !isSidecar(full)
      ? state.terminated?.exitCode === 0
      : kind !== 'ephemeral' && running && started && input.ready(full, latest);
  return {
    name: container.name,
    state,
    lastState: past?.terminated ? { terminated: past.terminated } : {},
    ready,
    restartCount: latest.attempt,
    image: latest.image,
    imageID: latest.imageId,
    containerID: `containerd://${latest.id}`,
    started: running ? started : false,
    ...resourceFacts(container),
    ...(container.volumeMounts?.length && {
      volumeMounts: container.volumeMounts.map((mount) => ({
        name: mount.name,
        mountPath: mount.mountPath,
        ...(mount.readOnly && { readOnly: true, recursiveReadOnly: 'Disabled' }),
      })),
    }),
    ...(latest.user && {
      user: { linux: { uid: latest.user.uid, gid: latest.user.gid, supplementalGroups: [...latest.user.groups] } },
    }),
  };
}

function previousStatus(status: PodStatus, name: string): ContainerStatus | undefined {
  const all = [status.initContainerStatuses, status.containerStatuses, status.ephemeralContainerStatuses];
  return all.flatMap((list) => list ?? []).find((entry) => entry.name === name);
}

/** What to say of a container that the runtime no longer has but that was reported before. */
function lostState(known: ContainerStatus | undefined, ending: boolean): ContainerState | undefined {
  if (known?.state?.terminated) return known.state;
  if (known?.state?.running === undefined || !ending) return undefined;
  return {
    terminated: {
      exitCode: 137,
      reason: 'ContainerStatusUnknown',
      message: 'The container could not be located when the pod was terminated',
    },
  };
}

function stateOf(record: ContainerRecord): ContainerState {
  const containerID = `containerd://${record.id}`;
  switch (record.state) {
    case 'running':
      return { running: { startedAt: nanosToTime(record.startedAt) } };
    case 'exited':
      return {
        terminated: {
          exitCode: record.exitCode,
          reason: record.reason || (record.exitCode === 0 ? 'Completed' : 'Error'),
          ...(record.message !== '' && { message: record.message }),
          startedAt: nanosToTime(record.startedAt || record.createdAt),
          finishedAt: nanosToTime(record.finishedAt || record.createdAt),
          containerID,
        },
      };
    case 'created':
      return { waiting: { reason: 'ContainerCreating' } };
    default:
      return {
        terminated: {
          exitCode: 137,
          reason: 'ContainerStatusUnknown',
          message: 'The container could not be located when the pod was terminated',
          containerID,
        },
      };
  }
}

function resourceFacts(
  container: Container | EphemeralContainer,
): Pick<ContainerStatus, 'allocatedResources' | 'resources'> {
  const { requests, limits } = container.resources ?? {};
  const resources = { ...(limits && { limits }), ...(requests && { requests }) };
  return { ...(requests && { allocatedResources: requests }), resources };
}

function withoutEmpty(waiting: WaitingReason): { reason: string; message?: string } {
  return waiting.message === '' ? { reason: waiting.reason } : { reason: waiting.reason, message: waiting.message };
}

interface StatusLists {
  readonly statuses: readonly ContainerStatus[];
  readonly initStatuses: readonly ContainerStatus[];
}

/** The phase that the containers add up to. */
export function phaseOf(pod: Pod, lists: StatusLists & { readonly ending: boolean }): PodStatus['phase'] {
  const spec = specOf(pod);
  const policy = spec.restartPolicy ?? 'Always';
  let initPending = false;
  let initFailed = false;
  for (const [index, status] of lists.initStatuses.entries()) {
    const container = spec.initContainers?.[index];
    if (container !== undefined && initPassed(container, status)) continue;
    if (container !== undefined && isSidecar(container)) {
      if (status.state?.terminated === undefined && status.lastState?.terminated === undefined) initPending = true;
      continue;
    }
    const ended = status.state?.terminated ?? status.lastState?.terminated;
    if (ended !== undefined && ended.exitCode !== 0) initFailed = true;
    else initPending = true;
  }
  let waiting = 0;
  let running = 0;
  let succeeded = 0;
  let failed = 0;
  for (const status of lists.statuses) {
    const terminated = status.state?.terminated ?? (status.state?.waiting && status.lastState?.terminated);
    if (status.state?.running) running++;
    else if (terminated === undefined) waiting++;
    else if (terminated.exitCode === 0 && status.state?.terminated) succeeded++;
    else failed++;
  }
  const stopped = succeeded + failed;
  if (lists.ending && running === 0 && (stopped > 0 || initFailed))
    return failed > 0 || initFailed ? 'Failed' : 'Succeeded';
  if (initFailed && policy === 'Never') return 'Failed';
  if ((initPending || initFailed) && running + stopped === 0) return 'Pending';
  if (waiting > 0) return lists.ending && running === 0 ? 'Failed' : 'Pending';
  if (running > 0) return 'Running';
  if (stopped === 0) return 'Pending';
  const restarts = lists.statuses.some((status, index) => {
    const container = spec.containers[index];
    const code = (status.state?.terminated ?? status.lastState?.terminated)?.exitCode ?? 0;
    const own = container?.restartPolicy ?? policy;
    return own === 'Always' || (own === 'OnFailure' && code !== 0);
  });
  const sidecarRuns = lists.initStatuses.some((status) => status.state?.running);
  if (restarts || sidecarRuns) return 'Running';
  return failed === 0 ? 'Succeeded' : 'Failed';
}

function conditionsOf(
  input: PodStatusInput,
  facts: StatusLists & { readonly phase: string; readonly sandboxReady: boolean },
): PodCondition[] {
  const { pod, previous } = input;
  const spec = specOf(pod);
  const terminal = isTerminalPhase(facts.phase);
  const done = terminal ? (facts.phase === 'Succeeded' ? 'PodCompleted' : 'PodFailed') : undefined;

  const unready = [
    ...facts.initStatuses.filter((status, index) => {
      const container = spec.initContainers?.[index];
      return container !== undefined && isSidecar(container) && !status.ready;
    }),
    ...facts.statuses.filter((status) => !status.ready),
  ].map((status) => status.name);
  const unreadyMessage = `containers with unready status: [${unready.join(' ')}]`;
  const containersReady: Fact = done
    ? { status: 'False', reason: done }
    : unready.length > 0
      ? { status: 'False', reason: 'ContainersNotReady', message: unreadyMessage }
      : { status: 'True' };

  const live = pod.status?.conditions ?? [];
  const gates = (spec.readinessGates ?? []).filter(
    (gate) => !live.some((condition) => condition.type === gate.conditionType && condition.status === 'True'),
  );
  const gateMessages = gates.map((gate) => {
    const there = live.some((condition) => condition.type === gate.conditionType);
    return there
      ? `the status of pod readiness gate "${gate.conditionType}" is not "True", but False`
      : `corresponding condition of pod readiness gate "${gate.conditionType}" does not exist.`;
  });
  const ready: Fact =
    containersReady.status === 'True' && gates.length > 0
      ? { status: 'False', reason: 'ReadinessGatesNotReady', message: gateMessages.join(', ') }
      : containersReady;

  const incomplete = facts.initStatuses
    .filter((status, index) => !initPassed(spec.initContainers?.[index], status))
    .map((status) => status.name);
  const appSeen = facts.statuses.some((status) => status.containerID !== undefined);
  const initialized: Fact =
    incomplete.length === 0 || (appSeen && !terminal)
      ? { status: 'True', ...(facts.phase === 'Succeeded' && { reason: 'PodCompleted' }) }
      : facts.phase === 'Succeeded'
        ? { status: 'True', reason: 'PodCompleted' }
        : {
            status: 'False',
            reason: 'ContainersNotInitialized',
            message: `containers with incomplete status: [${incomplete.join(' ')}]`,
          };

  const wanted: [string, Fact][] = [
    ['PodReadyToStartContainers', { status: facts.sandboxReady && !terminal ? 'True' : 'False' }],
    ['Initialized', initialized],
    ['Ready', ready],
    ['ContainersReady', containersReady],
    ['PodScheduled', { status: 'True' }],
  ];
  if (input.disruption) wanted.push(['DisruptionTarget', { status: 'True', ...input.disruption }]);
  return wanted.map(([type, fact]) => {
    const old = previous.conditions?.find((condition) => condition.type === type);
    const same = old?.status === fact.status;
    return {
      type,
      ...(pod.metadata.generation !== undefined && { observedGeneration: pod.metadata.generation }),
      status: fact.status,
      lastTransitionTime: (same && old?.lastTransitionTime) || rfc3339(input.now),
      ...(fact.reason && { reason: fact.reason }),
      ...(fact.message && { message: fact.message }),
    };
  });
}

interface Fact {
  readonly status: 'True' | 'False';
  readonly reason?: string;
  readonly message?: string;
}
