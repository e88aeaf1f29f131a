// SPDX-License-Identifier: Apache-2.0
// Roles: what may be done in a namespace.
import type { Role } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import { createdColumn, nameColumn } from '../printing/columns.ts';
import { pathSegmentName } from '../validation/names.ts';
import { rbacGroup, validateRules } from './rules.ts';

export const roles = define<Role>({
  group: rbacGroup,
  plural: 'roles',
  kind: 'Role',
  namespaced: true,
  nameRule: pathSegmentName,
  validate: ({ rules }) => validateRules(rules, true),
  allColumns: [nameColumn(), createdColumn()],
});
