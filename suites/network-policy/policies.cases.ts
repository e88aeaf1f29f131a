// SPDX-License-Identifier: Apache-2.0
/** One case per policy shape; each is judged over the whole truth table. */
import type { V1NetworkPolicyPeer, V1NetworkPolicySpec } from '@kubernetes/client-node';
import { defineCase, type Case, type Mode } from '../case.ts';
import { put } from './generator/parts.ts';
import type { CasePolicy } from './generator/policy-case.ts';
import { expectTable } from './live/compare.ts';
import { openTable, perform } from './live/live-table.ts';
import { worldShares } from './live/world.ts';

interface Shape {
  readonly id: string;
  readonly title: string;
  readonly modes?: readonly Mode[];
  readonly policies: readonly CasePolicy[];
}

const everyPod = {};
const podB: V1NetworkPolicyPeer = { podSelector: { matchLabels: { pod: 'b' } } };
const namespaceY: V1NetworkPolicyPeer = { namespaceSelector: { matchLabels: { ns: 'y' } } };

function onX(name: string, spec: V1NetworkPolicySpec): CasePolicy {
  return { in: 'x', name, spec };
}

function ingressOnX(
  peers: V1NetworkPolicyPeer[],
  ports: NonNullable<V1NetworkPolicySpec['ingress']>[number]['ports'] = [],
) {
  const rule = { ...(peers.length > 0 && { _from: peers }), ...(ports.length > 0 && { ports }) };
  return [onX('allow', { podSelector: everyPod, policyTypes: ['Ingress'], ingress: [rule] })];
}

