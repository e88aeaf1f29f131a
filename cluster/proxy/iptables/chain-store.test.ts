// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import * as fc from 'fast-check';

import { ChainStore } from './chain-store.ts';
import { planServiceChains } from './plan.ts';
import { parseChains } from './trace-chains.ts';
import type { Backend, ServicePort } from '../service-model.ts';
import type { IptablesOptions } from './plan.ts';

const options: IptablesOptions = {
  node: { name: 'n1', zone: undefined },
  family: 'ip',
  clusterCIDRs: ['10.244.0.0/16'],
  nodeAddresses: ['172.18.0.2'],
  nodePortAddresses: undefined,
  localhostNodePorts: true,
};

describe('chain store', () => {
  it('writes differences that lead to the same state as writing everything, and leave nothing behind', () => {
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 12 }), (changes) => {
        const store = new ChainStore();
        const written = new Map<string, readonly string[]>();
        const empty = apply('', store.whole(options, { written, stale: [], missing: [] }));
        let kernel = empty;
        const all = [...changes, ...changes.map(({ name }) => ({ name, facts: {}, endpoints: undefined }))];
        for (const { name, facts, endpoints } of all) {
          const parts =
            endpoints === undefined
              ? []
              : [planServiceChains(service(name, facts), endpoints.map(backend), { options, brief: false })];
          store.replace(name, parts);
          kernel = apply(kernel, store.difference(options, written));
          expect(store.difference(options, written)).to.equal('');
          expect(sorted(kernel)).to.equal(
            sorted(apply('', store.whole(options, { written: new Map(), stale: [], missing: [] }))),
          );
          expect(parseChains(kernel).get('nat')?.get('KUBE-SERVICES')?.at(-1)).to.contain('this must be the last rule');
        }
        expect(sorted(kernel)).to.equal(sorted(empty));
      }),
      { numRuns: 40 },
    );
  }).timeout(20_000);
});

/** What `iptables-restore --noflush` makes of `saved`; refuses what the kernel would refuse. */
function apply(saved: string, input: string): string {
  const tables = new Map([...parseChains(saved)].map(([name, chains]) => [name, new Map(chains)]));
  let table = new Map<string, readonly string[]>();
  for (const line of input.split('\n')) {
    const [verb = '', chain = ''] = line.split(' ', 2);
    const rule = line.slice(`${verb} ${chain} `.length);
    const rules = table.get(chain);
    if (line.startsWith('*')) {
      const name = line.slice(1);
      table = tables.get(name) ?? new Map<string, readonly string[]>();
      tables.set(name, table);
    } else if (line.startsWith(':')) table.set(verb.slice(1), []);
    else if (verb === '-A') {
      const target = /-j (KUBE-\S+)/.exec(rule)?.[1];
      if (rules === undefined || (target !== undefined && !table.has(target))) throw new Error(`no chain: ${line}`);
      table.set(chain, [...rules, rule]);
    } else if (verb === '-D') {
      const at = rules?.indexOf(rule) ?? -1;
      if (rules === undefined || at < 0) throw new Error(`no such rule: ${line}`);
      table.set(chain, rules.toSpliced(at, 1));
    } else if (verb === '-X') {
      const used = [...table.values()].flat().some((other) => other.endsWith(`-j ${chain}`));
      if (used || rules === undefined || rules.length > 0) throw new Error(`chain in use: ${line}`);
      table.delete(chain);
    }
  }
  return [...tables]
    .map(([name, chains]) =>
      [
        `*${name}`,
        ...[...chains.keys()].map((chain) => `:${chain} - [0:0]`),
        ...[...chains].flatMap(([chain, rules]) => rules.map((rule) => `-A ${chain} ${rule}`)),
        'COMMIT',
      ].join('\n'),
    )
    .join('\n');
}

function sorted(text: string): string {
  return text.split('\n').toSorted().join('\n');
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
  endpoints: fc.option(fc.uniqueArray(fc.integer({ min: 1, max: 40 }), { maxLength: 6 }), { nil: undefined }),
  facts: fc.record({
    externalIPs: fc.constantFrom([], ['192.0.2.1'], ['192.0.2.1', '192.0.2.2']),
    loadBalancerIPs: fc.constantFrom([], ['192.0.2.9']),
    loadBalancerSourceRanges: fc.constantFrom([], ['172.18.0.0/16', '198.51.100.0/24']),
    nodePort: fc.constantFrom(undefined, 30080, 30081),
    healthCheckNodePort: fc.constantFrom(undefined, 31000),
    affinitySeconds: fc.constantFrom(undefined, undefined, 60, 90),
    externalLocal: fc.boolean(),
    internalLocal: fc.boolean(),
  }),
});
