// SPDX-License-Identifier: Apache-2.0
/**
 * Lets the kernel say which rules the probes meet: a table of our own that marks them for tracing, and the text of `nft monitor trace` as data.
 * Rules that iptables-nft made are seen too. The table belongs to the program that made it, so the kernel removes it with that program.
 */
import type { FlowTuple, RuleStep } from './observations.ts';

export interface MarkInput {
  readonly name: string;
  readonly protocol: 'tcp' | 'udp';
  readonly clientPort: number;
  /** Servers behind translation, where the client's port may be another. */
  readonly servers: readonly { readonly address: string; readonly port: number }[];
}

/** Before everything else: before connection tracking (-200) and raw (-300). */
const priority = -350;
/** Of other people's packets not more than this are traced. */
const limit = 'limit rate 100/second';
/**
 * And of their TCP only what opens or refuses a connection: where the server is the API server, the traces themselves go through it, and each
 * would be traced again.
 */
const opening = 'tcp flags & (syn | rst) != 0';

/** For `nft -i`, which has to stay open: the table goes when it ends. */
export function markingCommands({ name, protocol, clientPort, servers }: MarkInput): string {
  const table = `inet ${name}`;
  const matches = [
    `${protocol} sport ${clientPort}`,
    `${protocol} dport ${clientPort}`,
    ...servers.flatMap(({ address, port }) => {
      const family = address.includes(':') ? 'ip6' : 'ip';
      const some = protocol === 'tcp' ? `${opening} ${limit}` : limit;
      return [
        `${family} daddr ${address} ${protocol} dport ${port} ${some}`,
        `${family} saddr ${address} ${protocol} sport ${port} ${some}`,
      ];
    }),
  ];
  return [
    `add table ${table} { flags owner; }`,
    `add chain ${table} pre { type filter hook prerouting priority ${priority}; }`,
    `add chain ${table} out { type filter hook output priority ${priority}; }`,
    ...matches.flatMap((match) =>
      ['pre', 'out'].map((chain) => `add rule ${table} ${chain} ${match} meta nftrace set 1`),
    ),
    '',
  ].join('\n');
}

/**
 * Steps of our own table are left out, and those of packets that others have marked: the monitor shows them all, those of traces that go on at the
 * same time too. Lines that are not understood are passed over.
 */
export function parseRuleTrace(text: string, node: string, mark: MarkInput): RuleStep[] {
  const steps: RuleStep[] = [];
  const packets = new Map<string, NonNullable<RuleStep['packet']>>();
  for (const line of text.split('\n')) {
    const head = /^trace id (\w+) (\w+) (\S+) (\S+) (.*)$/.exec(line.trim());
    if (head === null) continue;
    const [, trace = '', family = '', tableName = '', chain = '', rest = ''] = head;
    if (rest.startsWith('packet:')) {
      const packet = parsePacket(rest);
      if (packet !== undefined) packets.set(trace, packet);
      continue;
    }
    const packet = packets.get(trace);
    if (tableName === mark.name || (packet !== undefined && !isWanted(packet, mark))) continue;
    const step = parseStep(rest);
    if (step === undefined) continue;
    steps.push({ node, trace, table: `${family} ${tableName}`, chain, ...step, packet });
  }
  return steps;
}

/** What the table marks, by the same words. */
function isWanted(packet: FlowTuple, { clientPort, servers }: MarkInput): boolean {
  return (
    [packet.sourcePort, packet.destinationPort].some((port) => port === clientPort || port === clientPort + 1) ||
    servers.some(
      ({ address, port }) =>
        (packet.destination === address && packet.destinationPort === port) ||
        (packet.source === address && packet.sourcePort === port),
    )
  );
}

function parseStep(rest: string): Pick<RuleStep, 'rule' | 'verdict'> | undefined {
  const rule = /^rule (.*) \(verdict ([^()]+)\)$/.exec(rest);
  if (rule !== null) return { rule: (rule[1] ?? '').trim(), verdict: (rule[2] ?? '').trim() };
  const unnamed = /^unknown rule handle (\d+) \(verdict ([^()]+)\)$/.exec(rest);
  if (unnamed !== null) return { rule: `handle ${unnamed[1]}`, verdict: (unnamed[2] ?? '').trim() };
  const policy = /^policy (\w+)$/.exec(rest.trim());
  // A chain that merely comes to its end with accept says nothing.
  if (policy !== null && policy[1] !== 'accept') return { rule: undefined, verdict: policy[1] ?? '' };
  return undefined;
}

function parsePacket(text: string): NonNullable<RuleStep['packet']> | undefined {
  const value = (name: string): string | undefined => new RegExp(`\\b${name} (\\S+)`).exec(text)?.[1];
  const source = value('ip6? saddr');
  const destination = value('ip6? daddr');
  if (source === undefined || destination === undefined) return undefined;
  const tuple: FlowTuple = {
    source,
    sourcePort: Number(value('(?:tcp|udp|th) sport') ?? -1),
    destination,
    destinationPort: Number(value('(?:tcp|udp|th) dport') ?? -1),
  };
  const identification = value('ip id');
  return { ...tuple, identification: identification === undefined ? undefined : Number(identification) };
}
