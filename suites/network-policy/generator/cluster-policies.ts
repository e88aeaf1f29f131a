// SPDX-License-Identifier: Apache-2.0
/** Cases of ClusterNetworkPolicy: every tier, direction, action and protocol, every kind of peer, precedence, and the tiers together. */
import type {
  ClusterNetworkPolicy,
  ClusterPolicyPeer,
  ClusterPolicyProtocol,
  ClusterPolicyRule,
} from '../../oracles/reachability/cluster-network-policy.ts';
import { allow, directions, everyPod, labelled, policy, policyCase, port, put, type Direction } from './parts.ts';
import { tablePorts, type CaseAction, type PolicyCase } from './policy-case.ts';

const { first, second } = tablePorts;
const tiers = ['Admin', 'Baseline'] as const;
type Tier = (typeof tiers)[number];
type Action = ClusterPolicyRule['action'];

interface RuleShape {
  readonly action: Action;
  readonly peer?: ClusterPolicyPeer;
  readonly protocols?: readonly ClusterPolicyProtocol[];
}

const inY: ClusterPolicyPeer = { namespaces: labelled('ns', 'y') };

/** Holds for the pods of x. Peers are the pods of y where none are given. */
function clusterPolicy(
  name: string,
  {
    tier,
    priority = 50,
    direction,
  }: { readonly tier: Tier; readonly priority?: number; readonly direction: Direction },
  ...rules: readonly RuleShape[]
): CaseAction {
  const built = rules.map(({ action, peer = inY, protocols }): ClusterPolicyRule => ({
    action,
    [direction === 'ingress' ? 'from' : 'to']: [peer],
    ...(protocols !== undefined && { protocols }),
  }));
  const made: ClusterNetworkPolicy = {
    apiVersion: 'policy.networking.k8s.io/v1alpha2',
    kind: 'ClusterNetworkPolicy',
    metadata: { name },
    spec: { tier, priority, subject: { namespaces: labelled('ns', 'x') }, [direction]: built },
  };
  return { kind: 'put-cluster-policy', policy: made };
}

function clusterCase(id: string, title: string, ...steps: readonly (readonly CaseAction[])[]): PolicyCase {
  return policyCase(`cluster.${id}`, title, { tags: ['cluster'], steps });
}

/** Under a rule of the action stands one that would decide otherwise, so that an ignored rule shows. */
function actionCases(tier: Tier, direction: Direction): PolicyCase[] {
  const below: Readonly<Record<Action, Action>> = { Accept: 'Deny', Deny: 'Accept', Pass: 'Deny' };
  return (['tcp', 'udp', 'sctp'] as const).flatMap((protocol) =>
    (['Accept', 'Deny', 'Pass'] as const).map((action) =>
      clusterCase(
        `${tier.toLowerCase()}.${direction}.${protocol}.${action.toLowerCase()}`,
        `${tier} tier, ${direction}: ${action} on one ${protocol} port comes before ${below[action]} on all`,
        [
          clusterPolicy(
            'main',
            { tier, direction },
            { action, protocols: [{ [protocol]: { destinationPort: { number: first } } }] },
            { action: below[action] },
          ),
        ],
      ),
    ),
  );
}

const peers: readonly { readonly id: string; readonly peer: ClusterPolicyPeer; readonly egressOnly?: boolean }[] = [
  { id: 'namespaces', peer: { namespaces: everyPod } },
  { id: 'pods', peer: { pods: { namespaceSelector: everyPod, podSelector: labelled('pod', 'b') } } },
  { id: 'networks', peer: { networks: ['$(y/b)', '$(z/c)/30'] }, egressOnly: true },
  { id: 'every-network', peer: { networks: ['$(y/b)/0'] }, egressOnly: true },
  { id: 'nodes', peer: { nodes: everyPod }, egressOnly: true },
];

function peerCases(tier: Tier, direction: Direction): PolicyCase[] {
  return peers
    .filter(({ egressOnly }) => egressOnly !== true || direction === 'egress')
    .map(({ id, peer }) =>
      clusterCase(
        `${tier.toLowerCase()}.${direction}.peer-${id}`,
        `${tier} tier, ${direction}: a peer of ${id.replace('-', ' ')}`,
        [clusterPolicy('main', { tier, direction }, { action: 'Deny', peer })],
      ),
    );
}

