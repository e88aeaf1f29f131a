// SPDX-License-Identifier: Apache-2.0
// Short ways to write the rules of the default roles. Pure.
import type { PolicyRule } from '../../machinery/api-types.ts';

/** `on('apps', 'deployments replicasets', ['get'])`; names in one text, separated by blanks. */
export function on(group: string, resources: string, verbs: readonly string[], names?: string): PolicyRule {
  return {
    verbs: [...verbs],
    apiGroups: [group],
    resources: resources.split(' '),
    ...(names === undefined ? {} : { resourceNames: names.split(' ') }),
  };
}

/** Writing events, which every component does. */
export function events(): PolicyRule[] {
  const verbs = ['create', 'patch', 'update'];
  return [on('', 'events', verbs), on('events.k8s.io', 'events', verbs)];
}
