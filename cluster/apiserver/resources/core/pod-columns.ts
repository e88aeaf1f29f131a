// SPDX-License-Identifier: Apache-2.0
// What `kubectl get pods` shows: READY, STATUS and RESTARTS summed up from the statuses of the containers.
import type { ContainerState, ContainerStatus, Pod } from '../../../machinery/api-types.ts';
import { orNone, text, wide, type CellColumn } from '../printing/columns.ts';
import { humanDuration } from '../printing/durations.ts';

export interface PodSummary {
  readonly ready: number;
  readonly total: number;
  readonly status: string;
  readonly restarts: number;
  /** End of the last run of a container, in milliseconds since the epoch; 0 when nothing has ended. */
  readonly lastRestart: number;
}

export const podColumns: readonly CellColumn<Pod>[] = [
  text(
    'Ready',
    (pod) => {
      const { ready, total } = summarizePod(pod);
      return `${ready}/${total}`;
    },
    'The aggregate readiness state of this pod for accepting traffic.',
  ),
  text('Status', (pod) => summarizePod(pod).status, 'The aggregate status of the containers in this pod.'),
  text(
    'Restarts',
    (pod, now) => {
      const { restarts, lastRestart } = summarizePod(pod);
      return restarts !== 0 && lastRestart !== 0
        ? `${restarts} (${humanDuration(now - lastRestart)} ago)`
        : `${restarts}`;
    },
    'The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.',
  ),
];

export const podWideColumns: readonly CellColumn<Pod>[] = [
  wide(text('IP', (pod) => orNone(pod.status?.podIPs?.[0]?.ip ?? pod.status?.podIP))),
  wide(text('Node', (pod) => orNone(pod.spec?.nodeName))),
  wide(text('Nominated Node', (pod) => orNone(pod.status?.nominatedNodeName))),
  wide(
    text('Readiness Gates', (pod) => {
      const gates = pod.spec?.readinessGates ?? [];
      const met = gates.filter((gate) => isTrue(pod, gate.conditionType)).length;
      return gates.length === 0 ? '<none>' : `${met}/${gates.length}`;
    }),
  ),
];

export function summarizePod(pod: Pod): PodSummary {
  const { spec, status } = pod;
  const sidecars = new Set(
    (spec?.initContainers ?? []).filter((container) => container.restartPolicy === 'Always').map(({ name }) => name),
  );
  const total = (spec?.containers ?? []).length + sidecars.size;
  const first = firstStatus(pod);
  const init = summarizeInit(pod, sidecars);
  if (init.reason !== undefined && !isTrue(pod, 'Initialized')) {
    return {
      ready: init.ready,
      total,
      status: ending(pod, init.reason),
      restarts: init.restarts,
      lastRestart: init.lastRestart,
    };
  }
  let { ready, sidecarRestarts: restarts, sidecarLastRestart: lastRestart } = init;
  let reason = first;
  let running = false;
  for (const container of (status?.containerStatuses ?? []).toReversed()) {
    restarts += container.restartCount;
    lastRestart = Math.max(lastRestart, endOfLastRun(container));
    const state = container.state ?? {};
    if ((state.waiting?.reason ?? '') !== '') {
      reason = state.waiting?.reason ?? '';
    } else if (state.terminated !== undefined) {
      reason = endReason(state);
    } else if (container.ready && state.running !== undefined) {
      running = true;
      ready++;
    }
  }
  if (reason === 'Completed' && running) {
    reason = isTrue(pod, 'Ready') ? 'Running' : 'NotReady';
  }
  return { ready, total, status: ending(pod, reason), restarts, lastRestart };
}

interface InitSummary {
  ready: number;
  restarts: number;
  lastRestart: number;
  sidecarRestarts: number;
  sidecarLastRestart: number;
  /** Set while an init container holds the pod up. */
  reason?: string;
}

function summarizeInit(pod: Pod, sidecars: ReadonlySet<string>): InitSummary {
  const summary: InitSummary = { ready: 0, restarts: 0, lastRestart: 0, sidecarRestarts: 0, sidecarLastRestart: 0 };
  const count = (pod.spec?.initContainers ?? []).length;
  for (const [index, container] of (pod.status?.initContainerStatuses ?? []).entries()) {
    const state = container.state ?? {};
    const sidecar = sidecars.has(container.name);
    summary.restarts += container.restartCount;
    summary.lastRestart = Math.max(summary.lastRestart, endOfLastRun(container));
    if (sidecar) {
      summary.sidecarRestarts += container.restartCount;
      summary.sidecarLastRestart = Math.max(summary.sidecarLastRestart, endOfLastRun(container));
    }
    if (state.terminated?.exitCode === 0) {
      continue;
    }
    if (sidecar && container.started === true) {
      summary.ready += container.ready ? 1 : 0;
      continue;
    }
    const waiting = state.waiting?.reason ?? '';
    if (state.terminated !== undefined) {
      summary.reason = `Init:${endReason(state)}`;
    } else if (waiting !== '' && waiting !== 'PodInitializing') {
      summary.reason = `Init:${waiting}`;
    } else {
      summary.reason = `Init:${index}/${count}`;
    }
    break;
  }
  return summary;
}

function firstStatus(pod: Pod): string {
  const scheduled = pod.status?.conditions?.find(({ type }) => type === 'PodScheduled');
  if (scheduled?.reason === 'SchedulingGated') {
    return 'SchedulingGated';
  }
  const reason = pod.status?.reason ?? '';
  return reason === '' ? (pod.status?.phase ?? '') : reason;
}

function endReason(state: ContainerState): string {
  const { reason = '', signal = 0, exitCode = 0 } = state.terminated ?? {};
  if (reason !== '') {
    return reason;
  }
  return signal === 0 ? `ExitCode:${exitCode}` : `Signal:${signal}`;
}

function ending(pod: Pod, reason: string): string {
  if (pod.metadata.deletionTimestamp === undefined) {
    return reason;
  }
  if (pod.status?.reason === 'NodeLost') {
    return 'Unknown';
  }
  const phase = pod.status?.phase;
  return phase === 'Succeeded' || phase === 'Failed' ? reason : 'Terminating';
}

function endOfLastRun(container: ContainerStatus): number {
  const finished = container.lastState?.terminated?.finishedAt;
  return finished === undefined ? 0 : Date.parse(finished);
}

function isTrue(pod: Pod, condition: string): boolean {
  return pod.status?.conditions?.some(({ type, status }) => type === condition && status === 'True') === true;
}
