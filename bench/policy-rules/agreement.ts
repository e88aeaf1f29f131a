// SPDX-License-Identifier: Apache-2.0
/**
 * The two halves of the project about the same policies: what the network agent would write into each node's kernel, walked by virtual
 * packets, and what the oracles of the harness say of the same flow. The only place that knows both.
 */
import type { ClusterNetworkPolicy as CompiledClusterPolicy } from '../../cluster/network/policy/cluster-network-policy.ts';
import type { PolicyCompiler, PolicyInput } from '../../cluster/network/policy/compile.ts';
import type { PolicyPod } from '../../cluster/network/policy/policy-pods.ts';
import type { NetworkPolicy } from '../../cluster/machinery/api-types.ts';
import type { Table } from '../../cluster/network/nft/ruleset.ts';
import { tracePacket, type Trace } from '../../cluster/network/nft/trace-packet.ts';
import { tablePorts } from '../../suites/network-policy/generator/policy-case.ts';
import { paint } from '../../suites/oracles/reachability/brute-force.ts';
import type { Family, ModelNode, ModelPod, TransportProtocol } from '../../suites/oracles/reachability/model.ts';
import { addressIn, judge } from '../../suites/oracles/reachability/oracle.ts';
import { podRanges, type RandomModel } from './random-model.ts';

const outside = ['203.0.113.7', '2001:db8::7'];
const ports = [tablePorts.first - 1, tablePorts.first, tablePorts.second, 8099];
const protocols: readonly TransportProtocol[] = ['tcp', 'udp', 'sctp'];

export interface Comparison {
  readonly cells: number;
  readonly dropped: number;
  /** The first cell over which the two differ. */
  readonly difference: string | undefined;
}

/** What the agent of this node is told of the model. */
export function inputOf(model: RandomModel, node: ModelNode): PolicyInput {
  return {
    policies: model.policies.map(({ metadata, spec }) => ({
      metadata: { namespace: metadata?.namespace ?? '', name: metadata?.name ?? '' },
      spec: {
        ...spec,
        ...(spec?.ingress && {
          ingress: spec.ingress.map(({ _from: from, ...rule }) => ({ ...rule, ...(from && { from }) })),
        }),
      },
    })) as NetworkPolicy[],
    clusterPolicies: (model.clusterPolicies ?? []).map(({ metadata, spec }) => ({
      metadata: { name: metadata?.name ?? '' },
      spec,
    })) as CompiledClusterPolicy[],
    pods: model.pods.filter(({ hostNetwork }) => hostNetwork !== true).map(policyPod),
    nodes: model.nodes,
    namespaces: model.namespaces,
    nodeName: node.name,
    podCIDRs: podRanges(node),
  };
}

export function compileAll(model: RandomModel, compilers: ReadonlyMap<string, PolicyCompiler>): Map<string, Table> {
  return new Map(
    model.nodes.flatMap((node) => {
      const compiler = compilers.get(node.name);
      return compiler === undefined ? [] : [[node.name, compiler.compile(inputOf(model, node))] as const];
    }),
  );
}

/** Every cell of the model: the rules' verdict against the brute force's, and of drops the policies that they name against the oracle's. */
export function compare(model: RandomModel, tables: ReadonlyMap<string, Table>): Comparison {
  const painted = paint(model, { outside, ports });
  const ends = endsOf(model);
  let [cells, dropped] = [0, 0];
  for (const source of ends)
    for (const destination of ends) {
      if (source.family !== destination.family || source.address === destination.address) continue;
      if (source.pod === undefined && destination.pod === undefined) continue;
      for (const protocol of protocols)
        for (const port of ports) {
          cells += 1;
          const { egress, ingress } = painted({ from: source.address, to: destination.address, protocol, port });
          const flow: FlowEnds = { source, destination, protocol, port };
          const { trace, counted } = send(flow, model, tables);
          const expected = !egress ? 'egress' : !ingress ? 'ingress' : 'passed';
          const got = trace.end !== 'dropped' ? 'passed' : /egress/.test(trace.by?.chain ?? '') ? 'egress' : 'ingress';
          const named =
            expected === got && got !== 'passed' ? wrongName(flow, { model, counted, type: got }) : undefined;
          if (got !== 'passed') dropped += 1;
          if (expected === got && named === undefined) continue;
          const what = `${source.address} to ${destination.address} ${protocol}/${port}`;
          const difference = named ?? `brute force says ${expected}, the rules ${got} (${trace.by?.rule.comment})`;
          return { cells, dropped, difference: `${what}: ${difference}` };
        }
    }
  return { cells, dropped, difference: undefined };
}

