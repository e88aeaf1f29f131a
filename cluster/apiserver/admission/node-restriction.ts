// SPDX-License-Identifier: Apache-2.0
// NodeRestriction: a kubelet changes its own node, and the pods that run there, and nothing else.
import type { Node, Pod } from '../../machinery/api-types.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../resources/definition.ts';
import { same } from '../resources/validation/fields.ts';
import { namespaceOf, objectName, refusal, resourceName } from './attributes.ts';

const userPrefix = 'system:node:';
const mirrorAnnotation = 'kubernetes.io/config.mirror';
const leaseNamespace = 'kube-node-lease';
/** Labels below kubernetes.io and k8s.io that a kubelet may set on its node. */
const ownLabels = new Set([
  'kubernetes.io/hostname',
  'kubernetes.io/arch',
  'kubernetes.io/os',
  'beta.kubernetes.io/arch',
  'beta.kubernetes.io/os',
  'beta.kubernetes.io/instance-type',
  'node.kubernetes.io/instance-type',
  'failure-domain.beta.kubernetes.io/region',
  'failure-domain.beta.kubernetes.io/zone',
  'topology.kubernetes.io/region',
  'topology.kubernetes.io/zone',
]);

export const nodeRestriction: AdmissionPlugin = {
  name: 'NodeRestriction',
  validate(attributes) {
    const node = nodeOf(attributes);
    if (node === undefined) {
      return;
    }
    switch (resourceName(attributes)) {
      case 'pods':
        checkPod(attributes, node);
        break;
      case 'nodes':
        checkNode(attributes, node);
        break;
      case 'leases.coordination.k8s.io':
        if (namespaceOf(attributes) === leaseNamespace && objectName(attributes) !== node) {
          throw refusal(attributes, 'can only access node lease with the same name as the requesting node');
        }
        break;
      case 'csinodes.storage.k8s.io':
        if (objectName(attributes) !== node) {
          throw refusal(attributes, `can only access CSINode with the same name as the requesting node`);
        }
        break;
      default:
    }
  },
};

/** The node that asks; undefined for every other user. */
function nodeOf({ context: { user } }: AdmissionAttributes): string | undefined {
  return user.name.startsWith(userPrefix) && user.groups.includes('system:nodes')
    ? user.name.slice(userPrefix.length)
    : undefined;
}

function checkPod(attributes: AdmissionAttributes, node: string): void {
  const { operation, object, old, context } = attributes;
  const pod = (object ?? old) as unknown as Pod;
  const assigned = ((old ?? object) as unknown as Pod | undefined)?.spec?.nodeName;
  if (operation === 'CREATE') {
    if (pod.metadata.annotations?.[mirrorAnnotation] === undefined) {
      throw refusal(
        attributes,
        `pod does not have ${JSON.stringify(mirrorAnnotation)} annotation, node ${JSON.stringify(node)} can only create mirror pods`,
      );
    }
    if (pod.spec?.nodeName !== node) {
      throw refusal(attributes, `node ${JSON.stringify(node)} can only create pods with spec.nodeName set to itself`);
    }
    return;
  }
  if (assigned !== node) {
    const what = operation === 'DELETE' ? 'delete pods' : 'update pod status for pods';
    throw refusal(attributes, `node ${JSON.stringify(node)} can only ${what} with spec.nodeName set to itself`);
  }
  if (operation === 'UPDATE' && context.subresource !== 'status') {
    throw refusal(attributes, `unexpected update of pods by node ${JSON.stringify(node)}`);
  }
  if (operation === 'UPDATE' && !same(pod.metadata.labels, (old as unknown as Pod).metadata.labels)) {
    throw refusal(attributes, `node ${JSON.stringify(node)} cannot update labels through pod status`);
  }
}

function checkNode(attributes: AdmissionAttributes, node: string): void {
  const { operation, object, old } = attributes;
  if (objectName(attributes) !== node) {
    throw refusal(
      attributes,
      `node ${JSON.stringify(node)} is not allowed to modify node ${JSON.stringify(objectName(attributes))}`,
    );
  }
  const now = object as unknown as Node | undefined;
  const before = old as unknown as Node | undefined;
  if (operation === 'UPDATE' && !same(now?.spec?.taints, before?.spec?.taints)) {
    throw refusal(attributes, `node ${JSON.stringify(node)} is not allowed to modify taints`);
  }
  const after = now?.metadata.labels ?? {};
  const was = before?.metadata.labels ?? {};
  const changed = [...new Set([...Object.keys(after), ...Object.keys(was)])].filter((key) => after[key] !== was[key]);
  const forbidden = now === undefined ? [] : changed.filter((key) => !mayLabel(key)).toSorted();
  if (forbidden.length > 0) {
    throw refusal(attributes, `is not allowed to modify labels: ${forbidden.join(', ')}`);
  }
}

function mayLabel(key: string): boolean {
  const domain = key.includes('/') ? key.slice(0, key.indexOf('/')) : '';
  const within = (suffix: string): boolean => domain === suffix || domain.endsWith(`.${suffix}`);
  if (!within('kubernetes.io') && !within('k8s.io')) {
    return true;
  }
  return ownLabels.has(key) || within('kubelet.kubernetes.io') || within('node.kubernetes.io');
}
