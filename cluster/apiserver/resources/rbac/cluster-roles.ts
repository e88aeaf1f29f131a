// SPDX-License-Identifier: Apache-2.0
// Cluster roles: what may be done anywhere, or in the namespaces where they are bound.
import type { ClusterRole } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import { createdColumn, nameColumn } from '../printing/columns.ts';
import { pathSegmentName } from '../validation/names.ts';
import { validateLabelSelector } from '../validation/selectors.ts';
import { rbacGroup, validateRules } from './rules.ts';

export const clusterRoles = define<ClusterRole>({
  group: rbacGroup,
  plural: 'clusterroles',
  kind: 'ClusterRole',
  namespaced: false,
  nameRule: pathSegmentName,
  validate: ({ rules, aggregationRule }) => [
    ...validateRules(rules, false),
    ...(aggregationRule?.clusterRoleSelectors ?? []).flatMap((selector, index) =>
      validateLabelSelector(selector, `aggregationRule.clusterRoleSelectors[${index}]`),
    ),
  ],
  allColumns: [nameColumn(), createdColumn()],
});
