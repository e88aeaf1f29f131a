// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import * as fc from 'fast-check';

import { planTransaction } from '../../network/nft/transaction.ts';
import { planServicePort } from './plan.ts';
import { RuleStore } from './rule-store.ts';
import type { ElementSet, Table } from '../../network/nft/ruleset.ts';
import type { RuleOptions } from '../rule-writer.ts';
import type { Backend, ServicePort } from '../service-model.ts';

const options: RuleOptions = {
  node: { name: 'n1', zone: undefined },
  family: 'ip',
  clusterCIDRs: ['10.244.0.0/16'],
  nodeAddresses: [],
  nodePortAddresses: undefined,
};

describe('rule store', () => {
  it('gives the same transactions by its notes as a comparison of whole tables does, and ends empty', () => {
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 12 }), (changes) => {
        const store = new RuleStore();
        const empty = snapshot(store.take(options).table);
        let before = store.take(options).table;
        for (const { name, facts, endpoints } of [
          ...changes,
          ...changes.map(({ name }) => ({ name, facts: {}, endpoints: undefined })),
        ]) {
          const copy = snapshot(before);
          store.replace(
            name,
            endpoints === undefined ? [] : [planServicePort(service(name, facts), endpoints.map(backend), options)],
          );
          const { table, former } = store.take(options);
          const noted = planTransaction(before, table, former);
          const compared = planTransaction(copy, table);
          expect(pieces(noted.commands)).to.deep.equal(pieces(compared.commands));
          expect(noted.cleanup).to.equal(compared.cleanup);
          before = table;
        }
        expect(planTransaction(empty, before).commands).to.equal('');
      }),
      { numRuns: 150 },
    );
  }).timeout(20_000);
});

/** One element per piece, in a fixed order: the order within a command has no meaning. */
function pieces(commands: string): string[] {
  return commands
    .split('\n')
    .flatMap((line) => {
      const [, head, list] = /^((?:add|delete) element \S+ \S+ \S+) \{ (.*) \}$/.exec(line) ?? [];
      return head === undefined || list === undefined ? [line] : list.split(', ').map((one) => `${head} ${one}`);
    })
    .toSorted();
}

function snapshot(table: Table): Table {
  const sets = [...table.sets].map(([name, set]): [string, ElementSet] => [
    name,
    { ...set, elements: new Map(set.elements), ...(set.comments && { comments: new Map(set.comments) }) },
  ]);
  return { ...table, sets: new Map(sets) };
}

function service(name: string, facts: Partial<ServicePort>): ServicePort {
  return {
    namespace: 'default',
    name,
    portName: '',
    protocol: 'tcp',
    port: 80,
    clusterIP: `10.96.0.${name.length}`,
    nodePort: undefined,
    healthCheckNodePort: undefined,
    externalIPs: [],
    loadBalancerIPs: [],
    loadBalancerSourceRanges: [],
    affinitySeconds: undefined,
    externalLocal: false,
    internalLocal: false,
    ...facts,
  };
}

function backend(host: number): Backend {
  const facts = { ready: true, serving: true, terminating: false, forZones: [], forNodes: [] };
  return { address: `10.244.1.${host}`, port: 8080, local: host % 2 === 0, ...facts };
}

const change = fc.record({
  name: fc.constantFrom('a', 'bb', 'ccc'),
  endpoints: fc.option(fc.uniqueArray(fc.integer({ min: 1, max: 40 }), { maxLength: 36 }), { nil: undefined }),
  facts: fc.record({
    // Shared by Services: they quarrel over it.
    externalIPs: fc.constantFrom([], ['192.0.2.1'], ['192.0.2.1', '192.0.2.2']),
    nodePort: fc.constantFrom(undefined, 30080, 30081),
    affinitySeconds: fc.constantFrom(undefined, undefined, 60, 90),
    externalLocal: fc.boolean(),
    internalLocal: fc.boolean(),
  }),
});
