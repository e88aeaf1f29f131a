// SPDX-License-Identifier: Apache-2.0
/**
 * Interactions: every value of every factor meets every value of every other factor in at least one case. The rows are chosen greedily and
 * without chance, so that an id always means the same case.
 */
import type { V1LabelSelector, V1NetworkPolicyPeer, V1NetworkPolicyPort } from '@kubernetes/client-node';
import {
  allow,
  block,
  everyPod,
  expression,
  labelled,
  podsIn,
  policy,
  policyCase,
  port,
  put,
  type Direction,
} from './parts.ts';
import { tablePorts, type CasePolicy, type PolicyCase } from './policy-case.ts';

const { first, second } = tablePorts;

const targets = {
  all: everyPod,
  one: labelled('pod', 'a'),
  expression: expression('pod', 'NotIn', 'a'),
} satisfies Record<string, V1LabelSelector>;

const peers = {
  anybody: [],
  'own-pods': [{ podSelector: labelled('pod', 'b', 'c') }],
  'all-namespaces': [{ namespaceSelector: everyPod }],
  'namespaces-by-label': [{ namespaceSelector: labelled('ns', 'y') }],
  'namespaces-by-absence': [{ namespaceSelector: expression('ns', 'NotIn', 'y') }],
  'pods-of-namespaces': [podsIn(labelled('ns', 'x', 'z'), labelled('pod', 'b'))],
  block: [block('$(y/b)/24')],
  'block-except': [block('$(y/b)/0', '$(y/b)/30')],
  alternatives: [{ podSelector: labelled('pod', 'c') }, block('$(z/a)')],
} satisfies Record<string, V1NetworkPolicyPeer[]>;

const ports = {
  any: [],
  tcp: [port('TCP')],
  number: [port('TCP', second)],
  name: [port('TCP', 'web')],
  'udp-name': [port('UDP', 'feed')],
  range: [port('TCP', 8000, first)],
  mixed: [port('UDP', second), port('TCP', 'admin')],
} satisfies Record<string, V1NetworkPolicyPort[]>;

/** A second policy over or beside the first. */
const companions: Readonly<Record<string, (direction: Direction) => readonly CasePolicy[]>> = {
  none: () => [],
  deny: (direction) => [policy('x/deny', everyPod, allow(direction))],
  'deny-other-way': (direction) => [policy('x/deny', labelled('pod', 'b'), allow(opposite(direction)))],
  'deny-at-peer': (direction) => [policy('y/deny', labelled('pod', 'a', 'b'), allow(opposite(direction)))],
  narrow: (direction) => [
    policy(
      'x/narrow',
      everyPod,
      allow(direction, { peers: [podsIn(labelled('ns', 'z'), labelled('pod', 'a'))], ports: [port('UDP', first)] }),
    ),
  ],
};

const factors = {
  direction: ['ingress', 'egress'],
  target: Object.keys(targets),
  peer: Object.keys(peers),
  port: Object.keys(ports),
  companion: Object.keys(companions),
} as const;

/** Rows of one value per factor that cover every pair of values of every two factors. */
export function coverPairs(all: Readonly<Record<string, readonly string[]>>): Readonly<Record<string, string>>[] {
  const names = Object.keys(all);
  const valuesOf = (name: string): readonly string[] => all[name] ?? [];
  const key = (one: string, value: string, other: string, second: string): string =>
    `${one}=${value}&${other}=${second}`;
  const open = new Set(
    names.flatMap((one, index) =>
      names
        .slice(index + 1)
        .flatMap((other) => valuesOf(one).flatMap((a) => valuesOf(other).map((b) => key(one, a, other, b)))),
    ),
  );
  const rows: Record<string, string>[] = [];
  for (const start of open) {
    if (!open.has(start)) continue;
    const row = Object.fromEntries(new URLSearchParams(start));
    for (const name of names.filter((one) => !(one in row))) {
      const gain = (value: string): number =>
        names.filter((other) => {
          const against = row[other];
          if (against === undefined) return false;
          const inOrder = names.indexOf(other) < names.indexOf(name);
          return open.has(inOrder ? key(other, against, name, value) : key(name, value, other, against));
        }).length;
      row[name] = valuesOf(name).reduce((best, value) => (gain(value) > gain(best) ? value : best));
    }
    for (const [index, one] of names.entries())
      for (const other of names.slice(index + 1)) open.delete(key(one, row[one] ?? '', other, row[other] ?? ''));
    rows.push(row);
  }
  return rows;
}

function opposite(direction: Direction): Direction {
  return direction === 'ingress' ? 'egress' : 'ingress';
}

function toCase(row: Readonly<Record<string, string>>): PolicyCase {
  const direction: Direction = row['direction'] === 'egress' ? 'egress' : 'ingress';
  const [target, peer, portKey, companion] = ['target', 'peer', 'port', 'companion'].map((name) => row[name] ?? '') as [
    keyof typeof targets,
    keyof typeof peers,
    keyof typeof ports,
    string,
  ];
  const main = policy('x/main', targets[target], allow(direction, { peers: peers[peer], ports: ports[portKey] }));
  return policyCase(
    `pairwise.${direction}.${target}.${peer}.${portKey}.${companion}`,
    `Together: ${direction} of ${target}, peers ${peer}, ports ${portKey}, beside ${companion}`,
    { tags: ['pairwise'], steps: [put(main, ...(companions[companion]?.(direction) ?? []))] },
  );
}

export const pairwiseFactors: Readonly<Record<string, readonly string[]>> = factors;
export const pairwiseCases: readonly PolicyCase[] = coverPairs(factors).map(toCase);
