// SPDX-License-Identifier: Apache-2.0
/**
 * 217 cases, each of which changes one place of one base policy, so that a failing one names the place: peers, ports and protocols, targets,
 * rules, what happens to a cluster while a policy holds, and policies that seem to contradict each other. With the thirteen that upstream's
 * suite shares with them (tag `taxonomy` in upstream.ts) they are the 230 of the established taxonomy. Layered policies stand on the
 * destination for ingress and on the source for egress, and address blocks follow the family under test.
 */
import type { V1NetworkPolicyPeer, V1NetworkPolicyPort, V1NetworkPolicySpec } from '@kubernetes/client-node';
import {
  allow,
  block,
  directions,
  everyPod,
  expression,
  labelled,
  podsIn,
  policy,
  policyCase,
  port,
  put,
  type Direction,
  type RuleParts,
} from './parts.ts';
import { tablePorts, type CaseAction, type CasePolicy, type PolicyCase } from './policy-case.ts';

const { first, second } = tablePorts;
const podA = labelled('pod', 'a');

/** What the base policy on x/a lets through: some pods of some namespaces, on one port, both ways. */
const baseRules: Readonly<Record<Direction, RuleParts>> = {
  ingress: { peers: [podsIn(labelled('ns', 'x', 'y'), labelled('pod', 'b', 'c'))], ports: [port('TCP', first)] },
  egress: { peers: [podsIn(labelled('ns', 'y', 'z'), labelled('pod', 'a', 'b'))], ports: [port('TCP', first)] },
};

function base(change: Partial<Record<Direction, readonly RuleParts[]>> = {}): CasePolicy {
  const section = (direction: Direction): Partial<V1NetworkPolicySpec> =>
    allow(direction, ...(change[direction] ?? [baseRules[direction]]));
  return policy('x/base', podA, section('ingress'), section('egress'));
}

function taxonomyCase(
  id: string,
  title: string,
  steps: readonly (readonly CaseAction[])[],
  ...tags: string[]
): PolicyCase {
  return policyCase(id, title, { tags: ['taxonomy', id.split('.')[0] ?? '', ...tags], steps });
}

interface Named<T> {
  readonly id: string;
  readonly value: T;
}

const peers: readonly Named<V1NetworkPolicyPeer>[] = [
  { id: 'own-pods', value: { podSelector: everyPod } },
  { id: 'own-pods-by-label', value: { podSelector: labelled('pod', 'b') } },
  { id: 'namespaces', value: { namespaceSelector: everyPod } },
  { id: 'namespaces-by-label', value: { namespaceSelector: labelled('ns', 'y') } },
  { id: 'pods-in-namespaces', value: podsIn(everyPod, everyPod) },
  { id: 'pods-in-namespaces-by-label', value: podsIn(labelled('ns', 'y', 'z'), everyPod) },
  { id: 'pods-by-label-in-namespaces', value: podsIn(everyPod, labelled('pod', 'c')) },
  { id: 'pods-by-label-in-namespaces-by-label', value: podsIn(labelled('ns', 'z'), labelled('pod', 'a', 'c')) },
  { id: 'block', value: block('$(z/c)/24') },
  { id: 'block-with-except', value: block('$(z/c)/24', '$(z/c)/28') },
];

function peerCases(direction: Direction): PolicyCase[] {
  const one = (id: string, given: readonly V1NetworkPolicyPeer[]): PolicyCase =>
    taxonomyCase(`peers.${direction}.${id}`, `Peers of ${direction}: ${id.replace('.', ' and ')}`, [
      put(base({ [direction]: [{ ...baseRules[direction], peers: given }] })),
    ]);
  return [
    one('any', []),
    ...peers.map(({ id, value }) => one(id, [value])),
    ...peers.flatMap((left, index) =>
      peers.slice(index + 1).map((right) => one(`${left.id}.${right.id}`, [left.value, right.value])),
    ),
  ];
}

const protocols = ['TCP', 'UDP', 'SCTP'] as const;
const names = { TCP: ['web', 'admin'], UDP: ['feed', 'log'], SCTP: ['link', 'sync'] } as const;

