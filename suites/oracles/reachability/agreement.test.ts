// SPDX-License-Identifier: Apache-2.0
/**
 * The oracle and the brute force must say the same of every cell of random clusters. A seed that fails is shrunk to the smallest policies
 * over which they still differ, printed as YAML.
 */
import { expect } from 'chai';
import fc from 'fast-check';
import { fillIn, tablePortNames, tablePorts, type TableFacts } from '../../network-policy/generator/policy-case.ts';
import { randomClusterPolicies, randomPolicies, seededDraw, type Draw } from '../../network-policy/generator/random.ts';
import { policiesAsYaml, shrinkPolicies } from '../../network-policy/generator/shrink.ts';
import { paint } from './brute-force.ts';
import type { Family, Model, ModelPod, Party } from './model.ts';
import { addressIn, judge } from './oracle.ts';

const outside: readonly Party[] = [{ address: '203.0.113.7' }, { address: '2001:db8::7' }];
const ports = [tablePorts.first - 1, tablePorts.first, tablePorts.second, 8099];

function randomModel(seed: number): Model {
  const draw = seededDraw(seed);
  const nodes = ['one', 'two'].map((zone, index) => ({
    name: `node-${index}`,
    labels: draw(3) === 0 ? {} : { zone },
    addresses: [`172.18.0.${2 + index}`, `fd00:172:18::${2 + index}`],
  }));
  const pods = ['x', 'y', 'z'].flatMap((ns, row) =>
    ['a', 'b', 'c'].map((pod, column) => randomPod(draw, { ns, pod, row, column, node: draw(2), nodes })),
  );
  const podOf = (ns: string, pod: string): ModelPod | undefined =>
    pods.find(({ namespace, name }) => namespace === ns && name === pod);
  const facts = (family: Family): TableFacts => ({
    namespaceName: (key) => key,
    address: (ns, pod) => addressIn(podOf(ns, pod) ?? { address: '' }, family) ?? '',
  });
  const policies = randomPolicies(draw).map(({ in: namespace, name, spec }) =>
    fillIn({ metadata: { namespace, name }, spec }, facts(draw(2) === 0 ? 4 : 6)),
  );
  const clusterPolicies = fillIn(randomClusterPolicies(draw), facts(4));
  const namespaces = new Map(['x', 'y', 'z'].map((ns) => [ns, draw(5) === 0 ? { other: ns } : { ns }] as const));
  return { nodes, pods, policies, clusterPolicies, namespaces };
}

function randomPod(
  draw: Draw,
  at: { ns: string; pod: string; row: number; column: number; node: number; nodes: NonNullable<Model['nodes']> },
): ModelPod {
  const hostNetwork = draw(9) === 0;
  const node = at.nodes[at.node];
  return {
    namespace: at.ns,
    name: at.pod,
    labels: draw(6) === 0 ? {} : { pod: at.pod },
    addresses: hostNetwork
      ? (node?.addresses ?? [])
      : [`10.244.${at.node}.${8 * at.row + at.column + 1}`, `fd00:10:244:${at.node}::${8 * at.row + at.column + 1}`],
    node: node?.name ?? '',
    namedPorts: tablePortNames(at.pod),
    hostNetwork,
  };
}

/** The first cell that the two see differently. */
function difference(model: Model): string | undefined {
  const painted = paint(model, { outside: ['203.0.113.7', '2001:db8::7'], ports });
  const parties = [...model.pods, ...outside];
  for (const source of parties)
    for (const destination of parties)
      for (const family of [4, 6] as const) {
        const [from, to] = [addressIn(source, family), addressIn(destination, family)];
        if (from === undefined || to === undefined) continue;
        for (const protocol of ['tcp', 'udp', 'sctp'] as const)
          for (const port of ports) {
            const verdict = judge(model, { source, destination, protocol, port, family });
            const other = painted({ from, to, protocol, port });
            if (verdict.egress.allowed !== other.egress || verdict.ingress.allowed !== other.ingress) {
              const said = `egress ${verdict.egress.allowed} (${verdict.egress.why}), ingress ${verdict.ingress.allowed} (${verdict.ingress.why})`;
              return `${from} to ${to} ${protocol}/${port}: the oracle says ${said}; brute force says ${JSON.stringify(other)}`;
            }
          }
      }
  return undefined;
}

async function explainDifference(model: Model): Promise<string> {
  const { policies, clusterPolicies = [] } = model;
  const smallest = await shrinkPolicies(
    { policies, clusterPolicies },
    (set) => difference({ ...model, ...set }) !== undefined,
  );
  return `${difference({ ...model, ...smallest })}\n${policiesAsYaml(smallest)}`;
}

describe('oracle and brute force', function () {
  this.timeout(60_000);

  it('agree on random clusters', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 1_000_000 }), async (seed) => {
        const model = randomModel(seed);
        if (difference(model) !== undefined) throw new Error(`seed ${seed}: ${await explainDifference(model)}`);
      }),
      { numRuns: 60, seed: 20_261_121, endOnFailure: true },
    );
  });

  it('differ visibly where one of them is given another policy, and the culprit is found', async () => {
    const model = randomModel(5);
    const painted = paint({ ...model, policies: [], clusterPolicies: [] }, { outside: [], ports });
    const [source, destination] = [model.pods[0], model.pods[4]];
    expect(source !== undefined && destination !== undefined).to.equal(true);
    if (source === undefined || destination === undefined) return;
    const deny = { metadata: { namespace: destination.namespace, name: 'deny' }, spec: { podSelector: {} } };
    const smallest = await shrinkPolicies({ policies: [...model.policies, deny], clusterPolicies: [] }, (set) => {
      const flow = { source, destination, protocol: 'tcp', port: 8080, family: 4 } as const;
      const other = painted({ from: source.addresses[0] ?? '', to: destination.addresses[0] ?? '', ...flow });
      return judge({ ...model, ...set }, flow).ingress.allowed !== other.ingress;
    });
    expect(smallest.policies).to.have.length(1);
  });
});
