// SPDX-License-Identifier: Apache-2.0
/** Decides where on the way a packet was lost, and why: rules that the kernel traced, policies, routes, neighbours, tunnels, counters. Pure. */
import type { Finding } from './finding.ts';
import { forbidding, serverReached } from './judge-ends.ts';
import type { Observations, PolicyOpinion, RuleStep, Sighting } from './observations.ts';
import { describePlace, describeRule, type Ways } from './path.ts';
import { evaluated } from './evaluated-rules.ts';
import { commentOf, ownerOf } from './rule-owner.ts';
import type { Reason } from './verdict.ts';

interface Lost {
  readonly way: 'there' | 'back';
  /** Undefined where nothing was seen at all. */
  readonly last: Sighting | undefined;
  /** Node on which it was lost, as far as is known. */
  readonly node: string;
  /** It left this node's uplink and came to no other. */
  readonly betweenNodes: boolean;
}

/** Never without an answer: the last one says what is not known. */
export function judgeWay(observations: Observations, ways: Ways): Finding {
  const lost = whereLost(observations, ways);
  const ended = {
    way: lost.way,
    node: lost.node,
    after: lost.last === undefined ? undefined : describePlace(lost.last.place),
  };
  const steps = [
    byStaleEndpoint,
    byRule,
    byRefusal,
    byNode,
    byDirection,
    byRoute,
    byNeighbour,
    byCounters,
    byTunnel,
    byPolicyAlone,
    unknown,
  ];
  for (const step of steps) {
    const finding = step(observations, lost, ways);
    if (finding !== undefined) return { ended, ...finding };
  }
  throw new TypeError('the last step always answers');
}

function whereLost(observations: Observations, ways: Ways): Lost {
  const { question } = observations;
  const reached = serverReached(observations, ways) !== undefined || ways.back.length > 0;
  const way = reached ? 'back' : 'there';
  const seen = reached ? ways.back : ways.there;
  const last = seen.at(-1) ?? (reached ? ways.there.at(-1) : undefined);
  const node = last?.place.node ?? question.from.node ?? '';
  const target = way === 'there' ? question.servers.map((server) => server.node) : [question.from.node];
  // On its way out the uplink of a node that is not the destination's is where it leaves; on a node that it came to, where it came in.
  const leaves = last?.place.kind === 'uplink' && !target.includes(node) && isOutgoing(observations, last, seen);
  return { way, last, node, betweenNodes: leaves };
}

/** Seen deeper in the same node before: then the uplink was the way out. */
function isOutgoing({ question }: Observations, last: Sighting, seen: readonly Sighting[]): boolean {
  const { node } = last.place;
  return (
    node === question.from.node ||
    seen.some(({ place }) => place.node === node && place !== last.place) ||
    question.servers.some((server) => server.node === node)
  );
}

type Step = (
  observations: Observations,
  lost: Lost,
  ways: Ways,
) => (Omit<Finding, 'ended'> & Partial<Pick<Finding, 'ended'>>) | undefined;

/** The service proxy led the packet to an address that is no endpoint. */
const byStaleEndpoint: Step = ({ question }, lost, { there }) => {
  const { service, servers, address } = question;
  const translated = there.findLast(({ destination }) => destination !== address);
  if (service === undefined || translated === undefined || lost.way === 'back') return undefined;
  const { destination, destinationPort, place } = translated;
  if (servers.some((server) => server.addresses.includes(destination))) return undefined;
  if (service.endpoints.some((endpoint) => endpoint.address === destination && endpoint.ready)) return undefined;
  const node = question.from.node ?? place.node;
  return {
    reason: 'stale-endpoint',
    summary: `The service proxy of ${node} leads Service ${service.name} to ${destination}:${destinationPort}, which is no endpoint of it.`,
    objects: [`Service ${service.name}`],
    ended: { way: 'there', node, after: describePlace(place) },
    next: `The service proxy of ${node} is behind: look whether it runs and what it logs.`,
    evidence: [`endpoints by the API: ${servers.map((server) => `${server.addresses[0]}:${server.port}`).join(', ')}`],
  };
};

