// SPDX-License-Identifier: Apache-2.0
/**
 * Which rules a packet would meet on a node, and what becomes of it, from the node's state alone: hooks in the kernel's order, base
 * chains by priority whoever wrote them, translation for new connections, the routing decision in between. Where a rule leaves it to
 * chance, every possibility is followed, with its probability. Nothing is sent and nothing needs root.
 */
import type { NodeState } from '../node-state.ts';
import { familyOf } from './addresses.ts';
import { iptablesChains } from './iptables-chains.ts';
import { nftChains } from './nft-chains.ts';
import { routeLookup, type RouteLookup } from './route-lookup.ts';
import {
  runBaseChain,
  type BaseChain,
  type Hook,
  type RuleReference,
  type VirtualPacket,
  type Visit,
  type Walk,
} from './walk.ts';

export interface NodeRules {
  readonly routes: RouteLookup;
  readonly hooks: Readonly<Record<Hook, readonly BaseChain[]>>;
}

export interface Outcome {
  readonly probability: number;
  /**
   * `local`: to a process of the node; `forwarded`: out of `device`; `rejected`: refused with an answer; `no-route`: no route, or one that
   * refuses.
   */
  readonly end: 'local' | 'forwarded' | 'dropped' | 'rejected' | 'no-route';
  /** After translation. */
  readonly destination: string;
  readonly port: number;
  /** The source as the receiver sees it; `node` stands for the address of the interface that the packet leaves by. */
  readonly source: string;
  /** Device that it leaves by. */
  readonly device: string | undefined;
  readonly path: readonly Visit[];
  /** The rule that ended its way, or that translated it last; undefined where no rule did. */
  readonly by: RuleReference | undefined;
  /** A base chain whose policy dropped it. */
  readonly policyOf: string | undefined;
  /** Rules that were not understood, and thus taken as not matching. Where there are some, the answer may be wrong. */
  readonly doubts: readonly string[];
}

export interface EvaluateOptions {
  /** Sent by a process of the node itself. */
  readonly fromNode?: boolean;
  /** Device that it comes in by. Default: the one that the route to its source leads out of. */
  readonly inDevice?: string;
}

/** Takes the rules apart once; packets are then cheap. */
export function prepareRules(state: NodeState): NodeRules {
  const routes = routeLookup(state);
  const iptables = iptablesChains(state);
  const chains = [...iptables.chains, ...nftChains(state.nft, iptables.covered)];
  const at = (hook: Hook): BaseChain[] =>
    chains.filter((chain) => chain.hook === hook).toSorted((a, b) => a.priority - b.priority);
  return {
    routes,
    hooks: {
      prerouting: at('prerouting'),
      input: at('input'),
      forward: at('forward'),
      output: at('output'),
      postrouting: at('postrouting'),
    },
  };
}

const outcomesMax = 4_096;
const rulesMax = 1_000_000;

/** Every way that the packet can take, most probable first. Empty where the addresses are none. */
export function evaluatePacket(rules: NodeRules, packet: VirtualPacket, options: EvaluateOptions = {}): Outcome[] {
  const family = familyOf(packet.destination);
  if (family === undefined || familyOf(packet.source) !== family) return [];
  const outcomes: Outcome[] = [];
  const budget = { left: rulesMax };
  // Each run follows one sequence of choices; the next differs in the last choice that has possibilities left.
  let script: number[] = [];
  for (;;) {
    const taken: { index: number; count: number }[] = [];
    let probability = 1;
    const choose = (weights: readonly number[]): number => {
      const index = Math.min(script[taken.length] ?? 0, weights.length - 1);
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      probability *= (weights[index] ?? 0) / total;
      taken.push({ index, count: weights.length });
      return index;
    };
    const outcome = oneWay(rules, { packet, family, options, choose, budget });
    if (probability > 0) outcomes.push({ ...outcome, probability });
    const last = taken.findLastIndex(({ index, count }) => index + 1 < count);
    if (last === -1 || outcomes.length >= outcomesMax || budget.left <= 0) break;
    script = [...taken.slice(0, last).map(({ index }) => index), (taken[last]?.index ?? 0) + 1];
  }
  return outcomes.toSorted((a, b) => b.probability - a.probability);
}

interface Way {
  readonly packet: VirtualPacket;
  readonly family: 4 | 6;
  readonly options: EvaluateOptions;
  readonly choose: Walk['choose'];
  readonly budget: Walk['budget'];
}

