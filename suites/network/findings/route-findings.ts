// SPDX-License-Identifier: Apache-2.0
/**
 * Routes: from every node to every pod and to every other node's pod range, complete, to the right node and in one manner; local pods by
 * their own wires; no overlap of ranges. A fabric that routes pods itself (all by the default route) is in order.
 */
import type { Route } from '../../../probes/node-state/node-state.ts';
import { overlap, parseRange } from '../../../probes/node-state/rules/addresses.ts';
import {
  familyOfAddress,
  internalAddresses,
  podViews,
  type ClusterView,
  type NodeView,
  type PodView,
} from './cluster-view.ts';
import { finding, type ApiObjects, type Finding } from './finding.ts';

const tunnels = new Set(['vxlan', 'geneve', 'ipip', 'sit', 'gre', 'ip6tnl', 'wireguard']);
const refusing = new Set(['blackhole', 'unreachable', 'prohibit']);

export function routeFindings(view: ClusterView): Finding[] {
  return view.nodes.flatMap((node) => [
    ...remoteFindings(node, view),
    ...localFindings(node, view),
    ...rivalFindings(node),
  ]);
}

interface Goal {
  /** An address to look up. */
  readonly address: string;
  /** `pod shop/web-0 (10.244.1.7)` or `pod range 10.244.1.0/24`. */
  readonly what: string;
  readonly node: string;
}

/** What a node must have a way to: pods of other nodes, and their ranges where the plugin uses those of the Node objects. */
function goalsOf(from: NodeView, { pods, api }: ClusterView): Goal[] {
  const isRangeUsed = rangesInUse(pods, api);
  const ranges = api.nodes.flatMap((node): Goal[] => {
    const name = node.metadata?.name ?? '';
    if (name === from.name || !isRangeUsed) return [];
    return (node.spec?.podCIDRs ?? []).flatMap((cidr) => {
      const address = secondAddress(cidr);
      return address === undefined ? [] : [{ address, what: `pod range ${cidr}`, node: name }];
    });
  });
  const ofPods = pods
    .filter(({ node }) => node !== from.name && node !== '')
    .flatMap(({ name, node, addresses }) =>
      addresses.map((address): Goal => ({ address, what: `pod ${name} (${address})`, node })),
    );
  return [...ranges, ...ofPods];
}

function rangesInUse(pods: readonly PodView[], api: ClusterView['api']): boolean {
  const ranges = new Map(
    api.nodes.map(({ metadata, spec }) => [
      metadata?.name ?? '',
      (spec?.podCIDRs ?? []).flatMap((cidr) => parseRange(cidr) ?? []),
    ]),
  );
  if (pods.length === 0) return false;
  return pods.every(({ node, addresses }) =>
    addresses.every((address) => {
      const host = parseRange(address);
      return host !== undefined && (ranges.get(node) ?? []).some((range) => overlap(range, host));
    }),
  );
}

function remoteFindings(from: NodeView, view: ClusterView): Finding[] {
  const goals = goalsOf(from, view).map((goal) => ({ goal, route: from.routes.find({ destination: goal.address }) }));
  const isFabric = (route: Route | undefined): boolean =>
    route !== undefined && /^(0\.0\.0\.0|::)\/0$/.test(route.destination) && route.type === 'unicast';
  // Where no pod has a way of its own, the network around the nodes knows the ways.
  const isOwnWay = (route: Route | undefined): boolean =>
    route?.nextHops.some(
      ({ gateway, device }) =>
        view.owners.has(gateway ?? '') ||
        from.state.links.some(({ name, kind }) => name === device && tunnels.has(kind ?? '')),
    ) === true;
  const ownWays = new Set(
    goals.filter(({ route }) => isOwnWay(route)).map(({ goal }) => familyOfAddress(goal.address)),
  );
  const byPlace = new Map<string, Finding>();
  for (const { goal, route } of goals) {
    const found = judge(from, view, {
      goal,
      route,
      mustBeOwn: ownWays.has(familyOfAddress(goal.address)) && isFabric(route),
    });
    // A range and the pods in it have one fault.
    if (found !== undefined) {
      const place = `${goal.node} ${found.what.replace(goal.what, '')}`;
      const before = byPlace.get(place);
      if (before === undefined) byPlace.set(place, found);
      else if (before.proof.length < 4)
        byPlace.set(place, { ...before, proof: [...before.proof, ...found.proof.slice(-1)] });
    }
  }
  return [...byPlace.values()];
}

