// SPDX-License-Identifier: Apache-2.0
// NamespaceLifecycle: nothing new in namespaces that are missing or going, and some namespaces never go.
import type { AdmissionAttributes, AdmissionPlugin } from '../resources/definition.ts';
import { notFound, StatusError } from '../status.ts';
import { namespaceOf, objectName, refusal } from './attributes.ts';

const immortal = new Set(['default', 'kube-system', 'kube-public']);

export const namespaceLifecycle: AdmissionPlugin = {
  name: 'NamespaceLifecycle',
  mutate(attributes) {
    const { operation, definition, context } = attributes;
    if (operation !== 'CREATE' || !definition.namespaced || definition.review !== undefined) {
      return;
    }
    const name = namespaceOf(attributes);
    const namespace = context.registry.get('namespaces', undefined, name);
    if (namespace === undefined) {
      throw notFound({ group: '', plural: 'namespaces' }, name);
    }
    if (namespace.metadata.deletionTimestamp !== undefined) {
      throw terminating(attributes, name);
    }
  },
  validate(attributes) {
    const isNamespace = attributes.definition.group === '' && attributes.definition.plural === 'namespaces';
    if (attributes.operation === 'DELETE' && isNamespace && immortal.has(objectName(attributes))) {
      throw refusal(attributes, 'this namespace may not be deleted');
    }
  },
};

function terminating(attributes: AdmissionAttributes, namespace: string): StatusError {
  const { message, status } = refusal(
    attributes,
    `unable to create new content in namespace ${namespace} because it is being terminated`,
  );
  return new StatusError(403, 'Forbidden', message, {
    ...status.details,
    causes: [
      {
        reason: 'NamespaceTerminating',
        message: `namespace ${namespace} is being terminated`,
        field: 'metadata.namespace',
      },
    ],
  });
}