function oneWay(rules: NodeRules, { packet, family, options, choose, budget }: Way): Omit<Outcome, 'probability'> {
  const { routes } = rules;
  const port = packet.port ?? 0;
  const walk: Walk = {
    family,
    source: packet.source,
    destination: packet.destination,
    protocol: packet.protocol,
    sourcePort: packet.sourcePort ?? 40_000,
    port,
    state: packet.state ?? 'new',
    original: { destination: packet.destination, port },
    mark: 0,
    connectionMark: 0,
    inDevice:
      options.fromNode === true
        ? undefined
        : (options.inDevice ?? routes.find({ destination: packet.source })?.nextHops[0]?.device),
    outDevice: undefined,
    fromNode: options.fromNode === true,
    hook: 'prerouting',
    translated: false,
    newSource: undefined,
    routes,
    choose,
    budget,
    path: [],
    doubts: new Set(),
  };
  const route = (): ReturnType<RouteLookup['find']> =>
    routes.find({
      destination: walk.destination,
      source: walk.fromNode ? undefined : walk.source,
      inDevice: walk.inDevice,
      mark: walk.mark,
    });
  let by: RuleReference | undefined;
  const end = (
    kind: Outcome['end'],
    rule: RuleReference | undefined,
    policyOf?: string,
  ): Omit<Outcome, 'probability'> => ({
    end: kind,
    destination: walk.destination,
    port: walk.port,
    source: walk.newSource ?? walk.source,
    device: kind === 'forwarded' ? walk.outDevice : undefined,
    path: walk.path,
    by: rule,
    policyOf,
    doubts: [...walk.doubts],
  });
  const pass = (hook: Hook): Omit<Outcome, 'probability'> | undefined => {
    const { stopped, last } = runHook(rules, hook, walk);
    by = last ?? by;
    return stopped === undefined ? undefined : end(stopped.kind, stopped.by, stopped.policyOf);
  };

  if (walk.fromNode) {
    walk.outDevice = route()?.nextHops[0]?.device;
    const refused = pass('output');
    if (refused !== undefined) return refused;
  } else {
    const refused = pass('prerouting');
    if (refused !== undefined) return refused;
  }
  const found = route();
  if (routes.isLocal(walk.destination) || found?.type === 'local') {
    const refused = walk.fromNode ? (pass('postrouting') ?? pass('input')) : pass('input');
    return refused ?? end('local', by);
  }
  if (found === undefined || found.nextHops.length === 0) return end('no-route', by);
  walk.outDevice = found.nextHops[0]?.device;
  const refused = (walk.fromNode ? undefined : pass('forward')) ?? pass('postrouting');
  return refused ?? end('forwarded', by);
}

interface Stopped {
  readonly kind: 'dropped' | 'rejected';
  readonly by: RuleReference | undefined;
  readonly policyOf: string | undefined;
}

/** All base chains of a hook. A packet is translated once per direction; chains of type nat see new connections only. */
function runHook(
  rules: NodeRules,
  hook: Hook,
  walk: Walk,
): { stopped: Stopped | undefined; last: RuleReference | undefined } {
  walk.hook = hook;
  let last: RuleReference | undefined;
  let isTranslatedHere = false;
  for (const base of rules.hooks[hook]) {
    if (base.family !== undefined && base.family !== walk.family) continue;
    if (base.isNat && (walk.state !== 'new' || isTranslatedHere)) continue;
    const { verdict, by } = runBaseChain(base, walk);
    switch (verdict.kind) {
      case 'drop':
        return { stopped: { kind: 'dropped', by, policyOf: by === undefined ? base.name : undefined }, last };
      case 'reject':
        return { stopped: { kind: 'rejected', by, policyOf: undefined }, last };
      case 'dnat':
        walk.destination = verdict.address ?? walk.destination;
        walk.port = verdict.port ?? walk.port;
        walk.translated = true;
        break;
      case 'redirect':
        walk.destination = walk.family === 4 ? '127.0.0.1' : '::1';
        walk.port = verdict.port ?? walk.port;
        walk.translated = true;
        break;
      case 'snat':
        walk.newSource = verdict.address;
        break;
      case 'masquerade':
        walk.newSource = 'node';
        break;
      default:
        continue;
    }
    isTranslatedHere = true;
    last = by;
  }
  return { stopped: undefined, last };
}
