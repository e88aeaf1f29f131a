// SPDX-License-Identifier: Apache-2.0
// ClusterRoleBindings.
import type { ClusterRoleBinding } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import { pathSegmentName } from '../validation/names.ts';

export const clusterRoleBindings = define<ClusterRoleBinding>({
  group: 'rbac.authorization.k8s.io',
  plural: 'clusterrolebindings',
  kind: 'ClusterRoleBinding',
  namespaced: false,
  nameRule: pathSegmentName,
});
