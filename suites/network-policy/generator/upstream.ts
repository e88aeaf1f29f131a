// SPDX-License-Identifier: Apache-2.0
/**
 * What Kubernetes' own NetworkPolicy tests demand of the data path, as data: 42 behaviours over TCP, three of them again over UDP and over
 * SCTP. Those that the established taxonomy has as well carry the tag `taxonomy` too.
 */
import type { V1NetworkPolicyPeer, V1NetworkPolicyPort } from '@kubernetes/client-node';
import {
  allow,
  block,
  everyPod,
  expression,
  labelled,
  podsIn,
  policy,
  policyCase,
  port,
  put,
  type RuleParts,
} from './parts.ts';
import { tablePorts, type CaseAction, type CasePolicy, type PolicyCase } from './policy-case.ts';

const { first, second } = tablePorts;
const podA = labelled('pod', 'a');
const podB = labelled('pod', 'b');
const inY: V1NetworkPolicyPeer = { namespaceSelector: labelled('ns', 'y') };
const nameLabel = 'kubernetes.io/metadata.name';
const denyIngress = policy('x/deny-ingress', everyPod, allow('ingress'));

function onA(name: string, ...rules: readonly RuleParts[]): CasePolicy {
  return policy(`x/${name}`, podA, allow('ingress', ...rules));
}

function fromA(name: string, ...rules: readonly RuleParts[]): CasePolicy {
  return policy(`x/${name}`, podA, allow('egress', ...rules));
}

function from(...peers: readonly V1NetworkPolicyPeer[]): RuleParts {
  return { peers };
}

function on(...ports: readonly V1NetworkPolicyPort[]): RuleParts {
  return { ports };
}

interface Behaviour {
  readonly id: string;
  readonly title: string;
  readonly steps: readonly (readonly CaseAction[])[];
  readonly inTaxonomy?: boolean;
}

function behaviour(id: string, title: string, ...policies: readonly CasePolicy[]): Behaviour {
  return { id, title, steps: [put(...policies)] };
}

