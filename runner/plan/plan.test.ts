// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import type { CaseMetadata, Mode } from '../../suites/case.ts';
import { Problem } from '../problem.ts';
import { makePlan, parseMode, selectCases } from './plan.ts';

function metadata(id: string, extra: Partial<CaseMetadata> = {}): CaseMetadata {
  const area = id.split('.')[0] as CaseMetadata['area'];
  return { id, area, title: `title of ${id}`, description: '', requirements: [], modes: ['full'], ...extra };
}

const all = [
  metadata('dns.service.a', { modes: ['quick', 'network'] }),
  metadata('dns.service.srv', { modes: ['network'] }),
  metadata('services.cluster-ip', { modes: ['quick', 'network'], timeoutMs: 300_000 }),
  metadata('nodes.drain', { serial: true }),
  metadata('api.metrics', { modes: ['quick'], needs: ['metrics-api', 'two-nodes'] }),
];

const ids = (cases: readonly CaseMetadata[]): string[] => cases.map((one) => one.id);
const select = (selection: Partial<Parameters<typeof selectCases>[1]>): string[] =>
  ids(selectCases(all, { mode: 'full', ...selection }));

describe('selectCases', () => {
  const table: [string, Parameters<typeof select>[0], string[]][] = [
    ['full takes everything', {}, ids(all)],
    ['a mode takes its own', { mode: 'quick' }, ['dns.service.a', 'services.cluster-ip', 'api.metrics']],
    ['focus on an id, whatever the mode', { mode: 'quick', focus: '^dns\\.' }, ['dns.service.a', 'dns.service.srv']],
    ['focus on a title', { focus: 'title of nodes' }, ['nodes.drain']],
    ['focus on a name as reports show it', { focus: '^\\[api\\]' }, ['api.metrics']],
    ['skip', { mode: 'quick', skip: 'dns|api' }, ['services.cluster-ip']],
    [
      'rerun by id, title and reported name',
      { rerun: new Set(['nodes.drain', 'title of api.metrics', '[dns] title of dns.service.a', 'gone']) },
      ['dns.service.a', 'nodes.drain', 'api.metrics'],
    ],
  ];
  for (const [name, selection, expected] of table) it(name, () => expect(select(selection)).to.deep.equal(expected));

  const refusals: [string, () => unknown, RegExp][] = [
    [
      'a focus that matches nothing',
      () => select({ focus: 'nothing-like-this' }),
      /--focus nothing-like-this matches none of the 5 cases/,
    ],
    ['a skip that leaves nothing', () => select({ mode: 'quick', skip: '.' }), /--mode quick --skip \. matches none/],
    ['an expression that is none', () => select({ focus: '(' }), /--focus \(: .*[Uu]nterminated/],
    ['a rerun of a run without failures', () => select({ rerun: new Set() }), /none of the 0 failed cases/],
    ['an unknown mode', () => parseMode('fast'), /--mode fast/],
  ];
  for (const [name, act, message] of refusals) {
    it(`refuses ${name}`, () => expect(act).to.throw(Problem, message).with.property('remedy').that.is.not.equal(''));
  }
});

describe('makePlan', () => {
  it('puts serial cases last, long ones first, and says what is missing', () => {
    const plan = makePlan(all, new Map([['metrics-api', 'it answers 404']]));
    expect(plan.parallel.map((one) => one.case.id)).to.deep.equal([
      'services.cluster-ip',
      'dns.service.a',
      'dns.service.srv',
      'api.metrics',
    ]);
    expect(plan.serial.map((one) => one.case.id)).to.deep.equal(['nodes.drain']);
    expect(plan.parallel.at(-1)?.skipReason).to.equal('needs the aggregated API metrics.k8s.io: it answers 404');
    expect(plan.parallel.filter((one) => one.skipReason !== undefined)).to.have.length(1);
  });

  it('knows every mode', () => {
    const known: Mode[] = ['quick', 'network', 'full'];
    expect(known.map(parseMode)).to.deep.equal(known);
  });
});
