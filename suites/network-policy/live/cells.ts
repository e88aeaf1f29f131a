// SPDX-License-Identifier: Apache-2.0
/**
 * The cells of a table: every pair of pods on every port, and the other ways to a destination: ClusterIP, headless name, NodePort, the host
 * network, an address outside. What must happen in a cell is what the oracle says. Where the API leaves open whether a policy sees addresses
 * before or after a translation, the oracle is asked for each reading, and the cell is left out unless all agree.
 */
import type { V1Service } from '@kubernetes/client-node';
import type { ProbePod } from '../../../probes/agent/prober.ts';
import type { Cell } from '../../../probes/connectivity/matrix.ts';
import type { CaseContext } from '../../case.ts';
import { judge } from '../../oracles/reachability/oracle.ts';
import type { DirectionVerdict, Family, Flow, Model, ModelPod, Party } from '../../oracles/reachability/model.ts';
import { familyOf } from '../../oracles/reachability/selectors.ts';
import { headlessNameOf, hostNameOf, servedPorts, type PodKey, type World } from './world.ts';
import { hostPorts } from './surroundings.ts';

export const columns = ['pod', 'cluster-ip', 'headless', 'node-port', 'host', 'external'] as const;
export type Column = (typeof columns)[number];

export interface TableCell extends Cell {
  /** The same from window to window: `x/a > pod y/b tcp/8080 IPv4`. */
  readonly key: string;
  readonly column: Column;
  readonly from: PodKey;
  /** A pod, a node, or `outside`. */
  readonly to: string;
  readonly protocol: 'tcp' | 'udp';
  readonly family: Family;
  /** Undefined where the destination is on no node. */
  readonly sameNode: boolean | undefined;
  readonly allowed: boolean;
  readonly why: string;
  /** Host name of the agent that must answer. */
  readonly server: string;
}

export interface CellSelection {
  readonly families: readonly Family[];
  /** Columns besides the pods themselves: all pairs, or a few per source, chosen by the text, so that many cases try them all. */
  readonly others: 'all' | { readonly chosenBy: string };
  /** Default: all. */
  readonly columns?: readonly Column[];
}

export interface CellInput {
  readonly t: CaseContext;
  readonly world: World;
  readonly model: Model;
  /** The pods of this moment. */
  readonly pods: ReadonlyMap<PodKey, ProbePod>;
}

/** A cell without what time adds, or the statement that readings of the API differ. */
type Judged = Omit<TableCell, 'timeoutMs'> | 'unjudged';

export function tableCells(
  input: CellInput,
  selection: CellSelection,
): { readonly cells: readonly Omit<TableCell, 'timeoutMs'>[]; readonly unjudged: number } {
  const wanted = selection.columns ?? columns;
  const judged = selection.families.flatMap((family) => [
    ...(wanted.includes('pod') ? podCells(input, family) : []),
    ...columns
      .filter((one) => one !== 'pod' && wanted.includes(one))
      .flatMap((column) => otherCells(input, column, family, selection.others)),
  ]);
  const cells = judged.filter((one) => one !== 'unjudged');
  return { cells, unjudged: judged.length - cells.length };
}

function podCells(input: CellInput, family: Family): Judged[] {
  return [...input.pods.keys()].flatMap((from) =>
    [...input.pods.keys()].flatMap((to) => servedPorts.map((port) => podCell(input, { from, to, family, ...port }))),
  );
}

function otherCells(input: CellInput, column: Column, family: Family, others: CellSelection['others']): Judged[] {
  return [...input.pods.keys()].flatMap((from, index) => {
    const ways = waysOf(input, { column, from, family });
    if (others === 'all' || ways.length === 0) return ways.map((make) => make());
    const make = ways[hash(`${others.chosenBy} ${column} ${index}`) % ways.length];
    return make === undefined ? [] : [make()];
  });
}

interface Place {
  readonly column: Column;
  readonly from: PodKey;
  readonly family: Family;
}

