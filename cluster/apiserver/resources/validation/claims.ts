// SPDX-License-Identifier: Apache-2.0
// Rules of a volume claim's spec; shared by claims, StatefulSet templates and ephemeral volumes.
import type { PersistentVolumeClaimSpec } from '../../../machinery/api-types.ts';
import { isQuantity, parseQuantity } from '../../../machinery/quantities.ts';
import type { FieldError } from '../definition.ts';
import { forbidden, invalid, messages, notSupported, oneOf, required } from './fields.ts';
import { dnsSubdomain } from './names.ts';
import { validateQuantity } from './resources.ts';
import { validateLabelSelector } from './selectors.ts';

export const accessModes = ['ReadOnlyMany', 'ReadWriteMany', 'ReadWriteOnce', 'ReadWriteOncePod'];

export function validateClaimSpec(spec: PersistentVolumeClaimSpec, path: string): FieldError[] {
  const errors: FieldError[] = [
    ...((spec.accessModes ?? []).length === 0
      ? [required(`${path}.accessModes`, 'at least 1 access mode is required')]
      : validateAccessModes(spec.accessModes ?? [], `${path}.accessModes`)),
    ...validateLabelSelector(spec.selector, `${path}.selector`),
  ];
  const storage = spec.resources?.requests?.['storage'];
  if (storage === undefined) {
    errors.push(required(`${path}.resources[storage]`));
  } else {
    errors.push(...validateQuantity(storage, `${path}.resources[storage]`));
    if (isQuantity(storage) && parseQuantity(storage) === 0n) {
      errors.push(invalid(`${path}.resources[storage]`, storage, 'must be greater than zero'));
    }
  }
  if ((spec.storageClassName ?? '') !== '') {
    errors.push(
      ...messages(`${path}.storageClassName`, spec.storageClassName, dnsSubdomain(spec.storageClassName ?? '')),
    );
  }
  if (spec.volumeMode !== undefined) {
    errors.push(...oneOf(`${path}.volumeMode`, spec.volumeMode, ['Block', 'Filesystem']));
  }
  for (const field of ['dataSource', 'dataSourceRef'] as const) {
    const source = spec[field];
    if (source !== undefined) {
      errors.push(
        ...((source.kind ?? '') === '' ? [required(`${path}.${field}.kind`)] : []),
        ...((source.name ?? '') === '' ? [required(`${path}.${field}.name`)] : []),
      );
    }
  }
  return errors;
}

export function validateAccessModes(modes: readonly string[], path: string): FieldError[] {
  const errors = modes
    .filter((mode) => !accessModes.includes(mode))
    .map((mode) => notSupported(path, mode, accessModes));
  if (modes.includes('ReadWriteOncePod') && modes.length > 1) {
    errors.push(forbidden(path, 'may not use ReadWriteOncePod with other access modes'));
  }
  return errors;
}
