// SPDX-License-Identifier: Apache-2.0
// Rules of Services.
import { isIP, isIPv4 } from 'node:net';
import type { Service, ServicePort, ServiceSpec } from '../../../machinery/api-types.ts';
import type { FieldError } from '../definition.ts';
import {
  duplicate,
  forbidden,
  inRange,
  invalid,
  messages,
  notSupported,
  oneOf,
  portRange,
  required,
} from '../validation/fields.ts';
import { validatePortReference } from '../validation/handlers.ts';
import { validateLabels } from '../validation/metadata.ts';
import { dnsLabel, dnsSubdomain, qualifiedName } from '../validation/names.ts';
import { familyNameOf, isExternal, isSelectorlessHeadless, needsHealthCheckPort } from './service-fields.ts';
import type { IpFamilyName } from './service-fields.ts';

const types = ['ClusterIP', 'ExternalName', 'LoadBalancer', 'NodePort'];
const affinities = ['ClientIP', 'None'];
const policies = ['Cluster', 'Local'];
const families = ['IPv4', 'IPv6'];
const familyPolicies = ['PreferDualStack', 'RequireDualStack', 'SingleStack'];
const distributions = ['PreferClose', 'PreferSameNode', 'PreferSameZone'];
const mostAffinitySeconds = 86_400;

/** `configured` are the families of the cluster. */
export function validateService(service: Service, configured: readonly IpFamilyName[]): FieldError[] {
  const { spec } = service;
  if (spec === undefined) {
    return [required('spec')];
  }
  return [
    ...validatePorts(spec),
    ...validateLabels(spec.selector, 'spec.selector'),
    ...oneOf('spec.type', spec.type, types),
    ...validateAffinity(spec),
    ...validateAddresses(spec),
    ...validateFamilies(service, configured),
    ...validateTrafficPolicies(service),
    ...validateByType(spec),
  ];
}

export function validateServiceUpdate(service: Service, old: Service): FieldError[] {
  const { spec } = service;
  const before = old.spec;
  if (spec === undefined || before === undefined) {
    return [];
  }
  const errors: FieldError[] = [];
  errors.push(...validateAddressChange(spec, before));
  if (
    before.type === 'LoadBalancer' &&
    spec.type === 'LoadBalancer' &&
    spec.loadBalancerClass !== before.loadBalancerClass
  ) {
    errors.push(invalid('spec.loadBalancerClass', spec.loadBalancerClass, 'may not change once set'));
  }
  return errors;
}

/** The first address and family stay for good; the second ones come and go with the policy. */
function validateAddressChange(spec: ServiceSpec, before: ServiceSpec): FieldError[] {
  if (before.type === 'ExternalName' || spec.type === 'ExternalName') {
    return [];
  }
  const errors: FieldError[] = [];
  for (const field of ['clusterIPs', 'ipFamilies'] as const) {
    const [now, then] = [spec[field] ?? [], before[field] ?? []];
    for (const [index, value] of then.entries()) {
      const isUnset = index > 0 && now[index] === undefined;
      if (value !== '' && now[index] !== value && !isUnset) {
        errors.push(invalid(`spec.${field}[${index}]`, now, 'may not change once set'));
      }
    }
    if (now.length === 1 && then.length === 2 && spec.ipFamilyPolicy !== 'SingleStack') {
      const what = field === 'clusterIPs' ? 'cluster IP' : 'IP family';
      errors.push(
        invalid('spec.ipFamilyPolicy', spec.ipFamilyPolicy, `must be 'SingleStack' to release the secondary ${what}`),
      );
    }
  }
  return errors;
}

function validatePorts(spec: ServiceSpec): FieldError[] {
  const ports = spec.ports ?? [];
  const errors: FieldError[] = [];
  if (ports.length === 0 && spec.clusterIP !== 'None' && spec.type !== 'ExternalName') {
    errors.push(required('spec.ports'));
  }
  const names = new Set<string>();
  const numbers = new Set<string>();
  const nodePorts = new Set<string>();
  for (const [index, port] of ports.entries()) {
    const at = `spec.ports[${index}]`;
    errors.push(...validatePort(port, at, { nameRequired: ports.length > 1, headless: spec.clusterIP === 'None' }));
    const name = port.name ?? '';
    if (name !== '' && names.has(name)) {
      errors.push(duplicate(`${at}.name`, name));
    }
    names.add(name);
    const number = `${port.protocol}/${port.port}`;
    if (numbers.has(number)) {
      errors.push(duplicate(at, { port: port.port, protocol: port.protocol }));
    }
    numbers.add(number);
    if ((port.nodePort ?? 0) !== 0) {
      const nodePort = `${port.protocol}/${port.nodePort}`;
      if (nodePorts.has(nodePort)) {
        errors.push(duplicate(`${at}.nodePort`, port.nodePort));
      }
      nodePorts.add(nodePort);
      if (spec.type === 'ClusterIP' || spec.type === 'ExternalName') {
        errors.push(forbidden(`${at}.nodePort`, `may not be used when \`type\` is '${spec.type}'`));
      }
    }
  }
  return errors;
}

