// SPDX-License-Identifier: Apache-2.0
/** Wires and neighbours: MTUs that fit all along the way, devices that are up, neighbours that answer and are who they should be, and no address twice. */
import type { Link } from '../../../probes/node-state/node-state.ts';
import { familyOfAddress, wireOf, type ClusterView, type NodeView, type PodView } from './cluster-view.ts';
import { finding, type Finding } from './finding.ts';

/** Bytes that a tunnel needs around an IPv4 packet's own. */
const overheadBytes: Readonly<Record<string, number>> = { vxlan: 50, ipip: 20, sit: 20, gre: 24, wireguard: 60 };

export function linkFindings(view: ClusterView): Finding[] {
  return view.nodes.flatMap((node) => [
    ...wireFindings(node, view),
    ...tunnelMtu(node),
    ...neighbourFindings(node, view),
    ...addressFindings(node, view),
  ]);
}

function wireFindings(at: NodeView, view: ClusterView): Finding[] {
  const mine = view.pods.filter(({ node }) => node === at.name);
  const remote = view.pods.filter(({ node }) => node !== at.name);
  return mine.flatMap((pod) => {
    const wire = wireOf(pod, at);
    if (wire === undefined) return [];
    const { inside, host, namespace } = wire;
    const report = (about: string, what: string, proof: readonly string[], remedy: string): Finding =>
      finding({ about, component: 'network plugin', node: at.name, object: `pod ${pod.name}`, what, proof, remedy });
    const found: Finding[] = [];
    for (const [link, where] of [
      [inside, 'in the pod'],
      [host, 'on the node'],
    ] as const) {
      if (link !== undefined && (!link.flags.includes('UP') || link.state === 'DOWN'))
        found.push(
          report(
            `down ${where}`,
            `its interface ${link.name} ${where} is down`,
            [linkLine(link)],
            'Set it up again, or delete the pod so that it is wired anew.',
          ),
        );
    }
    if (!namespace.routes.some(({ destination, type }) => type === 'unicast' && destination.endsWith('/0')))
      found.push(
        report(
          'no-default-route',
          'it has no default route',
          namespace.routes.map(({ destination }) => destination).slice(0, 3),
          'Delete the pod, so that the network plugin wires it anew.',
        ),
      );
    found.push(
      ...mtuFindings(pod, {
        at,
        inside,
        host,
        remote,
        report,
        routeMtu: namespace.routes.find(({ destination }) => destination.endsWith('/0'))?.mtu,
      }),
    );
    return found;
  });
}

interface MtuInput {
  readonly at: NodeView;
  readonly inside: Link;
  readonly host: Link | undefined;
  readonly remote: readonly PodView[];
  readonly routeMtu: number | undefined;
  readonly report: (about: string, what: string, proof: readonly string[], remedy: string) => Finding;
}

/** The largest packet that the pod sends must fit through its wire and through the device towards pods of other nodes. */
function mtuFindings(pod: PodView, { at, inside, host, remote, routeMtu, report }: MtuInput): Finding[] {
  const largest = Math.min(inside.mtu, routeMtu ?? inside.mtu);
  const remedy =
    'Packets of full size are lost or cut where the MTU shrinks. Give the network plugin the right MTU and let it wire the pods anew.';
  if (host !== undefined && host.mtu < largest)
    return [
      report(
        'mtu wire',
        `sends packets of ${largest} bytes into a wire whose other end takes ${host.mtu}`,
        [linkLine(inside), linkLine(host)],
        remedy,
      ),
    ];
  for (const address of remote.flatMap(({ addresses }) => addresses)) {
    if (!pod.addresses.some((own) => familyOfAddress(own) === familyOfAddress(address))) continue;
    const route = at.routes.find({ destination: address });
    const device = at.state.links.find(({ name }) => name === route?.nextHops[0]?.device);
    if (route === undefined || device === undefined) continue;
    const fits = Math.min(device.mtu, route.mtu ?? device.mtu);
    if (fits < largest)
      return [
        report(
          'mtu path',
          `sends packets of ${largest} bytes, but ${device.name} towards pods of other nodes takes ${fits}`,
          [linkLine(inside), linkLine(device)],
          remedy,
        ),
      ];
  }
  return [];
}

/** A tunnel's packets must fit into the device that carries them. */
function tunnelMtu({ name, state, uplink }: NodeView): Finding[] {
  return state.links.flatMap((link) => {
    const overhead = overheadBytes[link.kind ?? ''];
    const carried = link.vxlan?.local?.includes(':') === true ? 20 : 0;
    const below =
      state.links.find((one) => one.name === link.vxlan?.device) ??
      uplink(link.vxlan?.local?.includes(':') === true ? 6 : 4);
    const isInUse = state.routes.some(
      ({ type, nextHops }) =>
        type === 'unicast' && nextHops.some(({ device, gateway }) => gateway !== undefined && device === link.name),
    );
    if (overhead === undefined || below === undefined || below === link || !isInUse) return [];
    const most = below.mtu - overhead - carried;
    if (link.mtu <= most) return [];
    return [
      finding({
        about: 'mtu tunnel',
        component: 'network plugin',
        node: name,
        object: `interface ${link.name}`,
        what: `takes packets of ${link.mtu} bytes, of which ${most} fit into ${below.name} with the ${overhead + carried} bytes of ${link.kind}`,
        proof: [linkLine(link), linkLine(below)],
        remedy: `Set the MTU of the network plugin to at most ${most}.`,
      }),
    ];
  });
}

