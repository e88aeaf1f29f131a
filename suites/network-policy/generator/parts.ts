// SPDX-License-Identifier: Apache-2.0
/** The parts that policy cases are put together from, and `policyCase`, which tags a case by what its policies consist of. */
import type {
  V1LabelSelector,
  V1LabelSelectorRequirement,
  V1NetworkPolicyPeer,
  V1NetworkPolicyPort,
  V1NetworkPolicySpec,
} from '@kubernetes/client-node';
import type { ClusterNetworkPolicy, ClusterPolicyRule } from '../../oracles/reachability/cluster-network-policy.ts';
import type { CaseAction, CasePolicy, PolicyCase } from './policy-case.ts';

export type Direction = 'ingress' | 'egress';
export const directions = ['ingress', 'egress'] as const;

export interface RuleParts {
  /** Absent or empty: anybody. */
  readonly peers?: readonly V1NetworkPolicyPeer[];
  /** Absent or empty: any port of any protocol. */
  readonly ports?: readonly V1NetworkPolicyPort[];
}

export const everyPod: V1LabelSelector = {};

export function labelled(key: 'pod' | 'ns', ...values: readonly string[]): V1LabelSelector {
  return values.length === 1 ? { matchLabels: { [key]: values[0] ?? '' } } : expression(key, 'In', ...values);
}

export function expression(
  key: string,
  operator: V1LabelSelectorRequirement['operator'],
  ...values: readonly string[]
): V1LabelSelector {
  return { matchExpressions: [{ key, operator, ...(values.length > 0 && { values: [...values] }) }] };
}

export function podsIn(namespaceSelector: V1LabelSelector, podSelector: V1LabelSelector): V1NetworkPolicyPeer {
  return { namespaceSelector, podSelector };
}

export function block(cidr: string, ...except: readonly string[]): V1NetworkPolicyPeer {
  return { ipBlock: { cidr, ...(except.length > 0 && { except: [...except] }) } };
}

export function port(
  protocol: 'TCP' | 'UDP' | 'SCTP' | undefined,
  number?: number | string,
  endPort?: number,
): V1NetworkPolicyPort {
  return {
    ...(protocol !== undefined && { protocol }),
    ...(number !== undefined && { port: number }),
    ...(endPort !== undefined && { endPort }),
  };
}

/** The section of one direction, with its policyTypes. */
export function allow(direction: Direction, ...rules: readonly RuleParts[]): Partial<V1NetworkPolicySpec> {
  const sections = rules.map(({ peers = [], ports = [] }) => ({
    ...(peers.length > 0 && { [direction === 'ingress' ? '_from' : 'to']: [...peers] }),
    ...(ports.length > 0 && { ports: [...ports] }),
  }));
  return { policyTypes: [direction === 'ingress' ? 'Ingress' : 'Egress'], [direction]: sections };
}

export function policy(
  place: `${string}/${string}`,
  podSelector: V1LabelSelector,
  ...sections: readonly Partial<V1NetworkPolicySpec>[]
): CasePolicy {
  const [namespace = '', name = ''] = place.split('/');
  const policyTypes = sections.flatMap((section) => section.policyTypes ?? []);
  return {
    in: namespace,
    name,
    spec: Object.assign({ podSelector }, ...sections, { policyTypes }) as V1NetworkPolicySpec,
  };
}

export function put(...policies: readonly CasePolicy[]): CaseAction[] {
  return policies.map((one) => ({ kind: 'put-policy', policy: one }));
}

export function policyCase(
  id: string,
  title: string,
  { tags, steps }: { readonly tags: readonly string[]; readonly steps: readonly (readonly CaseAction[])[] },
): PolicyCase {
  const found = new Set<string>([...tags, ...steps.flat().flatMap(actionTags)]);
  if (steps.length > 1) found.add('perturbation');
  return { id: `network-policy.${id}`, title, tags: [...found], steps };
}

function actionTags(action: CaseAction): string[] {
  if (action.kind === 'put-policy') return policyTags(action.policy.spec);
  if (action.kind === 'put-cluster-policy') return clusterPolicyTags(action.policy);
  return [action.kind];
}

function policyTags(spec: V1NetworkPolicySpec): string[] {
  return directions.flatMap((direction) => {
    if (!(spec.policyTypes ?? []).includes(direction === 'ingress' ? 'Ingress' : 'Egress')) return [];
    const rules = (spec[direction] ?? []).map((rule) => ({
      peers: ('to' in rule ? rule.to : '_from' in rule ? rule._from : undefined) ?? [],
      ports: rule.ports ?? [],
    }));
    return [
      direction,
      ...(rules.length === 0 ? ['deny-all'] : []),
      ...rules.flatMap(({ peers, ports }) => [
        ...(peers.length === 0 && ports.length === 0 ? ['allow-all'] : []),
        ...(peers.length === 0 ? ['any-peer'] : peers.length > 1 ? ['multi-peer'] : []),
        ...(ports.length === 0 ? ['any-port-protocol'] : ports.length > 1 ? ['multi-port'] : []),
        ...peers.flatMap(peerTags),
        ...ports.flatMap(portTags),
      ]),
    ];
  });
}

function peerTags({ ipBlock, namespaceSelector, podSelector }: V1NetworkPolicyPeer): string[] {
  if (ipBlock !== undefined) return [(ipBlock.except ?? []).length > 0 ? 'ip-block-with-except' : 'ip-block-no-except'];
  const isEmpty = (selector: V1LabelSelector): boolean => Object.keys(selector).length === 0;
  return [
    podSelector === undefined || isEmpty(podSelector) ? 'all-pods' : 'pods-by-label',
    namespaceSelector === undefined
      ? 'policy-namespace'
      : isEmpty(namespaceSelector)
        ? 'all-namespaces'
        : JSON.stringify(namespaceSelector).includes('kubernetes.io/metadata.name')
          ? 'namespaces-by-default-label'
          : 'namespaces-by-label',
  ];
}

function portTags({ protocol = 'TCP', port: number, endPort }: V1NetworkPolicyPort): string[] {
  const kind = endPort !== undefined ? 'end-port' : number === undefined ? 'any-port' : undefined;
  return [protocol.toLowerCase(), kind ?? (typeof number === 'string' ? 'named-port' : 'numbered-port')];
}

function clusterPolicyTags({ spec }: ClusterNetworkPolicy): string[] {
  const rulesIn = (direction: Direction): readonly ClusterPolicyRule[] => spec[direction] ?? [];
  return [
    'cluster-network-policy',
    `tier-${spec.tier.toLowerCase()}`,
    ...directions.filter((direction) => rulesIn(direction).length > 0),
    ...directions
      .flatMap(rulesIn)
      .flatMap(({ action, from = [], to = [], protocols = [] }) => [
        `action-${action.toLowerCase()}`,
        ...[...from, ...to].flatMap((peer) => Object.keys(peer).map((field) => `peer-${field}`)),
        ...protocols
          .flatMap((one) => Object.keys(one))
          .map((field) => (field === 'destinationNamedPort' ? 'named-port' : field)),
      ]),
  ];
}