/** A rule that the kernel says it dropped or rejected the packet by. */
const byRule: Step = (observations, lost) => {
  const step = droppingRule(observations, lost);
  if (step === undefined) return undefined;
  const refusal = /\breject\b/.test(step.rule ?? '') ? 'refuses' : 'drops';
  const where = {
    way: lost.way,
    node: step.node,
    after: lost.last === undefined ? undefined : describePlace(lost.last.place),
  };
  return { rule: describeRule(step), ended: where, ...explainRule(observations, step, refusal) };
};

function droppingRule({ rules }: Observations, lost: Lost): RuleStep | undefined {
  const dropped = rules.filter(({ verdict, rule }) => verdict === 'drop' || /\breject\b/.test(rule ?? ''));
  // The rule that ended the packet lies on the node where it was lost; a rule elsewhere may have met a copy of it.
  return dropped.findLast(({ node }) => node === lost.node) ?? dropped.at(-1);
}

function explainRule(observations: Observations, step: RuleStep, refusal: string): Finding {
  const { question } = observations;
  const owner = ownerOf(step);
  const comment = commentOf(step);
  const words = comment === undefined ? '' : ` It is commented "${comment}".`;
  const opinion = forbidding(observations);
  const evidence = [
    step.trace === evaluated
      ? `by the rules of ${step.node} the packet ends at ${describeRule(step)}`
      : `the kernel traced the packet to ${describeRule(step)}`,
  ];
  if (opinion !== undefined && owner !== 'service-proxy' && (owner === 'policy-engine' || mentions(step, opinion)))
    return { ...policyFinding(observations, opinion, `on ${step.node}`), evidence };
  const hidden = owner === 'policy-engine' ? sourceHidden(observations) : undefined;
  if (hidden !== undefined) return { ...hidden, evidence };
  if (owner === 'policy-engine')
    return {
      reason: 'policy-engine',
      summary: `The rules that enforce network policies on ${step.node} ${refusal.replace(/s$/, '')} the packet, although no policy of the cluster forbids it.${words}`,
      next: `The rules on ${step.node} are not those that the policies ask for: look at the network plugin's agent there, whether it runs and what it logs.`,
      evidence,
    };
  if (owner === 'service-proxy') {
    const service = question.service?.name;
    const invalid = /ct state invalid|ctstate INVALID/i.test(step.rule ?? '');
    return {
      reason: invalid ? 'conntrack-clash' : question.servers.length > 0 ? 'not-programmed' : 'no-endpoints',
      summary: invalid
        ? `Connection tracking on ${step.node} holds the packet for invalid, and the service proxy drops it.`
        : `The service proxy on ${step.node} ${refusal} the packet: it knows no endpoint for ${question.to}.${words}`,
      objects: service === undefined ? [] : [`Service ${service}`],
      next: invalid
        ? 'Look for packets that take different ways there and back, or set nf_conntrack_tcp_be_liberal to 1.'
        : 'Compare the EndpointSlices with the rules: if there are ready endpoints, the service proxy of this node is behind; look at its logs.',
      evidence,
    };
  }
  if (opinion !== undefined && owner === 'network-plugin')
    return { ...policyFinding(observations, opinion, `on ${step.node}`), evidence };
  return {
    reason: owner === 'network-plugin' ? 'policy-engine' : 'foreign-firewall',
    summary: `A firewall rule on ${step.node} that belongs neither to the service proxy nor to a network policy ${refusal} the packet: ${describeRule(step)}.`,
    next: `Find who put the rule there (table ${step.table}, chain ${step.chain}) and let it accept traffic of pods and Services.`,
    evidence,
  };
}

/** Between pods somebody replaced the source address, so that policies do not know whose packet it is. */
function sourceHidden({ question, sightings, rules }: Observations): Finding | undefined {
  const { from, servers, clientPort } = question;
  if (from.kind !== 'pod' || from.hostNetwork === true) return undefined;
  const own = new Set(sightings.filter(({ sourcePort }) => sourcePort === clientPort).map(({ packet }) => packet));
  const hidden = sightings.find(
    ({ packet, source, destination }) =>
      own.has(packet) &&
      !from.addresses.includes(source) &&
      servers.some(({ kind, addresses }) => kind === 'pod' && addresses.includes(destination)),
  );
  if (hidden === undefined) return undefined;
  const { node } = hidden.place;
  const by = rules.find((step) => step.node === node && /masquerade|snat/.test(step.rule ?? ''));
  return {
    reason: 'source-translated',
    summary: `On ${node} the source of the packet is replaced by ${hidden.source}, so that network policies no longer know ${from.name}.`,
    ended: { way: 'there', node, after: describePlace(hidden.place) },
    ...(by === undefined ? {} : { rule: describeRule(by) }),
    objects: [`Node ${node}`],
    next: `Traffic between pods must keep its addresses: remove the translating rule on ${node}, or except the addresses of pods from it.`,
  };
}