const silent = new Set(['FAILED', 'INCOMPLETE']);

function neighbourFindings(at: NodeView, view: ClusterView): Finding[] {
  const podOf = new Map(
    view.pods
      .filter(({ node }) => node === at.name)
      .flatMap((pod) => pod.addresses.map((address) => [address, pod] as const)),
  );
  const gateways = new Set(
    at.state.routes
      .filter(({ type }) => type === 'unicast')
      .flatMap(({ nextHops }) => nextHops.flatMap(({ gateway }) => gateway ?? [])),
  );
  const macOfGateway = at.state.neighbours.find(
    ({ address }) => address === at.routes.find({ destination: '198.51.100.23' })?.nextHops[0]?.gateway,
  )?.mac;
  return at.state.neighbours.flatMap((neighbour) => {
    const { address, device, mac, states, proxy } = neighbour;
    if (proxy || states.includes('NOARP')) return [];
    const node = view.owners.get(address);
    const pod = podOf.get(address);
    const who =
      node === undefined
        ? pod === undefined
          ? gateways.has(address)
            ? `gateway ${address}`
            : undefined
          : `pod ${pod.name}`
        : `node ${node}`;
    if (who === undefined || node === at.name) return [];
    const line = `${address} dev ${device} ${mac === undefined ? '' : `lladdr ${mac} `}${states.join(',')}`;
    const isOnWay = at.routes.find({ destination: address })?.nextHops[0]?.device === device;
    if (states.some((one) => silent.has(one)) && isOnWay)
      return [
        finding({
          about: 'silent',
          component: pod === undefined ? 'node' : 'network plugin',
          node: at.name,
          object: who,
          what: `does not answer to ${address} on ${device} of ${at.name}`,
          proof: [line],
          remedy:
            pod === undefined
              ? 'Look whether it runs, whether its interface is up, and whether somebody filters ARP or neighbour discovery on the way.'
              : 'Look into the pod’s namespace: is its interface up, and has it this address?',
        }),
      ];
    return node === undefined ? [] : impostor(at, view, { address, mac, device, node, line, fabric: macOfGateway });
  });
}

/** A neighbour entry for a node with the hardware address of something else. */
function impostor(
  at: NodeView,
  view: ClusterView,
  {
    address,
    mac,
    device,
    node,
    line,
    fabric,
  }: {
    readonly address: string;
    readonly mac: string | undefined;
    readonly device: string;
    readonly node: string;
    readonly line: string;
    readonly fabric: string | undefined;
  },
): Finding[] {
  const other = view.nodes.find(({ name }) => name === node);
  const real = other?.uplink(familyOfAddress(address));
  // Where the network answers for everybody, all neighbours have one hardware address.
  const others = at.state.neighbours.filter((one) => view.owners.has(one.address) && one.mac !== undefined);
  const isFabric = mac === fabric || (others.length > 1 && others.every((one) => one.mac === mac));
  if (
    mac === undefined ||
    real?.mac === undefined ||
    mac === real.mac ||
    isFabric ||
    real.master !== undefined ||
    at.uplink(familyOfAddress(address))?.name !== device
  )
    return [];
  return [
    finding({
      about: 'impostor',
      component: 'node',
      node: at.name,
      object: `node ${node}`,
      what: `${at.name} takes ${mac} for ${address}, which is ${real.mac} on ${node}`,
      proof: [line, `${node}: ${linkLine(real)}`],
      remedy: `Somebody else answers for ${address}, or the entry is a wrong permanent one: ip neigh del ${address} dev ${device}; then look who answers.`,
    }),
  ];
}

function addressFindings(at: NodeView, view: ClusterView): Finding[] {
  const report = (parts: Pick<Finding, 'object' | 'what' | 'proof' | 'remedy'> & { readonly about: string }): Finding =>
    finding({ component: 'node', node: at.name, ...parts });
  return [
    ...at.state.links.flatMap((link) =>
      link.addresses.flatMap(({ address, flags }) => {
        const node = view.owners.get(address);
        const common = { object: `interface ${link.name}`, proof: [`${linkLine(link)} ${address}`] };
        if (flags.includes('dadfailed'))
          return [
            report({
              about: `duplicate ${address}`,
              ...common,
              what: `its address ${address} is in use by somebody else`,
              remedy: 'Give one of the two another address.',
            }),
          ];
        const pod = view.pods.find(({ addresses }) => addresses.includes(address));
        const owner = node === undefined ? (pod === undefined ? undefined : `pod ${pod.name}`) : `node ${node}`;
        if (owner === undefined || node === at.name) return [];
        return [
          report({
            about: `taken ${address}`,
            ...common,
            what: `it has the address ${address} of ${owner}`,
            remedy: `Remove the address from ${at.name}: ip addr del ${address} dev ${link.name}.`,
          }),
        ];
      }),
    ),
    ...at.addresses
      .filter((address) => !at.state.links.some(({ addresses }) => addresses.some((one) => one.address === address)))
      .map((address) =>
        report({
          about: `lost ${address}`,
          object: `node ${at.name}`,
          what: `none of its interfaces has its address ${address}`,
          proof: at.state.links.slice(0, 5).map(linkLine),
          remedy: 'Give the interface its address back, or let the kubelet register the right one (--node-ip).',
        }),
      ),
  ];
}

export function linkLine({ name, mtu, flags, state, kind }: Link): string {
  return `${name}: <${flags.join(',')}> mtu ${mtu} state ${state}${kind === undefined ? '' : ` ${kind}`}`;
}
