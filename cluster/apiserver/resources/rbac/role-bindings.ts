// SPDX-License-Identifier: Apache-2.0
// Role bindings: who has a role in a namespace.
import type { RoleBinding } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import { pathSegmentName } from '../validation/names.ts';
import { roleColumn, subjectColumns } from './binding-columns.ts';
import { defaultBinding, rbacGroup, validateBinding, validateRoleRefStays } from './rules.ts';

export const roleBindings = define<RoleBinding>({
  group: rbacGroup,
  plural: 'rolebindings',
  kind: 'RoleBinding',
  namespaced: true,
  nameRule: pathSegmentName,
  default: (binding) => {
    defaultBinding(binding);
    for (const subject of binding.subjects ?? []) {
      if (
        subject.kind === 'ServiceAccount' &&
        (subject.namespace ?? '') === '' &&
        binding.metadata.namespace !== undefined
      ) {
        subject.namespace = binding.metadata.namespace;
      }
    }
  },
  validate: (binding) => validateBinding(binding, { kinds: ['Role', 'ClusterRole'], namespaced: true }),
  validateUpdate: validateRoleRefStays,
  columns: [roleColumn()],
  wideColumns: subjectColumns(),
});
