// SPDX-License-Identifier: Apache-2.0
// What an object costs a quota, and which quotas it counts for. Pure; admission charges by it and the quota controller
// recounts by the same rules. Costs are in nano units.
import type {
  PersistentVolumeClaim,
  Pod,
  ResourceQuota,
  ScopedResourceSelectorRequirement,
  Service,
} from '../../machinery/api-types.ts';
import { podAmounts } from '../../machinery/pod-resources.ts';
import { parseQuantity } from '../../machinery/quantities.ts';
import type { KubeObject } from '../resources/definition.ts';

export type Cost = Readonly<Record<string, bigint>>;

const unit = 1_000_000_000n;
/** Resources that quotas also name without `count/`. */
const plainNames: Readonly<Record<string, string>> = {
  configmaps: 'configmaps',
  secrets: 'secrets',
  replicationcontrollers: 'replicationcontrollers',
  resourcequotas: 'resourcequotas',
  services: 'services',
  persistentvolumeclaims: 'persistentvolumeclaims',
};

/** `resource` is `pods` or `deployments.apps`. */
export function costOf(resource: string, object: KubeObject): Cost {
  const counted: Record<string, bigint> = { [`count/${resource}`]: unit };
  const plain = plainNames[resource];
  if (plain !== undefined) {
    counted[plain] = unit;
  }
  switch (resource) {
    case 'pods':
      return podCost(object as unknown as Pod);
    case 'services':
      return { ...counted, ...serviceCost(object as unknown as Service) };
    case 'persistentvolumeclaims':
      return { ...counted, ...claimCost(object as unknown as PersistentVolumeClaim) };
    default:
      return counted;
  }
}

function podCost(pod: Pod): Cost {
  const phase = pod.status?.phase;
  const cost: Record<string, bigint> = { 'count/pods': unit };
  if (phase === 'Succeeded' || phase === 'Failed') {
    return cost;
  }
  cost['pods'] = unit;
  for (const [kind, prefix] of [
    ['requests', 'requests.'],
    ['limits', 'limits.'],
  ] as const) {
    for (const [name, amount] of Object.entries(podAmounts(pod, kind))) {
      const nano = name === 'cpu' ? BigInt(amount) * 1_000_000n : BigInt(Math.round(amount)) * unit;
      cost[`${prefix}${name}`] = nano;
      if (
        kind === 'requests' &&
        (name === 'cpu' || name === 'memory' || name === 'ephemeral-storage' || name.startsWith('hugepages-'))
      ) {
        cost[name] = nano;
      }
    }
  }
  return cost;
}

function serviceCost({ spec }: Service): Cost {
  const ports = BigInt((spec?.ports ?? []).length) * unit;
  switch (spec?.type) {
    case 'NodePort':
      return { 'services.nodeports': ports };
    case 'LoadBalancer':
      return {
        'services.loadbalancers': unit,
        'services.nodeports': spec.allocateLoadBalancerNodePorts === false ? 0n : ports,
      };
    default:
      return {};
  }
}

function claimCost({ metadata, spec }: PersistentVolumeClaim): Cost {
  const size = parseQuantity(spec?.resources?.requests?.['storage'] ?? '0');
  const storageClass =
    spec?.storageClassName ?? metadata.annotations?.['volume.beta.kubernetes.io/storage-class'] ?? '';
  return {
    'requests.storage': size,
    ...(storageClass !== '' && {
      [`${storageClass}.storageclass.storage.k8s.io/requests.storage`]: size,
      [`${storageClass}.storageclass.storage.k8s.io/persistentvolumeclaims`]: unit,
    }),
  };
}

/** Whether the quota's scopes take the object in; scopes are for pods only. */
export function inScope(quota: ResourceQuota, resource: string, object: KubeObject): boolean {
  const requirements: ScopedResourceSelectorRequirement[] = [
    ...(quota.spec?.scopes ?? []).map((scopeName) => ({ scopeName, operator: 'Exists' as const })),
    ...(quota.spec?.scopeSelector?.matchExpressions ?? []),
  ];
  return (
    requirements.length === 0 ||
    (resource === 'pods' && requirements.every((requirement) => matchesScope(object as unknown as Pod, requirement)))
  );
}

function matchesScope(pod: Pod, { scopeName, operator, values }: ScopedResourceSelectorRequirement): boolean {
  const { spec } = pod;
  switch (scopeName) {
    case 'Terminating':
      return spec?.activeDeadlineSeconds !== undefined;
    case 'NotTerminating':
      return spec?.activeDeadlineSeconds === undefined;
    case 'BestEffort':
      return isBestEffort(pod);
    case 'NotBestEffort':
      return !isBestEffort(pod);
    case 'PriorityClass': {
      const name = spec?.priorityClassName ?? '';
      switch (operator) {
        case 'In':
          return (values ?? []).includes(name);
        case 'NotIn':
          return !(values ?? []).includes(name);
        case 'DoesNotExist':
          return name === '';
        default:
          return name !== '';
      }
    }
    case 'CrossNamespacePodAffinity':
      return crossesNamespaces(pod);
    default:
      return false;
  }
}

function isBestEffort({ spec }: Pod): boolean {
  return [...(spec?.containers ?? []), ...(spec?.initContainers ?? [])].every(({ resources }) =>
    [resources?.requests, resources?.limits].every(
      (list) => list?.['cpu'] === undefined && list?.['memory'] === undefined,
    ),
  );
}

function crossesNamespaces({ spec }: Pod): boolean {
  const { podAffinity, podAntiAffinity } = spec?.affinity ?? {};
  return [podAffinity, podAntiAffinity].some((affinity) =>
    [
      ...(affinity?.requiredDuringSchedulingIgnoredDuringExecution ?? []),
      ...(affinity?.preferredDuringSchedulingIgnoredDuringExecution ?? []).map((term) => term.podAffinityTerm),
    ].some((term) => (term.namespaces ?? []).length > 0 || term.namespaceSelector !== undefined),
  );
}
