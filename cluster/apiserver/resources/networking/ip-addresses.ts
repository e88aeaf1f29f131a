// SPDX-License-Identifier: Apache-2.0
// IP addresses that are in use; named after the address.
import { isIP } from 'node:net';
import type { IPAddress } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import { text } from '../printing/columns.ts';
import { required, same } from '../validation/fields.ts';

export const ipAddresses = define<IPAddress>({
  group: 'networking.k8s.io',
  plural: 'ipaddresses',
  kind: 'IPAddress',
  namespaced: false,
  shortNames: ['ip'],
  nameRule: (name) => (isIP(name) === 0 ? ['must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'] : []),
  validate: ({ spec }) => [
    ...(spec?.parentRef === undefined ? [required('spec.parentRef')] : []),
    ...(spec?.parentRef !== undefined && (spec.parentRef.resource ?? '') === ''
      ? [required('spec.parentRef.resource')]
      : []),
    ...(spec?.parentRef !== undefined && (spec.parentRef.name ?? '') === '' ? [required('spec.parentRef.name')] : []),
  ],
  validateUpdate: (address, old) =>
    same(address.spec?.parentRef, old.spec?.parentRef)
      ? []
      : [
          {
            type: 'Invalid value',
            field: 'spec.parentRef',
            value: address.spec?.parentRef,
            detail: 'field is immutable',
          },
        ],
  selectableFields: ({ spec }) => ({
    'spec.parentRef.group': spec?.parentRef?.group ?? '',
    'spec.parentRef.resource': spec?.parentRef?.resource ?? '',
    'spec.parentRef.namespace': spec?.parentRef?.namespace ?? '',
    'spec.parentRef.name': spec?.parentRef?.name ?? '',
  }),
  columns: [
    text('ParentRef', ({ spec }) => {
      const { resource = '', namespace = '', name = '' } = spec?.parentRef ?? {};
      return [resource, namespace, name].filter((part) => part !== '').join('/');
    }),
  ],
});
