// SPDX-License-Identifier: Apache-2.0
/**
 * Says in one paragraph how far a packet came, from what captures at both nodes show. Pure. It tells only what was seen: where a
 * packet was seen last, not what the network plugin may have meant.
 */

/** One line of `tcpdump -nn -tttt` on the `any` interface. */
export interface SeenPacket {
  readonly time: string;
  readonly interface: string;
  readonly direction: 'In' | 'Out' | 'other';
  readonly source: string;
  readonly destination: string;
  readonly info: string;
}

/** Lines that are not IP packets are left out. */
export function parseSeenPackets(text: string): SeenPacket[] {
  const packets: SeenPacket[] = [];
  for (const line of text.split('\n')) {
    const match = /^(\S+ \S+) (\S+)\s+(In|Out|P|M|B)\s+IP6? (\S+) > (\S+?): (.*)$/.exec(line);
    if (match === null) continue;
    const [, time = '', name = '', direction = '', source = '', destination = '', info = ''] = match;
    packets.push({
      time,
      interface: name,
      direction: direction === 'In' || direction === 'Out' ? direction : 'other',
      source,
      destination,
      info,
    });
  }
  return packets;
}

export interface FlowFacts {
  /** `pod x/a on worker1` */
  readonly client: string;
  readonly clientNode: string;
  readonly clientAddresses: readonly string[];
  /** What was asked for: `tcp 10.96.0.5:80`. */
  readonly target: string;
  /** Where it may end: the target itself, or the endpoints behind it. */
  readonly servers: readonly { readonly name: string; readonly address: string; readonly node: string }[];
  readonly outcome: string;
  /** Packets by node; a node that could not be looked at is missing. */
  readonly captures: ReadonlyMap<string, readonly SeenPacket[]>;
  /** `namespace/name` of policies that select the client for egress or a server for ingress. */
  readonly policies: readonly string[];
}

export function explainFlow(facts: FlowFacts): string {
  const { client, clientNode, clientAddresses, target, servers, captures } = facts;
  const sentences = [`${client} tried ${target}; the attempt was repeated under capture and ended "${facts.outcome}".`];
  const atClient = captures.get(clientNode);
  if (atClient === undefined) {
    sentences.push(`Node ${clientNode} could not be looked at, so it is not known what the client sent.`);
    return [...sentences, policySentence(facts)].join(' ');
  }
  const isClient = (endpoint: string): boolean => clientAddresses.some((address) => isAt(endpoint, address));
  const sent = atClient.filter(({ source }) => isClient(source));
  if (sent.length === 0) {
    sentences.push(`No packet of it was seen on ${clientNode}: it never left the client's network namespace.`);
    return [...sentences, policySentence(facts)].join(' ');
  }
  const first = sent[0];
  sentences.push(
    `The client's packet was seen on ${clientNode} at ${first?.interface} (${first?.source} > ${first?.destination}).`,
  );
  const errors = [...captures.values()].flat().filter(({ info }) => /unreachable|Flags \[R/.test(info));
  for (const server of servers) sentences.push(...fateAt(server, { facts, isClient }));
  if (servers.length === 0) sentences.push('Nothing stands behind the target: it has no ready endpoint.');
  const refusal = errors[0];
  if (refusal !== undefined) {
    sentences.push(
      `A refusal was seen at ${refusal.interface}: ${refusal.source} > ${refusal.destination}: ${refusal.info}.`,
    );
  }
  return [...sentences, policySentence(facts)].join(' ');
}

interface Judges {
  readonly facts: FlowFacts;
  readonly isClient: (endpoint: string) => boolean;
}

function fateAt(server: FlowFacts['servers'][number], { facts, isClient }: Judges): string[] {
  const { clientNode, captures } = facts;
  const there = captures.get(server.node);
  const at = `${server.name} (${server.address})`;
  if (there === undefined) return [`Node ${server.node} of ${at} could not be looked at.`];
  const towards = there.filter(({ destination }) => isAt(destination, server.address));
  const replies = there.filter(({ source }) => isAt(source, server.address));
  if (towards.length === 0) {
    return server.node === clientNode
      ? [
          `It was never sent on towards ${at}: it ended on ${clientNode}, before or at the translation of the target's address.`,
        ]
      : [`Nothing of it arrived on ${server.node} for ${at}: it was lost between ${clientNode} and ${server.node}.`];
  }
  const delivered = towards.filter(({ direction }) => direction === 'Out');
  if (delivered.length === 0) {
    return [
      `It arrived on ${server.node} at ${towards[0]?.interface}, but was not handed to ${at}: it was dropped on ${server.node}.`,
    ];
  }
  if (replies.length === 0) {
    return [`It was handed to ${at} at ${delivered[0]?.interface} of ${server.node}, which did not answer.`];
  }
  const home = (captures.get(clientNode) ?? []).filter(
    ({ destination, direction }) => isClient(destination) && direction === 'Out',
  );
  return home.length === 0
    ? [`${at} answered (${replies[0]?.info}), but the answer was not handed to the client on ${clientNode}.`]
    : [`${at} answered, and an answer reached the client's interface ${home[0]?.interface} on ${clientNode}.`];
}

function policySentence({ policies }: FlowFacts): string {
  return policies.length === 0
    ? 'No NetworkPolicy selects either end.'
    : `NetworkPolicies that select an end of the flow: ${policies.join(', ')}.`;
}

/** tcpdump joins address and port with a dot: `10.0.0.1.80`. */
function isAt(endpoint: string, address: string): boolean {
  return (
    endpoint === address || (endpoint.startsWith(`${address}.`) && /^\d+$/.test(endpoint.slice(address.length + 1)))
  );
}
