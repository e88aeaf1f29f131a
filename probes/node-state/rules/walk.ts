// SPDX-License-Identifier: Apache-2.0
/** One packet on its way through chains of rules, whoever wrote them: what it carries, what the rules can do to it, and where it has been. */
import type { Family } from '../node-state.ts';
import type { RouteLookup } from './route-lookup.ts';

export type Hook = 'prerouting' | 'input' | 'forward' | 'output' | 'postrouting';

export interface VirtualPacket {
  readonly source: string;
  readonly destination: string;
  /** `tcp`, `udp`, `sctp`, `icmp`, `icmpv6` or another protocol by its number. */
  readonly protocol: string;
  readonly sourcePort?: number;
  readonly port?: number;
  /** Default `new`. Translation is for new connections only. */
  readonly state?: 'new' | 'established' | 'related' | 'invalid' | 'untracked';
}

/** Names a rule so that a person finds it. */
export interface RuleReference {
  readonly backend: 'nft' | 'iptables-nft' | 'iptables-legacy';
  /** `ip`, `ip6`, `inet`. */
  readonly family: string;
  readonly table: string;
  readonly chain: string;
  /** nft's handle; for iptables the rule's number within its chain, from 1. */
  readonly handle: number;
  readonly comment: string | undefined;
  /** The rule in its own language. */
  readonly text: string;
}

export interface Visit {
  readonly hook: Hook;
  readonly rule: RuleReference;
  /** `jump X`, `goto X`, `accept`, `drop`, `reject`, `dnat to A:P`, `masquerade`, `mark 0x4000`, ... */
  readonly did: string;
}

export interface Walk {
  readonly family: Family;
  source: string;
  destination: string;
  readonly protocol: string;
  readonly sourcePort: number;
  port: number;
  state: NonNullable<VirtualPacket['state']>;
  /** As the sender sent it. */
  readonly original: { readonly destination: string; readonly port: number };
  mark: number;
  connectionMark: number;
  inDevice: string | undefined;
  outDevice: string | undefined;
  readonly fromNode: boolean;
  hook: Hook;
  translated: boolean;
  /** An address, or `node` for that of the interface that it leaves by. */
  newSource: string | undefined;
  readonly routes: RouteLookup;
  /** Decides what chance decides on a node; the weights need not sum to 1. */
  readonly choose: (weights: readonly number[]) => number;
  readonly path: Visit[];
  /** Rules that may still be tried for this packet, over all its ways; chains that lead into each other never end otherwise. */
  readonly budget: { left: number };
  /** What was not understood, and thus taken as not matching. */
  readonly doubts: Set<string>;
}

export type Verdict =
  | { readonly kind: 'accept' | 'drop' | 'return' }
  | { readonly kind: 'reject'; readonly with: string }
  | { readonly kind: 'jump' | 'goto'; readonly chain: string }
  | { readonly kind: 'dnat' | 'snat'; readonly address: string | undefined; readonly port: number | undefined }
  | { readonly kind: 'masquerade' }
  | { readonly kind: 'redirect'; readonly port: number | undefined };

export interface CompiledRule {
  readonly reference: RuleReference;
  /** Undefined: the packet goes on to the next rule. May throw a Doubt. */
  readonly run: (walk: Walk) => Verdict | undefined;
}

export interface CompiledChain {
  /** Rules that can match a packet to this destination, in order; others may be left out. */
  readonly rulesFor: (walk: Walk) => Iterable<CompiledRule>;
}

export interface BaseChain {
  readonly hook: Hook;
  readonly priority: number;
  readonly isNat: boolean;
  readonly policy: 'accept' | 'drop';
  /** `ip kube-proxy filter-forward`. */
  readonly name: string;
  readonly entry: string;
  /** Undefined: packets of both families. */
  readonly family: Family | undefined;
  readonly chains: ReadonlyMap<string, CompiledChain>;
}

/** Something that a rule asks for and that is not known. */
export class Doubt extends Error {
  override readonly name = 'Doubt';
}

const depthMax = 32;

/** What the base chain decides; `accept` where nothing did and its policy is that. */
export function runBaseChain(base: BaseChain, walk: Walk): { verdict: Verdict; by: RuleReference | undefined } {
  const found = runChain(base, base.entry, { walk, depth: 0 });
  return found ?? { verdict: { kind: base.policy }, by: undefined };
}

function runChain(
  base: BaseChain,
  name: string,
  { walk, depth }: { readonly walk: Walk; readonly depth: number },
): { verdict: Verdict; by: RuleReference } | undefined {
  const chain = base.chains.get(name);
  if (chain === undefined || depth > depthMax) {
    walk.doubts.add(chain === undefined ? `there is no chain ${name}` : `more than ${depthMax} chains deep at ${name}`);
    return undefined;
  }
  for (const rule of chain.rulesFor(walk)) {
    if (walk.budget.left-- <= 0) {
      walk.doubts.add('too many rules on the way: chains that lead into each other');
      return undefined;
    }
    const markBefore = walk.mark;
    const verdict = runRule(rule, walk);
    if (walk.mark !== markBefore) visit(walk, rule, `mark 0x${walk.mark.toString(16)}`);
    if (verdict === undefined) continue;
    visit(walk, rule, describe(verdict));
    if (verdict.kind === 'return') return undefined;
    if (verdict.kind === 'jump' || verdict.kind === 'goto') {
      const found = runChain(base, verdict.chain, { walk, depth: depth + 1 });
      if (found !== undefined || verdict.kind === 'goto') return found;
      continue;
    }
    return { verdict, by: rule.reference };
  }
  return undefined;
}

function runRule(rule: CompiledRule, walk: Walk): Verdict | undefined {
  try {
    return rule.run(walk);
  } catch (error) {
    if (!(error instanceof Doubt)) throw error;
    const { family, table, chain, handle } = rule.reference;
    walk.doubts.add(`${family} ${table} ${chain} ${handle}: ${error.message}`);
    return undefined;
  }
}

function visit(walk: Walk, rule: CompiledRule, did: string): void {
  walk.path.push({ hook: walk.hook, rule: rule.reference, did });
}

function describe(verdict: Verdict): string {
  switch (verdict.kind) {
    case 'jump':
    case 'goto':
      return `${verdict.kind} ${verdict.chain}`;
    case 'dnat':
    case 'snat':
      return `${verdict.kind} to ${[verdict.address, verdict.port].filter((part) => part !== undefined).join(' port ')}`;
    case 'redirect':
      return `redirect to port ${verdict.port ?? 'the same'}`;
    case 'reject':
      return `reject with ${verdict.with}`;
    default:
      return verdict.kind;
  }
}
