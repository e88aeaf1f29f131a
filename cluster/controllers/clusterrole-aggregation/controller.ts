// SPDX-License-Identifier: Apache-2.0
// Fills ClusterRoles that have an aggregationRule with the rules of the roles that it selects.
import type { ClusterRole, PolicyRule } from '../../machinery/api-types.ts';
import { resources } from '../../machinery/resources.ts';
import { matchesLabelSelector } from '../../machinery/selectors.ts';
import { WorkQueue } from '../../machinery/work-queue.ts';
import { canonicalJson, sameJson } from '../canonical-json.ts';
import type { Controller, ControllerContext, Running } from '../controller.ts';

export const clusterRoleAggregationController: Controller = {
  name: 'clusterrole-aggregation-controller',
  serviceAccount: 'clusterrole-aggregation-controller',
  setup,
};

/** Rules of all selected roles, by role name, none twice. */
export function aggregatedRules(role: ClusterRole, roles: readonly ClusterRole[]): PolicyRule[] {
  const selectors = role.aggregationRule?.clusterRoleSelectors ?? [];
  const rules = new Map<string, PolicyRule>();
  const byName = roles.toSorted((a, b) => ((a.metadata.name ?? '') < (b.metadata.name ?? '') ? -1 : 1));
  for (const one of byName) {
    if (one.metadata.name === role.metadata.name) continue;
    if (!selectors.some((selector) => matchesLabelSelector(selector, one.metadata.labels))) continue;
    for (const rule of one.rules ?? []) rules.set(canonicalJson(rule), rule);
  }
  return [...rules.values()];
}

function setup({ client, informers }: ControllerContext): Running {
  const roles = informers.get<ClusterRole>(resources.clusterRoles);
  const queue = new WorkQueue({ name: 'clusterrole-aggregation', reconcile });
  roles.onChange(() => {
    for (const role of roles.list()) if (role.aggregationRule) queue.add(role.metadata.name ?? '');
  });

  async function reconcile(name: string): Promise<void> {
    const role = roles.get(name);
    if (!role?.aggregationRule) return;
    const rules = aggregatedRules(role, roles.list());
    if (sameJson(rules, role.rules ?? [])) return;
    await client.update(resources.clusterRoles, { ...role, rules });
  }

  return { queues: [queue] };
}