function mentions(step: RuleStep, { policies, subject }: PolicyOpinion): boolean {
  const comment = commentOf(step) ?? '';
  return [...policies, subject].some((name) => comment.includes(name));
}

function policyFinding({ question }: Observations, opinion: PolicyOpinion, where: string): Omit<Finding, 'ended'> {
  const { direction, subject, policies, why, noRulesAtAll } = opinion;
  const reason: Reason = noRulesAtAll ? 'default-deny' : 'policy';
  const who = direction === 'ingress' ? `to ${subject}` : `from ${subject}`;
  return {
    reason,
    summary: `${policies.join(' and ')} ${policies.length > 1 ? 'forbid' : 'forbids'} this ${direction} traffic ${who} ${where}: ${why}.`,
    objects: policies.map((name) => (name.includes('/') ? `NetworkPolicy ${name}` : `ClusterNetworkPolicy ${name}`)),
    next: `If it shall pass, add ${direction === 'ingress' ? `an ingress rule for ${question.from.name}` : `an egress rule towards ${question.to}`} with port ${question.servers[0]?.port ?? question.port}; see: plumb policy explain`,
  };
}

/** An ICMP error or a reset that came from somewhere on the way. */
const byRefusal: Step = (observations, lost, ways) => {
  const { question, attempts } = observations;
  const error = ways.errors[0];
  const last = attempts.at(-1);
  if (error?.error !== undefined) {
    const from = error.source;
    const { what } = error.error;
    const opinion = forbidding(observations);
    const evidence = [`${from} answered with ICMP ${what}, seen first at ${describePlace(error.place)}`];
    if (opinion !== undefined) return { ...policyFinding(observations, opinion, `on ${error.place.node}`), evidence };
    // Routes and routing rules can prohibit as well, and say the same.
    const routed = ['host-unreachable', 'net-unreachable', 'prohibited'].includes(what)
      ? byRoute(observations, lost, ways)
      : undefined;
    if (routed !== undefined) return { ...routed, evidence: [...evidence, ...(routed.evidence ?? [])] };
    if (what === 'prohibited')
      return {
        reason: 'foreign-firewall',
        summary: `${from} refuses the packet as prohibited.`,
        next: `Look for a rejecting rule on the machine with address ${from}.`,
        evidence,
      };
    if (what === 'host-unreachable' || what === 'net-unreachable') {
      const route = observations.lookups.find(({ error: words }) => words !== undefined);
      return {
        reason:
          what === 'net-unreachable'
            ? 'no-route'
            : observations.facts.some(({ failedNeighbours }) => failedNeighbours.length > 0)
              ? 'neighbour-missing'
              : 'no-route',
        summary: `${from} says that ${lost.last?.destination ?? question.address} is unreachable${route === undefined ? '' : `: ${route.error}`}.`,
        next: `Look at the routes on the machine with address ${from}.`,
        evidence,
      };
    }
    if (what === 'port-unreachable')
      return {
        reason: question.service === undefined ? 'refused' : 'no-endpoints',
        summary: `${from} refuses the packet on behalf of ${question.to}: no server was reached.`,
        next: 'Compare the rules for the Service on this node with its EndpointSlices.',
        evidence,
      };
  }
  const reset = ways.back[0];
  if (last?.outcome === 'refused' || reset?.flags?.startsWith('R') === true) {
    if (serverReached(observations, ways) !== undefined) return undefined;
    const opinion = forbidding(observations);
    const where = reset === undefined ? `on ${lost.node}` : `at ${describePlace(reset.place)}`;
    const evidence = [`the refusal was seen first ${where}, and the request at no server`];
    if (opinion !== undefined) return { ...policyFinding(observations, opinion, where), evidence };
    const server = question.servers.find(({ kind, hostNetwork }) => kind !== 'pod' || hostNetwork === true);
    if (server !== undefined)
      return {
        reason: 'no-listener',
        summary: `Nothing listens on ${question.protocol === 'udp' ? 'udp' : 'tcp'}/${server.port} of ${server.name}: it refused the connection.`,
        objects: [`${server.kind === 'pod' ? 'Pod' : 'Node'} ${server.name}`],
        next: 'Start the program, or correct the port.',
        evidence,
      };
    return {
      reason: 'refused',
      summary: `The connection was refused ${where}, before it came to a server.`,
      next: 'Look for a rejecting rule there, and at the service proxy of this node.',
      evidence,
    };
  }
  return undefined;
};

