// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { parseAllDocuments } from 'yaml';
import { judge } from '../../oracles/reachability/oracle.ts';
import type { Model } from '../../oracles/reachability/model.ts';
import { pairwiseCases, pairwiseFactors } from './pairwise.ts';
import { applyActions, bindCase, fillIn, tablePortNames, type PolicyCase, type TableFacts } from './policy-case.ts';
import { policyCases } from './policy-cases.ts';
import { randomCase } from './random.ts';
import { policiesAsYaml, shrinkPolicies } from './shrink.ts';

const keys = ['a', 'b', 'c'];
const spaces = ['x', 'y', 'z'];

const facts: TableFacts = {
  namespaceName: (key) => `run-${key}`,
  address: (space, pod) =>
    `10.244.${1 + (keys.indexOf(pod) % 2)}.${10 * (1 + spaces.indexOf(space)) + keys.indexOf(pod)}`,
};

const table: Model = {
  namespaces: new Map(spaces.map((ns) => [`run-${ns}`, { ns, 'kubernetes.io/metadata.name': `run-${ns}` }] as const)),
  pods: spaces.flatMap((ns) =>
    keys.map((pod) => ({
      namespace: `run-${ns}`,
      name: pod,
      labels: { pod, ns },
      addresses: [facts.address(ns, pod)],
      node: `node-${keys.indexOf(pod) % 2}`,
      namedPorts: tablePortNames(pod),
    })),
  ),
  policies: [],
};

/** One sign per cell, pods of later steps included. */
function matrix(model: Model): string {
  return model.pods
    .flatMap((source) =>
      model.pods.flatMap((destination) =>
        (['tcp', 'udp', 'sctp'] as const).flatMap((protocol) =>
          [8080, 8081].map((port) => (judge(model, { source, destination, protocol, port }).allowed ? '.' : 'X')),
        ),
      ),
    )
    .join('');
}

function matrices({ steps }: PolicyCase): string[] {
  let model = table;
  return steps.map((actions) => matrix((model = applyActions(model, actions, facts))));
}

function count(tag: string): number {
  return policyCases.filter(({ tags }) => tags.includes(tag)).length;
}

describe('policy cases', () => {
  it('has the whole taxonomy, all of upstream’s, and more', () => {
    const families = ['taxonomy', 'upstream', 'upstream-tcp', 'boundary', 'cluster', 'random'];
    expect(Object.fromEntries(families.map((tag) => [tag, count(tag)]))).to.deep.equal({
      taxonomy: 230,
      upstream: 48,
      'upstream-tcp': 42,
      boundary: 54,
      cluster: 82,
      random: 120,
    });
    const parts = [
      'peers',
      'ports',
      'conflict',
      'target',
      'action',
      'rules',
      'default-label',
      'example',
      'upstream-e2e',
    ];
    expect(parts.map(count)).to.deep.equal([112, 70, 16, 6, 6, 4, 2, 1, 13]);
    for (const tag of [
      'sctp',
      'end-port',
      'named-port',
      'ip-block-with-except',
      'perturbation',
      'label-pod',
      'delete-policy',
    ])
      expect(count(tag), tag).to.be.greaterThan(2);
  });

  it('has ids and titles that name one case each', () => {
    expect(new Set(policyCases.map(({ id }) => id)).size).to.equal(policyCases.length);
    for (const { id } of policyCases) expect(id).to.match(/^network-policy(\.[a-z0-9]+(-[a-z0-9]+)*)+$/);
    expect(new Set(policyCases.map(({ title }) => title)).size).to.equal(policyCases.length);
  });

  it('covers every pair of factor values', () => {
    const names = Object.keys(pairwiseFactors);
    const rows = pairwiseCases.map(({ id }) => id.split('.').slice(2));
    for (const [i, one] of names.entries())
      for (const [j, other] of names.entries())
        for (const a of i < j ? (pairwiseFactors[one] ?? []) : [])
          for (const b of pairwiseFactors[other] ?? [])
            expect(
              rows.some((row) => row[i] === a && row[j] === b),
              `${one}=${a} with ${other}=${b}`,
            ).to.equal(true);
    expect(pairwiseCases.length).to.be.lessThan(100);
  });

  it('changes the table with every perturbation', () => {
    for (const one of policyCases.filter(({ tags }) => tags.includes('perturbation'))) {
      const seen = matrices(one);
      for (const [index, after] of seen.slice(1).entries())
        expect(after, `${one.id} step ${index + 1}`).not.to.equal(seen[index]);
    }
  });

  it('leaves no placeholder, and blocks that contain their pod', () => {
    for (const one of policyCases) expect(JSON.stringify(bindCase(one, facts)), one.id).not.to.include('$(');
    expect(fillIn(['$(z/c)', '$(z/c)/24', '$(z/c)/31', '$(z/c)/0', 'in $(x)'], facts)).to.deep.equal([
      '10.244.1.32/32',
      '10.244.1.0/24',
      '10.244.1.32/31',
      '0.0.0.0/0',
      'in run-x',
    ]);
    const six: TableFacts = { ...facts, address: () => 'fd00:10:244:1::1f' };
    expect(fillIn(['$(z/c)', '$(z/c)/28', '$(z/c)/0'], six)).to.deep.equal([
      'fd00:10:244:1:0:0:0:1f/128',
      'fd00:10:244:1:0:0:0:10/124',
      '::/0',
    ]);
  });

  it('makes the same random case of the same seed', () => {
    expect(randomCase(7)).to.deep.equal(randomCase(7));
    expect(randomCase(7).steps).not.to.deep.equal(randomCase(8).steps);
  });

  it('shrinks a failing set to what still fails, as YAML that can be applied', async () => {
    const model = applyActions(table, randomCase(11).steps[0] ?? [], facts);
    const deny = {
      metadata: { namespace: 'run-y', name: 'culprit' },
      spec: { podSelector: {}, ingress: [{ _from: [{ podSelector: {} }] }, {}] },
    };
    const smallest = await shrinkPolicies(
      { policies: [...model.policies, deny], clusterPolicies: [] },
      ({ policies }) =>
        policies.some(
          ({ metadata, spec }) =>
            metadata?.name === 'culprit' && (spec?.ingress ?? []).some(({ _from }) => _from !== undefined),
        ),
    );
    const documents = parseAllDocuments(policiesAsYaml(smallest)).map((one): unknown => one.toJS());
    expect(documents).to.deep.equal([
      {
        apiVersion: 'networking.k8s.io/v1',
        kind: 'NetworkPolicy',
        metadata: { name: 'culprit', namespace: 'run-y' },
        spec: { podSelector: {}, ingress: [{ from: [{ podSelector: {} }] }] },
      },
    ]);
  });
});
