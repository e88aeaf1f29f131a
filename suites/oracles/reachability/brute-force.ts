// SPDX-License-Identifier: Apache-2.0
/**
 * The second opinion, written to share nothing with the oracle but the types: it never asks whether a rule matches a flow. It lists every
 * (peer address, protocol, port) there is and paints them policy by policy, from the weakest layer to the strongest, so that what was
 * painted last is what holds. Slow; it exists to be compared with.
 */
import type { V1LabelSelector, V1NetworkPolicy } from '@kubernetes/client-node';
import type { ClusterNetworkPolicy, ClusterPolicyPeer, ClusterPolicyRule } from './cluster-network-policy.ts';
import type { Model, ModelPod, TransportProtocol } from './model.ts';

export interface Universe {
  /** Beside those of pods and nodes. */
  readonly outside: readonly string[];
  readonly ports: readonly number[];
}

export interface PaintedFlow {
  readonly from: string;
  readonly to: string;
  readonly protocol: TransportProtocol;
  readonly port: number;
}

/** Answers for addresses and ports of the universe. */
export type Painting = (flow: PaintedFlow) => { readonly egress: boolean; readonly ingress: boolean };

type Side = 'Ingress' | 'Egress';
type Canvas = Map<string, boolean>;

const protocols = ['tcp', 'udp', 'sctp'] as const;

export function paint(model: Model, universe: Universe): Painting {
  const ordinary = model.pods.filter(({ hostNetwork }) => hostNetwork !== true);
  const owner = new Map(ordinary.flatMap((pod) => pod.addresses.map((address) => [address, pod] as const)));
  const everywhere = new Set([
    ...model.pods.flatMap(({ addresses }) => addresses),
    ...(model.nodes ?? []).flatMap(({ addresses }) => addresses),
    ...universe.outside,
  ]);
  const world: World = { model, ordinary, owner, addresses: [...everywhere], ports: universe.ports };
  const canvases = new Map<ModelPod, Record<Side, Canvas>>(
    ordinary.map((pod) => [pod, { Ingress: canvasOf(pod, 'Ingress', world), Egress: canvasOf(pod, 'Egress', world) }]),
  );
  return ({ from, to, protocol, port }) => {
    const [source, destination] = [owner.get(from), owner.get(to)];
    if (source !== undefined && source === destination) return { egress: true, ingress: true };
    const look = (pod: ModelPod | undefined, side: Side, peer: string): boolean =>
      pod === undefined || canvases.get(pod)?.[side].get(cell(peer, protocol, port)) === true;
    return { egress: look(source, 'Egress', to), ingress: look(destination, 'Ingress', from) };
  };
}

interface World {
  readonly model: Model;
  readonly ordinary: readonly ModelPod[];
  readonly owner: ReadonlyMap<string, ModelPod>;
  readonly addresses: readonly string[];
  readonly ports: readonly number[];
}

function cell(address: string, protocol: string, port: number): string {
  return `${address} ${protocol} ${port}`;
}

function canvasOf(subject: ModelPod, side: Side, world: World): Canvas {
  const canvas: Canvas = new Map();
  const all = allCells(world.addresses, world);
  const fill = (cells: Iterable<string>, value: (cell: string) => boolean): void => {
    for (const one of cells) canvas.set(one, value(one));
  };
  fill(all, () => true);
  paintTier('Baseline', fill, () => true, { subject, side, world });
  const mine = world.model.policies.filter(
    (policy) =>
      policy.metadata?.namespace === subject.namespace &&
      sidesOf(policy).has(side) &&
      chosen(policy.spec?.podSelector ?? {}, [subject], ({ labels }) => labels).size === 1,
  );
  if (mine.length > 0) {
    fill(all, () => false);
    for (const policy of mine) fill(openedBy(policy, side, subject, world), () => true);
    const node = (world.model.nodes ?? []).find(({ name }) => name === subject.node);
    const beside = world.model.pods.filter((pod) => pod.hostNetwork === true && pod.node === subject.node);
    fill(allCells([...(node?.addresses ?? []), ...beside.flatMap(({ addresses }) => addresses)], world), () => true);
  }
  const below = new Map(canvas);
  paintTier('Admin', fill, (one) => below.get(one) === true, { subject, side, world });
  return canvas;
}

function allCells(addresses: readonly string[], { ports }: World): string[] {
  return addresses.flatMap((address) =>
    protocols.flatMap((protocol) => ports.map((port) => cell(address, protocol, port))),
  );
}