/** A node that is not Ready explains why nothing is heard of it. */
const byNode: Step = ({ troubledNodes, question }, lost) => {
  const concerned = [lost.node, ...question.servers.map(({ node }) => node ?? '')];
  const name = concerned.find((node) => troubledNodes[node] !== undefined);
  if (name === undefined || (!lost.betweenNodes && lost.node !== name)) return undefined;
  return {
    reason: 'node-down',
    summary: `Node ${name} is not Ready: ${troubledNodes[name]}.`,
    objects: [`Node ${name}`],
    next: `Look at the node itself: kubectl describe node ${name}`,
  };
};

const byDirection: Step = ({ facts }, lost) => {
  const here = facts.find(({ node, pod }) => node === lost.node && pod === undefined);
  if (here === undefined || lost.betweenNodes || lost.last?.place.kind === undefined) return undefined;
  if (here.forwarding === false)
    return {
      reason: 'forwarding-off',
      summary: `Node ${lost.node} does not forward packets: net.ipv4.ip_forward is 0.`,
      objects: [`Node ${lost.node}`],
      next: `Set net.ipv4.ip_forward to 1 on ${lost.node}, and find out what turned it off.`,
    };
  if (here.conntrackFull === true)
    return {
      reason: 'conntrack-full',
      summary: `The connection tracking table of ${lost.node} is full: it drops packets of new connections.`,
      objects: [`Node ${lost.node}`],
      next: 'Find who opens so many connections (conntrack -L), or raise net.netfilter.nf_conntrack_max.',
    };
  const clash = ['conntrack.insert_failed', 'conntrack.drop', 'conntrack.early_drop'].find(
    (name) => (here.grown[name] ?? 0) > 0,
  );
  if (clash !== undefined)
    return {
      reason: 'conntrack-clash',
      summary: `Connection tracking on ${lost.node} dropped the packet (${clash}): two flows claim the same translated addresses, or the table is full.`,
      objects: [`Node ${lost.node}`],
      next: 'Delete stale entries of the flow (conntrack -D), or use fully random source ports for masquerading.',
      evidence: [`${clash} grew by ${here.grown[clash]}`],
    };
  return undefined;
};

const byRoute: Step = ({ lookups, question, facts, nodeAddresses }, lost) => {
  const inPod = lost.last === undefined;
  const here = lookups.filter(
    ({ node, pod }) => node === lost.node && (inPod ? pod === question.from.name : pod === undefined),
  );
  const reverse = here.find(({ error }) => /cross-device/i.test(error ?? ''));
  const evidence = here.map(
    ({ destination, fromInterface, device, gateway, type, error }) =>
      `route to ${destination}${fromInterface === undefined ? '' : ` coming in at ${fromInterface}`} on ${lost.node}: ${error ?? `${type ?? ''} ${gateway === undefined ? '' : `via ${gateway} `}dev ${device ?? 'none'}`.trim()}`,
  );
  const filtered = facts.find(
    ({ node, pod, grown }) => node === lost.node && pod === undefined && (grown['TcpExt.IPReversePathFilter'] ?? 0) > 0,
  );
  if (reverse !== undefined || filtered !== undefined)
    return {
      reason: 'reverse-path',
      summary: `Node ${lost.node} drops the packet at ${lost.last?.place.interface ?? 'its interface'}: its way back would lead through another interface (rp_filter).`,
      objects: [`Node ${lost.node}`],
      next: `Correct the routes of ${lost.node}, or set rp_filter of that interface to 2 (loose).`,
      evidence,
    };
  const refused = here.find(
    ({ error, type }) => error !== undefined || (type !== undefined && /unreachable|blackhole|prohibit/.test(type)),
  );
  if (refused !== undefined && !lost.betweenNodes)
    return {
      reason: 'no-route',
      summary: `${inPod ? `Pod ${question.from.name}` : `Node ${lost.node}`} has no usable route to ${refused.destination}: ${refused.error ?? `a ${refused.type} route`}.`,
      objects: [inPod ? `Pod ${question.from.name}` : `Node ${lost.node}`],
      next: `The network plugin on ${lost.node} has to bring this route: look whether its agent runs and what it logs.`,
      evidence,
    };
  // The way leads out of the wrong door: pods of other nodes are not behind the default gateway.
  const server = question.servers.find(({ node }) => node !== undefined && node !== lost.node);
  const astray = here.find(
    ({ destination, gateway }) =>
      lost.betweenNodes &&
      server?.addresses.includes(destination) === true &&
      gateway !== undefined &&
      !Object.values(nodeAddresses).some((addresses) => addresses.includes(gateway)),
  );
  if (astray !== undefined && lost.betweenNodes)
    return {
      reason: 'no-route',
      summary: `Node ${lost.node} sends packets for ${astray.destination} to ${astray.gateway}, which is no node: the route to the pods of ${server?.node} is missing or wrong.`,
      objects: [`Node ${lost.node}`],
      next: `The network plugin on ${lost.node} has to bring the route to the pods of ${server?.node}: look whether its agent runs and what it logs.`,
      evidence,
    };
  return undefined;
};

