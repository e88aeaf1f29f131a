// SPDX-License-Identifier: Apache-2.0
// Which requests a rule covers, compared with other rules: nobody may hand out rights that they do not have.
import type { PolicyRule } from '../../machinery/api-types.ts';
import { pathMatches, resourceMatches } from './rbac.ts';

/** Parts of `wanted` that no owned rule covers, as single-verb rules; empty when all is covered. */
export function uncovered(wanted: readonly PolicyRule[], owned: readonly PolicyRule[]): PolicyRule[] {
  return wanted.flatMap(atoms).filter((atom) => !owned.some((rule) => covers(rule, atom)));
}

/** `{verbs:["get"], apiGroups:[""], resources:["pods"]}`, as error messages show rules. */
export function describeRule(rule: PolicyRule): string {
  const part = (name: string, list: readonly string[] | undefined) =>
    list === undefined || list.length === 0 ? [] : [`${name}:${JSON.stringify(list)}`];
  return `{${[
    ...part('APIGroups', rule.apiGroups),
    ...part('Resources', rule.resources),
    ...part('ResourceNames', rule.resourceNames),
    ...part('NonResourceURLs', rule.nonResourceURLs),
    ...part('Verbs', rule.verbs),
  ].join(', ')}}`;
}

function atoms(rule: PolicyRule): PolicyRule[] {
  const list: PolicyRule[] = [];
  for (const verb of rule.verbs) {
    for (const url of rule.nonResourceURLs ?? []) {
      list.push({ verbs: [verb], nonResourceURLs: [url] });
    }
    for (const group of rule.apiGroups ?? []) {
      for (const resource of rule.resources ?? []) {
        const base = { verbs: [verb], apiGroups: [group], resources: [resource] };
        const names = rule.resourceNames ?? [];
        list.push(...(names.length === 0 ? [base] : names.map((name) => ({ ...base, resourceNames: [name] }))));
      }
    }
  }
  return list;
}

function covers(rule: PolicyRule, atom: PolicyRule): boolean {
  const has = (list: readonly string[] | undefined, value: string | undefined) =>
    list !== undefined && (list.includes('*') || (value !== undefined && list.includes(value)));
  if (!has(rule.verbs, atom.verbs[0])) {
    return false;
  }
  const url = atom.nonResourceURLs?.[0];
  if (url !== undefined) {
    return (rule.nonResourceURLs ?? []).some((pattern) => pathMatches(pattern, url));
  }
  const [resource = '', subresource] = (atom.resources?.[0] ?? '').split('/');
  const names = rule.resourceNames ?? [];
  return (
    has(rule.apiGroups, atom.apiGroups?.[0]) &&
    (rule.resources ?? []).some((pattern) => resourceMatches(pattern, resource, subresource)) &&
    (names.length === 0 || (atom.resourceNames?.[0] !== undefined && names.includes(atom.resourceNames[0])))
  );
}
