// SPDX-License-Identifier: Apache-2.0
// Columns of role bindings.
import type { RoleRef, Subject } from '../../../machinery/api-types.ts';
import { text, wide, type CellColumn } from '../printing/columns.ts';

interface AnyBinding {
  subjects?: Subject[];
  roleRef: RoleRef;
}

export function roleColumn<T extends AnyBinding>(): CellColumn<T> {
  return text('Role', ({ roleRef }) => `${roleRef.kind}/${roleRef.name}`);
}

export function subjectColumns<T extends AnyBinding>(): CellColumn<T>[] {
  const named = (binding: T, kind: string): string =>
    (binding.subjects ?? [])
      .filter((subject) => subject.kind === kind)
      .map(({ name, namespace }) => (kind === 'ServiceAccount' ? `${namespace ?? ''}/${name}` : name))
      .join(', ');
  return [
    wide(text('Users', (binding) => named(binding, 'User'))),
    wide(text('Groups', (binding) => named(binding, 'Group'))),
    wide(text('ServiceAccounts', (binding) => named(binding, 'ServiceAccount'))),
  ];
}
