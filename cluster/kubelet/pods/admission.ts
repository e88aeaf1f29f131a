// SPDX-License-Identifier: Apache-2.0
// Whether this node can run a pod, judged once before anything is made: resources, host ports, node selector and affinity, operating system,
// taints that forbid execution, and unsafe sysctls. Pure. The reasons are those that controllers and people look for in a pod's status.
import type { Node, NodeSelectorTerm, Pod } from '../../machinery/api-types.ts';
import { podAmounts } from '../../machinery/pod-resources.ts';
import { isStatic, specOf } from './pod-facts.ts';
import type { Rejection } from './pod-context.ts';

export interface AdmissionInput {
  readonly pod: Pod;
  /** Pods that hold resources on this node. */
  readonly others: readonly Pod[];
  /** Undefined until the Node is known; what depends on it is then let through. */
  readonly node: Node | undefined;
  /** cpu in thousandths, the rest in units. */
  readonly allocatable: Readonly<Record<string, number>>;
  readonly allowedUnsafeSysctls: readonly string[];
  readonly pressure: { readonly memory: boolean; readonly disk: boolean };
}

const safeSysctls = new Set([
  'kernel.shm_rmid_forced',
  'net.ipv4.ip_local_port_range',
  'net.ipv4.tcp_syncookies',
  'net.ipv4.ping_group_range',
  'net.ipv4.ip_unprivileged_port_start',
  'net.ipv4.ip_local_reserved_ports',
  'net.ipv4.tcp_keepalive_time',
  'net.ipv4.tcp_fin_timeout',
  'net.ipv4.tcp_keepalive_intvl',
  'net.ipv4.tcp_keepalive_probes',
  'net.ipv4.tcp_rmem',
  'net.ipv4.tcp_wmem',
]);

export function admit(input: AdmissionInput): Rejection | undefined {
  return (
    underPressure(input) ??
    wrongSystem(input) ??
    forbiddenSysctl(input) ??
    noRoom(input) ??
    portTaken(input) ??
    wrongNode(input) ??
    tainted(input)
  );
}

function underPressure({ pod, pressure }: AdmissionInput): Rejection | undefined {
  if (isStatic(pod) || (specOf(pod).priority ?? 0) >= 2_000_000_000) return undefined;
  const bestEffort = Object.keys(podAmounts(pod)).length === 0;
  const tolerates = (specOf(pod).tolerations ?? []).some(
    (toleration) =>
      toleration.operator === 'Exists' && (!toleration.key || toleration.key === 'node.kubernetes.io/memory-pressure'),
  );
  if (pressure.disk) return { reason: 'Evicted', message: 'The node had condition: [DiskPressure]. ' };
  if (pressure.memory && bestEffort && !tolerates)
    return { reason: 'Evicted', message: 'The node had condition: [MemoryPressure]. ' };
  return undefined;
}

function wrongSystem({ pod }: AdmissionInput): Rejection | undefined {
  const os = specOf(pod).os?.name;
  if (os === undefined || os === 'linux') return undefined;
  return { reason: 'PodOSNotSupported', message: "Failed to admit pod as the OS field doesn't match node OS" };
}

function forbiddenSysctl({ pod, allowedUnsafeSysctls }: AdmissionInput): Rejection | undefined {
  for (const { name } of specOf(pod).securityContext?.sysctls ?? []) {
    const dotted = name.replaceAll('/', '.');
    const allowed = allowedUnsafeSysctls.some((pattern) =>
      pattern.endsWith('*') ? dotted.startsWith(pattern.slice(0, -1)) : pattern === dotted,
    );
    if (!safeSysctls.has(dotted) && !allowed)
      return { reason: 'SysctlForbidden', message: `forbidden sysctl: "${name}" not allowlisted` };
  }
  return undefined;
}