const byNeighbour: Step = ({ facts, neighbours, question }, lost) => {
  const inPod = lost.last === undefined;
  const asked = neighbours.filter(({ place, answered }) => !answered && place.node === lost.node);
  const unanswered = asked.at(-1);
  const failed = facts
    .filter(({ node, pod }) => node === lost.node && (inPod ? true : pod === undefined))
    .flatMap(({ failedNeighbours }) => failedNeighbours);
  const about =
    unanswered?.wanted ??
    failed.find((one) =>
      question.servers.some(({ addresses }) => addresses.some((address) => one.startsWith(`${address} `))),
    );
  if (about === undefined) return undefined;
  return {
    reason: 'neighbour-missing',
    summary: `Nobody answers for ${about} on ${unanswered === undefined ? `node ${lost.node}` : describePlace(unanswered.place)}: the next hop of the packet is not there.`,
    next: 'Look whether the next hop is up and has this address, and whether its interface is up.',
    evidence: failed.map((one) => `neighbour without an answer on ${lost.node}: ${one}`),
  };
};

const byCounters: Step = ({ facts, drops }, lost) => {
  const here = facts.find(({ node, pod }) => node === lost.node && pod === undefined);
  const grown = here?.grown ?? {};
  const names: readonly { readonly counter: string; readonly reason: Reason; readonly words: string }[] = [
    { counter: 'Ip.OutNoRoutes', reason: 'no-route', words: 'found no route for a packet' },
    { counter: 'IpExt.InNoRoutes', reason: 'no-route', words: 'found no route for a packet' },
    { counter: 'Ip.FragFails', reason: 'mtu', words: 'could not fragment a packet' },
    { counter: 'IpExt.InCsumErrors', reason: 'checksum', words: 'got a packet with a wrong checksum' },
  ];
  const match = names.find(({ counter }) => (grown[counter] ?? 0) > 0);
  const said = drops.find(({ node }) => node === lost.node);
  const reason = match?.reason ?? (said === undefined ? undefined : kernelReasons[said.reason]);
  if (reason === undefined) {
    const down = here?.downInterfaces ?? [];
    if (down.length === 0 || lost.betweenNodes || lost.last === undefined) return undefined;
    return {
      reason: 'link-down',
      summary: `On ${lost.node} these interfaces are down: ${down.join(', ')}.`,
      objects: [`Node ${lost.node}`],
      next: `Set them up (ip link set IF up), and find out what set them down.`,
    };
  }
  return {
    reason,
    summary:
      match === undefined
        ? `The kernel of ${lost.node} dropped the packet: ${said?.reason} in ${said?.at}.`
        : `Node ${lost.node} ${match.words}.`,
    objects: [`Node ${lost.node}`],
    next: 'Look at the routes, neighbours and interfaces of that node.',
    evidence: [
      ...(match === undefined ? [] : [`${match.counter} grew by ${grown[match.counter]} on ${lost.node}`]),
      ...(said === undefined ? [] : [`kernel of ${said.node}: ${said.reason} in ${said.at}`]),
    ],
  };
};

