// SPDX-License-Identifier: Apache-2.0
// ClusterRoles.
import type { ClusterRole } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import { pathSegmentName } from '../validation/names.ts';

export const clusterRoles = define<ClusterRole>({
  group: 'rbac.authorization.k8s.io',
  plural: 'clusterroles',
  kind: 'ClusterRole',
  namespaced: false,
  nameRule: pathSegmentName,
});
