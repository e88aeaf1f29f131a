// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import * as fc from 'fast-check';

import { backend, randomChanges, ruleOptions, servicePort } from '../testing.ts';
import { ChainStore } from './chain-store.ts';
import { planServiceChains } from './plan.ts';
import { parseChains } from './trace-chains.ts';
import type { IptablesOptions, ServiceChains } from './plan.ts';

const options: IptablesOptions = { ...ruleOptions, localhostNodePorts: true };

describe('chain store', () => {
  it('writes differences that lead to the same state as writing everything, and leave nothing behind', () => {
    fc.assert(
      fc.property(randomChanges({ maxEndpoints: 6 }), fc.infiniteStream(fc.boolean()), (changes, idle) => {
        const store = new ChainStore(4);
        const other = new ChainStore();
        const written = new Map<string, readonly string[]>();
        const empty = apply('', store.whole(options, { written, stale: [], missing: [] }));
        let kernel = empty;
        for (const { name, port, backends } of changes) {
          const parts = backends === undefined ? [] : [planServiceChains(port, backends, { options, brief: false })];
          store.replace(name, parts);
          other.replace(name, parts);
          kernel = apply(kernel, store.difference(options, written, { tidy: false }));
          const whole = apply('', other.whole(options, { written: new Map(), stale: [], missing: [] }));
          expect(inForce(kernel)).to.deep.equal(inForce(whole));
          if (idle.next().value === true) {
            kernel = apply(kernel, store.difference(options, written, { tidy: true }));
            expect(sorted(kernel)).to.equal(sorted(whole));
          }
          expect(store.difference(options, written, { tidy: false })).to.equal('');
          expect(parseChains(kernel).get('nat')?.get('KUBE-SERVICES')?.at(-1)).to.contain('this must be the last rule');
        }
        expect(sorted(apply(kernel, store.difference(options, written, { tidy: true })))).to.equal(sorted(empty));
        expect(store.untidy).to.equal(0);
      }),
      { numRuns: 30 },
    );
  }).timeout(20_000);

  it('reads no shared chain for a Service that goes, and writes it anew when many have gone', () => {
    const { store, written } = filled(10);
    const verbs = (text: string): string[] => [...new Set(text.split('\n').map((line) => line.split(' ')[0] ?? ''))];
    store.replace('s0', []);
    const emptied = store.difference(options, written, { tidy: false });
    expect(verbs(emptied).filter((verb) => verb.startsWith('-'))).to.deep.equal([]);
    expect(store.difference(options, written, { tidy: true })).to.match(/^-D KUBE-SERVICES .*s0 cluster IP/m);
    for (let number = 1; number < 9; number++) store.replace(`s${number}`, []);
    store.difference(options, written, { tidy: false });
    const tidied = store.difference(options, written, { tidy: true });
    expect(tidied)
      .to.match(/^:KUBE-SERVICES /m)
      .and.not.to.match(/^-D /m);
    expect(tidied)
      .to.match(/^-A KUBE-SERVICES .*s9 cluster IP/m)
      .and.not.to.contain('s8');
  });

  it('takes emptied chains back into use', () => {
    const { store, written } = filled(1);
    store.replace('s0', []);
    store.difference(options, written, { tidy: false });
    store.replace('s0', [chains(0)]);
    const text = store.difference(options, written, { tidy: false });
    expect(text)
      .to.match(/^-A KUBE-SVC-/m)
      .and.not.to.contain('KUBE-SERVICES');
    expect(store.difference(options, written, { tidy: true })).to.equal('');
  });

  it('names few chains in a transaction, a Service in one only, and leads to it last', () => {
    const { text } = filled(40, 12);
    const transactions = text.split(/^COMMIT$/m).filter((part) => part.includes('KUBE-SEP-'));
    expect(transactions).to.have.length(14);
    for (const part of transactions) {
      const declared = new Set(part.match(/(?<=^:)\S+/gm));
      expect(declared.size).to.be.at.most(12);
      for (const [, target = ''] of part.matchAll(/-j (KUBE-SEP-\S+)/g)) expect(declared).to.include(target);
    }
    expect(text.lastIndexOf('\n:KUBE-SEP-')).to.be.lessThan(text.indexOf('\n-A KUBE-SERVICES'));
  });
});

function filled(services: number, chainsPerTransaction?: number) {
  const store = new ChainStore(chainsPerTransaction);
  for (let number = 0; number < services; number++) store.replace(`s${number}`, [chains(number)]);
  const written = new Map<string, readonly string[]>();
  const text = store.whole(options, { written, stale: [], missing: [] });
  return { store, written, text };
}

/** Of a Service with three endpoints. */
function chains(number: number): ServiceChains {
  const port = servicePort({ name: `s${number}`, clusterIP: `10.96.1.${number}` });
  const backends = [1, 2, 3].map((host) => backend(`10.244.${number}.${host}`));
  return planServiceChains(port, backends, { options, brief: true });
}

/** Rules without those that lead into Services' empty chains, which packets pass over, in any order. */
function inForce(kernel: string): string[] {
  const chains = [...(parseChains(kernel).get('nat') ?? [])];
  const empty = chains.flatMap(([name, rules]) => (/-\w{16}$/.test(name) && rules.length === 0 ? [name] : []));
  const rules = kernel.split('\n').filter((line) => line.startsWith('-A '));
  return rules.filter((line) => !empty.includes(line.split(' ').at(-1) ?? '')).toSorted();
}

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
    } else if (verb === '-I') {
      if (rules === undefined) throw new Error(`no chain: ${line}`);
      table.set(chain, [rule, ...rules]);
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
