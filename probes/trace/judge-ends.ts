// SPDX-License-Identifier: Apache-2.0
/** Decides at the ends of the way: names, Services, listeners, and what a server does with a connection. Pure. */
import type { Finding } from './finding.ts';
import type { EndpointAnswer, NetworkFacts, Observations, PolicyOpinion, Sighting } from './observations.ts';
import { describePlace, type Ways } from './path.ts';

/** Endpoints that did not answer although the Service, by another one, did. */
export function silentEndpoints({ endpoints }: Observations): readonly EndpointAnswer[] {
  return endpoints.filter(({ outcome }) => outcome !== 'allowed');
}

/** As a target of `plumb trace`. */
export function endpointName({ pod, address, port }: EndpointAnswer): string {
  return `${pod ?? (address.includes(':') ? `[${address}]` : address)}:${port}`;
}

export function judgeDelivered(observations: Observations): Finding | undefined {
  const { question, attempts, sightings, endpoints } = observations;
  if (attempts.length === 0 || attempts.some(({ outcome }) => outcome !== 'allowed')) return undefined;
  const last = attempts.at(-1);
  const places = new Set(sightings.map(({ place }) => `${place.node} ${place.pod ?? ''} ${place.interface}`)).size;
  const status = last?.status;
  const silent = silentEndpoints(observations);
  const [one] = silent;
  if (one !== undefined) {
    const name = endpointName(one);
    return {
      delivered: true,
      reason: undefined,
      summary: `${question.from.name} reaches ${question.to} this time, by another of its endpoints: ${silent.length} of ${endpoints.length} do not answer, among them ${name} (${one.outcome}).`,
      objects: silent.flatMap(({ pod }) => (pod === undefined ? [] : [`Pod ${pod}`])),
      next: `Follow a probe to it: plumb trace ${question.from.kind}/${question.from.name} ${name}`,
    };
  }
  return {
    delivered: true,
    reason: status !== undefined && status >= 500 ? 'application' : undefined,
    summary: `${question.from.name} reaches ${question.to}: answered after ${last?.latencyMs} ms${status === undefined ? '' : `, HTTP status ${status}`}; seen at ${places} interfaces.`,
    next:
      status !== undefined && status >= 500 ? 'The network is fine: read the logs of the server.' : 'Nothing to do.',
  };
}

export function judgeName({ question, dns, attempts }: Observations): Finding | undefined {
  if (question.address !== undefined || dns.length === 0) return undefined;
  const steps = dns.map(
    ({ name, type, server, outcome, latencyMs }) => `${type} ${name} at ${server}: ${outcome} after ${latencyMs} ms`,
  );
  const silent = dns.filter(({ outcome }) => outcome === 'dropped');
  const refused = dns.filter(({ outcome }) => outcome === 'refused');
  const failing = dns.filter(({ outcome }) => outcome === 'SERVFAIL' || outcome === 'REFUSED');
  const host = attempts[0]?.error;
  const servers = [...new Set(dns.map(({ server }) => server))].join(', ');
  const base = { reason: 'name-resolution', evidence: steps } as const;
  if (silent.length > 0)
    return {
      ...base,
      summary: `The name in ${question.to} does not resolve: ${silent.length === dns.length ? `nameserver ${servers} does not answer` : `${silent.length} of ${dns.length} questions to ${servers} got no answer`} over UDP.`,
      next: `Trace the way to the nameserver: plumb trace ${question.from.kind}/${question.from.name} ${servers.split(',')[0]}:53 --protocol udp`,
    };
  if (refused.length > 0)
    return {
      ...base,
      summary: `The name in ${question.to} does not resolve: nobody listens at nameserver ${servers}.`,
      next: 'Look whether the pods of cluster DNS run and are Ready: kubectl -n kube-system get pods,endpointslices',
    };
  const unknown = dns.filter(({ outcome }) => outcome === 'NXDOMAIN' || outcome === 'NOERROR');
  if (failing.length > 0 && unknown.length > 0)
    return {
      ...base,
      summary: `The name in ${question.to} does not exist in the cluster (${unknown.length} questions along the search list), and ${servers} answers ${failing[0]?.outcome} for ${failing[0]?.name}, which it has to ask others for.`,
      next: 'Check the spelling and the namespace in the name; for names outside the cluster look at the upstream servers of cluster DNS.',
    };
  if (failing.length > 0)
    return {
      ...base,
      summary: `The name in ${question.to} does not resolve: ${servers} answers ${failing[0]?.outcome} for ${failing[0]?.name}.`,
      next: 'The nameserver itself fails: read its logs and its configuration of upstream servers.',
    };
  return {
    ...base,
    summary: `The name in ${question.to} does not exist: every one of ${dns.length} questions along the search list was answered NXDOMAIN or without addresses${host === undefined ? '' : ` (${host})`}.`,
    next: 'Check the spelling, the namespace in the name, and whether the Service exists.',
  };
}