/** Every destination of that kind for this source; judged only when it is asked for. */
function waysOf(input: CellInput, place: Place): (() => Judged)[] {
  const { world, pods } = input;
  const { column, from, family } = place;
  // A pod's packets to itself through a Service come back translated, which policies may see either way.
  const others = [...world.services].filter(([to]) => to !== from && pods.has(to));
  switch (column) {
    case 'pod':
      return [];
    case 'cluster-ip':
      return others.flatMap(([to, service]) => {
        const host = addressOf(service.spec?.clusterIPs ?? [], family);
        return host === undefined
          ? []
          : servedPorts.map((port) => () => clusterIpCell(input, { ...place, to, host, ...port }));
      });
    case 'headless':
      if (world.surroundings.dnsPods.length === 0) return [];
      return others.flatMap(([to]) => servedPorts.map((port) => () => headlessCell(input, { ...place, to, ...port })));
    case 'node-port':
      return others.flatMap(([to, service]) =>
        input.t.cluster.workers.flatMap((node) =>
          servedPorts.flatMap((port) => {
            const nodePort = nodePortOf(service, port);
            return nodePort === undefined
              ? []
              : [() => nodePortCell(input, { ...place, to, node, nodePort, ...port })].filter(
                  () => addressOfNode(input.model, node, family) !== undefined,
                );
          }),
        ),
      );
    case 'host':
      return [...world.surroundings.hosts.keys()]
        .filter((node) => addressOfNode(input.model, node, family) !== undefined)
        .flatMap((node) =>
          (['tcp', 'udp'] as const).flatMap((protocol) =>
            Object.values(hostPorts).map((port) => () => hostCell(input, { ...place, to: node, protocol, port })),
          ),
        );
    case 'external': {
      const { external } = world.surroundings;
      if (external === undefined || familyOf(external.address) !== family) return [];
      return external.ports.map((port) => () => externalCell(input, { ...place, ...port }));
    }
  }
}

interface Ends extends Omit<Place, 'column'> {
  readonly to: string;
  readonly protocol: 'tcp' | 'udp';
  readonly port: number;
}

function podCell(input: CellInput, ends: Ends): Judged {
  const { source, destination } = bothEnds(input, ends);
  const address = addressOf(destination.probe.ips, ends.family);
  if (address === undefined) return 'unjudged';
  const flow = flowOf(ends, source.model, destination.model);
  return finish(input, { ...ends, column: 'pod', host: address, flows: { egress: [flow], ingress: [flow] } });
}

function clusterIpCell(input: CellInput, ends: Ends & { readonly host: string }): Judged {
  const { source, destination } = bothEnds(input, ends);
  // Address blocks may be compared with the address before or after the translation; selectors mean the pod in any case.
  const before: ModelPod = { ...destination.model, addresses: [ends.host] };
  const [egress, after] = [before, destination.model].map((one) => ({
    ...flowOf(ends, source.model, one),
    throughService: true,
  })) as [Flow, Flow];
  return finish(input, { ...ends, column: 'cluster-ip', flows: { egress: [egress, after], ingress: [after] } });
}

function headlessCell(input: CellInput, ends: Ends): Judged {
  const { t, world, model } = input;
  const { source, destination } = bothEnds(input, ends);
  const flow = flowOf(ends, source.model, destination.model);
  // The name must be asked for first, and that is a flow too.
  const questions = world.surroundings.dnsPods.flatMap((pod) =>
    [pod, { ...pod, addresses: world.surroundings.dnsServiceIps }].map((one): Flow => ({
      source: source.model,
      destination: one,
      protocol: 'udp',
      port: 53,
      throughService: true,
    })),
  );
  const asked = agreement(questions.map((question) => judge(model, question).egress));
  const host = headlessNameOf(t, destination.probe.namespace, ends.to);
  const made = finish(input, { ...ends, column: 'headless', host, flows: { egress: [flow], ingress: [flow] } });
  if (made === 'unjudged' || asked?.allowed === true) return made;
  if (asked === undefined) return made.allowed ? 'unjudged' : made;
  return { ...made, allowed: false, why: `its name cannot be resolved: ${asked.why}` };
}

function nodePortCell(input: CellInput, ends: Ends & { readonly node: string; readonly nodePort: number }): Judged {
  const { model } = input;
  const { source, destination } = bothEnds(input, ends);
  const host = addressOfNode(model, ends.node, ends.family) ?? '';
  const after = { ...flowOf(ends, source.model, destination.model), throughService: true };
  const before: Flow = { ...after, destination: { address: host }, port: ends.nodePort };
  const half: Flow = { ...after, destination: { ...destination.model, addresses: [host] } };
  // The pod may be seen as itself, or as one of the nodes that pass the connection on.
  const nodes = [ends.node, source.model.node]
    .map((node) => addressOfNode(model, node, ends.family))
    .filter((address) => address !== undefined);
  const seen: Party[] = [...nodes.map((address) => ({ address })), nodeInside(input, ends)];
  const ingress = [after, ...seen.map((party): Flow => ({ ...after, source: party }))];
  return finish(input, {
    ...ends,
    column: 'node-port',
    key: `${ends.to} on ${ends.node}`,
    host,
    port: ends.nodePort,
    flows: { egress: [after, half, before], ingress },
  });
}

/** The address that a node often has in the network of its pods: the first. */
function nodeInside({ t }: CellInput, { node }: { readonly node: string }): Party {
  const range = t.cluster.nodes.find(({ metadata }) => metadata?.name === node)?.spec?.podCIDR ?? '';
  return { address: range.replace(/\.0\/\d+$/, '.1').replace(/\/\d+$/, '1') };
}

