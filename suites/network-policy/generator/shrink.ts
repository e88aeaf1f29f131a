// SPDX-License-Identifier: Apache-2.0
/** Makes a set of policies that fails somehow as small as it can be and still fail, and prints it so that it can be applied elsewhere. */
import { stringify } from 'yaml';
import type { V1NetworkPolicy } from '@kubernetes/client-node';
import type { ClusterNetworkPolicy } from '../../oracles/reachability/cluster-network-policy.ts';

export interface PolicySet {
  readonly policies: readonly V1NetworkPolicy[];
  readonly clusterPolicies: readonly ClusterNetworkPolicy[];
}

/** Lists that may become empty without making a policy invalid or giving it another meaning by accident. */
const mayBeEmpty = new Set(['policies', 'clusterPolicies', 'ingress', 'egress']);
const optionalFields = new Set(['endPort', 'matchLabels', 'matchExpressions', 'ports', 'protocols', '_from', 'except']);

/** Takes away policies, rules, peers, ports and values one at a time for as long as the rest still fails. */
export async function shrinkPolicies(
  failing: PolicySet,
  stillFails: (smaller: PolicySet) => boolean | Promise<boolean>,
): Promise<PolicySet> {
  let smallest = failing;
  for (let shrunk = true; shrunk;) {
    shrunk = false;
    for (const candidate of reductions(smallest)) {
      if (!(await stillFails(candidate))) continue;
      smallest = candidate;
      shrunk = true;
      break;
    }
  }
  return smallest;
}

/** YAML documents, as kubectl takes them. */
export function policiesAsYaml({ policies, clusterPolicies }: PolicySet): string {
  const namespaced = policies.map(({ metadata, spec }) => ({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name: metadata?.name, namespace: metadata?.namespace },
    spec: {
      ...spec,
      ...(spec?.ingress !== undefined && {
        // The client's types rename the field; YAML has it as the API does.
        ingress: spec.ingress.map(({ _from, ...rest }) => ({ ...(_from !== undefined && { from: _from }), ...rest })),
      }),
    },
  }));
  return [...namespaced, ...clusterPolicies]
    .map((policy) => stringify(policy, { aliasDuplicateObjects: false }))
    .join('---\n');
}

/** Every version of `value` with one thing less; the biggest things first. */
function* reductions<T>(value: T, field = ''): Generator<T> {
  if (Array.isArray(value)) {
    const items = value as readonly unknown[];
    if (items.length > 1 || mayBeEmpty.has(field))
      for (const index of items.keys()) yield items.toSpliced(index, 1) as T;
    for (const [index, item] of items.entries())
      for (const smaller of reductions(item)) yield items.with(index, smaller) as T;
    return;
  }
  if (typeof value !== 'object' || value === null) return;
  const entries = Object.entries(value) as [string, unknown][];
  for (const [key] of entries) {
    if (optionalFields.has(key)) yield Object.fromEntries(entries.filter(([one]) => one !== key)) as T;
  }
  for (const [key, one] of entries) {
    if (key === 'metadata' || key === 'policyTypes') continue;
    for (const smaller of reductions(one, key)) yield { ...value, [key]: smaller };
  }
}