function portCases(tier: Tier, direction: Direction): PolicyCase[] {
  const one = (id: string, ...protocols: readonly ClusterPolicyProtocol[]): PolicyCase =>
    clusterCase(
      `${tier.toLowerCase()}.${direction}.port-${id}`,
      `${tier} tier, ${direction}: ${id.replace('-', ' ')}`,
      [clusterPolicy('main', { tier, direction }, { action: 'Deny', protocols })],
    );
  return [
    one('named', { destinationNamedPort: 'web' }),
    one('range-to-first', { tcp: { destinationPort: { range: { start: 8000, end: first } } } }),
    one('range-from-second', { udp: { destinationPort: { range: { start: second, end: 9000 } } } }),
    one('several', { tcp: { destinationPort: { number: second } } }, { udp: { destinationPort: { number: first } } }),
  ];
}

function precedenceCases(direction: Direction): PolicyCase[] {
  const place = { tier: 'Admin', direction } as const;
  const denyAll = policy('x/deny', everyPod, allow(direction));
  const allowAll = policy('x/allow', everyPod, allow(direction, {}));
  const namespaced = policy('x/first', everyPod, allow(direction, { ports: [port('TCP', first)] }));
  return [
    clusterCase(`${direction}.priority`, `The lower priority number wins (${direction})`, [
      clusterPolicy('weak', { ...place, priority: 60 }, { action: 'Accept' }),
      clusterPolicy('strong', { ...place, priority: 40 }, { action: 'Deny' }),
    ]),
    clusterCase(
      `${direction}.priority-swapped`,
      `Priorities that change places change the verdict (${direction})`,
      [
        clusterPolicy('one', { ...place, priority: 60 }, { action: 'Accept' }),
        clusterPolicy('other', { ...place, priority: 40 }, { action: 'Deny' }),
      ],
      [clusterPolicy('one', { ...place, priority: 20 }, { action: 'Accept' })],
    ),
    clusterCase(`${direction}.rule-order`, `The rule written first wins (${direction})`, [
      clusterPolicy(
        'main',
        place,
        { action: 'Accept', protocols: [{ tcp: { destinationPort: { number: first } } }] },
        { action: 'Deny' },
      ),
    ]),
    clusterCase(
      `${direction}.admin-accept-over-deny`,
      `The Admin tier opens what a NetworkPolicy closes (${direction})`,
      [...put(denyAll), clusterPolicy('main', place, { action: 'Accept' })],
    ),
    clusterCase(
      `${direction}.admin-deny-over-allow`,
      `The Admin tier closes what a NetworkPolicy opens (${direction})`,
      [...put(allowAll), clusterPolicy('main', place, { action: 'Deny' })],
    ),
    clusterCase(
      `${direction}.admin-pass-to-policy`,
      `What the Admin tier passes on, a NetworkPolicy decides (${direction})`,
      [...put(namespaced), clusterPolicy('main', place, { action: 'Pass' }, { action: 'Deny' })],
    ),
    clusterCase(
      `${direction}.policy-over-baseline`,
      `A NetworkPolicy decides before the Baseline tier (${direction})`,
      [...put(namespaced), clusterPolicy('main', { tier: 'Baseline', direction }, { action: 'Deny' })],
    ),
    clusterCase(
      `${direction}.all-tiers`,
      `Admin passes on, the NetworkPolicy decides while it is there, then the Baseline tier (${direction})`,
      [
        ...put(namespaced),
        clusterPolicy('admin', place, { action: 'Pass' }),
        clusterPolicy('baseline', { tier: 'Baseline', direction }, { action: 'Deny' }),
      ],
      [{ kind: 'delete-policy', in: 'x', name: 'first' }],
    ),
  ];
}

export const clusterPolicyCases: readonly PolicyCase[] = [
  ...tiers.flatMap((tier) =>
    directions.flatMap((direction) => [
      ...actionCases(tier, direction),
      ...peerCases(tier, direction),
      ...portCases(tier, direction),
    ]),
  ),
  // How the tiers go together is what a run in passing looks at.
  ...directions.flatMap(precedenceCases).map((one) => ({ ...one, tags: [...one.tags, 'tiers'] })),
];
