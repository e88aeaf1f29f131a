// SPDX-License-Identifier: Apache-2.0
// What the kubelet says about its node. Pure: from facts to a NodeStatus; the same facts give the same status but for times.
import type {
  ContainerImage,
  NodeCondition,
  NodeRuntimeHandler,
  NodeStatus,
  NodeSystemInfo,
} from '../../machinery/api-types.ts';
import { rfc3339 } from '../pods/pod-facts.ts';
import type { Capacity } from './machine.ts';

export interface NodeFactsInput {
  readonly name: string;
  readonly ips: readonly string[];
  readonly capacity: Capacity;
  /** Held back from pods, in the units of `allocatableOf`. */
  readonly reserved: Readonly<Record<string, number>>;
  readonly maxPods: number;
  readonly port: number;
  readonly info: NodeSystemInfo;
  readonly images: readonly ContainerImage[];
  readonly runtimeHandlers: readonly NodeRuntimeHandler[];
  readonly volumesInUse: readonly string[];
  /** Why the node can't run pods; empty when it can. */
  readonly problems: readonly string[];
  readonly pressure: { readonly memory: boolean; readonly disk: boolean; readonly pid: boolean };
  readonly extendedResources: Readonly<Record<string, string>>;
}

/** What pods may use: capacity less what is reserved and what eviction keeps free. cpu in thousandths, the rest in units. */
export function allocatableOf(
  capacity: Capacity,
  maxPods: number,
  reserved: Readonly<Record<string, number>>,
): Record<string, number> {
  const less = (name: string, amount: number): number => Math.max(0, amount - (reserved[name] ?? 0));
  return {
    cpu: less('cpu', capacity.milliCpu),
    memory: less('memory', capacity.memoryBytes),
    'ephemeral-storage': less('ephemeral-storage', capacity.ephemeralBytes),
    pods: maxPods,
    ...capacity.hugePages,
  };
}

export function computeNodeStatus(input: NodeFactsInput, previous: NodeStatus, now: number): NodeStatus {
  const allocatable = allocatableOf(input.capacity, input.maxPods, input.reserved);
  const { capacity, problems, pressure } = input;
  const huge = Object.fromEntries(Object.entries(capacity.hugePages).map(([name, amount]) => [name, String(amount)]));
  const wanted: Pick<NodeCondition, 'type' | 'status' | 'reason' | 'message'>[] = [
    condition(
      'MemoryPressure',
      pressure.memory,
      ['KubeletHasInsufficientMemory', 'KubeletHasSufficientMemory'],
      'sufficient memory available',
    ),
    condition(
      'DiskPressure',
      pressure.disk,
      ['KubeletHasDiskPressure', 'KubeletHasNoDiskPressure'],
      'no disk pressure',
    ),
    condition(
      'PIDPressure',
      pressure.pid,
      ['KubeletHasInsufficientPID', 'KubeletHasSufficientPID'],
      'sufficient PID available',
    ),
    problems.length === 0
      ? { type: 'Ready', status: 'True', reason: 'KubeletReady', message: 'kubelet is posting ready status' }
      : { type: 'Ready', status: 'False', reason: 'KubeletNotReady', message: problems.join(', ') },
  ];
  return {
    capacity: {
      cpu: cpuQuantity(capacity.milliCpu),
      memory: `${Math.floor(capacity.memoryBytes / 1024)}Ki`,
      'ephemeral-storage': `${Math.floor(capacity.ephemeralBytes / 1024)}Ki`,
      pods: String(input.maxPods),
      ...huge,
      ...input.extendedResources,
    },
    allocatable: {
      cpu: cpuQuantity(allocatable['cpu'] ?? 0),
      memory: `${Math.floor((allocatable['memory'] ?? 0) / 1024)}Ki`,
      'ephemeral-storage': String(allocatable['ephemeral-storage'] ?? 0),
      pods: String(input.maxPods),
      ...huge,
      ...input.extendedResources,
    },
    conditions: wanted.map((one) => {
      const old = previous.conditions?.find((candidate) => candidate.type === one.type);
      const same = old?.status === one.status;
      return {
        ...one,
        lastHeartbeatTime: rfc3339(now),
        lastTransitionTime: (same && old?.lastTransitionTime) || rfc3339(now),
      };
    }),
    addresses: [
      ...input.ips.map((address) => ({ type: 'InternalIP', address })),
      { type: 'Hostname', address: input.name },
    ],
    daemonEndpoints: { kubeletEndpoint: { Port: input.port } },
    nodeInfo: input.info,
    images: [...input.images],
    ...(input.runtimeHandlers.length > 0 && { runtimeHandlers: [...input.runtimeHandlers] }),
    ...(input.volumesInUse.length > 0 && { volumesInUse: [...input.volumesInUse] }),
  };
}

function condition(type: string, pressed: boolean, reasons: readonly [string, string], fine: string) {
  const status = pressed ? ('True' as const) : ('False' as const);
  const wrong: Record<string, string> = {
    MemoryPressure: 'kubelet has insufficient memory available',
    DiskPressure: 'kubelet has disk pressure',
    PIDPressure: 'kubelet has insufficient PID available',
  };
  return {
    type,
    status,
    reason: reasons[pressed ? 0 : 1],
    message: pressed ? (wrong[type] ?? '') : `kubelet has ${fine}`,
  };
}

const cpuQuantity = (milli: number): string => (milli % 1000 === 0 ? String(milli / 1000) : `${milli}m`);

/** True when the two differ in anything but heartbeats. */
export function statusDiffers(a: NodeStatus, b: NodeStatus): boolean {
  return meaningful(a) !== meaningful(b);
}

function meaningful(status: NodeStatus): string {
  const conditions = (status.conditions ?? [])
    .filter(({ type }) => ['MemoryPressure', 'DiskPressure', 'PIDPressure', 'Ready'].includes(type))
    .map(({ type, status: value, reason, message }) => [type, value, reason, message])
    .toSorted((x, y) => (String(x[0]) < String(y[0]) ? -1 : 1));
  const sorted = (list: Readonly<Record<string, string>> | undefined): unknown =>
    Object.entries(list ?? {}).toSorted(([x], [y]) => (x < y ? -1 : 1));
  const {
    capacity,
    allocatable,
    addresses,
    daemonEndpoints,
    nodeInfo,
    images = [],
    runtimeHandlers = [],
    volumesInUse = [],
  } = status;
  const info = Object.entries(nodeInfo ?? {})
    .filter(([, value]) => value !== '')
    .toSorted(([x], [y]) => (x < y ? -1 : 1));
  return JSON.stringify([
    conditions,
    sorted(capacity),
    sorted(allocatable),
    (addresses ?? []).map(({ type, address }) => [type, address]),
    daemonEndpoints?.kubeletEndpoint?.Port,
    info,
    images.map(({ names, sizeBytes }) => [names, sizeBytes]),
    runtimeHandlers,
    volumesInUse,
  ]);
}
