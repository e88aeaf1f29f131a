// SPDX-License-Identifier: Apache-2.0
// Namespaces. One that is deleted stays, Terminating, until the namespace controller has emptied it and finalizes it.
import type { Namespace } from '../../../machinery/api-types.ts';
import { define, keepAllBut } from '../define.ts';
import { text } from '../printing/columns.ts';
import { messages } from '../validation/fields.ts';
import { dnsLabelName, qualifiedName } from '../validation/names.ts';

const nameLabel = 'kubernetes.io/metadata.name';

export const namespaces = define<Namespace>({
  group: '',
  plural: 'namespaces',
  kind: 'Namespace',
  namespaced: false,
  shortNames: ['ns'],
  verbs: ['create', 'delete', 'get', 'list', 'patch', 'update', 'watch'],
  nameRule: dnsLabelName,
  default: labelWithName,
  prepareForCreate(namespace) {
    labelWithName(namespace);
    const finalizers = namespace.spec?.finalizers ?? [];
    namespace.spec = { finalizers: finalizers.includes('kubernetes') ? finalizers : [...finalizers, 'kubernetes'] };
  },
  prepareForUpdate(namespace, old) {
    if (old.spec !== undefined) {
      namespace.spec = old.spec;
    }
  },
  status: true,
  initialStatus: () => ({ phase: 'Active' }),
  views: {
    finalize: {
      prepareForUpdate: (namespace, old) => keepAllBut(['spec'], namespace, old),
      validateUpdate: ({ spec }) =>
        (spec?.finalizers ?? []).flatMap((name, index) =>
          messages(`spec.finalizers[${index}]`, name, qualifiedName(name)),
        ),
    },
  },
  markForDeletion(namespace) {
    namespace.status = { ...namespace.status, phase: 'Terminating' };
  },
  finalizers: ({ spec }) => spec?.finalizers ?? [],
  selectableFields: ({ status }) => ({ 'status.phase': status?.phase ?? '' }),
  columns: [text('Status', ({ status }) => status?.phase ?? '')],
});

function labelWithName(namespace: Namespace): void {
  const { name } = namespace.metadata;
  if (name !== undefined && name !== '') {
    namespace.metadata.labels = { ...namespace.metadata.labels, [nameLabel]: name };
  }
}
