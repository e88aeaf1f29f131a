// SPDX-License-Identifier: Apache-2.0
/** Random policies, each set wholly determined by its seed, so that a failing one can be named by a number and made again anywhere. */
import type { V1LabelSelector, V1NetworkPolicyPeer, V1NetworkPolicyPort } from '@kubernetes/client-node';
import type {
  ClusterNetworkPolicy,
  ClusterPolicyPeer,
  ClusterPolicyProtocol,
  ClusterPolicyRule,
} from '../../oracles/reachability/cluster-network-policy.ts';
import {
  allow,
  block,
  directions,
  expression,
  podsIn,
  policy,
  policyCase,
  port,
  put,
  type Direction,
} from './parts.ts';
import { tablePorts, type CasePolicy, type PolicyCase } from './policy-case.ts';

/** Draws a number from 0 up to, not including, `below`. */
export type Draw = (below: number) => number;

/** A small generator with good mixing (mulberry32); the sequence is part of what a seed means, so it must never change. */
export function seededDraw(seed: number): Draw {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

export function randomPolicies(draw: Draw): CasePolicy[] {
  return many(draw, 1, 4, (index) => {
    const sections = directions.filter(() => draw(3) > 0);
    const chosen = sections.length > 0 ? sections : (['ingress'] as const);
    const rules = (direction: Direction) =>
      allow(
        direction,
        ...many(draw, 0, 3, () => ({
          peers: many(draw, 0, 3, () => randomPeer(draw)),
          ports: many(draw, 0, 3, () => randomPort(draw)),
        })),
      );
    return policy(`${pick(draw, ['x', 'y', 'z'])}/random-${index}`, podSelector(draw), ...chosen.map(rules));
  });
}

export function randomClusterPolicies(draw: Draw): ClusterNetworkPolicy[] {
  return many(draw, 0, 4, (index) => ({
    apiVersion: 'policy.networking.k8s.io/v1alpha2',
    kind: 'ClusterNetworkPolicy',
    metadata: { name: `random-${index}` },
    spec: {
      tier: pick(draw, ['Admin', 'Baseline'] as const),
      // Unique: of equal priorities the API does not say which wins.
      priority: draw(100) * 10 + index,
      subject: clusterSubject(draw),
      ingress: many(draw, 0, 3, () => ({
        ...ruleHead(draw),
        from: many(draw, 1, 2, () => clusterSubject(draw)),
      })),
      egress: many(draw, 0, 3, (): ClusterPolicyRule => {
        const head = ruleHead(draw);
        const to = many(draw, 1, 2, () => egressPeer(draw));
        return { ...head, to };
      }),
    },
  }));
}

export const randomCases: readonly PolicyCase[] = Array.from({ length: 120 }, (_, index) => randomCase(index + 1));

/** The case of any seed; the first 120 are among the given ones. */
export function randomCase(seed: number): PolicyCase {
  return policyCase(`random.seed-${seed}`, `Random policies of seed ${seed}`, {
    tags: ['random'],
    steps: [put(...randomPolicies(seededDraw(seed)))],
  });
}

function pick<T>(draw: Draw, values: readonly [T, ...T[]]): T {
  return values[draw(values.length)] ?? values[0];
}

function many<T>(draw: Draw, least: number, most: number, make: (index: number) => T): T[] {
  return Array.from({ length: least + draw(most - least + 1) }, (_, index) => make(index));
}

function podSelector(draw: Draw): V1LabelSelector {
  return randomSelector(draw, 'pod', ['a', 'b', 'c']);
}

function namespaceSelector(draw: Draw): V1LabelSelector {
  return randomSelector(draw, 'ns', ['x', 'y', 'z']);
}

function randomSelector(draw: Draw, key: string, values: readonly [string, ...string[]]): V1LabelSelector {
  switch (draw(6)) {
    case 0:
      return {};
    case 1:
      return { matchLabels: { [key]: pick(draw, values) } };
    case 2:
      return expression(key, 'In', pick(draw, values), pick(draw, values));
    case 3:
      return expression(key, 'NotIn', pick(draw, values));
    case 4:
      return { ...expression(key, draw(2) === 0 ? 'Exists' : 'DoesNotExist') };
    default:
      return { matchLabels: { [key]: pick(draw, values) }, ...expression(key, 'NotIn', pick(draw, values)) };
  }
}

function randomBlock(draw: Draw): { readonly cidr: string; readonly except: string[] } {
  const pod = `$(${pick(draw, ['x', 'y', 'z'])}/${pick(draw, ['a', 'b', 'c'])})`;
  const prefix = pick(draw, [0, 1, 16, 24, 28, 30, 31, 32]);
  const deeper = [24, 28, 30, 32].filter((one) => one > prefix);
  const except = deeper.length > 0 && draw(2) === 0 ? [`${pod}/${deeper[draw(deeper.length)]}`] : [];
  return { cidr: `${pod}/${prefix}`, except };
}

function randomPeer(draw: Draw): V1NetworkPolicyPeer {
  switch (draw(4)) {
    case 0:
      return { podSelector: podSelector(draw) };
    case 1:
      return { namespaceSelector: namespaceSelector(draw) };
    case 2:
      return podsIn(namespaceSelector(draw), podSelector(draw));
    default: {
      const { cidr, except } = randomBlock(draw);
      return block(cidr, ...except);
    }
  }
}

function randomPort(draw: Draw): V1NetworkPolicyPort {
  const protocol = pick(draw, ['TCP', 'UDP', 'SCTP', undefined] as const);
  const { first, second } = tablePorts;
  switch (draw(5)) {
    case 0:
      return port(protocol);
    case 1:
      return port(protocol, pick(draw, ['web', 'admin', 'feed', 'log', 'link', 'nobody']));
    case 2: {
      const start = pick(draw, [8000, first, second]);
      return port(protocol, start, start + draw(100));
    }
    default:
      return port(protocol, pick(draw, [first, second, first - 1]));
  }
}

function clusterSubject(draw: Draw): ClusterNetworkPolicy['spec']['subject'] {
  return draw(2) === 0
    ? { namespaces: namespaceSelector(draw) }
    : { pods: { namespaceSelector: namespaceSelector(draw), podSelector: podSelector(draw) } };
}

function egressPeer(draw: Draw): ClusterPolicyPeer {
  const kind = draw(4);
  if (kind === 0) return { networks: many(draw, 1, 2, () => randomBlock(draw).cidr) };
  if (kind === 1) return { nodes: randomSelector(draw, 'zone', ['one', 'two']) };
  return clusterSubject(draw);
}

function ruleHead(draw: Draw): Pick<ClusterPolicyRule, 'action' | 'protocols'> {
  const protocols = many(draw, 0, 2, (): ClusterPolicyProtocol => {
    const { first, second } = tablePorts;
    if (draw(4) === 0) return { destinationNamedPort: pick(draw, ['web', 'feed', 'sync']) };
    const destinationPort =
      draw(2) === 0 ? { number: pick(draw, [first, second]) } : { range: { start: 8000, end: first + draw(2) } };
    return { [pick(draw, ['tcp', 'udp', 'sctp'])]: { destinationPort } };
  });
  return { action: pick(draw, ['Accept', 'Deny', 'Pass']), ...(protocols.length > 0 && { protocols }) };
}
