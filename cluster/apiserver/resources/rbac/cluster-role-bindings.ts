// SPDX-License-Identifier: Apache-2.0
// Cluster role bindings: who has a role everywhere.
import type { ClusterRoleBinding } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import { pathSegmentName } from '../validation/names.ts';
import { roleColumn, subjectColumns } from './binding-columns.ts';
import { defaultBinding, rbacGroup, validateBinding, validateRoleRefStays } from './rules.ts';

export const clusterRoleBindings = define<ClusterRoleBinding>({
  group: rbacGroup,
  plural: 'clusterrolebindings',
  kind: 'ClusterRoleBinding',
  namespaced: false,
  nameRule: pathSegmentName,
  default: defaultBinding,
  validate: (binding) => validateBinding(binding, { kinds: ['ClusterRole'], namespaced: false }),
  validateUpdate: validateRoleRefStays,
  columns: [roleColumn()],
  wideColumns: subjectColumns(),
});
