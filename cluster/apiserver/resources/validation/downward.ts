// SPDX-License-Identifier: Apache-2.0
// Rules of downward API references: fields of the pod and resources of its containers.
import type { FieldError } from '../definition.ts';
import { messages, notSupported, required } from './fields.ts';
import { qualifiedName } from './names.ts';

const resourceFieldPaths = [
  'limits.cpu',
  'limits.ephemeral-storage',
  'limits.memory',
  'requests.cpu',
  'requests.ephemeral-storage',
  'requests.memory',
];
const subscriptedField = /^metadata\.(labels|annotations)\['([^']*)'\]$/;

/** A downward API path: one of `supported`, or a label or annotation by subscript. */
export function validateFieldPath(
  fieldPath: string | undefined,
  at: string,
  supported: readonly string[],
): FieldError[] {
  if ((fieldPath ?? '') === '') {
    return [required(`${at}.fieldPath`)];
  }
  const subscript = subscriptedField.exec(fieldPath ?? '');
  if (subscript !== null) {
    const key = subscript[2] ?? '';
    return messages(at, key, qualifiedName(subscript[1] === 'annotations' ? key.toLowerCase() : key));
  }
  return supported.includes(fieldPath ?? '') ? [] : [notSupported(`${at}.fieldPath`, fieldPath, supported)];
}

export function validateResourceField(resource: string | undefined, at: string): FieldError[] {
  if ((resource ?? '') === '') {
    return [required(`${at}.resource`)];
  }
  const known = resourceFieldPaths.includes(resource ?? '') || /^(requests|limits)\.hugepages-/.test(resource ?? '');
  return known ? [] : [notSupported(`${at}.resource`, resource, resourceFieldPaths)];
}