const shapes: readonly Shape[] = [
  {
    id: 'no-policy',
    title: 'Without policies every pod reaches every pod',
    modes: ['quick', 'network'],
    policies: [],
  },
  {
    id: 'deny-ingress',
    title: 'A policy without ingress rules closes its pods for everybody else',
    modes: ['quick', 'network'],
    policies: [onX('deny', { podSelector: everyPod, policyTypes: ['Ingress'] })],
  },
  {
    id: 'deny-egress',
    title: 'A policy without egress rules lets its pods reach nobody',
    policies: [onX('deny', { podSelector: everyPod, policyTypes: ['Egress'] })],
  },
  {
    id: 'deny-all',
    title: 'A policy of both types without rules isolates its pods both ways',
    policies: [onX('deny', { podSelector: everyPod, policyTypes: ['Ingress', 'Egress'] })],
  },
  {
    id: 'default-types',
    title: 'Absent policyTypes mean ingress, and egress only where there is an egress rule',
    policies: [
      onX('ingress-only', { podSelector: { matchLabels: { pod: 'a' } } }),
      onX('both', { podSelector: { matchLabels: { pod: 'b' } }, egress: [{ to: [podB] }] }),
    ],
  },
  {
    id: 'allow-all-ingress',
    title: 'An empty ingress rule opens what another policy closes',
    policies: [
      onX('deny', { podSelector: everyPod, policyTypes: ['Ingress'] }),
      onX('allow-all', { podSelector: everyPod, ingress: [{}] }),
    ],
  },
  {
    id: 'from-pods',
    title: 'A pod selector alone means pods of the policy’s own namespace',
    policies: ingressOnX([podB]),
  },
  {
    id: 'from-namespace',
    title: 'A namespace selector lets in every pod of the namespaces it selects',
    policies: ingressOnX([namespaceY]),
  },
  {
    id: 'from-namespace-and-pod',
    title: 'Both selectors in one peer must both match',
    modes: ['quick', 'network'],
    policies: ingressOnX([{ ...namespaceY, ...podB }]),
  },
  {
    id: 'from-namespace-or-pod',
    title: 'Two peers let in what either selects',
    policies: ingressOnX([namespaceY, podB]),
  },
  {
    id: 'match-expressions',
    title: 'Match expressions In, NotIn, Exists and DoesNotExist select peers',
    policies: ingressOnX([
      {
        namespaceSelector: { matchExpressions: [{ key: 'ns', operator: 'NotIn', values: ['z'] }] },
        podSelector: { matchExpressions: [{ key: 'pod', operator: 'In', values: ['a', 'c'] }] },
      },
      {
        namespaceSelector: { matchExpressions: [{ key: 'ns', operator: 'Exists' }] },
        podSelector: { matchExpressions: [{ key: 'pod', operator: 'DoesNotExist' }] },
      },
    ]),
  },
  {
    id: 'port-number',
    title: 'A port opens that port of that protocol alone',
    policies: ingressOnX([], [{ port: 8080, protocol: 'TCP' }]),
  },
  {
    id: 'port-protocol-only',
    title: 'A port entry with only a protocol opens all ports of the protocol',
    policies: ingressOnX([], [{ protocol: 'UDP' }]),
  },
  {
    id: 'named-port',
    title: 'A named port is looked up on each destination pod',
    policies: ingressOnX([], [{ port: 'web', protocol: 'TCP' }]),
  },
  {
    id: 'end-port',
    title: 'A port range opens its first and last port and none beside',
    policies: [
      onX('range-from-first', {
        podSelector: { matchLabels: { pod: 'a' } },
        ingress: [{ ports: [{ port: 8000, endPort: 8080 }] }],
      }),
      onX('range-from-next', {
        podSelector: { matchLabels: { pod: 'b' } },
        ingress: [{ ports: [{ port: 8081, endPort: 9000 }] }],
      }),
      onX('range-beside', {
        podSelector: { matchLabels: { pod: 'c' } },
        ingress: [{ ports: [{ port: 8082, endPort: 9000 }] }],
      }),
    ],
  },
  {
    id: 'egress-to-pods',
    title: 'Egress rules name destinations by pod and namespace, on one port',
    modes: ['quick', 'network'],
    policies: [
      onX('egress', {
        podSelector: everyPod,
        policyTypes: ['Egress'],
        egress: [{ to: [{ ...namespaceY, ...podB }, podB], ports: [{ port: 8080, protocol: 'TCP' }] }],
      }),
    ],
  },
  {
    id: 'egress-named-port',
    title: 'A named egress port is looked up on the destination, not on the source',
    policies: [
      onX('egress', {
        podSelector: everyPod,
        policyTypes: ['Egress'],
        egress: [{ to: [{ namespaceSelector: {} }], ports: [{ port: 'web', protocol: 'TCP' }] }],
      }),
    ],
  },
  {
    id: 'ip-block',
    title: 'An IP block lets in its addresses, except those in its exceptions',
    policies: ingressOnX([{ ipBlock: { cidr: '$(y/b)/0', except: ['$(y/b)'] } }]),
  },
  {
    id: 'ip-block-egress',
    title: 'Egress to an IP block reaches exactly that pod',
    policies: [
      onX('egress', {
        podSelector: everyPod,
        policyTypes: ['Egress'],
        egress: [{ to: [{ ipBlock: { cidr: '$(z/c)' } }] }],
      }),
    ],
  },
  {
    id: 'both-ends',
    title: 'A flow passes only if its source may send and its destination may receive',
    policies: [
      onX('egress-to-y', { podSelector: everyPod, policyTypes: ['Egress'], egress: [{ to: [namespaceY] }] }),
      {
        in: 'y',
        name: 'ingress-to-b',
        spec: {
          podSelector: { matchLabels: { pod: 'b' } },
          ingress: [{ _from: [{ namespaceSelector: { matchLabels: { ns: 'x' } } }] }],
        },
      },
      { in: 'y', name: 'deny-a', spec: { podSelector: { matchLabels: { pod: 'a' } }, policyTypes: ['Ingress'] } },
    ],
  },
  {
    id: 'union',
    title: 'Several policies on one pod add up',
    policies: [
      onX('from-y', {
        podSelector: { matchLabels: { pod: 'a' } },
        ingress: [{ _from: [namespaceY], ports: [{ port: 8080 }] }],
      }),
      onX('from-b', { podSelector: everyPod, ingress: [{ _from: [podB], ports: [{ port: 8081 }] }] }),
      onX('udp', {
        podSelector: { matchLabels: { pod: 'a' } },
        ingress: [{ ports: [{ port: 'feed', protocol: 'UDP' }] }],
      }),
    ],
  },
];

export const policies: readonly Case[] = shapes.map((shape) =>
  defineCase(
    {
      id: `network-policy.table.${shape.id}`,
      area: 'network-policy',
      title: shape.title,
      description:
        'Nine pods in three namespaces on two nodes probe each other over TCP and UDP on two ports each. Every cell MUST be open or closed as the NetworkPolicy API says; same-node and cross-node cells are reported apart.',
      requirements: ['000 §15', '003 NetworkPolicy'],
      modes: [...(shape.modes ?? (['network'] as const)), 'policy'],
      shares: worldShares,
      needs: shape.id === 'no-policy' ? ['two-nodes'] : ['two-nodes', 'network-policy'],
    },
    async (t) => {
      const table = await t.step('get a world', () => openTable(t));
      for (const family of /\$\(/.test(JSON.stringify(shape.policies)) ? table.families : table.families.slice(0, 1)) {
        await perform(table, put(...shape.policies), family);
        await t.step('compare every cell', async () => {
          const selection = { others: { chosenBy: t.caseId } } as const;
          const outcome = await expectTable(table, { step: 'with its policies', selection });
          t.measure({ name: 'time-to-enforce', value: outcome.turnedMs ?? 0, unit: 'ms' });
          t.measure({ name: 'cells', value: outcome.cells, unit: 'count' });
        });
      }
    },
  ),
);