/** Facts of the API that explain a failure by themselves, as far as the packets do not contradict. */
export function judgeService({ question }: Observations, ways: Ways): Finding | undefined {
  const { service } = question;
  if (service === undefined) return undefined;
  const objects = [`Service ${service.name}`];
  if (!service.hasPort)
    return {
      reason: 'no-endpoints',
      summary: `Service ${service.name} has no port ${question.port}; it has ${service.ports.join(', ') || 'none'}.`,
      objects,
      next: 'Use one of its ports, or add this one to the Service.',
      ...endedAt(ways),
    };
  const ready = service.endpoints.filter((endpoint) => endpoint.ready);
  if (ready.length > 0) return undefined;
  const { selected } = service;
  const notReady = selected.filter((pod) => !pod.ready);
  const why =
    service.selector === ''
      ? 'It has no selector, and no EndpointSlice gives it endpoints.'
      : selected.length === 0
        ? `Its selector ${service.selector} selects no pod.`
        : notReady.length > 0
          ? `Its selector selects ${selected.length} pods, none of them Ready: ${notReady.map(({ name, phase }) => `${name} (${phase})`).join(', ')}.`
          : `Its pods are Ready, but no EndpointSlice says so: ${selected.map(({ name }) => name).join(', ')}.`;
  return {
    reason: 'no-endpoints',
    summary: `Service ${service.name} has no ready endpoint. ${why}`,
    objects: [...objects, ...notReady.map(({ name }) => `Pod ${name}`)],
    next:
      selected.length === 0
        ? 'Compare the selector with the labels of the pods that shall serve it.'
        : notReady.length > 0
          ? `See why the pods are not Ready: kubectl describe pod -n ${service.name.split('/')[0]} ${notReady[0]?.name.split('/')[1]}`
          : 'Look at the controller manager, which writes EndpointSlices: its logs and its Lease.',
    ...endedAt(ways),
  };
}

function endedAt({ there }: Ways): Pick<Finding, 'ended'> {
  const last = there.at(-1);
  return last === undefined ? {} : { ended: { way: 'there', node: last.place.node, after: describePlace(last.place) } };
}

/** Nothing could be sent from the source: what the API and its server say narrows it down, and proves nothing. */
export function judgeBlind(observations: Observations): Finding | undefined {
  const { attempts, reach, troubledNodes, question } = observations;
  if (attempts.length > 0) return undefined;
  const evidence = reach.map(
    ({ server, reached, words }) => `the API server ${reached ? 'reaches' : 'does not reach'} ${server}: ${words}`,
  );
  const opinion = forbidding(observations);
  const next = 'Trace again with node probes, which see the packets.';
  if (opinion !== undefined)
    return {
      reason: opinion.noRulesAtAll ? 'default-deny' : 'policy',
      summary: `${opinion.policies.join(' and ')} forbid${opinion.policies.length > 1 ? '' : 's'} this ${opinion.direction} traffic of ${opinion.subject}: ${opinion.why}. Whether the cluster enforces it was not tried.`,
      objects: opinion.policies.map((name) =>
        name.includes('/') ? `NetworkPolicy ${name}` : `ClusterNetworkPolicy ${name}`,
      ),
      next: `If it shall pass, add a rule for it; see: plumb policy explain`,
      evidence,
    };
  const node = [question.from.node, ...question.servers.map((server) => server.node)].find(
    (name) => name !== undefined && troubledNodes[name] !== undefined,
  );
  if (node !== undefined)
    return {
      reason: 'node-down',
      summary: `Node ${node} is not Ready: ${troubledNodes[node]}.`,
      objects: [`Node ${node}`],
      next: `kubectl describe node ${node}`,
      evidence,
    };
  const refusing = reach.filter(({ words }) => /refused/i.test(words));
  if (reach.length > 0 && refusing.length === reach.length)
    return {
      reason: 'no-listener',
      summary: `Nobody listens at ${refusing.map(({ server }) => server).join(', ')}: the API server is refused as well.`,
      objects: question.servers.filter(({ kind }) => kind === 'pod').map(({ name }) => `Pod ${name}`),
      next: 'Look at the program that shall serve the port, and at the targetPort of the Service.',
      evidence,
    };
  const reached = reach.filter((one) => one.reached);
  return {
    reason: 'unknown',
    summary:
      reach.length === 0
        ? `Nothing could be sent from ${question.from.name}, and nothing in the API forbids the flow.`
        : reached.length === reach.length
          ? `The API server reaches every server of ${question.to}: what fails lies between ${question.from.name} and them.`
          : `The API server does not reach ${reach
              .filter((one) => !one.reached)
              .map(({ server }) => server)
              .join(', ')} either: look at the servers and their nodes first.`,
    next,
    evidence,
  };
}