interface End {
  readonly address: string;
  readonly family: Family;
  /** Whose policies hold; not of pods in the host's network. */
  readonly pod: ModelPod | undefined;
  readonly node: ModelNode | undefined;
}

interface FlowEnds {
  readonly source: End;
  readonly destination: End;
  readonly protocol: TransportProtocol;
  readonly port: number;
}

function endsOf({ pods, nodes }: RandomModel): End[] {
  const ends: End[] = [];
  for (const family of [4, 6] as const) {
    const add = (address: string | undefined, rest: Pick<End, 'pod' | 'node'>): void => {
      if (address !== undefined) ends.push({ address, family, ...rest });
    };
    for (const pod of pods) {
      if (pod.hostNetwork === true) continue;
      add(addressIn(pod, family), { pod, node: nodes.find(({ name }) => name === pod.node) });
    }
    for (const node of nodes) add(node.addresses[family === 4 ? 0 : 1], { pod: undefined, node });
    add(outside[family === 4 ? 0 : 1], { pod: undefined, node: undefined });
  }
  return ends;
}

/** Through the sender's node and then, if it is another one, the receiver's. */
function send(
  { source, destination, protocol, port }: FlowEnds,
  model: RandomModel,
  tables: ReadonlyMap<string, Table>,
): { trace: Trace; counted: readonly string[] } {
  const counted: string[] = [];
  const packet = { source: source.address, destination: destination.address, protocol, port };
  const through = (node: ModelNode): Trace => {
    const table = tables.get(node.name);
    if (table === undefined) throw new Error(`${node.name} has no table`);
    return tracePacket(packet, {
      tables: [table],
      localAddresses: node.addresses,
      fromNode: node.addresses.includes(source.address),
      counted: (name) => void counted.push(name),
    });
  };
  let last: Trace | undefined;
  if (source.node !== undefined) last = through(source.node);
  if (last?.end !== 'dropped' && destination.node !== undefined && destination.node !== source.node) {
    last = through(destination.node);
  }
  if (last === undefined) throw new Error(`no node of ${model.nodes.length} sees this packet`);
  return { trace: last, counted };
}

/** What is wrong with the names of the counters that counted a drop. */
function wrongName(
  { source, destination, protocol, port }: FlowEnds,
  drop: { readonly model: RandomModel; readonly counted: readonly string[]; readonly type: 'egress' | 'ingress' },
): string | undefined {
  const party = ({ pod, address }: End) => pod ?? { address };
  const verdict = judge(drop.model, {
    source: party(source),
    destination: party(destination),
    protocol,
    port,
    family: source.family,
  });
  const step = verdict[drop.type].steps.at(-1);
  const rule = / rule (\d+)/.exec(step?.why ?? '')?.[1];
  const expected = (step?.policies ?? []).map((name) =>
    step?.tier === 'NetworkPolicy'
      ? `np/${name}/${drop.type}/drop`
      : `cnp/${step?.tier.toLowerCase()}/${name}/${drop.type}/${rule}/deny`,
  );
  // What was accepted or passed on before, in this direction or the other, has counted too.
  const got = drop.counted.filter((name) => /\/(drop|deny)$/.test(name));
  if (expected.toSorted().join() === got.toSorted().join()) return undefined;
  return `the oracle blames ${expected.join()}, the counters ${got.join()}`;
}

function policyPod({ namespace, name, labels, addresses, node, namedPorts }: ModelPod): PolicyPod {
  const ports = Object.entries(namedPorts).map(([key, port]) => {
    const [protocol = '', portName = ''] = key.split('/');
    return { name: portName, protocol, port };
  });
  return { namespace, name, uid: `${namespace}-${name}`, labels, nodeName: node, ips: addresses, ports };
}
