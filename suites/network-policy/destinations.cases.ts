// SPDX-License-Identifier: Apache-2.0
/** Every way to a destination, whole: each kind of address a pod can be reached by, from every pod, under one policy after the other. */
import { defineCase, type Case } from '../case.ts';
import { allow, everyPod, labelled, podsIn, policy, port, put } from './generator/parts.ts';
import { tablePorts, type CaseAction } from './generator/policy-case.ts';
import { tableCells, type Column } from './live/cells.ts';
import { expectTable } from './live/compare.ts';
import { openTable, perform } from './live/live-table.ts';
import { worldShares } from './live/world.ts';

const { first } = tablePorts;

const destinations: readonly { readonly column: Column; readonly title: string }[] = [
  { column: 'cluster-ip', title: 'Policies hold behind a ClusterIP as they do for the pod itself' },
  { column: 'headless', title: 'Policies hold for pods reached by their name' },
  { column: 'node-port', title: 'Policies hold behind a NodePort' },
  { column: 'host', title: 'Egress policies hold towards the network of the nodes' },
  { column: 'external', title: 'Egress policies hold towards addresses outside the cluster' },
];

/** In this order: each replaces the one before. */
const steps: readonly { readonly name: string; readonly actions: readonly CaseAction[] }[] = [
  { name: 'no policy', actions: [] },
  { name: 'deny ingress', actions: put(policy('x/main', everyPod, allow('ingress'))) },
  {
    name: 'ingress from some pods on one port',
    actions: put(
      policy(
        'x/main',
        everyPod,
        allow('ingress', {
          peers: [podsIn(labelled('ns', 'y', 'z'), labelled('pod', 'a', 'b'))],
          ports: [port('TCP', first), port('UDP', first)],
        }),
      ),
    ),
  },
  { name: 'deny egress', actions: put(policy('x/main', everyPod, allow('egress'))) },
  {
    name: 'egress to some pods on one port',
    actions: put(
      policy(
        'x/main',
        everyPod,
        allow('egress', { peers: [podsIn(labelled('ns', 'y'), everyPod)], ports: [port('TCP', first)] }),
      ),
    ),
  },
  {
    name: 'egress to every address on some ports',
    actions: put(
      policy('x/main', everyPod, allow('egress', { peers: [{ ipBlock: { cidr: '$(y/a)/0' } }], ports: [port('UDP')] })),
    ),
  },
];

export const destinationCases: readonly Case[] = destinations.map(({ column, title }) =>
  defineCase(
    {
      id: `network-policy.destination.${column}`,
      area: 'network-policy',
      title,
      description:
        'Nine pods try every destination of this kind on every port under six policies, one after the other. Each cell MUST be as the policies say; where the API leaves open which address a policy sees after a translation, a cell is judged only if every reading says the same.',
      requirements: ['000 §15', '003 NetworkPolicy'],
      modes: ['network', 'policy'],
      needs: [
        'two-nodes',
        'network-policy',
        ...(column === 'host' ? (['node-probe'] as const) : []),
        ...(column === 'headless' ? (['cluster-dns'] as const) : []),
      ],
      shares: worldShares,
      tags: ['destination'],
      timeoutMs: 240_000,
    },
    async (t) => {
      const table = await t.step('get a world', () => openTable(t));
      const selection = { others: 'all', columns: [column] } as const;
      const { world, model, pods, families } = table;
      const { cells } = tableCells({ t, world, model, pods }, { families, ...selection });
      if (cells.length === 0) t.skip(world.surroundings.without.join('; '));
      const sum = { cells: 0, unjudged: 0 };
      for (const { name, actions } of steps) {
        await t.step(name, async () => {
          for (const family of families) {
            await perform(table, actions, family);
            const outcome = await expectTable(table, { step: name, selection });
            sum.cells += outcome.cells;
            sum.unjudged += outcome.unjudged;
          }
        });
      }
      t.measure({ name: 'cells', value: sum.cells, unit: 'count' });
      t.measure({ name: 'cells-left-open-by-the-api', value: sum.unjudged, unit: 'count' });
    },
  ),
);
