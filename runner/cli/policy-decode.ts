// SPDX-License-Identifier: Apache-2.0
/**
 * Policies out of documents. Whatever the API server would refuse for its shape is refused here as well, with file, document and field; what it
 * accepts although it is hardly meant is left to `plumb policy lint`.
 */
import { isIP } from 'node:net';
import type {
  V1LabelSelector,
  V1NetworkPolicy,
  V1NetworkPolicyPeer,
  V1NetworkPolicyPort,
} from '@kubernetes/client-node';
import type {
  ClusterNetworkPolicy,
  ClusterPolicyPeer,
  ClusterPolicyProtocol,
  ClusterPolicyRule,
  ClusterPolicySubject,
} from '../../suites/oracles/reachability/cluster-network-policy.ts';
import { Problem } from '../problem.ts';
import { isRecord, type SourceDocument } from './policy-documents.ts';

/** A value and where it stands. */
interface At {
  readonly value: unknown;
  readonly path: string;
  readonly document: SourceDocument;
}

type Decode<T> = (at: At) => T;

export function decodeNetworkPolicy(document: SourceDocument): V1NetworkPolicy {
  const spec = at(document, 'spec');
  const inSpec = fields(spec, ['podSelector', 'policyTypes', 'ingress', 'egress']);
  const rules = (
    name: string,
  ): { at: At; peers: V1NetworkPolicyPeer[] | undefined; ports: V1NetworkPolicyPort[] | undefined }[] | undefined =>
    optional(inSpec(name), (list) =>
      items(list, (rule) => {
        const field = name === 'ingress' ? 'from' : 'to';
        const inRule = fields(rule, [field, 'ports']);
        const peers = optional(inRule(field), (one) => items(one, decodePeer));
        return { at: rule, peers, ports: optional(inRule('ports'), (one) => items(one, decodePort)) };
      }),
    );
  const policyTypes = optional(inSpec('policyTypes'), (one) => items(one, oneOf('Ingress', 'Egress')));
  const [ingress, egress] = [rules('ingress'), rules('egress')];
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { namespace: document.namespace, name: document.name },
    spec: {
      podSelector: optional(inSpec('podSelector'), decodeSelector) ?? {},
      ...(policyTypes !== undefined && { policyTypes }),
      ...(ingress !== undefined && {
        ingress: ingress.map(({ peers, ports }) => ({
          ...(peers !== undefined && { _from: peers }),
          ...(ports !== undefined && { ports }),
        })),
      }),
      ...(egress !== undefined && {
        egress: egress.map(({ peers, ports }) => ({
          ...(peers !== undefined && { to: peers }),
          ...(ports !== undefined && { ports }),
        })),
      }),
    },
  };
}

export function decodeClusterNetworkPolicy(document: SourceDocument): ClusterNetworkPolicy {
  const inSpec = fields(at(document, 'spec'), ['tier', 'priority', 'subject', 'ingress', 'egress']);
  const rules = (name: 'ingress' | 'egress'): ClusterPolicyRule[] | undefined =>
    optional(inSpec(name), (list) =>
      items(list, (rule) => decodeClusterRule(rule, name === 'ingress' ? 'from' : 'to')),
    );
  const [ingress, egress] = [rules('ingress'), rules('egress')];
  return {
    metadata: { name: document.name },
    spec: {
      tier: oneOf('Admin', 'Baseline')(inSpec('tier')),
      priority: integer(0, 1000)(inSpec('priority')),
      subject: decodeSubject(fields(inSpec('subject'), ['namespaces', 'pods'])),
      ...(ingress !== undefined && { ingress }),
      ...(egress !== undefined && { egress }),
    },
  };
}

