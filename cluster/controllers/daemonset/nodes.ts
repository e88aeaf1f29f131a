// SPDX-License-Identifier: Apache-2.0
// On which nodes a DaemonSet's pods belong: node name, selector, affinity and taints, judged without a scheduler.
import type {
  Affinity,
  DaemonSet,
  Node,
  NodeSelectorRequirement,
  NodeSelectorTerm,
  Pod,
  PodTemplateSpec,
  Toleration,
} from '../../machinery/api-types.ts';
import { tolerates } from '../node-lifecycle/taints.ts';

/** Tolerations that every daemon pod has: it must run on nodes that are in trouble. */
const daemonTolerations: readonly Toleration[] = [
  { key: 'node.kubernetes.io/not-ready', operator: 'Exists', effect: 'NoExecute' },
  { key: 'node.kubernetes.io/unreachable', operator: 'Exists', effect: 'NoExecute' },
  { key: 'node.kubernetes.io/disk-pressure', operator: 'Exists', effect: 'NoSchedule' },
  { key: 'node.kubernetes.io/memory-pressure', operator: 'Exists', effect: 'NoSchedule' },
  { key: 'node.kubernetes.io/pid-pressure', operator: 'Exists', effect: 'NoSchedule' },
  { key: 'node.kubernetes.io/unschedulable', operator: 'Exists', effect: 'NoSchedule' },
];
const hostNetworkToleration: Toleration = {
  key: 'node.kubernetes.io/network-unavailable',
  operator: 'Exists',
  effect: 'NoSchedule',
};

/** `run`: a pod should be started there; `stay`: one that is there may remain. */
export function placement(daemonSet: DaemonSet, node: Node): { run: boolean; stay: boolean } {
  const template = daemonSet.spec?.template;
  const spec = template?.spec;
  const name = node.metadata.name ?? '';
  if (spec?.nodeName && spec.nodeName !== name) return { run: false, stay: false };
  const labels = node.metadata.labels ?? {};
  if (Object.entries(spec?.nodeSelector ?? {}).some(([key, value]) => labels[key] !== value))
    return { run: false, stay: false };
  const terms = spec?.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms;
  if (terms && !terms.some((term) => matchesTerm(term, labels, name))) return { run: false, stay: false };
  const tolerations = tolerationsOf(template);
  const repelling = (node.spec?.taints ?? []).filter(
    (taint) => taint.effect !== 'PreferNoSchedule' && !tolerations.some((toleration) => tolerates(toleration, taint)),
  );
  return { run: repelling.length === 0, stay: !repelling.some(({ effect }) => effect === 'NoExecute') };
}

export function tolerationsOf(template: PodTemplateSpec | undefined): Toleration[] {
  const own = template?.spec?.tolerations ?? [];
  const added = template?.spec?.hostNetwork ? [...daemonTolerations, hostNetworkToleration] : daemonTolerations;
  const isSame = (a: Toleration, b: Toleration): boolean =>
    a.key === b.key && a.effect === b.effect && a.operator === b.operator;
  return [...own, ...added.filter((toleration) => !own.some((one) => isSame(one, toleration)))];
}

/** Affinity that lets the scheduler bind the pod to this node and no other. */
export function affinityTo(node: string, affinity: Affinity | undefined): Affinity {
  const term = { matchFields: [{ key: 'metadata.name', operator: 'In' as const, values: [node] }] };
  return {
    ...affinity,
    nodeAffinity: {
      ...affinity?.nodeAffinity,
      requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [term] },
    },
  };
}

/** The node that a daemon pod is on or is meant for. */
export function nodeOf(pod: Pod): string | undefined {
  if (pod.spec?.nodeName) return pod.spec.nodeName;
  const terms =
    pod.spec?.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms ?? [];
  for (const { matchFields = [] } of terms) {
    const field = matchFields.find(({ key, operator }) => key === 'metadata.name' && operator === 'In');
    if (field?.values?.length === 1) return field.values[0];
  }
  return undefined;
}

/** An empty term matches nothing. */
function matchesTerm(term: NodeSelectorTerm, labels: Record<string, string>, name: string): boolean {
  const { matchExpressions = [], matchFields = [] } = term;
  if (matchExpressions.length === 0 && matchFields.length === 0) return false;
  return (
    matchExpressions.every((requirement) => fulfils(requirement, labels[requirement.key])) &&
    matchFields.every((requirement) => requirement.key === 'metadata.name' && fulfils(requirement, name))
  );
}

function fulfils({ operator, values = [] }: NodeSelectorRequirement, actual: string | undefined): boolean {
  switch (operator) {
    case 'In':
      return actual !== undefined && values.includes(actual);
    case 'NotIn':
      return actual === undefined || !values.includes(actual);
    case 'Exists':
      return actual !== undefined;
    case 'DoesNotExist':
      return actual === undefined;
    case 'Gt':
      return Number(actual) > Number(values[0]);
    case 'Lt':
      return Number(actual) < Number(values[0]);
    default:
      return false;
  }
}
