// SPDX-License-Identifier: Apache-2.0
// Ingresses: HTTP routes to services.
import { isIP } from 'node:net';
import type { HTTPIngressPath, Ingress, IngressBackend, IngressRule } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import type { FieldError } from '../definition.ts';
import { orNone, text } from '../printing/columns.ts';
import { invalid, inRange, messages, notSupported, portRange, required } from '../validation/fields.ts';
import { dnsLabel, dnsSubdomain, portName, wildcardSubdomain } from '../validation/names.ts';

const pathTypes = ['Exact', 'ImplementationSpecific', 'Prefix'];
const mostHosts = 3;

export const ingresses = define<Ingress>({
  group: 'networking.k8s.io',
  plural: 'ingresses',
  kind: 'Ingress',
  namespaced: true,
  shortNames: ['ing'],
  validate,
  status: true,
  initialStatus: () => ({ loadBalancer: {} }),
  columns: [
    text('Class', ({ metadata, spec }) =>
      orNone(spec?.ingressClassName ?? metadata.annotations?.['kubernetes.io/ingress.class']),
    ),
    text('Hosts', ({ spec }) => hosts(spec?.rules)),
    text('Address', ({ status }) =>
      (status?.loadBalancer?.ingress ?? []).map(({ ip, hostname }) => ip ?? hostname ?? '').join(','),
    ),
    text('Ports', ({ spec }) => ((spec?.tls ?? []).length > 0 ? '80, 443' : '80')),
  ],
});

function hosts(rules: readonly IngressRule[] | undefined): string {
  const named = (rules ?? []).flatMap(({ host }) => (host === undefined || host === '' ? [] : [host]));
  if (named.length === 0) {
    return '*';
  }
  const text = named.slice(0, mostHosts).join(',');
  return named.length > mostHosts ? `${text} + ${named.length - mostHosts} more...` : text;
}

function validate({ spec }: Ingress): FieldError[] {
  const rules = spec?.rules ?? [];
  if (rules.length === 0 && spec?.defaultBackend === undefined) {
    return [invalid('spec', rules, 'either `defaultBackend` or `rules` must be specified')];
  }
  const errors: FieldError[] = [];
  for (const [index, tls] of (spec?.tls ?? []).entries()) {
    for (const [position, host] of (tls.hosts ?? []).entries()) {
      errors.push(...messages(`spec.tls[${index}].hosts[${position}]`, host, hostMessages(host)));
    }
  }
  if (spec?.defaultBackend !== undefined) {
    errors.push(...validateBackend(spec.defaultBackend, 'spec.defaultBackend'));
  }
  for (const [index, rule] of rules.entries()) {
    const at = `spec.rules[${index}]`;
    const host = rule.host ?? '';
    if (host !== '') {
      errors.push(
        ...(isIP(host) === 0
          ? messages(`${at}.host`, host, hostMessages(host))
          : [invalid(`${at}.host`, host, 'must be a DNS name, not an IP address')]),
      );
    }
    if (rule.http !== undefined && (rule.http.paths ?? []).length === 0) {
      errors.push(required(`${at}.http.paths`));
    }
    for (const [position, path] of (rule.http?.paths ?? []).entries()) {
      errors.push(...validatePath(path, `${at}.http.paths[${position}]`));
    }
  }
  return errors;
}

function hostMessages(host: string): string[] {
  return host.includes('*') ? wildcardSubdomain(host) : dnsSubdomain(host);
}

function validatePath({ path = '', pathType, backend }: HTTPIngressPath, at: string): FieldError[] {
  const errors: FieldError[] = [];
  if (pathType === undefined || pathType === '') {
    errors.push(required(`${at}.pathType`, 'pathType must be specified'));
  } else if (!pathTypes.includes(pathType)) {
    errors.push(notSupported(`${at}.pathType`, pathType, pathTypes));
  } else if (pathType !== 'ImplementationSpecific' || path !== '') {
    if (!path.startsWith('/')) {
      errors.push(invalid(`${at}.path`, path, 'must be an absolute path'));
    }
    for (const sequence of pathType === 'ImplementationSpecific' ? [] : ['//', '/./', '/../', '%2f', '%2F']) {
      if (path.includes(sequence)) {
        errors.push(invalid(`${at}.path`, path, `must not contain '${sequence}'`));
      }
    }
  }
  return [...errors, ...validateBackend(backend ?? {}, `${at}.backend`)];
}

function validateBackend({ service, resource }: IngressBackend, at: string): FieldError[] {
  if (service !== undefined && resource !== undefined) {
    return [invalid(at, '', 'cannot set both resource and service backends')];
  }
  if (resource !== undefined) {
    return [
      ...((resource.kind ?? '') === '' ? [required(`${at}.resource.kind`)] : []),
      ...((resource.name ?? '') === '' ? [required(`${at}.resource.name`)] : []),
    ];
  }
  const { name = '', port } = service ?? {};
  const errors = name === '' ? [required(`${at}.service.name`)] : messages(`${at}.service.name`, name, dnsLabel(name));
  const { name: portText = '', number = 0 } = port ?? {};
  if (portText !== '' && number !== 0) {
    errors.push(invalid(at, '', 'cannot set both port name & port number'));
  } else if (portText !== '') {
    errors.push(...messages(`${at}.service.port.name`, portText, portName(portText)));
  } else if (number !== 0) {
    errors.push(...inRange(`${at}.service.port.number`, number, portRange));
  } else {
    errors.push(required(at, 'port name or number is required'));
  }
  return errors;
}
