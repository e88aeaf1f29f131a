// SPDX-License-Identifier: Apache-2.0
/** Random clusters and policies, each determined by its seed and the one before: what changes from one to the next is sometimes all, mostly little. */
import type { ClusterNetworkPolicy } from '../../suites/oracles/reachability/cluster-network-policy.ts';
import type { Model, ModelNode, ModelPod } from '../../suites/oracles/reachability/model.ts';
import { fillIn, tablePortNames, type TableFacts } from '../../suites/network-policy/generator/policy-case.ts';
import {
  randomClusterPolicies,
  randomPolicies,
  seededDraw,
  type Draw,
} from '../../suites/network-policy/generator/random.ts';

export interface RandomModel extends Model {
  readonly nodes: readonly ModelNode[];
  readonly clusterPolicies: readonly ClusterNetworkPolicy[];
}

const namespaceNames = ['x', 'y', 'z'];
const podNames = ['a', 'b', 'c'];

/** Ranges of pods by node, as the compiler is told. */
export function podRanges({ name }: ModelNode): string[] {
  const number = name.slice('node-'.length);
  return [`10.244.${number}.0/24`, `fd00:10:244:${number}::/64`];
}

export function randomModel(seed: number, before: RandomModel | undefined): RandomModel {
  const draw = seededDraw(seed);
  if (before === undefined || draw(4) === 0) return wholeModel(draw);
  switch (draw(6)) {
    case 0:
      return { ...before, policies: [...before.policies.slice(1), ...networkPolicies(draw, before).slice(0, 1)] };
    case 1:
      return { ...before, clusterPolicies: clusterPolicies(draw, before) };
    case 2:
      return { ...before, namespaces: namespaces(draw) };
    case 3:
      return { ...before, nodes: nodes(draw) };
    case 4: {
      const gone = draw(before.pods.length);
      return { ...before, pods: before.pods.filter((_, index) => index !== gone) };
    }
    default: {
      const place = { row: draw(namespaceNames.length), column: draw(podNames.length) };
      const pod = randomPod(draw, place, before.nodes);
      const others = before.pods.filter(({ namespace, name }) => namespace !== pod.namespace || name !== pod.name);
      return { ...before, pods: [...others, pod] };
    }
  }
}

function wholeModel(draw: Draw): RandomModel {
  const machines = nodes(draw);
  const pods = namespaceNames.flatMap((_, row) =>
    podNames.map((__, column) => randomPod(draw, { row, column }, machines)),
  );
  const bare: RandomModel = { nodes: machines, pods, policies: [], clusterPolicies: [], namespaces: namespaces(draw) };
  const withPolicies = { ...bare, policies: networkPolicies(draw, bare) };
  return { ...withPolicies, clusterPolicies: clusterPolicies(draw, bare) };
}

function nodes(draw: Draw): ModelNode[] {
  return ['one', 'two'].map((zone, index) => ({
    name: `node-${index + 1}`,
    labels: draw(3) === 0 ? {} : { zone },
    addresses: [`172.18.0.${2 + index}`, `fd00:172:18::${2 + index}`],
  }));
}

function namespaces(draw: Draw): Map<string, Readonly<Record<string, string>>> {
  return new Map(namespaceNames.map((ns) => [ns, draw(5) === 0 ? { other: ns } : { ns }] as const));
}

function randomPod(draw: Draw, at: { row: number; column: number }, machines: readonly ModelNode[]): ModelPod {
  const [namespace = '', name = ''] = [namespaceNames[at.row], podNames[at.column]];
  const node = draw(machines.length);
  const hostNetwork = draw(9) === 0;
  const host = 8 * at.row + at.column + 1;
  return {
    namespace,
    name,
    labels: draw(6) === 0 ? {} : { pod: name },
    addresses: hostNetwork
      ? (machines[node]?.addresses ?? [])
      : [`10.244.${node + 1}.${host}`, `fd00:10:244:${node + 1}::${host.toString(16)}`],
    node: machines[node]?.name ?? '',
    namedPorts: tablePortNames(name),
    hostNetwork,
  };
}

function networkPolicies(draw: Draw, model: RandomModel): Model['policies'] {
  return randomPolicies(draw).map(({ in: namespace, name, spec }) =>
    fillIn({ metadata: { namespace, name: `${name}-${draw(1000)}` }, spec }, facts(model, draw(2))),
  );
}

function clusterPolicies(draw: Draw, model: RandomModel): ClusterNetworkPolicy[] {
  return fillIn(randomClusterPolicies(draw), facts(model, draw(2)));
}

/** Where policies name a pod's address, it is the one of this place among its addresses. */
function facts({ pods }: RandomModel, place: number): TableFacts {
  return {
    namespaceName: (key) => key,
    address: (ns, pod) => {
      const found = pods.find(({ namespace, name }) => namespace === ns && name === pod);
      return found?.addresses[place] ?? (place === 0 ? '10.244.9.9' : 'fd00:10:244:9::9');
    },
  };
}
