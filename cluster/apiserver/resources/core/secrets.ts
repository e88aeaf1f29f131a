// SPDX-License-Identifier: Apache-2.0
// Secrets.
import type { Secret } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import type { FieldError } from '../definition.ts';
import { integer, text } from '../printing/columns.ts';
import { immutable, invalid, required } from '../validation/fields.ts';
import { validateEntries, validateImmutable, validateSize } from './stored-data.ts';

const serviceAccountName = 'kubernetes.io/service-account.name';
/** Keys that a secret of a type has to have. */
const requiredKeys: Readonly<Record<string, readonly string[]>> = {
  'kubernetes.io/dockercfg': ['.dockercfg'],
  'kubernetes.io/dockerconfigjson': ['.dockerconfigjson'],
  'kubernetes.io/ssh-auth': ['ssh-privatekey'],
  'kubernetes.io/tls': ['tls.crt', 'tls.key'],
};

export const secrets = define<Secret>({
  group: '',
  plural: 'secrets',
  kind: 'Secret',
  namespaced: true,
  default(secret) {
    if (secret.type === undefined || secret.type === '') {
      secret.type = 'Opaque';
    }
    if (secret.stringData !== undefined) {
      // Plain text is for writing only: it is stored, and read back, as data.
      const encoded = Object.entries(secret.stringData).map(([key, value]) => [
        key,
        Buffer.from(value).toString('base64'),
      ]);
      secret.data = { ...secret.data, ...(Object.fromEntries(encoded) as Record<string, string>) };
      delete secret.stringData;
    }
  },
  validate,
  validateUpdate: (secret, old) => [...immutable('type', secret.type, old.type), ...validateImmutable(secret, old)],
  selectableFields: ({ type }) => ({ type: type ?? '' }),
  columns: [
    text('Type', ({ type }) => type ?? '', 'Used to facilitate programmatic handling of secret data.'),
    integer('Data', ({ data }) => Object.keys(data ?? {}).length),
  ],
});

function validate({ type = '', data, metadata }: Secret): FieldError[] {
  const { errors, bytes } = validateEntries(data, 'data', true);
  errors.push(...validateSize('data', bytes));
  for (const key of requiredKeys[type] ?? []) {
    if (data?.[key] === undefined) {
      errors.push(required(`data[${key}]`));
    } else if (key.startsWith('.docker') && !isJson(data[key])) {
      errors.push(invalid(`data[${key}]`, '<secret contents redacted>', 'invalid character in JSON'));
    }
  }
  if (type === 'kubernetes.io/basic-auth' && data?.['username'] === undefined && data?.['password'] === undefined) {
    errors.push(required('data[username]'), required('data[password]'));
  }
  if (type === 'kubernetes.io/service-account-token' && (metadata.annotations?.[serviceAccountName] ?? '') === '') {
    errors.push(required(`metadata.annotations[${serviceAccountName}]`));
  }
  return errors;
}

function isJson(encoded: string): boolean {
  try {
    JSON.parse(Buffer.from(encoded, 'base64').toString());
    return true;
  } catch {
    return false;
  }
}