/** The server was reached and said something, or the connection was made and broke later. */
export function judgeLater(observations: Observations, ways: Ways): Finding | undefined {
  const { attempts } = observations;
  const last = attempts.findLast(({ outcome }) => outcome !== 'allowed');
  if (last === undefined) return undefined;
  const server = serverReached(observations, ways);
  const answered = ways.back.some((sighting) => isFrom(sighting, observations));
  const error = ways.errors.find((sighting) => sighting.error?.what === 'too-big');
  if (error !== undefined || (last.payloadOctets > 0 && attempts.some(({ outcome }) => outcome === 'allowed')))
    return judgeSize(observations, error);
  if (server === undefined) return undefined;
  const { facts, name, sighting } = server;
  const udpRefusal = ways.errors.find(
    ({ error: what, place }) => what?.what === 'port-unreachable' && place.pod === name,
  );
  if ((isReset(ways.back[0]) && answered) || udpRefusal !== undefined)
    return judgeListener(observations, { name, facts, sighting });
  if (last.outcome === 'reset' || (last.error ?? '').startsWith('connected'))
    return {
      reason: 'application',
      summary: `${name} accepted the connection and then ${last.outcome === 'reset' ? 'closed it without an answer' : 'did not answer'}.`,
      objects: [`Pod ${name}`],
      next: 'The network carried the request: look at the program that serves the port.',
      evidence: [`the request arrived at ${describePlace(sighting.place)}`],
    };
  if (answered) return undefined;
  return judgeSilence(observations, { name, facts, sighting });
}

interface Reached {
  readonly name: string;
  readonly facts: NetworkFacts | undefined;
  readonly sighting: Sighting;
}

/** The request was seen at the server's own interface, or at the last interface of a node that serves by itself. */
export function serverReached({ question, facts }: Observations, { there }: Ways): Reached | undefined {
  const sighting = there.findLast(
    ({ place }) => place.kind === 'pod' && question.servers.some(({ name }) => name === place.pod),
  );
  if (sighting !== undefined) {
    const name = sighting.place.pod ?? '';
    return { name, sighting, facts: facts.find(({ pod }) => pod === name) };
  }
  return undefined;
}

function isFrom(sighting: Sighting, { question }: Observations): boolean {
  return question.servers.some(
    ({ name, addresses }) => name === sighting.place.pod || addresses.includes(sighting.source),
  );
}

function isReset(sighting: Sighting | undefined): boolean {
  return sighting?.flags?.startsWith('R') === true;
}

function isLoopback(address: string): boolean {
  return address.startsWith('127.') || address === '::1';
}

function judgeListener({ question }: Observations, { name, facts, sighting }: Reached): Finding {
  const protocol = question.protocol === 'udp' ? 'udp' : 'tcp';
  const port = sighting.destinationPort;
  const there = (facts?.listeners ?? []).filter((one) => one.protocol === protocol);
  const onPort = there.filter((one) => one.port === port);
  const loopback = onPort.filter(({ address }) => isLoopback(address));
  const objects = [`Pod ${name}`, ...(question.service === undefined ? [] : [`Service ${question.service.name}`])];
  const ended = { way: 'there', node: sighting.place.node, after: describePlace(sighting.place) } as const;
  if (onPort.length > 0 && loopback.length === onPort.length)
    return {
      reason: 'no-listener',
      summary: `The program in ${name} listens on ${protocol}/${port} only at ${loopback[0]?.address}: nobody outside the pod can reach it.`,
      objects,
      ended,
      next: 'Make the program listen on 0.0.0.0 or ::, not on localhost.',
    };
  if (onPort.length > 0)
    return {
      reason: 'refused',
      summary: `${name} refuses connections to ${protocol}/${port}, although something listens there.`,
      objects,
      ended,
      next: 'Look for a full backlog or a firewall within the pod, and read the logs of its program.',
      evidence: [`listening in the pod: ${onPort.map(({ address }) => `${address}:${port}`).join(', ')}`],
    };
  const others = there.filter(({ address }) => !isLoopback(address)).map((one) => `${one.address}:${one.port}`);
  return {
    reason: 'no-listener',
    summary: `Nothing in ${name} listens on ${protocol}/${port}: the pod itself refused the ${protocol === 'udp' ? 'datagram' : 'connection'}.`,
    objects,
    ended,
    next:
      others.length > 0
        ? `The pod listens on ${others.slice(0, 5).join(', ')}: correct the targetPort of the Service or the port of the program.`
        : 'Nothing listens in the pod at all: read the logs of its program.',
  };
}