function decodePeer(peer: At): V1NetworkPolicyPeer {
  const inPeer = fields(peer, ['ipBlock', 'namespaceSelector', 'podSelector']);
  const ipBlock = optional(inPeer('ipBlock'), (block) => {
    const inBlock = fields(block, ['cidr', 'except']);
    const except = optional(inBlock('except'), (one) => items(one, cidr));
    return { cidr: cidr(inBlock('cidr')), ...(except !== undefined && { except }) };
  });
  const namespaceSelector = optional(inPeer('namespaceSelector'), decodeSelector);
  const podSelector = optional(inPeer('podSelector'), decodeSelector);
  const selects = namespaceSelector !== undefined || podSelector !== undefined;
  if (ipBlock !== undefined && selects) throw wrong(peer, 'has an ipBlock beside a selector', 'Make two peers of it.');
  if (ipBlock === undefined && !selects)
    throw wrong(peer, 'names nobody', 'Give it a podSelector, a namespaceSelector or an ipBlock.');
  return {
    ...(ipBlock !== undefined && { ipBlock }),
    ...(namespaceSelector !== undefined && { namespaceSelector }),
    ...(podSelector !== undefined && { podSelector }),
  };
}

function decodePort(one: At): V1NetworkPolicyPort {
  const inPort = fields(one, ['protocol', 'port', 'endPort']);
  const protocol = optional(inPort('protocol'), oneOf('TCP', 'UDP', 'SCTP'));
  const port = optional(inPort('port'), (number) =>
    typeof number.value === 'string' ? text(number) : portNumber(number),
  );
  const endPort = optional(inPort('endPort'), portNumber);
  return {
    ...(protocol !== undefined && { protocol }),
    ...(port !== undefined && { port }),
    ...(endPort !== undefined && { endPort }),
  };
}

function decodeSelector(selector: At): V1LabelSelector {
  const inSelector = fields(selector, ['matchLabels', 'matchExpressions']);
  const matchLabels = optional(inSelector('matchLabels'), labels);
  const matchExpressions = optional(inSelector('matchExpressions'), (list) =>
    items(list, (one) => {
      const inOne = fields(one, ['key', 'operator', 'values']);
      const operator = oneOf('In', 'NotIn', 'Exists', 'DoesNotExist')(inOne('operator'));
      const values = optional(inOne('values'), (given) => items(given, text));
      const needsValues = operator === 'In' || operator === 'NotIn';
      if (needsValues !== (values ?? []).length > 0)
        throw wrong(
          inOne('values'),
          `must ${needsValues ? 'not be' : 'be'} empty for ${operator}`,
          'Correct the expression.',
        );
      return { key: text(inOne('key')), operator, ...(values !== undefined && { values }) };
    }),
  );
  return {
    ...(matchLabels !== undefined && { matchLabels }),
    ...(matchExpressions !== undefined && { matchExpressions }),
  };
}

function decodeSubject(inSubject: (name: string) => At): ClusterPolicySubject {
  const namespaces = optional(inSubject('namespaces'), decodeSelector);
  const pods = optional(inSubject('pods'), (one) => {
    const inPods = fields(one, ['namespaceSelector', 'podSelector']);
    const namespaceSelector = optional(inPods('namespaceSelector'), decodeSelector);
    const podSelector = optional(inPods('podSelector'), decodeSelector);
    return {
      ...(namespaceSelector !== undefined && { namespaceSelector }),
      ...(podSelector !== undefined && { podSelector }),
    };
  });
  return { ...(namespaces !== undefined && { namespaces }), ...(pods !== undefined && { pods }) };
}

function decodeClusterRule(rule: At, peerField: 'from' | 'to'): ClusterPolicyRule {
  const inRule = fields(rule, ['name', 'action', peerField, 'protocols']);
  const name = optional(inRule('name'), text);
  const protocols = optional(inRule('protocols'), (list) => items(list, decodeProtocol));
  return {
    ...(name !== undefined && { name }),
    action: oneOf('Accept', 'Deny', 'Pass')(inRule('action')),
    [peerField]: items(inRule(peerField), decodeClusterPeer),
    ...(protocols !== undefined && { protocols }),
  };
}

/** A peer of an unknown kind is kept as an empty one: a later version of the API may have it, and rules about such peers exist. */
function decodeClusterPeer(peer: At): ClusterPolicyPeer {
  const inPeer = fields(peer);
  const nodes = optional(inPeer('nodes'), decodeSelector);
  const networks = optional(inPeer('networks'), (list) => items(list, cidr));
  const domainNames = optional(inPeer('domainNames'), (list) => items(list, text));
  return {
    ...decodeSubject(inPeer),
    ...(nodes !== undefined && { nodes }),
    ...(networks !== undefined && { networks }),
    ...(domainNames !== undefined && { domainNames }),
  };
}