function validatePort(
  port: ServicePort,
  at: string,
  options: { readonly nameRequired: boolean; readonly headless: boolean },
): FieldError[] {
  const errors: FieldError[] = [];
  const name = port.name ?? '';
  if (name === '') {
    if (options.nameRequired) {
      errors.push(required(`${at}.name`));
    }
  } else {
    errors.push(...messages(`${at}.name`, name, dnsLabel(name)));
  }
  errors.push(
    ...inRange(`${at}.port`, port.port ?? 0, portRange),
    ...oneOf(`${at}.protocol`, port.protocol, ['SCTP', 'TCP', 'UDP']),
    ...validatePortReference(port.targetPort, `${at}.targetPort`),
  );
  if ((port.appProtocol ?? '') !== '') {
    errors.push(...messages(`${at}.appProtocol`, port.appProtocol, qualifiedName(port.appProtocol ?? '')));
  }
  return errors;
}

function validateAffinity(spec: ServiceSpec): FieldError[] {
  const errors = oneOf('spec.sessionAffinity', spec.sessionAffinity, affinities);
  const seconds = spec.sessionAffinityConfig?.clientIP?.timeoutSeconds;
  if (spec.sessionAffinity === 'ClientIP' && (seconds === undefined || seconds <= 0 || seconds > mostAffinitySeconds)) {
    errors.push(
      invalid(
        'spec.sessionAffinityConfig.clientIP.timeoutSeconds',
        seconds,
        `must be greater than 0 and less than ${mostAffinitySeconds}`,
      ),
    );
  }
  return errors;
}

function validateAddresses(spec: ServiceSpec): FieldError[] {
  const errors: FieldError[] = [];
  const addresses = spec.clusterIPs ?? [];
  if (spec.type === 'ExternalName') {
    return addresses.length > 0 || (spec.clusterIP ?? '') !== ''
      ? [forbidden('spec.clusterIPs', 'may not be set for ExternalName services')]
      : [];
  }
  if (addresses.length > 0 && (spec.clusterIP ?? '') === '') {
    errors.push(invalid('spec.clusterIPs', addresses, 'must be empty when `clusterIP` is not specified'));
  } else if (addresses.length > 0 && addresses[0] !== spec.clusterIP) {
    errors.push(invalid('spec.clusterIPs[0]', addresses, 'first value must match `clusterIP`'));
  }
  if (addresses.includes('None') && addresses.length > 1) {
    errors.push(invalid('spec.clusterIPs', addresses, "'None' must be the first and only value"));
  } else if (addresses.length > 2) {
    errors.push(invalid('spec.clusterIPs', addresses, 'may only hold up to 2 values'));
  } else if (new Set(addresses.map(familyNameOf)).size < addresses.length) {
    errors.push(invalid('spec.clusterIPs', addresses, 'may specify no more than one IP for each IP family'));
  }
  for (const [index, address] of addresses.entries()) {
    if (address !== 'None' && isIP(address) === 0) {
      errors.push(
        invalid(`spec.clusterIPs[${index}]`, address, 'must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'),
      );
    }
    if (address === 'None' && spec.type !== 'ClusterIP') {
      errors.push(invalid(`spec.clusterIPs[${index}]`, address, `may not be set to 'None' for ${spec.type} services`));
    }
  }
  for (const [index, address] of (spec.externalIPs ?? []).entries()) {
    if (isIP(address) === 0) {
      errors.push(
        invalid(`spec.externalIPs[${index}]`, address, 'must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'),
      );
    } else if (
      address === '0.0.0.0' ||
      address === '::' ||
      address.startsWith('127.') ||
      address.startsWith('169.254.')
    ) {
      errors.push(invalid(`spec.externalIPs[${index}]`, address, 'may not be unspecified, loopback or link-local'));
    }
  }
  return errors;
}

