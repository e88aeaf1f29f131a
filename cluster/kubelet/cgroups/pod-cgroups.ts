// SPDX-License-Identifier: Apache-2.0
// Where a pod's processes are in the cgroup tree and what limits hold there: names and numbers, pure. `cgroup-files.ts` writes them.
import type { Container, Pod } from '../../machinery/api-types.ts';
import { containerAmounts, podAmounts } from '../../machinery/pod-resources.ts';
import { qosClassOf, specOf } from '../pods/pod-facts.ts';
import type { QosClass } from '../pods/pod-facts.ts';

export interface LinuxPodResources {
  readonly cpuShares: number;
  /** Microseconds per period; 0 or absent for no limit. */
  readonly cpuQuota: number;
  readonly cpuPeriod: number;
  /** 0 for no limit. */
  readonly memoryLimitInBytes: number;
}

export interface CgroupNaming {
  readonly root: string;
  readonly perQos: boolean;
  readonly driver: 'cgroupfs' | 'systemd';
}

const cpuPeriod = 100_000;
const minShares = 2;
const maxShares = 262_144;
const minQuota = 1000;

export function sharesOf(milliCpu: number): number {
  return milliCpu === 0 ? minShares : Math.min(maxShares, Math.max(minShares, Math.floor((milliCpu * 1024) / 1000)));
}

export function quotaOf(milliCpu: number): number {
  return milliCpu === 0 ? 0 : Math.max(minQuota, Math.floor((milliCpu * cpuPeriod) / 1000));
}

/** Cgroup v2's weight (1..10000) for v1's shares (2..262144). */
export function weightOf(shares: number): number {
  return Math.max(1, Math.min(10_000, Math.round(1 + ((shares - 2) * 9999) / 262_142)));
}

/** The pod's cgroup as the path of directory names; for systemd these become nested slices. */
export function podCgroup(pod: Pod, naming: CgroupNaming): string {
  return cgroupOf(pod.metadata.uid ?? '', qosClassOf(pod), naming);
}

/** Where a pod's cgroup may be when nothing but its uid is known. */
export function possiblePodCgroups(uid: string, naming: CgroupNaming): string[] {
  return [...new Set((['Guaranteed', 'Burstable', 'BestEffort'] as const).map((qos) => cgroupOf(uid, qos, naming)))];
}

function cgroupOf(uid: string, qos: QosClass, naming: CgroupNaming): string {
  if (naming.driver === 'systemd')
    return systemdSlice([...qosPath(qos, naming), `pod${uid.replaceAll('-', '_')}`], naming);
  const parts = [trimRoot(naming.root), ...qosPath(qos, naming), `pod${uid}`];
  return `/${parts.filter((part) => part !== '').join('/')}`;
}

/** The folders above pods: the root of all pods and one per class below Guaranteed. */
export function qosCgroups(naming: CgroupNaming): string[] {
  if (!naming.perQos || naming.driver === 'systemd') return [];
  const root = `${trimRoot(naming.root) === '' ? '' : `/${trimRoot(naming.root)}`}/kubepods`;
  return [root, `${root}/burstable`, `${root}/besteffort`];
}

function qosPath(qos: QosClass, naming: CgroupNaming): string[] {
  if (!naming.perQos) return [];
  return qos === 'Guaranteed' ? ['kubepods'] : ['kubepods', qos.toLowerCase()];
}

const trimRoot = (root: string): string => root.replaceAll(/^\/+|\/+$/g, '');

function systemdSlice(parts: readonly string[], naming: CgroupNaming): string {
  const root = trimRoot(naming.root)
    .split('/')
    .filter((part) => part !== '');
  return `${[...root.map((part) => part.replaceAll('-', '_')), ...parts].join('-')}.slice`;
}

/** Limits of the whole pod: requests become shares, limits hold only when every container has one. */
export function podResources(pod: Pod): LinuxPodResources {
  const spec = specOf(pod);
  const requests = podAmounts(pod);
  const limits = podAmounts(pod, 'limits');
  const containers = [...spec.containers, ...(spec.initContainers ?? [])];
  const all = (name: string): boolean =>
    spec.resources?.limits?.[name] !== undefined ||
    containers.every((container) => (containerAmounts(container, 'limits')[name] ?? 0) > 0);
  const quota = all('cpu') ? quotaOf(limits['cpu'] ?? 0) : 0;
  return {
    cpuShares: sharesOf(requests['cpu'] ?? (all('cpu') ? (limits['cpu'] ?? 0) : 0)),
    cpuQuota: quota,
    cpuPeriod,
    memoryLimitInBytes: all('memory') ? (limits['memory'] ?? 0) : 0,
  };
}

export interface LinuxResources extends LinuxPodResources {
  readonly oomScoreAdj: number;
}

export function containerResources(
  pod: Pod,
  container: Pick<Container, 'resources'>,
  nodeMemoryBytes: number,
): LinuxResources {
  const requests = containerAmounts(container, 'requests');
  const limits = containerAmounts(container, 'limits');
  return {
    cpuShares: sharesOf(requests['cpu'] ?? limits['cpu'] ?? 0),
    cpuQuota: quotaOf(limits['cpu'] ?? 0),
    cpuPeriod,
    memoryLimitInBytes: limits['memory'] ?? 0,
    oomScoreAdj: oomScoreAdj(pod, requests['memory'] ?? limits['memory'] ?? 0, nodeMemoryBytes),
  };
}

/** Who the kernel kills first: -997 for Guaranteed and node-critical pods, 1000 for BestEffort, by share of memory between. */
export function oomScoreAdj(pod: Pod, memoryRequest: number, nodeMemoryBytes: number): number {
  if ((specOf(pod).priority ?? 0) >= 2_000_001_000) return -997;
  const qos = qosClassOf(pod);
  if (qos === 'Guaranteed') return -997;
  if (qos === 'BestEffort') return 1000;
  const score = 1000 - Math.floor((1000 * memoryRequest) / Math.max(1, nodeMemoryBytes));
  return Math.min(999, Math.max(3, score));
}
