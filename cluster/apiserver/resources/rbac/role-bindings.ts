// SPDX-License-Identifier: Apache-2.0
// RoleBindings.
import type { RoleBinding } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import { pathSegmentName } from '../validation/names.ts';

export const roleBindings = define<RoleBinding>({
  group: 'rbac.authorization.k8s.io',
  plural: 'rolebindings',
  kind: 'RoleBinding',
  namespaced: true,
  nameRule: pathSegmentName,
});
