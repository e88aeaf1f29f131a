// SPDX-License-Identifier: Apache-2.0
// Endpoints: the older, single-object form of endpoint slices.
import { isIP } from 'node:net';
import type { Endpoints } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import type { FieldError } from '../definition.ts';
import { text } from '../printing/columns.ts';
import { inRange, invalid, oneOf, portRange, required } from '../validation/fields.ts';

const shown = 3;

export const endpoints = define<Endpoints>({
  group: '',
  plural: 'endpoints',
  kind: 'Endpoints',
  namespaced: true,
  shortNames: ['ep'],
  default({ subsets }) {
    for (const port of (subsets ?? []).flatMap((subset) => subset.ports ?? [])) {
      port.protocol ??= 'TCP';
    }
  },
  validate,
  columns: [text('Endpoints', addresses)],
});

function validate({ subsets }: Endpoints): FieldError[] {
  const errors: FieldError[] = [];
  for (const [index, subset] of (subsets ?? []).entries()) {
    const at = `subsets[${index}]`;
    if ((subset.addresses ?? []).length + (subset.notReadyAddresses ?? []).length === 0) {
      errors.push(required(at, 'must specify `addresses` or `notReadyAddresses`'));
    }
    for (const field of ['addresses', 'notReadyAddresses'] as const) {
      for (const [position, { ip }] of (subset[field] ?? []).entries()) {
        if (isIP(ip ?? '') === 0) {
          errors.push(
            invalid(
              `${at}.${field}[${position}].ip`,
              ip,
              'must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
            ),
          );
        }
      }
    }
    for (const [position, port] of (subset.ports ?? []).entries()) {
      errors.push(
        ...inRange(`${at}.ports[${position}].port`, port.port, portRange),
        ...oneOf(`${at}.ports[${position}].protocol`, port.protocol, ['SCTP', 'TCP', 'UDP']),
      );
    }
  }
  return errors;
}

function addresses({ subsets }: Endpoints): string {
  const list = (subsets ?? []).flatMap((subset) => {
    const ips = (subset.addresses ?? []).map(({ ip }) => ip);
    const ports = subset.ports ?? [];
    return ports.length === 0
      ? ips
      : ports.flatMap(({ port }) => ips.map((ip) => (isIP(ip) === 6 ? `[${ip}]:${port}` : `${ip}:${port}`)));
  });
  if (list.length === 0) {
    return '<none>';
  }
  const text = list.slice(0, shown).join(',');
  return list.length > shown ? `${text} + ${list.length - shown} more...` : text;
}