const singlePorts: readonly Named<V1NetworkPolicyPort>[] = [undefined, ...protocols].flatMap((protocol) => {
  const word = protocol?.toLowerCase() ?? 'default';
  return [
    { id: `${word}.any`, value: port(protocol) },
    { id: `${word}.first`, value: port(protocol, first) },
    { id: `${word}.second`, value: port(protocol, second) },
    ...(protocol === undefined
      ? []
      : [
          ...names[protocol].map((name) => ({ id: `${word}.named-${name}`, value: port(protocol, name) })),
          { id: `${word}.range-to-first`, value: port(protocol, 8000, first) },
          { id: `${word}.range-to-second`, value: port(protocol, 8000, second) },
        ]),
  ];
});

const pathologicalPorts: readonly Named<V1NetworkPolicyPort>[] = [
  { id: 'name-of-another-protocol', value: port('UDP', 'web') },
  { id: 'name-nobody-serves', value: port('TCP', 'nobody') },
  { id: 'number-nobody-serves', value: port('TCP', 7) },
];

const portPairs: readonly Named<readonly V1NetworkPolicyPort[]>[] = [
  { id: 'both-numbers', value: [port('TCP', first), port('TCP', second)] },
  { id: 'one-number-two-protocols', value: [port('TCP', first), port('UDP', first)] },
  { id: 'udp-and-sctp', value: [port('UDP', second), port('SCTP', second)] },
  { id: 'name-and-number', value: [port('TCP', 'web'), port('TCP', second)] },
  { id: 'two-names', value: [port('TCP', 'web'), port('UDP', 'feed')] },
  { id: 'range-and-number', value: [port('TCP', 8000, first), port('UDP', second)] },
  { id: 'whole-protocol-and-number', value: [port('UDP'), port('TCP', first)] },
];

function portCases(direction: Direction): PolicyCase[] {
  const one = (id: string, given: readonly V1NetworkPolicyPort[], ...tags: string[]): PolicyCase =>
    taxonomyCase(
      `ports.${direction}.${id}`,
      `Ports of ${direction}: ${id.replaceAll(/[.-]/g, ' ')}`,
      [put(base({ [direction]: [{ ...baseRules[direction], ports: given }] }))],
      ...tags,
    );
  return [
    one('any', []),
    ...singlePorts.map(({ id, value }) => one(id, [value])),
    ...pathologicalPorts.map(({ id, value }) => one(`pathological.${id}`, [value], 'pathological')),
    ...portPairs.map(({ id, value }) => one(`pair.${id}`, value)),
  ];
}

function targetCases(): PolicyCase[] {
  const targets = [
    { id: 'every-pod', in: 'x', selector: everyPod },
    { id: 'by-label', in: 'x', selector: labelled('pod', 'b') },
    { id: 'by-expression', in: 'x', selector: labelled('pod', 'b', 'c') },
    { id: 'by-absence', in: 'x', selector: expression('pod', 'NotIn', 'a') },
    { id: 'nobody', in: 'x', selector: labelled('pod', 'nobody') },
    { id: 'another-namespace', in: 'y', selector: everyPod },
  ];
  return targets.map(({ id, in: namespace, selector }) =>
    taxonomyCase(`target.${id}`, `Target of a policy: ${id.replaceAll('-', ' ')}`, [
      put({ ...base(), in: namespace, spec: { ...base().spec, podSelector: selector } }),
    ]),
  );
}

function ruleCases(): PolicyCase[] {
  return directions.flatMap((direction) => [
    taxonomyCase(`rules.${direction}.deny-all`, `No rule of ${direction} lets nobody through`, [
      put(policy('x/base', podA, allow(direction))),
    ]),
    taxonomyCase(`rules.${direction}.allow-all`, `An empty rule of ${direction} lets everybody through`, [
      put(policy('x/base', podA, allow(direction, {}))),
    ]),
  ]);
}

