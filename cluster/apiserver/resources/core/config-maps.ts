// SPDX-License-Identifier: Apache-2.0
// Config maps.
import type { ConfigMap } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import type { FieldError } from '../definition.ts';
import { integer } from '../printing/columns.ts';
import { invalid } from '../validation/fields.ts';
import { validateEntries, validateImmutable, validateSize } from './stored-data.ts';

export const configMaps = define<ConfigMap>({
  group: '',
  plural: 'configmaps',
  kind: 'ConfigMap',
  namespaced: true,
  shortNames: ['cm'],
  validate,
  validateUpdate: validateImmutable,
  columns: [
    integer('Data', ({ data, binaryData }) => Object.keys(data ?? {}).length + Object.keys(binaryData ?? {}).length),
  ],
});

function validate({ data, binaryData }: ConfigMap): FieldError[] {
  const plain = validateEntries(data, 'data', false);
  const binary = validateEntries(binaryData, 'binaryData', true);
  const twice = Object.keys(data ?? {})
    .filter((key) => binaryData?.[key] !== undefined)
    .map((key) => invalid(`data[${key}]`, key, 'duplicate of key present in binaryData'));
  return [...plain.errors, ...binary.errors, ...twice, ...validateSize('', plain.bytes + binary.bytes)];
}
