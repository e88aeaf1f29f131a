// SPDX-License-Identifier: Apache-2.0
// Role-based access control, evaluated over the roles and bindings in the store. Bindings are compiled into grants per user
// and group, anew only when one of the four resources has changed.
import { matchesLabelSelector } from '../../machinery/selectors.ts';
import type { ClusterRole, PolicyRule, RoleBinding, Subject } from '../../machinery/api-types.ts';
import type { AccessAttributes, RulesOfUser } from '../resources/config.ts';
import type { KubeObject, UserInfo } from '../resources/definition.ts';

export const rbacGroup = 'rbac.authorization.k8s.io';
export const rbacResources = ['clusterroles', 'clusterrolebindings', 'roles', 'rolebindings'].map(
  (plural) => `${plural}.${rbacGroup}`,
);

export interface RbacSource {
  /** Differs after every change of a role or binding. */
  stamp(): string;
  get(resource: string, namespace: string | undefined, name: string): KubeObject | undefined;
  list(resource: string, namespace?: string): readonly KubeObject[];
}

interface Grant {
  /** Empty for the whole cluster. */
  readonly namespace: string;
  readonly rules: readonly PolicyRule[];
}

export interface Rbac {
  allows(attributes: AccessAttributes): boolean;
  /** Rules that hold in `namespace`; an empty namespace leaves only those of the whole cluster. */
  rulesOf(user: UserInfo, namespace: string): PolicyRule[];
  /** Rules of a role that a binding refers to; undefined when there is none. */
  rulesOfRole(kind: string, name: string, namespace: string): readonly PolicyRule[] | undefined;
}

export function createRbac(source: RbacSource): Rbac {
  let stamp = '';
  let grants = new Map<string, Grant[]>();

  function current(): Map<string, Grant[]> {
    const now = source.stamp();
    if (now !== stamp) {
      stamp = now;
      grants = compile(source);
    }
    return grants;
  }

  function* grantsOf(user: UserInfo, namespace: string): Generator<Grant> {
    const bySubject = current();
    for (const key of [`user ${user.name}`, ...user.groups.map((group) => `group ${group}`)]) {
      for (const grant of bySubject.get(key) ?? []) {
        if (grant.namespace === '' || grant.namespace === namespace) {
          yield grant;
        }
      }
    }
  }

  return {
    allows(attributes) {
      for (const grant of grantsOf(
        attributes.user,
        attributes.path === undefined ? (attributes.namespace ?? '') : '',
      )) {
        if (grant.rules.some((rule) => ruleAllows(rule, attributes))) {
          return true;
        }
      }
      return false;
    },
    rulesOf: (user, namespace) => [...grantsOf(user, namespace)].flatMap((grant) => grant.rules),
    rulesOfRole: (kind, name, namespace) => rulesOfRole(source, { kind, name, namespace }),
  };
}

/** What SelfSubjectRulesReview shows. */
export function describeRules(rules: readonly PolicyRule[]): RulesOfUser {
  return {
    resourceRules: rules
      .filter((rule) => (rule.resources ?? []).length > 0)
      .map(({ verbs, apiGroups, resources, resourceNames }) => ({
        verbs,
        ...(apiGroups === undefined ? {} : { apiGroups }),
        ...(resources === undefined ? {} : { resources }),
        ...(resourceNames === undefined ? {} : { resourceNames }),
      })),
    nonResourceRules: rules
      .filter((rule) => (rule.nonResourceURLs ?? []).length > 0)
      .map(({ verbs, nonResourceURLs }) => ({ verbs, ...(nonResourceURLs === undefined ? {} : { nonResourceURLs }) })),
    incomplete: false,
  };
}

/** Whether one rule allows one request. */
export function ruleAllows(rule: PolicyRule, attributes: AccessAttributes): boolean {
  if (!includes(rule.verbs, attributes.verb)) {
    return false;
  }
  const { path } = attributes;
  if (path !== undefined) {
    return (rule.nonResourceURLs ?? []).some((pattern) => pathMatches(pattern, path));
  }
  const { resource = '', subresource, name = '' } = attributes;
  const names = rule.resourceNames ?? [];
  return (
    includes(rule.apiGroups, attributes.group ?? '') &&
    (rule.resources ?? []).some((pattern) => resourceMatches(pattern, resource, subresource)) &&
    (names.length === 0 || names.includes(name))
  );
}

export function resourceMatches(pattern: string, resource: string, subresource: string | undefined): boolean {
  if (pattern === '*') {
    return true;
  }
  if (subresource === undefined || subresource === '') {
    return pattern === resource;
  }
  return pattern === `${resource}/${subresource}` || pattern === `*/${subresource}`;
}

export function pathMatches(pattern: string, path: string): boolean {
  return pattern === path || (pattern.endsWith('*') && path.startsWith(pattern.slice(0, -1)));
}

function includes(list: readonly string[] | undefined, value: string): boolean {
  return list !== undefined && (list.includes('*') || list.includes(value));
}

function compile(source: RbacSource): Map<string, Grant[]> {
  const grants = new Map<string, Grant[]>();
  const add = (binding: RoleBinding, namespace: string) => {
    const { kind, name } = binding.roleRef;
    const rules = rulesOfRole(source, { kind, name, namespace });
    if (rules === undefined || rules.length === 0) {
      return;
    }
    for (const subject of binding.subjects ?? []) {
      const key = subjectKey(subject, namespace);
      const list = grants.get(key) ?? [];
      grants.set(key, list);
      list.push({ namespace, rules });
    }
  };
  for (const binding of source.list(`clusterrolebindings.${rbacGroup}`)) {
    add(binding as unknown as RoleBinding, '');
  }
  for (const binding of source.list(`rolebindings.${rbacGroup}`)) {
    add(binding as unknown as RoleBinding, binding.metadata.namespace ?? '');
  }
  return grants;
}

function subjectKey(subject: Subject, namespace: string): string {
  switch (subject.kind) {
    case 'ServiceAccount':
      return `user system:serviceaccount:${subject.namespace ?? namespace}:${subject.name}`;
    case 'Group':
      return `group ${subject.name}`;
    default:
      return `user ${subject.name}`;
  }
}

function rulesOfRole(
  source: RbacSource,
  ref: { kind: string; name: string; namespace: string },
): readonly PolicyRule[] | undefined {
  if (ref.kind === 'Role') {
    const role = source.get(`roles.${rbacGroup}`, ref.namespace, ref.name);
    return role === undefined ? undefined : (((role as unknown as ClusterRole).rules ?? []) as PolicyRule[]);
  }
  const role = source.get(`clusterroles.${rbacGroup}`, undefined, ref.name) as unknown as ClusterRole | undefined;
  return role === undefined ? undefined : clusterRoleRules(source, role);
}

/** Rules of an aggregated role are those of all roles that it selects. */
export function clusterRoleRules(source: Pick<RbacSource, 'list'>, role: ClusterRole): readonly PolicyRule[] {
  const selectors = role.aggregationRule?.clusterRoleSelectors;
  if (selectors === undefined) {
    return role.rules ?? [];
  }
  const rules = [...(role.rules ?? [])];
  for (const other of source.list(`clusterroles.${rbacGroup}`)) {
    const candidate = other as unknown as ClusterRole;
    if (
      candidate.metadata?.name !== role.metadata?.name &&
      selectors.some((selector) => matchesLabelSelector(selector, candidate.metadata?.labels))
    ) {
      rules.push(...clusterRoleRules(source, candidate));
    }
  }
  return rules;
}