const overTcp: readonly Behaviour[] = [
  {
    ...behaviour('default-deny-ingress', 'Nobody enters a namespace that denies all ingress', denyIngress),
    inTaxonomy: true,
  },
  {
    ...behaviour(
      'default-deny-all',
      'Nothing enters or leaves a namespace that denies both',
      policy('x/deny', everyPod, allow('ingress'), allow('egress')),
    ),
    inTaxonomy: true,
  },
  {
    ...behaviour(
      'from-pods-of-own-namespace',
      'A pod selector lets in pods of the server’s namespace',
      onA('allow', from({ podSelector: podB })),
    ),
    inTaxonomy: true,
  },
  behaviour('to-one-target', 'One pod is opened above a namespace that denies ingress', denyIngress, onA('allow', {})),
  {
    ...behaviour(
      'from-all-namespaces',
      'An empty namespace selector lets in pods of all namespaces',
      onA('allow', from({ namespaceSelector: everyPod })),
    ),
    inTaxonomy: true,
  },
  {
    ...behaviour('from-another-namespace', 'Only one other namespace may enter', onA('allow', from(inY))),
    inTaxonomy: true,
  },
  behaviour(
    'pod-expression',
    'Pods are chosen by an expression',
    onA('allow', from({ podSelector: expression('pod', 'In', 'b') })),
  ),
  behaviour(
    'namespace-expression',
    'Namespaces are chosen by an expression',
    onA('allow', from({ namespaceSelector: expression('ns', 'In', 'y') })),
  ),
  {
    ...behaviour('pod-or-namespace', 'Two peers are alternatives', onA('allow', from({ podSelector: podB }, inY))),
    inTaxonomy: true,
  },
  {
    ...behaviour(
      'pod-and-namespace',
      'Two selectors of one peer must both match',
      onA('allow', from(podsIn(labelled('ns', 'y'), podB))),
    ),
    inTaxonomy: true,
  },
  behaviour(
    'several-pods-and-namespaces',
    'Selectors that each match several pods and namespaces',
    onA('allow', from(podsIn(expression('ns', 'NotIn', 'x'), expression('pod', 'In', 'b', 'c')))),
  ),
  behaviour(
    'any-pod',
    'A peer of any pod in chosen namespaces',
    onA('allow', from(podsIn(labelled('ns', 'y'), everyPod))),
  ),
  behaviour(
    'pod-of-another-namespace',
    'One pod of one other namespace may enter',
    onA('allow', from(podsIn(labelled('ns', 'y'), podA))),
  ),
  { ...behaviour('ports', 'Only one port is open', onA('allow', on(port('TCP', first)))), inTaxonomy: true },
  {
    ...behaviour(
      'stacked-overlapping-targets',
      'Policies whose targets overlap add up',
      onA('first', { ...from(inY), ...on(port('TCP', first)) }),
      policy('x/second', labelled('pod', 'a', 'b'), allow('ingress', { ...from(inY), ...on(port('TCP', second)) })),
    ),
    inTaxonomy: true,
  },
  {
    ...behaviour('allow-all', 'An empty rule opens all', policy('x/allow', everyPod, allow('ingress', {}))),
    inTaxonomy: true,
  },
  {
    ...behaviour(
      'named-port-ingress',
      'A port is opened by its name',
      policy('x/allow', everyPod, allow('ingress', on(port('TCP', 'web')))),
    ),
    inTaxonomy: true,
  },
  behaviour(
    'named-port-from-namespace',
    'A named port is open to one namespace',
    onA('allow', { ...from(inY), ...on(port('TCP', 'web')) }),
  ),
  behaviour('named-port-egress', 'A pod may only send to a named port', fromA('allow', on(port('TCP', 'web')))),
  {
    id: 'updated-policy',
    title: 'A policy that is changed holds as changed',
    steps: [put(onA('allow', on(port('TCP', second)))), put(onA('allow', on(port('TCP', first))))],
    inTaxonomy: true,
  },
  {
    id: 'updated-namespace',
    title: 'A namespace that gets the label may enter',
    steps: [
      put(onA('allow', from({ namespaceSelector: labelled('ns', 'y-updated') }))),
      [{ kind: 'label-namespace', namespace: 'y', labels: { ns: 'y-updated' } }],
    ],
    inTaxonomy: true,
  },
  {
    id: 'updated-pod',
    title: 'A pod that gets the label may enter',
    steps: [
      put(onA('allow', from({ podSelector: labelled('pod', 'b-updated') }))),
      [{ kind: 'label-pod', in: 'x', pod: 'b', labels: { pod: 'b-updated' } }],
    ],
  },
  behaviour(
    'not-from-other-namespaces',
    'Pods of other namespaces may not enter',
    policy('x/own', everyPod, allow('ingress', from({ podSelector: everyPod }))),
  ),
  {
    id: 'deny-to-updated-pod',
    title: 'A pod that gets the label of a denied target is closed',
    steps: [
      put(policy('x/deny', { matchLabels: { target: 'isolated' } }, allow('ingress'))),
      [{ kind: 'label-pod', in: 'x', pod: 'a', labels: { target: 'isolated' } }],
    ],
  },
  behaviour('deny-egress-of-pod', 'One pod may send to nobody', fromA('deny')),
  behaviour('deny-egress-of-namespace', 'No pod of a namespace may send', policy('x/deny', everyPod, allow('egress'))),
  behaviour(
    'both-directions',
    'One policy with rules for both directions',
    policy('x/both', podA, allow('ingress', from(inY)), allow('egress', { ...from(inY), ...on(port('TCP', first)) })),
  ),
  behaviour(
    'client-denied-server-open',
    'A client that may not send does not arrive, whatever the server allows',
    fromA('deny'),
    policy('y/open', podA, allow('ingress', from({ namespaceSelector: labelled('ns', 'x') }))),
  ),
  behaviour(
    'egress-to-another-namespace',
    'A client may reach one pod of another namespace',
    fromA('allow', from(podsIn(labelled('ns', 'y'), podA))),
  ),
  behaviour('whole-protocol', 'A rule that names only a protocol opens all its ports', onA('allow', on(port('TCP')))),
  behaviour(
    'allow-all-wins-ingress',
    'Of several ingress policies one that allows all wins',
    onA('some', on(port('TCP', second))),
    onA('all', {}),
  ),
  behaviour(
    'allow-all-wins-egress',
    'Of several egress policies one that allows all wins',
    fromA('some', on(port('TCP', second))),
    fromA('all', {}),
  ),
  {
    id: 'deleted-policy',
    title: 'A policy that is deleted holds no longer',
    steps: [put(denyIngress), [{ kind: 'delete-policy', in: 'x', name: 'deny-ingress' }]],
  },
  behaviour('egress-to-block', 'A client may reach one address block', fromA('allow', from(block('$(y/b)')))),
  behaviour(
    'egress-to-block-except',
    'A client may not reach what a block excepts',
    fromA('allow', from(block('$(y/b)/24', '$(y/b)'))),
  ),
  {
    id: 'block-and-except-updated',
    title: 'An address that one rule excepts and another names is open',
    steps: [
      put(fromA('allow', from(block('$(y/b)/24', '$(y/b)')))),
      put(fromA('allow', from(block('$(y/b)/24', '$(y/b)')), from(block('$(y/b)')))),
    ],
  },
  {
    id: 'independent-directions',
    title: 'Ingress and egress of one pod are controlled apart',
    steps: [put(onA('in', {}), fromA('out')), put(onA('in'), fromA('out', {}))],
  },
  behaviour('sctp-is-not-tcp', 'A rule for SCTP does not open TCP', onA('allow', on(port('SCTP', first)))),
  behaviour(
    'sctp-only-isolates',
    'A policy that names SCTP alone isolates its pods',
    policy('x/sctp', everyPod, allow('ingress', on(port('SCTP')))),
  ),
  behaviour('udp-is-not-tcp', 'A rule for UDP does not open TCP', onA('allow', on(port('UDP', first)))),
  behaviour(
    'default-label',
    'A namespace is chosen by the label of its name',
    onA('allow', from({ namespaceSelector: { matchLabels: { [nameLabel]: '$(y)' } } })),
  ),
  behaviour(
    'default-label-expression',
    'Namespaces are chosen by an expression over the label of their name',
    onA('allow', from({ namespaceSelector: expression(nameLabel, 'NotIn', '$(y)') })),
  ),
];

function overOther(protocol: 'UDP' | 'SCTP'): Behaviour[] {
  return [
    behaviour('default-deny-ingress', `Nobody enters over ${protocol} what denies all ingress`, denyIngress),
    behaviour('ports', `Only one ${protocol} port is open`, onA('allow', on(port(protocol, first)))),
    behaviour(
      'pod-of-another-namespace',
      `One pod of one other namespace may enter over ${protocol}`,
      onA('allow', { ...from(podsIn(labelled('ns', 'y'), podA)), ...on(port(protocol)) }),
    ),
  ];
}

function toCase(protocol: string, { id, title, steps, inTaxonomy }: Behaviour): PolicyCase {
  const tags = ['upstream', `upstream-${protocol}`, ...(inTaxonomy === true ? ['taxonomy', 'upstream-e2e'] : [])];
  return policyCase(`upstream.${protocol}.${id}`, title, { tags, steps });
}

export const upstreamCases: readonly PolicyCase[] = [
  ...overTcp.map((one) => toCase('tcp', one)),
  ...overOther('UDP').map((one) => toCase('udp', one)),
  ...overOther('SCTP').map((one) => toCase('sctp', one)),
];