function sidesOf({ spec }: V1NetworkPolicy): Set<string> {
  const given = new Set<string>(spec?.policyTypes ?? []);
  if (given.size > 0) return given;
  return new Set(spec?.egress?.length ? ['Ingress', 'Egress'] : ['Ingress']);
}

function openedBy(policy: V1NetworkPolicy, side: Side, subject: ModelPod, world: World): Set<string> {
  const opened = new Set<string>();
  const rules =
    side === 'Ingress'
      ? (policy.spec?.ingress ?? []).map(({ _from, ports }) => ({ peers: _from, ports }))
      : (policy.spec?.egress ?? []).map(({ to, ports }) => ({ peers: to, ports }));
  for (const { peers, ports } of rules) {
    const addresses = new Set<string>(peers === undefined || peers.length === 0 ? world.addresses : []);
    for (const peer of peers ?? []) {
      if (peer.ipBlock !== undefined) {
        const { cidr, except = [] } = peer.ipBlock;
        const inside = within(cidr, world.addresses);
        for (const hole of except) for (const address of within(hole, world.addresses)) inside.delete(address);
        for (const address of inside) addresses.add(address);
        continue;
      }
      const home = policy.metadata?.namespace ?? '';
      const spaces =
        peer.namespaceSelector === undefined ? new Set([home]) : namespacesChosen(peer.namespaceSelector, world);
      const pods = chosen(peer.podSelector ?? {}, world.ordinary, ({ labels }) => labels);
      for (const pod of pods) if (spaces.has(pod.namespace)) pod.addresses.forEach((one) => addresses.add(one));
    }
    for (const address of addresses) {
      const target = side === 'Ingress' ? subject : world.owner.get(address);
      if (ports === undefined || ports.length === 0) {
        for (const one of allCells([address], world)) opened.add(one);
      }
      for (const { protocol = 'TCP', port, endPort } of ports ?? []) {
        const name = protocol.toLowerCase();
        let numbers: readonly number[];
        if (port === undefined) numbers = world.ports;
        else if (Number.isNaN(Number(port))) numbers = numbersOfName(target, name, String(port));
        else numbers = span(Number(port), endPort ?? Number(port), world.ports);
        for (const number of numbers) opened.add(cell(address, name, number));
      }
    }
  }
  return opened;
}

/** Paints the rules of one tier backwards, the most precedent last. `beneath` is what Pass uncovers. */
function paintTier(
  tier: 'Admin' | 'Baseline',
  fill: (cells: Iterable<string>, value: (cell: string) => boolean) => void,
  beneath: (cell: string) => boolean,
  { subject, side, world }: { readonly subject: ModelPod; readonly side: Side; readonly world: World },
): void {
  const weakestFirst = (world.model.clusterPolicies ?? [])
    .filter(({ spec }) => spec.tier === tier)
    .toSorted((a, b) => b.spec.priority - a.spec.priority || titleOf(b).localeCompare(titleOf(a)));
  for (const { spec } of weakestFirst) {
    if (!podsChosen(spec.subject, world).has(subject)) continue;
    const rules = (side === 'Ingress' ? spec.ingress : spec.egress) ?? [];
    for (const rule of rules.toReversed()) {
      const touched = touchedBy(rule, side, subject, world);
      if (rule.action === 'Pass' && touched.kind === 'known') fill(touched.cells, beneath);
      else fill(touched.cells, () => rule.action === 'Accept');
    }
  }
}

function touchedBy(
  rule: ClusterPolicyRule,
  side: Side,
  subject: ModelPod,
  world: World,
): { readonly kind: 'known' | 'unknown'; readonly cells: Set<string> } {
  const peers = (side === 'Ingress' ? rule.from : rule.to) ?? [];
  if (peers.some((peer) => Object.keys(peer).length === 0)) {
    return { kind: 'unknown', cells: new Set(rule.action === 'Accept' ? [] : allCells(world.addresses, world)) };
  }
  const cells = new Set<string>();
  for (const address of new Set(peers.flatMap((peer) => [...addressesChosen(peer, world)]))) {
    const target = side === 'Ingress' ? subject : world.owner.get(address);
    if (rule.protocols === undefined) for (const one of allCells([address], world)) cells.add(one);
    for (const match of rule.protocols ?? []) {
      for (const protocol of protocols) {
        let numbers: readonly number[] = [];
        const fields = match[protocol];
        if (match.destinationNamedPort !== undefined) {
          numbers = numbersOfName(target, protocol, match.destinationNamedPort);
        } else if (fields !== undefined) {
          const { number, range } = fields.destinationPort ?? {};
          numbers = span(range?.start ?? number ?? 0, range?.end ?? number ?? 65_535, world.ports);
        }
        for (const number of numbers) cells.add(cell(address, protocol, number));
      }
    }
  }
  return { kind: 'known', cells };
}

