// SPDX-License-Identifier: Apache-2.0
// The plugins that look at one node alone: name, unschedulable flag, host ports, taints and node affinity.
import type { NodeSelectorTerm, Pod, Taint, Toleration } from '../../machinery/api-types.ts';
import { filterPlugin, reject, rejectPermanently, scaleToMax, scorePlugin } from '../framework.ts';
import type { HostPort, NodeInfo } from '../framework.ts';

const UNSCHEDULABLE_TAINT: Taint = { key: 'node.kubernetes.io/unschedulable', effect: 'NoSchedule' };

export const nodeName = filterPlugin<string>({
  name: 'NodeName',
  events: ['node-added'],
  preFilter: ({ pod }) => (pod.spec?.nodeName ? { state: pod.spec.nodeName } : {}),
  filter: (wanted, _pod, node) =>
    node.name === wanted ? undefined : rejectPermanently("node(s) didn't match the requested node name"),
});

export const nodeUnschedulable = filterPlugin<true>({
  name: 'NodeUnschedulable',
  events: ['node-added', 'node-taints'],
  preFilter: ({ pod }) => (tolerates(pod.spec?.tolerations, UNSCHEDULABLE_TAINT) ? {} : { state: true }),
  filter: (_state, _pod, node) =>
    node.node.spec?.unschedulable === true ? rejectPermanently('node(s) were unschedulable') : undefined,
});

export const nodePorts = filterPlugin<readonly HostPort[]>({
  name: 'NodePorts',
  events: ['node-added', 'pod-deleted'],
  preFilter: ({ hostPorts }) => (hostPorts.length === 0 ? {} : { state: hostPorts }),
  filter: (wanted, _pod, node) => {
    const clash = node.pods.some((other) =>
      other.hostPorts.some((used) => wanted.some((port) => portsClash(used, port))),
    );
    return clash ? reject("node(s) didn't have free ports for the requested pod ports") : undefined;
  },
});

export const taintToleration = filterPlugin<readonly Toleration[]>({
  name: 'TaintToleration',
  events: ['node-added', 'node-taints'],
  preFilter: ({ pod }) => ({ state: pod.spec?.tolerations ?? [] }),
  filter: (tolerations, _pod, node) => {
    const taint = node.node.spec?.taints?.find(
      (candidate) => candidate.effect !== 'PreferNoSchedule' && !tolerates(tolerations, candidate),
    );
    if (taint === undefined) return undefined;
    return rejectPermanently(`node(s) had untolerated taint {${taint.key}: ${taint.value ?? ''}}`);
  },
});

export const taintTolerationScore = scorePlugin<readonly Toleration[]>({
  name: 'TaintToleration',
  weight: 3,
  preScore: ({ pod }, nodes) =>
    nodes.some((node) => node.node.spec?.taints?.some((taint) => taint.effect === 'PreferNoSchedule'))
      ? (pod.spec?.tolerations ?? [])
      : undefined,
  score: (tolerations, _pod, node) =>
    (node.node.spec?.taints ?? []).filter(
      (taint) => taint.effect === 'PreferNoSchedule' && !tolerates(tolerations, taint),
    ).length,
  normalize: (scores) => scaleToMax(scores, true),
});

export const nodeAffinity = filterPlugin<Pod>({
  name: 'NodeAffinity',
  events: ['node-added', 'node-labels'],
  preFilter: ({ pod }) => {
    const required = pod.spec?.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
    if (pod.spec?.nodeSelector === undefined && required === undefined) return {};
    const names = required === undefined ? undefined : namedNodes(required.nodeSelectorTerms);
    return names === undefined ? { state: pod } : { state: pod, nodeNames: names };
  },
  filter: (pod, _info, node) =>
    matchesNodeAffinity(pod, node) ? undefined : rejectPermanently("node(s) didn't match Pod's node affinity/selector"),
});

