// SPDX-License-Identifier: Apache-2.0
// Endpoint slices: the addresses behind a service, a hundred at a time.
import { isIPv4, isIPv6 } from 'node:net';
import type { EndpointSlice } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import type { FieldError } from '../definition.ts';
import { text } from '../printing/columns.ts';
import {
  immutable,
  inRange,
  invalid,
  messages,
  notSupported,
  oneOf,
  portRange,
  required,
  tooMany,
} from '../validation/fields.ts';
import { dnsLabel, dnsSubdomain } from '../validation/names.ts';

const mostEndpoints = 1000;
const mostPorts = 20_000;
const shown = 3;

export const endpointSlices = define<EndpointSlice>({
  group: 'discovery.k8s.io',
  plural: 'endpointslices',
  kind: 'EndpointSlice',
  namespaced: true,
  default({ ports }) {
    for (const port of ports ?? []) {
      port.name ??= '';
      port.protocol ??= 'TCP';
    }
  },
  validate,
  validateUpdate: (slice, old) => immutable('addressType', slice.addressType, old.addressType),
  columns: [
    text('AddressType', ({ addressType }) => addressType),
    text('Ports', ({ ports }) =>
      shorten(
        (ports ?? []).map(({ name = '', port }) => (port === undefined ? (name === '' ? '*' : name) : String(port))),
        ',',
      ),
    ),
    text('Endpoints', ({ endpoints }) =>
      shorten(
        (endpoints ?? []).flatMap(({ addresses }) => addresses),
        ',',
      ),
    ),
  ],
});

function shorten(list: readonly string[], separator: string): string {
  if (list.length === 0) {
    return '<unset>';
  }
  const text = list.slice(0, shown).join(separator);
  return list.length > shown ? `${text} + ${list.length - shown} more...` : text;
}

function validate({ addressType, endpoints, ports }: EndpointSlice): FieldError[] {
  const errors = oneOf('addressType', addressType, ['FQDN', 'IPv4', 'IPv6']);
  if ((endpoints ?? []).length > mostEndpoints) {
    errors.push(tooMany('endpoints', (endpoints ?? []).length, mostEndpoints));
  }
  if ((ports ?? []).length > mostPorts) {
    errors.push(tooMany('ports', (ports ?? []).length, mostPorts));
  }
  for (const [index, endpoint] of (endpoints ?? []).entries()) {
    const at = `endpoints[${index}]`;
    if ((endpoint.addresses ?? []).length === 0) {
      errors.push(required(`${at}.addresses`, 'must contain at least 1 address'));
    }
    for (const [position, address] of (endpoint.addresses ?? []).entries()) {
      errors.push(...validateAddress(address, addressType, `${at}.addresses[${position}]`));
    }
    if ((endpoint.hostname ?? '') !== '') {
      errors.push(...messages(`${at}.hostname`, endpoint.hostname, dnsLabel(endpoint.hostname ?? '')));
    }
  }
  for (const [index, port] of (ports ?? []).entries()) {
    if (port.port !== undefined) {
      errors.push(...inRange(`ports[${index}].port`, port.port, portRange));
    }
    if (port.protocol !== undefined && !['TCP', 'UDP', 'SCTP'].includes(port.protocol)) {
      errors.push(notSupported(`ports[${index}].protocol`, port.protocol, ['TCP', 'UDP', 'SCTP']));
    }
  }
  return errors;
}

function validateAddress(address: string, type: string, field: string): FieldError[] {
  switch (type) {
    case 'IPv4':
      return isIPv4(address) ? [] : [invalid(field, address, 'must be an IPv4 address')];
    case 'IPv6':
      return isIPv6(address) ? [] : [invalid(field, address, 'must be an IPv6 address')];
    default:
      return messages(field, address, dnsSubdomain(address));
  }
}