function validateFamilies(service: Service, configured: readonly IpFamilyName[]): FieldError[] {
  const { spec = {} } = service;
  const errors: FieldError[] = [];
  if (spec.type === 'ExternalName') {
    for (const field of ['ipFamilies', 'ipFamilyPolicy'] as const) {
      if (spec[field] !== undefined) {
        errors.push(forbidden(`spec.${field}`, 'may not be set for ExternalName services'));
      }
    }
    return errors;
  }
  const given = spec.ipFamilies ?? [];
  const addresses = spec.clusterIPs ?? [];
  errors.push(...oneOf('spec.ipFamilyPolicy', spec.ipFamilyPolicy, familyPolicies));
  for (const [index, family] of given.entries()) {
    const at = `spec.ipFamilies[${index}]`;
    const address = addresses[index] ?? '';
    if (!families.includes(family)) {
      errors.push(notSupported(at, family, families));
    } else if (given.indexOf(family) < index) {
      errors.push(duplicate(at, family));
    } else if (isIP(address) !== 0 && familyNameOf(address) !== family) {
      const detail = `expected an ${family} value as indicated by \`ipFamilies[${index}]\``;
      errors.push(invalid(`spec.clusterIPs[${index}]`, address, detail));
    } else if (!(configured as readonly string[]).includes(family) && !isSelectorlessHeadless(service)) {
      errors.push(invalid(at, family, 'not configured on this cluster'));
    }
  }
  if (spec.ipFamilyPolicy === 'SingleStack') {
    const isSingle = (count: number, what: string): FieldError[] =>
      count < 2
        ? []
        : [
            invalid(
              'spec.ipFamilyPolicy',
              spec.ipFamilyPolicy,
              `must be 'RequireDualStack' or 'PreferDualStack' when multiple ${what} are specified`,
            ),
          ];
    errors.push(...isSingle(addresses.length, 'cluster IPs'), ...isSingle(given.length, 'IP families'));
  }
  if (spec.ipFamilyPolicy === 'RequireDualStack' && configured.length < 2 && !isSelectorlessHeadless(service)) {
    errors.push(
      invalid('spec.ipFamilyPolicy', spec.ipFamilyPolicy, 'this cluster is not configured for dual-stack services'),
    );
  }
  return errors;
}

function validateTrafficPolicies(service: Service): FieldError[] {
  const { spec = {} } = service;
  const errors: FieldError[] = [];
  if (isExternal(service)) {
    errors.push(...oneOf('spec.externalTrafficPolicy', spec.externalTrafficPolicy, policies));
  } else if (spec.externalTrafficPolicy !== undefined) {
    errors.push(
      invalid(
        'spec.externalTrafficPolicy',
        spec.externalTrafficPolicy,
        'may only be set for externally-accessible services',
      ),
    );
  }
  if (spec.type !== 'ExternalName') {
    errors.push(...oneOf('spec.internalTrafficPolicy', spec.internalTrafficPolicy, policies));
  }
  if ((spec.healthCheckNodePort ?? 0) !== 0 && !needsHealthCheckPort(service)) {
    errors.push(
      invalid(
        'spec.healthCheckNodePort',
        spec.healthCheckNodePort,
        "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
      ),
    );
  }
  if (spec.trafficDistribution !== undefined && !distributions.includes(spec.trafficDistribution)) {
    errors.push(notSupported('spec.trafficDistribution', spec.trafficDistribution, distributions));
  }
  return errors;
}

function validateByType(spec: ServiceSpec): FieldError[] {
  const errors: FieldError[] = [];
  if (spec.type === 'ExternalName') {
    // A trailing dot is fine in a DNS name.
    const name = (spec.externalName ?? '').replace(/\.$/, '');
    errors.push(
      ...(name === '' ? [required('spec.externalName')] : messages('spec.externalName', name, dnsSubdomain(name))),
    );
  }
  if (spec.type !== 'LoadBalancer') {
    if (spec.allocateLoadBalancerNodePorts !== undefined) {
      errors.push(forbidden('spec.allocateLoadBalancerNodePorts', "may only be used when `type` is 'LoadBalancer'"));
    }
    if (spec.loadBalancerClass !== undefined) {
      errors.push(forbidden('spec.loadBalancerClass', "may only be used when `type` is 'LoadBalancer'"));
    }
    if ((spec.loadBalancerSourceRanges ?? []).length > 0) {
      errors.push(forbidden('spec.LoadBalancerSourceRanges', "may only be used when `type` is 'LoadBalancer'"));
    }
  }
  for (const [index, range] of (spec.loadBalancerSourceRanges ?? []).entries()) {
    const [base = '', bits = ''] = range.trim().split('/');
    if (isIP(base) === 0 || !/^\d+$/.test(bits) || Number(bits) > (isIPv4(base) ? 32 : 128)) {
      errors.push(
        invalid(
          `spec.LoadBalancerSourceRanges[${index}]`,
          range,
          'must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)',
        ),
      );
    }
  }
  return errors;
}