/** Names in the kernel's own list of drop reasons. */
const kernelReasons: Readonly<Record<string, Reason>> = {
  IP_RPFILTER: 'reverse-path',
  IP_OUTNOROUTES: 'no-route',
  IP_INNOROUTES: 'no-route',
  NEIGH_FAILED: 'neighbour-missing',
  NEIGH_CREATEFAIL: 'neighbour-missing',
  NEIGH_QUEUEFULL: 'neighbour-missing',
  NEIGH_DEAD: 'neighbour-missing',
  PKT_TOO_BIG: 'mtu',
  IP_CSUM: 'checksum',
  TCP_CSUM: 'checksum',
  UDP_CSUM: 'checksum',
  VXLAN_INVALID_HDR: 'tunnel',
  VXLAN_VNI_NOT_FOUND: 'tunnel',
  VXLAN_ENTRY_EXISTS: 'tunnel',
};

const byTunnel: Step = ({ question, sightings }, lost) => {
  const { last } = lost;
  if (last === undefined) return undefined;
  const server = question.servers.find(({ node }) => node !== undefined && node !== last.place.node);
  if (last.tunnel !== undefined && last.place.kind === 'uplink' && lost.betweenNodes)
    return {
      reason: 'tunnel',
      summary: `The packet left ${lost.node} in a ${last.tunnel} tunnel and did not come to ${server?.node ?? 'the other node'}: the network between the nodes drops tunnelled packets.`,
      next: `Let the firewall between the nodes pass ${last.tunnel} (UDP 4789 or 8472 for VXLAN, 6081 for Geneve, protocol 4 for IPIP).`,
    };
  if (last.tunnel !== undefined && last.place.kind === 'uplink')
    return {
      reason: 'tunnel',
      summary: `The packet came to ${lost.node} in a ${last.tunnel} tunnel and was not unpacked there.`,
      next: `Look at the tunnel interface of ${lost.node}: is it there and up, with the same identifier and port as on the other node?`,
    };
  if (
    last.place.kind === 'tunnel' &&
    !sightings.some(
      ({ packet, place, tunnel }) => packet === last.packet && place.node === lost.node && tunnel !== undefined,
    )
  )
    return {
      reason: 'tunnel',
      summary: `The packet went into tunnel ${last.place.interface} of ${lost.node} and did not come out at the uplink: the tunnel knows no way to ${server?.node ?? 'the other node'}.`,
      next: `Look at the forwarding entries of ${last.place.interface} on ${lost.node} (bridge fdb show dev ${last.place.interface}) and at the network plugin's agent there.`,
    };
  return undefined;
};

/** No rule was seen, but the policies forbid the flow: where rules cannot be traced, as with eBPF, this is what a policy looks like. */
const byPolicyAlone: Step = (observations, lost) => {
  const opinion = forbidding(observations, lost.way === 'there' ? undefined : 'egress') ?? forbidding(observations);
  if (opinion === undefined) return undefined;
  return {
    ...policyFinding(observations, opinion, `on ${lost.node}`),
    evidence: ['no rule that drops it was seen; the policies by themselves forbid it'],
  };
};

const unknown: Step = ({ question, attempts }, lost) => {
  const { last, node, betweenNodes } = lost;
  const what = lost.way === 'there' ? 'the packet' : 'the answer';
  const error = attempts.at(-1)?.error;
  if (last === undefined)
    return {
      reason: 'unknown',
      summary: `No packet of it was seen: it did not leave ${question.from.name}${error === undefined ? '' : ` (${error})`}.`,
      next: 'Look at the routes and rules within the source.',
    };
  if (betweenNodes)
    return {
      reason: 'between-nodes',
      summary: `${capital(what)} left ${node} at ${last.place.interface} and did not come to ${lost.way === 'there' ? (question.servers.find((server) => server.node !== node)?.node ?? question.to) : (question.from.node ?? question.from.name)}: it was lost between the nodes.`,
      next: 'Look at the network between the nodes: cabling, security groups, firewalls, and whether it lets pass addresses of pods.',
    };
  return {
    reason: 'unknown',
    summary: `${capital(what)} was lost on ${node} behind ${describePlace(last.place)}, and nothing there says why.`,
    next: `Look at ${node}: programs that see packets without rules (eBPF at interfaces: tc filter show, bpftool net), and its logs.`,
  };
};

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
