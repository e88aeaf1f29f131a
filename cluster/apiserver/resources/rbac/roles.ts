// SPDX-License-Identifier: Apache-2.0
// Roles.
import type { Role } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import { pathSegmentName } from '../validation/names.ts';

export const roles = define<Role>({
  group: 'rbac.authorization.k8s.io',
  plural: 'roles',
  kind: 'Role',
  namespaced: true,
  nameRule: pathSegmentName,
});