function hostCell(input: CellInput, ends: Ends): Judged {
  const { model, world } = input;
  const source = sourceOf(input, ends.from);
  const host = addressOfNode(model, ends.to, ends.family) ?? '';
  const addresses = (model.nodes ?? []).find(({ name }) => name === ends.to)?.addresses ?? [];
  const agent = { namespace: '', name: ends.to, labels: {}, node: ends.to, namedPorts: {}, hostNetwork: true };
  const flow = flowOf(ends, source.model, { ...agent, addresses });
  const probe = world.surroundings.hosts.get(ends.to);
  return finish(input, {
    ...ends,
    column: 'host',
    host,
    flows: { egress: [flow], ingress: [flow] },
    ...(probe !== undefined && { receiver: probe }),
  });
}

function externalCell(input: CellInput, ends: Omit<Ends, 'to'>): Judged {
  const { external } = input.world.surroundings;
  if (external === undefined) return 'unjudged';
  const source = sourceOf(input, ends.from);
  const flow = flowOf(ends, source.model, { address: external.address });
  return finish(input, {
    ...ends,
    to: 'outside',
    column: 'external',
    host: external.address,
    flows: { egress: [flow], ingress: [flow] },
    receiver: external.receiver,
    server: external.hostname,
  });
}

interface Making extends Ends {
  readonly column: Column;
  readonly key?: string;
  readonly host: string;
  readonly flows: { readonly egress: readonly Flow[]; readonly ingress: readonly Flow[] };
  readonly receiver?: NonNullable<Cell['receiver']>;
  readonly server?: string;
}

function finish({ model, pods }: CellInput, making: Making): Judged {
  const { from, to, column, family, protocol, port, host, flows } = making;
  const egress = agreement(flows.egress.map((flow) => judge(model, flow).egress));
  const ingress = agreement(flows.ingress.map((flow) => judge(model, flow).ingress));
  // What one direction closes is closed, whatever the other may be.
  const closed = [egress, ingress].find((one) => one?.allowed === false);
  if (closed === undefined && (egress === undefined || ingress === undefined)) return 'unjudged';
  const source = pods.get(from);
  if (source === undefined) return 'unjudged';
  const destination = pods.get(to);
  const node = destination?.node ?? (column === 'host' ? to : undefined);
  const receiver = making.receiver ?? destination;
  const [namespace = '', pod = ''] = to.split('/');
  return {
    key: `${from} > ${column} ${making.key ?? to} ${protocol}/${port} IPv${family}`,
    column,
    from,
    to,
    source,
    host,
    family,
    protocol,
    port,
    sameNode: node === undefined ? undefined : node === source.node,
    allowed: closed === undefined,
    why: closed?.why ?? `${egress?.why}; ${ingress?.why}`,
    server: making.server ?? (destination === undefined ? '' : hostNameOf(namespace, pod)),
    ...(receiver !== undefined && { receiver }),
  };
}

/** What all verdicts say, or undefined where they differ or one is itself undefined in the API. */
function agreement(verdicts: readonly DirectionVerdict[]): DirectionVerdict | undefined {
  const [first] = verdicts;
  return verdicts.every(({ allowed, ambiguous }) => allowed === first?.allowed && !ambiguous) ? first : undefined;
}

function flowOf({ protocol, port, family }: Ends | Omit<Ends, 'to'>, source: ModelPod, destination: Party): Flow {
  return { source, destination, protocol, port, family };
}

interface End {
  readonly probe: ProbePod;
  readonly model: ModelPod;
}

function sourceOf({ model, pods }: CellInput, key: PodKey): End {
  const probe = pods.get(key);
  const found = model.pods.find(({ namespace, name }) => namespace === probe?.namespace && name === probe.name);
  if (probe === undefined || found === undefined) throw new Error(`the table has no pod ${key}`);
  return { probe, model: found };
}

function bothEnds(input: CellInput, { from, to }: Ends): { readonly source: End; readonly destination: End } {
  return { source: sourceOf(input, from), destination: sourceOf(input, to) };
}

function addressOf(addresses: readonly string[], family: Family): string | undefined {
  return addresses.find((address) => familyOf(address) === family);
}

function addressOfNode(model: Model, node: string, family: Family): string | undefined {
  return addressOf((model.nodes ?? []).find(({ name }) => name === node)?.addresses ?? [], family);
}

function nodePortOf(service: V1Service, { protocol, port }: { protocol: string; port: number }): number | undefined {
  return (service.spec?.ports ?? []).find((one) => one.port === port && one.protocol?.toLowerCase() === protocol)
    ?.nodePort;
}

/** FNV-1a: spreads texts evenly, and is the same on every machine. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (const sign of text) value = Math.imul(value ^ (sign.codePointAt(0) ?? 0), 0x01000193) >>> 0;
  return value;
}
