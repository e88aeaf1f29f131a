// SPDX-License-Identifier: Apache-2.0
// Parses pods and nodes into the form that plugins read.
import type { LabelSelector, Node, Pod, PodAffinityTerm } from '../machinery/api-types.ts';
import { podAmounts, toAmounts } from '../machinery/pod-resources.ts';
import { matchesLabelSelector } from '../machinery/selectors.ts';
import type { AffinityTerm, HostPort, NodeInfo, PodAffinity, PodInfo } from './framework.ts';

/** Default requests that scoring assumes for a container that asks for nothing: 0.1 core and 200 MiB. */
const DEFAULT_MILLI_CPU = 100;
const DEFAULT_MEMORY_BYTES = 200 * 1024 * 1024;

const NO_AFFINITY: PodAffinity = { required: [], requiredAnti: [], preferred: [], preferredAnti: [] };

/** @param pod with name, namespace and uid set. */
export function podInfo(pod: Pod): PodInfo {
  const namespace = pod.metadata.namespace ?? 'default';
  const requests = podAmounts(pod);
  const containers = pod.spec?.containers.length ?? 0;
  return {
    pod,
    key: `${namespace}/${pod.metadata.name ?? ''}`,
    uid: pod.metadata.uid ?? '',
    namespace,
    labels: pod.metadata.labels ?? {},
    priority: pod.spec?.priority ?? 0,
    requests,
    nonZero: {
      cpu: requests['cpu'] ?? DEFAULT_MILLI_CPU * containers,
      memory: requests['memory'] ?? DEFAULT_MEMORY_BYTES * containers,
    },
    hostPorts: hostPorts(pod),
    affinity: podAffinity(pod, namespace),
    claims: claimNames(pod),
  };
}

/** A node with no pods yet. */
export function emptyNodeInfo(node: Node): NodeInfo {
  const images = new Map<string, number>();
  for (const image of node.status?.images ?? []) {
    for (const name of image.names ?? []) images.set(name, image.sizeBytes ?? 0);
  }
  return {
    node,
    name: node.metadata.name ?? '',
    pods: [],
    allocatable: toAmounts(node.status?.allocatable ?? node.status?.capacity ?? {}),
    requested: {},
    nonZeroRequested: { cpu: 0, memory: 0 },
    images,
  };
}

/** The node with these pods instead of its own; used for assumed pods and for preemption's "what if". */
export function withPods(node: NodeInfo, pods: readonly PodInfo[]): NodeInfo {
  const requested: Record<string, number> = {};
  let cpu = 0;
  let memory = 0;
  for (const pod of pods) {
    for (const [name, amount] of Object.entries(pod.requests)) requested[name] = (requested[name] ?? 0) + amount;
    cpu += pod.nonZero.cpu;
    memory += pod.nonZero.memory;
  }
  return { ...node, pods, requested, nonZeroRequested: { cpu, memory } };
}

export function hasAffinity(pod: PodInfo): boolean {
  return pod.affinity !== NO_AFFINITY;
}

function hostPorts(pod: Pod): HostPort[] {
  const ports: HostPort[] = [];
  const sidecars = (pod.spec?.initContainers ?? []).filter((container) => container.restartPolicy === 'Always');
  for (const container of [...(pod.spec?.containers ?? []), ...sidecars]) {
    for (const port of container.ports ?? []) {
      if (port.hostPort === undefined || port.hostPort === 0) continue;
      ports.push({ ip: port.hostIP ?? '0.0.0.0', protocol: port.protocol ?? 'TCP', port: port.hostPort });
    }
  }
  return ports;
}

function claimNames(pod: Pod): string[] {
  const names: string[] = [];
  for (const volume of pod.spec?.volumes ?? []) {
    if (volume.persistentVolumeClaim !== undefined) names.push(volume.persistentVolumeClaim.claimName);
    else if (volume.ephemeral !== undefined) names.push(`${pod.metadata.name ?? ''}-${volume.name}`);
  }
  return names;
}

function podAffinity(pod: Pod, namespace: string): PodAffinity {
  const affinity = pod.spec?.affinity?.podAffinity;
  const anti = pod.spec?.affinity?.podAntiAffinity;
  if (affinity === undefined && anti === undefined) return NO_AFFINITY;
  const required = (terms: readonly PodAffinityTerm[] | undefined) =>
    (terms ?? []).map((term) => affinityTerm(term, 0, { pod, namespace }));
  return {
    required: required(affinity?.requiredDuringSchedulingIgnoredDuringExecution),
    requiredAnti: required(anti?.requiredDuringSchedulingIgnoredDuringExecution),
    preferred: (affinity?.preferredDuringSchedulingIgnoredDuringExecution ?? []).map((term) =>
      affinityTerm(term.podAffinityTerm, term.weight, { pod, namespace }),
    ),
    preferredAnti: (anti?.preferredDuringSchedulingIgnoredDuringExecution ?? []).map((term) =>
      affinityTerm(term.podAffinityTerm, term.weight, { pod, namespace }),
    ),
  };
}

function affinityTerm(
  term: PodAffinityTerm,
  weight: number,
  owner: { readonly pod: Pod; readonly namespace: string },
): AffinityTerm {
  const selector = withLabelKeys(term, owner.pod);
  const namespaces = new Set(term.namespaces ?? []);
  // Neither namespaces nor a selector for them means the pod's own namespace.
  if (namespaces.size === 0 && term.namespaceSelector === undefined) namespaces.add(owner.namespace);
  return {
    topologyKey: term.topologyKey,
    weight,
    selects: (other, namespaceLabels) => {
      const inNamespace =
        namespaces.has(other.namespace) ||
        (term.namespaceSelector !== undefined &&
          matchesLabelSelector(term.namespaceSelector, namespaceLabels(other.namespace)));
      return inNamespace && selector !== undefined && matchesLabelSelector(selector, other.labels);
    },
  };
}

/** `matchLabelKeys` and `mismatchLabelKeys` add requirements with the pod's own values. */
function withLabelKeys(term: PodAffinityTerm, pod: Pod): LabelSelector | undefined {
  if (term.labelSelector === undefined) return undefined;
  const expressions = [...(term.labelSelector.matchExpressions ?? [])];
  for (const [keys, operator] of [
    [term.matchLabelKeys, 'In'],
    [term.mismatchLabelKeys, 'NotIn'],
  ] as const) {
    for (const key of keys ?? []) {
      const value = pod.metadata.labels?.[key];
      if (value !== undefined) expressions.push({ key, operator, values: [value] });
    }
  }
  return { ...term.labelSelector, matchExpressions: expressions };
}