function judge(
  from: NodeView,
  view: ClusterView,
  { goal, route, mustBeOwn }: { readonly goal: Goal; readonly route: Route | undefined; readonly mustBeOwn: boolean },
): Finding | undefined {
  const owner = view.api.nodes.find(({ metadata }) => metadata?.name === goal.node);
  const itsAddresses = owner === undefined ? [] : internalAddresses(owner);
  const report = (about: string, what: string, proof: readonly string[], remedy: string): Finding =>
    finding({
      about: `${about} ${goal.node} ${familyOfAddress(goal.address)}`,
      component: 'network plugin',
      node: from.name,
      object: `route to ${goal.what} of node ${goal.node}`,
      what,
      proof,
      remedy,
    });
  const restart = `Look at the network plugin on ${from.name}: it writes this route, usually anew when it is started again.`;
  if (route === undefined || mustBeOwn) {
    return report(
      'missing',
      `${from.name} has no route to ${goal.what}${mustBeOwn ? ' but the default one, while other pods of the cluster have routes of their own' : ''}`,
      [`ip route get ${goal.address}: ${route === undefined ? 'no route' : routeLine(route)}`],
      restart,
    );
  }
  if (refusing.has(route.type))
    return report(
      'refused',
      `${from.name} refuses packets to ${goal.what}`,
      [routeLine(route)],
      `Remove the route if nobody owns it. ${restart}`,
    );
  for (const { gateway, device, flags } of route.nextHops) {
    const link = from.state.links.find(({ name }) => name === device);
    const wrong = gateway === undefined ? undefined : view.owners.get(gateway);
    if (wrong !== undefined && wrong !== goal.node)
      return report(
        'wrong-node',
        `${from.name} sends packets for ${goal.what} to node ${wrong}`,
        [routeLine(route), `${gateway} is ${wrong}`, `${goal.node} is ${itsAddresses.join(', ')}`],
        restart,
      );
    if (
      flags.includes('dead') ||
      flags.includes('linkdown') ||
      link?.state === 'DOWN' ||
      (link !== undefined && !link.flags.includes('UP'))
    )
      return report(
        'down',
        `the device ${device} on ${from.name}’s way to ${goal.what} is down`,
        [routeLine(route), `${device}: ${link?.state} <${link?.flags.join(',')}>`],
        `Set it up: ip link set ${device} up; and find out who set it down.`,
      );
    const tunnel =
      link?.vxlan === undefined || gateway === undefined
        ? undefined
        : tunnelFault(from, { gateway, device: link.name, itsAddresses, vxlan: link.vxlan });
    if (tunnel !== undefined)
      return report(
        'tunnel',
        `the tunnel ${link?.name} of ${from.name} does not lead to ${goal.node}: ${tunnel.what}`,
        [routeLine(route), ...tunnel.proof],
        restart,
      );
  }
  return undefined;
}

/** A VXLAN device that does not learn needs a neighbour for the gateway and a place for the neighbour's address. */
function tunnelFault(
  { state }: NodeView,
  way: {
    readonly gateway: string;
    readonly device: string;
    readonly itsAddresses: readonly string[];
    readonly vxlan: { readonly learning: boolean };
  },
): { readonly what: string; readonly proof: readonly string[] } | undefined {
  if (way.vxlan.learning) return undefined;
  const neighbour = state.neighbours.find(({ address, device }) => address === way.gateway && device === way.device);
  if (neighbour?.mac === undefined)
    return {
      what: `nobody is known as ${way.gateway}`,
      proof: [
        `ip neigh show ${way.gateway} dev ${way.device}: ${neighbour === undefined ? 'nothing' : neighbour.states.join(',')}`,
      ],
    };
  const places = state.fdb.filter(
    ({ mac, device, remote }) => mac === neighbour.mac && device === way.device && remote !== undefined,
  );
  if (places.length === 0)
    return {
      what: `${neighbour.mac} has no place`,
      proof: [`bridge fdb show dev ${way.device}: no entry for ${neighbour.mac}`],
    };
  const right = places.some(({ remote }) => way.itsAddresses.includes(remote ?? ''));
  // A node may have tunnel addresses that the API does not know; then another of its entries leads there as well.
  if (right || way.itsAddresses.length === 0) return undefined;
  return {
    what: `${neighbour.mac} is looked for at ${places.map(({ remote }) => remote).join(', ')}`,
    proof: [
      `bridge fdb show dev ${way.device}: ${neighbour.mac} dst ${places[0]?.remote}`,
      `the node is ${way.itsAddresses.join(', ')}`,
    ],
  };
}

function localFindings(at: NodeView, { pods }: ClusterView): Finding[] {
  return pods
    .filter(({ node }) => node === at.name)
    .flatMap(({ name, addresses }) =>
      addresses.flatMap((address) => {
        const route = at.routes.find({ destination: address });
        const device = route?.nextHops[0]?.device;
        const uplink = at.uplink(familyOfAddress(address));
        // Some plugins hand pods addresses of the uplink's own network.
        const isAway =
          route !== undefined &&
          (route.destination === '0.0.0.0/0' ||
            route.destination === '::/0' ||
            (device === uplink?.name && route.nextHops[0]?.gateway !== undefined));
        if (route !== undefined && !refusing.has(route.type) && !isAway) return [];
        return [
          finding({
            about: 'local',
            component: 'network plugin',
            node: at.name,
            object: `pod ${name}`,
            what: `${at.name} has no route to its own pod ${name} (${address})`,
            proof: [`ip route get ${address}: ${route === undefined ? 'no route' : routeLine(route)}`],
            remedy: `Delete the pod, so that the network plugin wires it anew; look at the plugin’s log on ${at.name}.`,
          }),
        ];
      }),
    );
}

