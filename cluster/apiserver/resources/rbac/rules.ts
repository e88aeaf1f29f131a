// SPDX-License-Identifier: Apache-2.0
// Rules of roles and bindings.
import type { PolicyRule, RoleRef, Subject } from '../../../machinery/api-types.ts';
import type { FieldError } from '../definition.ts';
import { invalid, notSupported, required, same } from '../validation/fields.ts';

export const rbacGroup = 'rbac.authorization.k8s.io';

export function validateRules(rules: readonly PolicyRule[] | undefined, namespaced: boolean): FieldError[] {
  const errors: FieldError[] = [];
  for (const [index, rule] of (rules ?? []).entries()) {
    const at = `rules[${index}]`;
    if ((rule.verbs ?? []).length === 0) {
      errors.push(required(`${at}.verbs`, 'verbs must contain at least one value'));
    }
    if ((rule.nonResourceURLs ?? []).length > 0) {
      if (namespaced) {
        errors.push(
          invalid(`${at}.nonResourceURLs`, rule.nonResourceURLs, 'namespaced rules cannot apply to non-resource URLs'),
        );
      }
      if ([rule.apiGroups, rule.resources, rule.resourceNames].some((list) => (list ?? []).length > 0)) {
        errors.push(
          invalid(
            `${at}.nonResourceURLs`,
            rule.nonResourceURLs,
            'rules cannot apply to both regular resources and non-resource URLs',
          ),
        );
      }
      continue;
    }
    if ((rule.apiGroups ?? []).length === 0) {
      errors.push(required(`${at}.apiGroups`, 'resource rules must supply at least one api group'));
    }
    if ((rule.resources ?? []).length === 0) {
      errors.push(required(`${at}.resources`, 'resource rules must supply at least one resource'));
    }
  }
  return errors;
}

export function defaultBinding(binding: { subjects?: Subject[]; roleRef?: RoleRef }): void {
  if (binding.roleRef !== undefined && (binding.roleRef.apiGroup ?? '') === '') {
    binding.roleRef.apiGroup = rbacGroup;
  }
  for (const subject of binding.subjects ?? []) {
    if ((subject.apiGroup ?? '') === '' && (subject.kind === 'User' || subject.kind === 'Group')) {
      subject.apiGroup = rbacGroup;
    }
  }
}

export function validateBinding(
  binding: { subjects?: Subject[]; roleRef?: RoleRef },
  options: { readonly kinds: readonly string[]; readonly namespaced: boolean },
): FieldError[] {
  const { kind = '', name = '', apiGroup = '' } = binding.roleRef ?? {};
  const errors: FieldError[] = [];
  if (apiGroup !== rbacGroup) {
    errors.push(notSupported('roleRef.apiGroup', apiGroup, [rbacGroup]));
  }
  if (!options.kinds.includes(kind)) {
    errors.push(notSupported('roleRef.kind', kind, options.kinds));
  }
  if (name === '') {
    errors.push(required('roleRef.name'));
  }
  for (const [index, subject] of (binding.subjects ?? []).entries()) {
    const at = `subjects[${index}]`;
    if ((subject.name ?? '') === '') {
      errors.push(required(`${at}.name`));
    }
    if (subject.kind === 'ServiceAccount') {
      if ((subject.apiGroup ?? '') !== '') {
        errors.push(notSupported(`${at}.apiGroup`, subject.apiGroup, ['']));
      }
      if ((subject.namespace ?? '') === '' && !options.namespaced) {
        errors.push(required(`${at}.namespace`));
      }
    } else if (subject.kind !== 'User' && subject.kind !== 'Group') {
      errors.push(notSupported(`${at}.kind`, subject.kind, ['ServiceAccount', 'User', 'Group']));
    } else if (subject.apiGroup !== rbacGroup) {
      errors.push(notSupported(`${at}.apiGroup`, subject.apiGroup, [rbacGroup]));
    }
  }
  return errors;
}

export function validateRoleRefStays(binding: { roleRef?: RoleRef }, old: { roleRef?: RoleRef }): FieldError[] {
  return same(binding.roleRef, old.roleRef) ? [] : [invalid('roleRef', binding.roleRef, 'cannot change roleRef')];
}
