// SPDX-License-Identifier: Apache-2.0
// What a quota counts: which objects fall under its scopes, and how much of each resource they use.
import type { PersistentVolumeClaim, Pod, ResourceQuotaSpec, Service } from '../../machinery/api-types.ts';
import { add, canonical, compare } from '../../machinery/quantities.ts';
import { isFinished } from '../pod-state.ts';

export interface QuotaObjects {
  readonly pods: readonly Pod[];
  readonly services: readonly Service[];
  readonly claims: readonly PersistentVolumeClaim[];
  /** Number of objects of `plural.group` (`configmaps`, `deployments.apps`). */
  readonly countOf: (resource: string) => number;
}

type Amounts = Record<string, string>;

const legacyCounts = [
  'configmaps',
  'secrets',
  'replicationcontrollers',
  'resourcequotas',
  'services',
  'persistentvolumeclaims',
];

/** Usage of every resource that the quota limits. */
export function quotaUsage(spec: ResourceQuotaSpec, objects: QuotaObjects): Amounts {
  const used: Amounts = {};
  const pods = objects.pods.filter((pod) => !isFinished(pod) && inScopes(spec, pod));
  for (const name of Object.keys(spec.hard ?? {})) used[name] = canonical(usageOf(name, pods, objects));
  return used;
}

export function podUsage(pod: Pod): Amounts {
  const usage: Amounts = {};
  for (const [kind, prefix] of [
    ['requests', 'requests.'],
    ['limits', 'limits.'],
  ] as const) {
    for (const [name, amount] of Object.entries(effective(pod, kind))) usage[prefix + name] = amount;
  }
  return usage;
}

export function inScopes(spec: ResourceQuotaSpec, pod: Pod): boolean {
  const requirements = [
    ...(spec.scopes ?? []).map((scopeName) => ({ scopeName, operator: 'Exists', values: undefined })),
    ...(spec.scopeSelector?.matchExpressions ?? []),
  ];
  return requirements.every(({ scopeName, operator, values = [] }) => {
    const priority = pod.spec?.priorityClassName ?? '';
    switch (scopeName) {
      case 'Terminating':
        return pod.spec?.activeDeadlineSeconds !== undefined;
      case 'NotTerminating':
        return pod.spec?.activeDeadlineSeconds === undefined;
      case 'BestEffort':
        return pod.status?.qosClass === 'BestEffort' || Object.keys(podUsage(pod)).length === 0;
      case 'NotBestEffort':
        return Object.keys(podUsage(pod)).length > 0;
      case 'PriorityClass':
        if (operator === 'Exists') return priority !== '';
        if (operator === 'DoesNotExist') return priority === '';
        return operator === 'In' ? values.includes(priority) : !values.includes(priority);
      default:
        return true;
    }
  });
}

function usageOf(name: string, pods: readonly Pod[], objects: QuotaObjects): string {
  if (name === 'pods' || name === 'count/pods') return String(name === 'pods' ? pods.length : objects.countOf('pods'));
  if (name.startsWith('count/')) return String(objects.countOf(name.slice('count/'.length)));
  const { services, claims } = objects;
  if (name === 'services.nodeports') return String(services.reduce((sum, one) => sum + nodePorts(one), 0));
  if (name === 'services.loadbalancers')
    return String(services.filter(({ spec }) => spec?.type === 'LoadBalancer').length);
  const byClass = /^(.+)\.storageclass\.storage\.k8s\.io\/(.+)$/.exec(name);
  const counted = byClass ? claims.filter(({ spec }) => spec?.storageClassName === byClass[1]) : claims;
  const measure = byClass?.[2] ?? name;
  if (measure === 'persistentvolumeclaims') return String(counted.length);
  if (measure === 'requests.storage')
    return add('0', ...counted.map(({ spec }) => spec?.resources?.requests?.['storage']));
  if (legacyCounts.includes(name)) return String(objects.countOf(name));
  const key = name.includes('.') && /^(requests|limits)\./.test(name) ? name : `requests.${name}`;
  return add(...pods.map((pod) => podUsage(pod)[key] ?? '0'), '0');
}

function nodePorts(service: Service): number {
  const { type, ports = [], allocateLoadBalancerNodePorts } = service.spec ?? {};
  if (type === 'NodePort') return ports.length;
  if (type !== 'LoadBalancer') return 0;
  return allocateLoadBalancerNodePorts === false ? ports.filter(({ nodePort }) => nodePort).length : ports.length;
}

/** Containers together, or the largest init container if that is more; sidecars count as containers. */
function effective(pod: Pod, kind: 'requests' | 'limits'): Amounts {
  const total: Amounts = {};
  const plus = (amounts: Amounts | undefined): void => {
    for (const [name, amount] of Object.entries(amounts ?? {})) total[name] = add(total[name], amount);
  };
  const { containers = [], initContainers = [], overhead } = pod.spec ?? {};
  for (const container of containers) plus(container.resources?.[kind]);
  for (const container of initContainers) if (container.restartPolicy === 'Always') plus(container.resources?.[kind]);
  for (const container of initContainers) {
    if (container.restartPolicy === 'Always') continue;
    for (const [name, amount] of Object.entries(container.resources?.[kind] ?? {})) {
      if (compare(amount, total[name]) > 0) total[name] = amount;
    }
  }
  if (kind === 'requests' || Object.keys(total).length > 0) plus(overhead);
  return total;
}