export const nodeAffinityScore = scorePlugin<Pod>({
  name: 'NodeAffinity',
  weight: 2,
  preScore: ({ pod }) =>
    (pod.spec?.affinity?.nodeAffinity?.preferredDuringSchedulingIgnoredDuringExecution?.length ?? 0) > 0
      ? pod
      : undefined,
  score: (pod, _info, node) => {
    let sum = 0;
    for (const term of pod.spec?.affinity?.nodeAffinity?.preferredDuringSchedulingIgnoredDuringExecution ?? []) {
      if (matchesTerm(term.preference, node)) sum += term.weight;
    }
    return sum;
  },
  normalize: (scores) => scaleToMax(scores, false),
});

/** True when one of the tolerations covers the taint. */
export function tolerates(tolerations: readonly Toleration[] | undefined, taint: Taint): boolean {
  return (tolerations ?? []).some((toleration) => {
    if (toleration.effect !== undefined && toleration.effect !== taint.effect) return false;
    if (toleration.key !== undefined && toleration.key !== '' && toleration.key !== taint.key) return false;
    switch (toleration.operator ?? 'Equal') {
      case 'Exists':
        return true;
      case 'Equal':
        // An empty key with Equal is refused by validation; it must not match everything here.
        return (toleration.key ?? '') !== '' && (toleration.value ?? '') === (taint.value ?? '');
      case 'Lt':
        return isInteger(taint.value) && isInteger(toleration.value) && Number(taint.value) < Number(toleration.value);
      case 'Gt':
        return isInteger(taint.value) && isInteger(toleration.value) && Number(taint.value) > Number(toleration.value);
      default:
        return false;
    }
  });
}

/** Node selector and required node affinity of a pod. */
export function matchesNodeAffinity(pod: Pod, node: NodeInfo): boolean {
  const labels = node.node.metadata.labels ?? {};
  for (const [key, value] of Object.entries(pod.spec?.nodeSelector ?? {})) {
    if (labels[key] !== value) return false;
  }
  const required = pod.spec?.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  return required === undefined || required.nodeSelectorTerms.some((term) => matchesTerm(term, node));
}

/** All requirements of a term; an empty term matches nothing. Also used for the node affinity of volumes. */
export function matchesTerm(term: NodeSelectorTerm, node: NodeInfo): boolean {
  const expressions = term.matchExpressions ?? [];
  const fields = term.matchFields ?? [];
  if (expressions.length === 0 && fields.length === 0) return false;
  const labels = node.node.metadata.labels ?? {};
  return (
    expressions.every((requirement) => matchesRequirement(requirement, labels[requirement.key])) &&
    fields.every((requirement) => requirement.key === 'metadata.name' && matchesRequirement(requirement, node.name))
  );
}

interface Requirement {
  readonly operator: string;
  readonly values?: readonly string[];
}

function matchesRequirement({ operator, values = [] }: Requirement, actual: string | undefined): boolean {
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
      return isInteger(actual) && isInteger(values[0]) && Number(actual) > Number(values[0]);
    case 'Lt':
      return isInteger(actual) && isInteger(values[0]) && Number(actual) < Number(values[0]);
    default:
      return false;
  }
}

/** When every term pins metadata.name, only these nodes need a look (DaemonSet pods are made so). */
function namedNodes(terms: readonly NodeSelectorTerm[]): ReadonlySet<string> | undefined {
  const names = new Set<string>();
  for (const term of terms) {
    const pin = term.matchFields?.find((field) => field.key === 'metadata.name' && field.operator === 'In');
    if (pin === undefined) return undefined;
    for (const name of pin.values ?? []) names.add(name);
  }
  return names;
}

function portsClash(a: HostPort, b: HostPort): boolean {
  if (a.port !== b.port || a.protocol !== b.protocol) return false;
  const wildcard = (ip: string) => ip === '' || ip === '0.0.0.0' || ip === '::';
  return a.ip === b.ip || wildcard(a.ip) || wildcard(b.ip);
}

function isInteger(text: string | undefined): text is string {
  return text !== undefined && /^[+-]?\d+$/.test(text);
}
