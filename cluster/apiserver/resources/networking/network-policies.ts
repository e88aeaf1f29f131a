// SPDX-License-Identifier: Apache-2.0
// Network policies: which pods may talk to which.
import type { IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import type { FieldError } from '../definition.ts';
import { selectorText, text } from '../printing/columns.ts';
import { isCidr, isStrictSubset, validateCidr } from '../validation/addresses.ts';
import { forbidden, inRange, invalid, messages, notSupported, portRange, required } from '../validation/fields.ts';
import { portName } from '../validation/names.ts';
import { validateLabelSelector } from '../validation/selectors.ts';

export const networkPolicies = define<NetworkPolicy>({
  group: 'networking.k8s.io',
  plural: 'networkpolicies',
  kind: 'NetworkPolicy',
  namespaced: true,
  shortNames: ['netpol'],
  default({ spec }) {
    if (spec === undefined) {
      return;
    }
    spec.podSelector ??= {};
    for (const port of [...(spec.ingress ?? []), ...(spec.egress ?? [])].flatMap((rule) => rule.ports ?? [])) {
      port.protocol ??= 'TCP';
    }
    if ((spec.policyTypes ?? []).length === 0) {
      spec.policyTypes = (spec.egress ?? []).length > 0 ? ['Ingress', 'Egress'] : ['Ingress'];
    }
  },
  validate,
  columns: [text('Pod-Selector', ({ spec }) => selectorText(spec?.podSelector))],
});

function validate({ spec }: NetworkPolicy): FieldError[] {
  const errors = validateLabelSelector(spec?.podSelector, 'spec.podSelector');
  for (const [index, rule] of (spec?.ingress ?? []).entries()) {
    errors.push(...validateRule(rule.ports, rule.from, { path: `spec.ingress[${index}]`, peers: 'from' }));
  }
  for (const [index, rule] of (spec?.egress ?? []).entries()) {
    errors.push(...validateRule(rule.ports, rule.to, { path: `spec.egress[${index}]`, peers: 'to' }));
  }
  const types = spec?.policyTypes ?? [];
  if (types.length > 2) {
    errors.push(invalid('spec.policyTypes', types, 'may not specify more than two policyTypes'));
  }
  for (const [index, type] of types.entries()) {
    if (type !== 'Ingress' && type !== 'Egress') {
      errors.push(notSupported(`spec.policyTypes[${index}]`, type, ['Egress', 'Ingress']));
    }
  }
  return errors;
}

function validateRule(
  ports: readonly NetworkPolicyPort[] | undefined,
  peers: readonly NetworkPolicyPeer[] | undefined,
  at: { readonly path: string; readonly peers: string },
): FieldError[] {
  return [
    ...(ports ?? []).flatMap((port, index) => validatePort(port, `${at.path}.ports[${index}]`)),
    ...(peers ?? []).flatMap((peer, index) => validatePeer(peer, `${at.path}.${at.peers}[${index}]`)),
  ];
}

function validatePort({ protocol, port, endPort }: NetworkPolicyPort, at: string): FieldError[] {
  const errors: FieldError[] = [];
  if (protocol !== undefined && !['TCP', 'UDP', 'SCTP'].includes(protocol)) {
    errors.push(notSupported(`${at}.protocol`, protocol, ['TCP', 'UDP', 'SCTP']));
  }
  if (typeof port === 'string') {
    errors.push(...messages(`${at}.port`, port, portName(port)));
    if (endPort !== undefined) {
      errors.push(invalid(`${at}.endPort`, endPort, 'may not be specified when `port` is non-numeric'));
    }
  } else if (port === undefined) {
    if (endPort !== undefined) {
      errors.push(invalid(`${at}.endPort`, endPort, 'may not be specified when `port` is not specified'));
    }
  } else {
    errors.push(...inRange(`${at}.port`, port, portRange));
    if (endPort !== undefined) {
      errors.push(
        ...(endPort < port ? [invalid(`${at}.endPort`, endPort, 'must be greater than or equal to `port`')] : []),
        ...inRange(`${at}.endPort`, endPort, portRange),
      );
    }
  }
  return errors;
}

function validatePeer(peer: NetworkPolicyPeer, at: string): FieldError[] {
  const { podSelector, namespaceSelector, ipBlock } = peer;
  const selectors = podSelector !== undefined || namespaceSelector !== undefined;
  if (!selectors && ipBlock === undefined) {
    return [required(at, 'must specify a peer')];
  }
  if (selectors && ipBlock !== undefined) {
    return [forbidden(at, 'may not specify both ipBlock and another peer')];
  }
  return [
    ...validateLabelSelector(podSelector, `${at}.podSelector`),
    ...validateLabelSelector(namespaceSelector, `${at}.namespaceSelector`),
    ...(ipBlock === undefined ? [] : validateBlock(ipBlock, `${at}.ipBlock`)),
  ];
}

function validateBlock({ cidr, except }: IPBlock, at: string): FieldError[] {
  if ((cidr ?? '') === '') {
    return [required(`${at}.cidr`)];
  }
  const errors = validateCidr(cidr, `${at}.cidr`);
  for (const [index, exception] of (except ?? []).entries()) {
    const field = `${at}.except[${index}]`;
    errors.push(...validateCidr(exception, field));
    if (isCidr(cidr) && isCidr(exception) && !isStrictSubset(exception, cidr)) {
      errors.push(invalid(field, exception, 'must be a strict subset of `cidr`'));
    }
  }
  return errors;
}