function addressesChosen(peer: ClusterPolicyPeer, world: World): Set<string> {
  if (peer.networks !== undefined) return new Set(peer.networks.flatMap((cidr) => [...within(cidr, world.addresses)]));
  if (peer.nodes !== undefined) {
    const nodes = chosen(peer.nodes, world.model.nodes ?? [], ({ labels }) => labels);
    return new Set([...nodes].flatMap(({ addresses }) => addresses));
  }
  return new Set([...podsChosen(peer, world)].flatMap(({ addresses }) => addresses));
}

function podsChosen({ namespaces, pods }: ClusterNetworkPolicy['spec']['subject'], world: World): Set<ModelPod> {
  const selector = namespaces ?? pods?.namespaceSelector ?? {};
  if (namespaces === undefined && pods === undefined) return new Set();
  const spaces = namespacesChosen(selector, world);
  const candidates = world.ordinary.filter(({ namespace }) => spaces.has(namespace));
  return chosen(pods?.podSelector ?? {}, candidates, ({ labels }) => labels);
}

function namespacesChosen(selector: V1LabelSelector, { model }: World): Set<string> {
  return new Set([...chosen(selector, [...model.namespaces], ([, labels]) => labels)].map(([name]) => name));
}

/** Starts with all and strikes out whoever breaks a requirement. */
function chosen<T>(
  { matchLabels = {}, matchExpressions = [] }: V1LabelSelector,
  candidates: readonly T[],
  labelsOf: (candidate: T) => Readonly<Record<string, string>>,
): Set<T> {
  const left = new Set(candidates);
  const strike = (breaks: (value: string | undefined) => boolean, key: string): void => {
    for (const one of left) if (breaks(new Map(Object.entries(labelsOf(one))).get(key))) left.delete(one);
  };
  for (const [key, wanted] of Object.entries(matchLabels)) strike((value) => value !== wanted, key);
  for (const { key, operator, values = [] } of matchExpressions) {
    if (operator === 'In') strike((value) => value === undefined || !values.includes(value), key);
    if (operator === 'NotIn') strike((value) => value !== undefined && values.includes(value), key);
    if (operator === 'Exists') strike((value) => value === undefined, key);
    if (operator === 'DoesNotExist') strike((value) => value !== undefined, key);
  }
  return left;
}

function span(first: number, last: number, ports: readonly number[]): number[] {
  return ports.filter((port) => first <= port && port <= last);
}

function numbersOfName(pod: ModelPod | undefined, protocol: string, name: string): number[] {
  return Object.entries(pod?.namedPorts ?? {}).flatMap(([key, number]) =>
    key === `${protocol}/${name}` ? [number] : [],
  );
}

function within(cidr: string, addresses: readonly string[]): Set<string> {
  const [base = '', length = '0'] = cidr.split('/');
  const bits = base.includes(':') ? 128 : 32;
  const size = 2n ** BigInt(bits - Number(length));
  const first = (numberOf(base) / size) * size;
  return new Set(
    addresses.filter((address) => {
      const number = numberOf(address);
      return address.includes(':') === base.includes(':') && number >= first && number < first + size;
    }),
  );
}

function numberOf(address: string): bigint {
  if (!address.includes(':')) return address.split('.').reduce((sum, part) => sum * 256n + BigInt(part), 0n);
  const [head = '', tail] = address.split('::');
  const groups = (text: string): string[] => text.split(':').filter((group) => group !== '');
  const [front, back] = [groups(head), groups(tail ?? '')];
  const zeros = Array.from({ length: tail === undefined ? 0 : 8 - front.length - back.length }, () => '0');
  return [...front, ...zeros, ...back].reduce((sum, group) => sum * 65_536n + BigInt(`0x${group}`), 0n);
}

function titleOf({ metadata }: ClusterNetworkPolicy): string {
  return metadata?.name ?? '';
}
