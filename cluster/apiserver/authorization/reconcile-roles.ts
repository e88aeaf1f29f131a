// SPDX-License-Identifier: Apache-2.0
// Puts the default roles and bindings in place at every start: missing ones are made, missing rules and subjects are added.
// An object annotated `rbac.authorization.kubernetes.io/autoupdate: "false"` is left alone.
import type { ClusterRole, PolicyRule, RoleBinding, Subject } from '../../machinery/api-types.ts';
import type { KubeObject, Registry } from '../resources/definition.ts';
import { isReason } from '../status.ts';
import { clusterRoleRules, rbacGroup } from './rbac.ts';
import { defaultBindings, defaultRoles } from './rbac-defaults.ts';
import type { DefaultBinding, DefaultRole } from './rbac-defaults.ts';
import { uncovered } from './rbac-rules.ts';

const autoUpdate = 'rbac.authorization.kubernetes.io/autoupdate';
const bootstrapLabels = { 'kubernetes.io/bootstrapping': 'rbac-defaults' };

export async function reconcileRoles(registry: Registry): Promise<void> {
  const roles = defaultRoles();
  await inBatches(roles, (role) => reconcileRole(registry, role));
  await inBatches(defaultBindings(), (binding) => reconcileBinding(registry, binding));
  for (const role of roles.filter((one) => (one as ClusterRole).aggregationRule !== undefined)) {
    await showAggregatedRules(registry, role.metadata?.name ?? '');
  }
}

async function reconcileRole(registry: Registry, role: DefaultRole): Promise<void> {
  const { name, namespace } = role.metadata;
  const resource = `${namespace === undefined ? 'clusterroles' : 'roles'}.${rbacGroup}`;
  const present = registry.get(resource, namespace, name) as unknown as ClusterRole | undefined;
  if (present === undefined) {
    return make(registry, resource, role, namespace === undefined ? 'ClusterRole' : 'Role');
  }
  const missing = role.aggregationRule === undefined ? uncovered(role.rules ?? [], present.rules ?? []) : [];
  if (missing.length > 0 && present.metadata?.annotations?.[autoUpdate] !== 'false') {
    await registry.update(resource, namespace, name, (current) => {
      current['rules'] = [...((current['rules'] as PolicyRule[] | undefined) ?? []), ...missing];
      return current;
    });
  }
}

async function reconcileBinding(registry: Registry, binding: DefaultBinding): Promise<void> {
  const { name, namespace } = binding.metadata;
  const resource = `${namespace === undefined ? 'clusterrolebindings' : 'rolebindings'}.${rbacGroup}`;
  const present = registry.get(resource, namespace, name) as unknown as RoleBinding | undefined;
  if (present === undefined) {
    return make(registry, resource, binding, namespace === undefined ? 'ClusterRoleBinding' : 'RoleBinding');
  }
  const has = (subject: Subject) =>
    (present.subjects ?? []).some(
      (one) => one.kind === subject.kind && one.name === subject.name && one.namespace === subject.namespace,
    );
  const missing = (binding.subjects ?? []).filter((subject) => !has(subject));
  if (missing.length > 0 && present.metadata?.annotations?.[autoUpdate] !== 'false') {
    await registry.update(resource, namespace, name, (current) => {
      current['subjects'] = [...((current['subjects'] as Subject[] | undefined) ?? []), ...missing];
      return current;
    });
  }
}

/** kubectl shows the sum of an aggregated role in the role itself. */
async function showAggregatedRules(registry: Registry, name: string): Promise<void> {
  const resource = `clusterroles.${rbacGroup}`;
  await registry.update(resource, undefined, name, (current) => {
    const role = current as unknown as ClusterRole;
    const sum = clusterRoleRules(registry, { ...role, rules: [] });
    const missing = uncovered(sum, role.rules ?? []);
    if (missing.length === 0) {
      return undefined;
    }
    current['rules'] = sum;
    return current;
  });
}

async function make(
  registry: Registry,
  resource: string,
  wanted: DefaultRole | DefaultBinding,
  kind: string,
): Promise<void> {
  const object: KubeObject = {
    ...wanted,
    apiVersion: `${rbacGroup}/v1`,
    kind,
    metadata: {
      ...wanted.metadata,
      labels: { ...bootstrapLabels, ...(wanted.metadata as { labels?: Record<string, string> }).labels },
      annotations: { [autoUpdate]: 'true' },
    },
  };
  await registry.create(resource, object).catch((error: unknown) => {
    if (!isReason(error, 'AlreadyExists')) {
      throw error;
    }
  });
}

/** A few writes at a time: etcd commits them together. */
async function inBatches<T>(items: readonly T[], act: (item: T) => Promise<void>): Promise<void> {
  for (let at = 0; at < items.length; at += 32) {
    await Promise.all(items.slice(at, at + 32).map(act));
  }
}