function actionCases(): PolicyCase[] {
  const deny = policy('x/deny', everyPod, allow('ingress'));
  return [
    taxonomyCase('action.create-and-delete-policy', 'A policy holds from its creation to its deletion', [
      [],
      put(deny),
      [{ kind: 'delete-policy', in: 'x', name: 'deny' }],
    ]),
    taxonomyCase(
      'action.update-policy',
      'A policy holds as it was last written',
      [put(base()), put(base({ ingress: [{ ports: [port('TCP', second)] }] })), put(base({ egress: [] }))],
      'update-policy',
    ),
    taxonomyCase('action.label-pod', 'A pod belongs to a policy by its labels of this moment', [
      put(base()),
      [{ kind: 'label-pod', in: 'y', pod: 'b', labels: { pod: 'moved' } }],
      [{ kind: 'label-pod', in: 'y', pod: 'b', labels: { pod: 'b' } }],
    ]),
    taxonomyCase('action.label-namespace', 'A namespace is a peer by its labels of this moment', [
      put(base()),
      [{ kind: 'label-namespace', namespace: 'y', labels: { ns: 'moved' } }],
      [{ kind: 'label-namespace', namespace: 'y', labels: { ns: 'y' } }],
    ]),
    taxonomyCase('action.create-and-delete-pod', 'A policy holds for pods that come later', [
      put(deny, policy('x/from-d', podA, allow('ingress', { peers: [podsIn(everyPod, labelled('pod', 'd'))] }))),
      [{ kind: 'create-pod', in: 'y', pod: 'd', labels: { pod: 'd', ns: 'y' } }],
      [{ kind: 'delete-pod', in: 'y', pod: 'd' }],
    ]),
    taxonomyCase('action.create-and-delete-namespace', 'A policy holds for namespaces that come later', [
      put(policy('x/from-w', podA, allow('ingress', { peers: [{ namespaceSelector: labelled('ns', 'w') }] }))),
      [
        { kind: 'create-namespace', namespace: 'w', labels: { ns: 'w' } },
        { kind: 'create-pod', in: 'w', pod: 'a', labels: { pod: 'a', ns: 'w' } },
      ],
      [{ kind: 'delete-namespace', namespace: 'w' }],
    ]),
  ];
}

function conflictCases(direction: Direction): PolicyCase[] {
  const on = (name: string, ...rules: readonly RuleParts[]): CasePolicy =>
    policy(`x/${name}`, podA, allow(direction, ...rules));
  const conflicts: readonly Named<readonly CasePolicy[]>[] = [
    { id: 'deny-alone', value: [on('deny')] },
    { id: 'deny-under-allow-all', value: [on('deny'), on('allow', {})] },
    { id: 'deny-under-allow-some', value: [on('deny'), on('allow', baseRules[direction])] },
    {
      id: 'disjoint-peers',
      value: [
        on('from-y', { peers: [{ namespaceSelector: labelled('ns', 'y') }] }),
        on('from-b', { peers: [{ podSelector: labelled('pod', 'b') }] }),
      ],
    },
    {
      id: 'disjoint-ports',
      value: [on('on-first', { ports: [port('TCP', first)] }), on('on-second', { ports: [port('UDP', second)] })],
    },
    {
      id: 'block-in-block',
      value: [on('wide', { peers: [block('$(z/c)/24')] }), on('narrow', { peers: [block('$(z/c)')] })],
    },
    {
      id: 'block-in-except',
      value: [on('outer', { peers: [block('$(z/c)/0', '$(z/c)/24')] }), on('inner', { peers: [block('$(z/c)')] })],
    },
    {
      id: 'deny-at-other-end',
      value: [on('allow', {}), policy('y/deny', everyPod, allow(direction === 'ingress' ? 'egress' : 'ingress'))],
    },
  ];
  return conflicts.map(({ id, value }) =>
    taxonomyCase(`conflict.${direction}.${id}`, `Policies of ${direction} add up: ${id.replaceAll('-', ' ')}`, [
      put(...value),
    ]),
  );
}

function defaultLabelCases(): PolicyCase[] {
  return directions.map((direction) =>
    taxonomyCase(`default-label.${direction}`, `Every namespace has its name as a label (${direction})`, [
      put(
        policy(
          'x/base',
          podA,
          allow(direction, {
            peers: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': '$(y)' } } }],
          }),
        ),
      ),
    ]),
  );
}

const exampleCase = taxonomyCase(
  'example.web-behind-front',
  'A front end may reach the web port behind it, nobody else may',
  [
    put(
      policy(
        'y/web',
        podA,
        allow('ingress', { peers: [podsIn(labelled('ns', 'x'), labelled('pod', 'b'))], ports: [port('TCP', 'web')] }),
      ),
      policy(
        'x/front',
        labelled('pod', 'b'),
        allow('egress', { peers: [podsIn(labelled('ns', 'y'), podA)], ports: [port('TCP', 'web')] }),
      ),
    ),
  ],
);

export const taxonomyCases: readonly PolicyCase[] = [
  ...directions.flatMap(peerCases),
  ...directions.flatMap(portCases),
  ...directions.flatMap(conflictCases),
  ...targetCases(),
  ...actionCases(),
  ...ruleCases(),
  ...defaultLabelCases(),
  exampleCase,
];