/** Two routes to one place by different ways, of which only the metric or the order decides. */
function rivalFindings({ name, state }: NodeView): Finding[] {
  const byPlace = new Map<string, Route[]>();
  for (const route of state.routes) {
    if (
      route.table === 'local' ||
      /^(0\.0\.0\.0|::)\/0$/.test(route.destination) ||
      route.destination.startsWith('fe80:') ||
      route.destination.startsWith('ff00:')
    )
      continue;
    if (route.nextHops.every(({ gateway }) => gateway === undefined) && !refusing.has(route.type)) continue;
    const key = `${route.family} ${route.table} ${route.destination}`;
    byPlace.set(key, [...(byPlace.get(key) ?? []), route]);
  }
  return [...byPlace.values()]
    .filter(
      (routes) =>
        new Set(
          routes.map(
            (route) => `${route.type} ${route.nextHops.map(({ gateway, device }) => gateway ?? device).join()}`,
          ),
        ).size > 1,
    )
    .map((routes) =>
      finding({
        about: 'rivals',
        component: 'network plugin',
        node: name,
        object: `route ${routes[0]?.destination}`,
        what: `${name} has ${routes.length} routes to ${routes[0]?.destination} by different ways`,
        proof: routes.map(routeLine),
        remedy: 'Two programs write routes to one place. Find out which of them is a leftover, and remove its route.',
      }),
    );
}

/** What the API hands out must be apart: ranges of nodes, addresses of pods. Needs no look at a node. */
export function apartFindings(api: ApiObjects): Finding[] {
  const ranges = api.nodes.flatMap(({ metadata, spec }) =>
    (spec?.podCIDRs ?? []).flatMap((cidr) => {
      const range = parseRange(cidr);
      return range === undefined ? [] : [{ node: metadata?.name ?? '', cidr, range }];
    }),
  );
  const report = (object: string, what: string, proof: readonly string[]): Finding =>
    finding({
      about: what,
      component: 'API',
      node: '',
      object,
      what,
      proof,
      remedy:
        'Pods of both get the same addresses. Give one of the nodes another range: remove it from the cluster and let it join again.',
    });
  const overlaps = ranges.flatMap((one, index) =>
    ranges
      .slice(index + 1)
      .filter((other) => other.node !== one.node && overlap(one.range, other.range))
      .map((other) =>
        report(`pod ranges of ${one.node} and ${other.node}`, `${one.cidr} and ${other.cidr} overlap`, [
          `${one.node}: ${one.cidr}`,
          `${other.node}: ${other.cidr}`,
        ]),
      ),
  );
  const nodesInside = api.nodes.flatMap((node) =>
    internalAddresses(node).flatMap((address) => {
      const own = parseRange(address);
      const inside = own === undefined ? undefined : ranges.find(({ range }) => overlap(range, own));
      return inside === undefined
        ? []
        : [
            report(
              `node ${node.metadata?.name}`,
              `its address ${address} lies in the pod range ${inside.cidr} of ${inside.node}`,
              [`${node.metadata?.name}: ${address}`],
            ),
          ];
    }),
  );
  return [...overlaps, ...nodesInside, ...duplicatePods(podViews(api))];
}

function duplicatePods(pods: readonly PodView[]): Finding[] {
  const owners = new Map<string, PodView[]>();
  for (const pod of pods)
    for (const address of pod.addresses) owners.set(address, [...(owners.get(address) ?? []), pod]);
  return [...owners]
    .filter(([, found]) => found.length > 1)
    .map(([address, found]) =>
      finding({
        about: 'duplicate',
        component: 'network plugin',
        node: '',
        object: `address ${address}`,
        what: `${found.map(({ name }) => name).join(' and ')} have the same address`,
        proof: found.map(({ name, node }) => `${name} on ${node}: ${address}`),
        remedy:
          'Delete one of the pods; then find out how the plugin came to hand the address out twice (state of its IPAM lost, overlapping ranges).',
      }),
    );
}

export function routeLine({ type, destination, nextHops, table, protocol, metric }: Route): string {
  const hops = nextHops.map(({ gateway, device }) =>
    [gateway && `via ${gateway}`, device && `dev ${device}`].filter(Boolean).join(' '),
  );
  return [
    type === 'unicast' ? '' : type,
    destination,
    hops.join(' or '),
    `proto ${protocol}`,
    table === 'main' ? '' : `table ${table}`,
    metric === 0 ? '' : `metric ${metric}`,
  ]
    .filter((part) => part !== '')
    .join(' ');
}

/** The second address of a range: the first is the network’s own. */
function secondAddress(cidr: string): string | undefined {
  const [address = ''] = cidr.split('/');
  if (parseRange(cidr) === undefined) return undefined;
  return address.includes(':')
    ? `${address.replace(/::$/, '')}::2`.replace(':::', '::')
    : address.replace(/\d+$/, (last) => String(Number(last) + 2));
}