function decodeProtocol(one: At): ClusterPolicyProtocol {
  const inOne = fields(one, ['tcp', 'udp', 'sctp', 'destinationNamedPort']);
  const match = (['tcp', 'udp', 'sctp'] as const).flatMap((protocol) => {
    const given = optional(inOne(protocol), (ports) => {
      const port = optional(fields(ports, ['destinationPort'])('destinationPort'), (destination) => {
        const inPort = fields(destination, ['number', 'range']);
        const number = optional(inPort('number'), portNumber);
        const range = optional(inPort('range'), (span) => {
          const inSpan = fields(span, ['start', 'end']);
          return { start: portNumber(inSpan('start')), end: portNumber(inSpan('end')) };
        });
        return { ...(number !== undefined && { number }), ...(range !== undefined && { range }) };
      });
      return port === undefined ? {} : { destinationPort: port };
    });
    return given === undefined ? [] : [[protocol, given] as const];
  });
  const destinationNamedPort = optional(inOne('destinationNamedPort'), text);
  return { ...Object.fromEntries(match), ...(destinationNamedPort !== undefined && { destinationNamedPort }) };
}

function at(document: SourceDocument, field: string): At {
  return { value: document.content[field], path: field, document };
}

/** Looks into an object that may have only these fields, or any where none are named. */
function fields(one: At, allowed?: readonly string[]): (name: string) => At {
  const { value, path, document } = one;
  if (!isRecord(value)) throw wrong(one, value === undefined ? 'is missing' : 'is not an object', 'Correct the field.');
  const unknown = Object.keys(value).find((name) => allowed?.includes(name) === false);
  if (unknown !== undefined) {
    const field = { value: value[unknown], path: `${path}.${unknown}`, document };
    throw wrong(field, 'is not a field of the API', `Fields there: ${allowed?.join(', ')}.`);
  }
  return (name) => ({ value: value[name], path: `${path}.${name}`, document });
}

function optional<T>(one: At, decode: Decode<T>): T | undefined {
  return one.value === undefined || one.value === null ? undefined : decode(one);
}

function items<T>(one: At, decode: Decode<T>): T[] {
  if (!Array.isArray(one.value))
    throw wrong(one, one.value === undefined ? 'is missing' : 'is not a list', 'Write a list.');
  return one.value.map((value: unknown, index) => decode({ ...one, value, path: `${one.path}[${index}]` }));
}

function text(one: At): string {
  if (typeof one.value !== 'string') throw wrong(one, 'is not a string', 'Put it into quotes.');
  return one.value;
}

function labels(one: At): Record<string, string> {
  const inLabels = fields(one);
  return Object.fromEntries(Object.keys(one.value as object).map((key) => [key, text(inLabels(key))]));
}

function integer(least: number, most: number): Decode<number> {
  return (one) => {
    const { value } = one;
    if (typeof value !== 'number' || !Number.isInteger(value) || value < least || value > most)
      throw wrong(one, `is not a whole number from ${least} to ${most}`, 'Correct the number.');
    return value;
  };
}

const portNumber = integer(1, 65_535);

function oneOf<T extends string>(...allowed: readonly T[]): Decode<T> {
  return (one) => {
    const found = allowed.find((value) => value === one.value);
    if (found === undefined) throw wrong(one, `is none of ${allowed.join(', ')}`, 'Mind the capital letters.');
    return found;
  };
}

function cidr(one: At): string {
  const written = text(one);
  const [address = '', prefix = ''] = written.split('/');
  const most = isIP(address) === 4 ? 32 : 128;
  if (isIP(address) === 0 || !/^\d+$/.test(prefix) || Number(prefix) > most)
    throw wrong(one, 'is not a CIDR', 'Write it like 10.0.0.0/8 or fd00::/8.');
  return written;
}

function wrong({ value, path, document }: At, what: string, remedy: string): Problem {
  const { origin, kind, namespace, name } = document;
  const shown = value === undefined || typeof value === 'object' ? '' : ` ${JSON.stringify(value)}`;
  const object = namespace === '' ? name : `${namespace}/${name}`;
  return new Problem(`${origin} (${kind} ${object}): ${path}${shown} ${what}`, remedy);
}
