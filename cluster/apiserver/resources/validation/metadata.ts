// SPDX-License-Identifier: Apache-2.0
// Rules of `metadata` that every resource shares.
import type { ObjectMeta, OwnerReference } from '../../../machinery/api-types.ts';
import type { FieldError } from '../definition.ts';
import { forbidden, immutable, invalid, messages, nonNegative, required, same, tooLong } from './fields.ts';
import { dnsLabel, labelValue, type NameRule, qualifiedName } from './names.ts';

const annotationBytes = 256 * 1024;
const standardFinalizers = new Set(['kubernetes', 'orphan', 'foregroundDeletion']);

export function validateMetadata(
  metadata: ObjectMeta,
  options: {
    readonly namespaced: boolean;
    readonly nameRule: NameRule;
    readonly path?: string;
    readonly freeFinalizers?: boolean;
  },
): FieldError[] {
  const path = options.path ?? 'metadata';
  const errors: FieldError[] = [];
  const { name = '', generateName = '', namespace = '' } = metadata;
  if (generateName !== '') {
    errors.push(...messages(`${path}.generateName`, generateName, options.nameRule(generateName, true)));
  }
  if (name === '') {
    errors.push(required(`${path}.name`, 'name or generateName is required'));
  } else {
    errors.push(...messages(`${path}.name`, name, options.nameRule(name, false)));
  }
  if (options.namespaced) {
    errors.push(
      ...(namespace === ''
        ? [required(`${path}.namespace`)]
        : messages(`${path}.namespace`, namespace, dnsLabel(namespace))),
    );
  } else if (namespace !== '') {
    errors.push(forbidden(`${path}.namespace`, 'not allowed on this type'));
  }
  errors.push(...validateLabels(metadata.labels, `${path}.labels`));
  errors.push(...validateAnnotations(metadata.annotations, `${path}.annotations`));
  errors.push(...validateOwners(metadata.ownerReferences, `${path}.ownerReferences`));
  errors.push(...validateFinalizers(metadata.finalizers, `${path}.finalizers`, options.freeFinalizers === true));
  return errors;
}

/** Rules of a change: identity stays, a deletion cannot be taken back, no finalizers appear while deleting. */
export function validateMetadataUpdate(
  metadata: ObjectMeta,
  old: ObjectMeta,
  options: { readonly namespaced: boolean; readonly freeFinalizers?: boolean },
): FieldError[] {
  const errors: FieldError[] = [
    ...immutable('metadata.name', metadata.name, old.name),
    ...(options.namespaced ? immutable('metadata.namespace', metadata.namespace, old.namespace) : []),
    ...immutable('metadata.uid', metadata.uid, old.uid),
    ...immutable('metadata.creationTimestamp', metadata.creationTimestamp, old.creationTimestamp),
    ...nonNegative('metadata.generation', metadata.generation),
  ];
  if (metadata.labels !== old.labels) {
    errors.push(...validateLabels(metadata.labels, 'metadata.labels'));
  }
  if (metadata.annotations !== old.annotations) {
    errors.push(...validateAnnotations(metadata.annotations, 'metadata.annotations'));
  }
  if (!same(metadata.ownerReferences, old.ownerReferences)) {
    errors.push(...validateOwners(metadata.ownerReferences, 'metadata.ownerReferences'));
  }
  if (!same(metadata.finalizers, old.finalizers)) {
    errors.push(...validateFinalizers(metadata.finalizers, 'metadata.finalizers', options.freeFinalizers === true));
    if (old.deletionTimestamp !== undefined) {
      const added = (metadata.finalizers ?? []).filter((item) => old.finalizers?.includes(item) !== true);
      if (added.length > 0) {
        const list = added.map((item) => JSON.stringify(item)).join(', ');
        errors.push(
          forbidden(
            'metadata.finalizers',
            `no new finalizers can be added if the object is being deleted, found new finalizers []string{${list}}`,
          ),
        );
      }
    }
  }
  return errors;
}

export function validateLabels(labels: Readonly<Record<string, string>> | undefined, path: string): FieldError[] {
  const errors: FieldError[] = [];
  for (const key in labels) {
    errors.push(
      ...messages(path, key, qualifiedName(key)),
      ...messages(path, labels[key], labelValue(labels[key] ?? '')),
    );
  }
  return errors;
}

export function validateAnnotations(
  annotations: Readonly<Record<string, string>> | undefined,
  path: string,
): FieldError[] {
  const errors: FieldError[] = [];
  let size = 0;
  for (const key in annotations) {
    errors.push(...messages(path, key, qualifiedName(key.toLowerCase())));
    size += Buffer.byteLength(key) + Buffer.byteLength(annotations[key] ?? '');
  }
  if (size > annotationBytes) {
    errors.push(tooLong(path, annotationBytes));
  }
  return errors;
}

function validateOwners(owners: readonly OwnerReference[] | undefined, path: string): FieldError[] {
  const errors: FieldError[] = [];
  let controller: OwnerReference | undefined;
  for (const [index, owner] of (owners ?? []).entries()) {
    const at = `${path}[${index}]`;
    const version = owner.apiVersion ?? '';
    if (version === '' || version.endsWith('/')) {
      errors.push(invalid(`${at}.apiVersion`, version, 'version must not be empty'));
    }
    for (const field of ['kind', 'name', 'uid'] as const) {
      if ((owner[field] ?? '') === '') {
        errors.push(invalid(`${at}.${field}`, owner[field] ?? '', 'must not be empty'));
      }
    }
    if (version === 'v1' && owner.kind === 'Event') {
      errors.push(invalid(at, owner, `${version}, Kind=${owner.kind} is disallowed from being an owner`));
    }
    if (owner.controller === true) {
      if (controller !== undefined) {
        errors.push(
          invalid(
            path,
            owners,
            `Only one reference can have Controller set to true. Found "true" in references for ${controller.name} and ${owner.name}`,
          ),
        );
      }
      controller = owner;
    }
  }
  return errors;
}

/** @param free names need no domain: extension kinds have always been allowed that. */
function validateFinalizers(finalizers: readonly string[] | undefined, path: string, free: boolean): FieldError[] {
  const errors: FieldError[] = [];
  for (const finalizer of finalizers ?? []) {
    errors.push(...messages(path, finalizer, qualifiedName(finalizer)));
    if (!free && !finalizer.includes('/') && !standardFinalizers.has(finalizer)) {
      errors.push(invalid(path, finalizer, 'name is neither a standard finalizer name nor is it fully qualified'));
    }
  }
  if (finalizers?.includes('orphan') === true && finalizers.includes('foregroundDeletion')) {
    errors.push(invalid(path, finalizers, 'finalizer orphan and foregroundDeletion cannot be both set'));
  }
  return errors;
}