function judgeSilence({ question, facts: allFacts, drops }: Observations, { name, facts, sighting }: Reached): Finding {
  const grown = facts?.grown ?? {};
  const ended = { way: 'there', node: sighting.place.node, after: describePlace(sighting.place) } as const;
  const objects = [`Pod ${name}`];
  const counter = (...names: string[]): string | undefined => names.find((one) => (grown[one] ?? 0) > 0);
  const checksum = counter('Tcp.InCsumErrors', 'Udp.InCsumErrors', 'Ip.InHdrErrors', 'TcpExt.InCsumErrors');
  if (checksum !== undefined || drops.some(({ reason }) => reason.endsWith('_CSUM')))
    return {
      reason: 'checksum',
      summary: `The packet arrived at ${name} with a wrong checksum, and its kernel threw it away.`,
      objects,
      ended,
      next: 'Turn off transmit checksum offload on the interface that damages it (ethtool -K IF tx off), or update its driver.',
      evidence: [`${checksum ?? 'drop reason'} grew in the pod`],
    };
  const reverse = counter('TcpExt.IPReversePathFilter');
  if (reverse !== undefined)
    return {
      reason: 'reverse-path',
      summary: `The packet arrived at ${name}, whose kernel dropped it: its source is not expected at that interface (rp_filter).`,
      objects,
      ended,
      next: 'Set net.ipv4.conf.all.rp_filter to 0 or 2 in the pod, or correct its routes.',
      evidence: [`${reverse} grew in the pod`],
    };
  const backlog = counter('TcpExt.ListenOverflows', 'TcpExt.ListenDrops', 'TcpExt.TCPReqQFullDrop', 'Udp.RcvbufErrors');
  if (backlog !== undefined)
    return {
      reason: 'application',
      summary: `The packet arrived at ${name}, but the queue of its program is full.`,
      objects,
      ended,
      next: 'The program accepts too slowly: read its logs, give it more CPU or a longer backlog.',
      evidence: [`${backlog} grew in the pod`],
    };
  const protocol = question.protocol === 'udp' ? 'udp' : 'tcp';
  const listens = facts?.listeners.some((one) => one.protocol === protocol && one.port === sighting.destinationPort);
  const noWay = allFacts.length > 0 && protocol === 'tcp';
  if (protocol === 'udp' && listens === true)
    return {
      reason: 'application',
      summary: `The datagram was handed to ${name}, whose program did not answer.`,
      objects,
      ended,
      next: 'The network carried the request: look at the program that serves the port.',
    };
  return {
    reason: noWay && listens !== true ? 'no-listener' : 'unknown',
    summary: `The packet was handed to ${name}, which did not answer${listens === true ? ', although something listens there' : ''}.`,
    objects,
    ended,
    next: 'Look for a firewall or missing routes within the pod: its kernel kept silent.',
    evidence: Object.entries(grown)
      .slice(0, 8)
      .map(([key, by]) => `${key} in the pod grew by ${by}`),
  };
}

function judgeSize({ question, attempts, facts }: Observations, error: Sighting | undefined): Finding {
  const size = attempts.findLast(({ outcome }) => outcome !== 'allowed')?.payloadOctets ?? 0;
  const mtu = error?.error?.mtu;
  const smallest = facts
    .flatMap(({ node, pod, mtus }) =>
      Object.entries(mtus).map(([name, value]) => ({
        name: `${name} ${pod === undefined ? 'on' : `of ${pod} on`} ${node}`,
        value,
      })),
    )
    .toSorted((a, b) => a.value - b.value)[0];
  return {
    reason: 'mtu',
    summary: `Small packets from ${question.from.name} to ${question.to} pass, large ones ${size > 0 ? `(${size} octets) ` : ''}do not${mtu === undefined ? '' : `: a router on the way takes at most ${mtu} octets`}.`,
    next: `Lower the MTU of pods below that of the way between nodes${smallest === undefined ? '' : ` (smallest seen: ${smallest.value} at ${smallest.name})`}; a tunnel needs 50 octets of its own.`,
    ...(error === undefined
      ? {}
      : {
          ended: { way: 'there' as const, node: error.place.node, after: describePlace(error.place) },
          evidence: [`ICMP "too big" from ${error.source}${mtu === undefined ? '' : `, MTU ${mtu}`}`],
        }),
  };
}

/** The opinion that forbids the flow, if there is one: with it, a silent drop has a likely cause even where no rule could be seen. */
export function forbidding({ policies }: Observations, direction?: 'egress' | 'ingress'): PolicyOpinion | undefined {
  return policies.find((one) => !one.allowed && (direction === undefined || one.direction === direction));
}