function noRoom({ pod, others, allocatable }: AdmissionInput): Rejection | undefined {
  const wanted: Record<string, number> = { ...podAmounts(pod), pods: 1 };
  const used: Record<string, number> = { pods: others.length };
  for (const other of others) {
    for (const [name, amount] of Object.entries(podAmounts(other))) used[name] = (used[name] ?? 0) + amount;
  }
  for (const [name, amount] of Object.entries(wanted)) {
    const has = allocatable[name];
    // Resources of devices are their plug-in's business.
    if (has === undefined || amount === 0) continue;
    const taken = used[name] ?? 0;
    if (taken + amount <= has) continue;
    const shown = `requested: ${amount}, used: ${taken}, capacity: ${has}`;
    return { reason: `OutOf${name}`, message: `Node didn't have enough resource: ${name}, ${shown}` };
  }
  return undefined;
}

function portTaken({ pod, others }: AdmissionInput): Rejection | undefined {
  const taken = others.flatMap(hostPorts);
  for (const port of hostPorts(pod)) {
    const clash = taken.some(
      (other) =>
        other.port === port.port &&
        other.protocol === port.protocol &&
        (other.ip === port.ip || other.ip === '0.0.0.0' || port.ip === '0.0.0.0'),
    );
    if (clash) {
      return {
        reason: 'NodePorts',
        message: "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
      };
    }
  }
  return undefined;
}

function hostPorts(pod: Pod): { port: number; protocol: string; ip: string }[] {
  return specOf(pod)
    .containers.flatMap((container) => container.ports ?? [])
    .filter((port) => (port.hostPort ?? 0) > 0)
    .map((port) => ({ port: port.hostPort ?? 0, protocol: port.protocol ?? 'TCP', ip: port.hostIP || '0.0.0.0' }));
}

function wrongNode({ pod, node }: AdmissionInput): Rejection | undefined {
  if (node === undefined || isStatic(pod)) return undefined;
  const labels = node.metadata.labels ?? {};
  const spec = specOf(pod);
  const required = spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  const selected = Object.entries(spec.nodeSelector ?? {}).every(([key, value]) => labels[key] === value);
  const fits =
    required === undefined ||
    (required.nodeSelectorTerms ?? []).some((term) => termMatches(term, labels, node.metadata.name ?? ''));
  if (selected && fits) return undefined;
  return {
    reason: 'NodeAffinity',
    message: "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
  };
}

function termMatches(term: NodeSelectorTerm, labels: Readonly<Record<string, string>>, name: string): boolean {
  const { matchExpressions = [], matchFields = [] } = term;
  if (matchExpressions.length + matchFields.length === 0) return false;
  const holds = (value: string | undefined, operator: string, values: readonly string[]): boolean => {
    switch (operator) {
      case 'In':
        return value !== undefined && values.includes(value);
      case 'NotIn':
        return value === undefined || !values.includes(value);
      case 'Exists':
        return value !== undefined;
      case 'DoesNotExist':
        return value === undefined;
      case 'Gt':
        return value !== undefined && Number(value) > Number(values[0]);
      case 'Lt':
        return value !== undefined && Number(value) < Number(values[0]);
      default:
        return false;
    }
  };
  return (
    matchExpressions.every((one) => holds(labels[one.key], one.operator, one.values ?? [])) &&
    matchFields.every((one) => one.key === 'metadata.name' && holds(name, one.operator, one.values ?? []))
  );
}

function tainted({ pod, node }: AdmissionInput): Rejection | undefined {
  if (isStatic(pod)) return undefined;
  const tolerations = specOf(pod).tolerations ?? [];
  for (const taint of node?.spec?.taints ?? []) {
    if (taint.effect !== 'NoExecute') continue;
    const tolerated = tolerations.some(
      (toleration) =>
        (!toleration.effect || toleration.effect === taint.effect) &&
        (!toleration.key || toleration.key === taint.key) &&
        (toleration.operator === 'Exists' || (toleration.value ?? '') === (taint.value ?? '')),
    );
    if (!tolerated) {
      return {
        reason: 'TaintToleration',
        message: "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate",
      };
    }
  }
  return undefined;
}
