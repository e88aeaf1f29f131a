// SPDX-License-Identifier: Apache-2.0
/** The kernel's choice of a route as data: rules in order of priority, in each table the longest prefix, then the lowest metric. */
import type { Family, NodeState, Route, RoutingRule } from '../node-state.ts';
import { familyOf, inRange, lengthOf, parseRange, type Range } from './addresses.ts';

export interface RouteQuestion {
  readonly destination: string;
  readonly source?: string | undefined;
  readonly inDevice?: string | undefined;
  readonly mark?: number;
}

export interface RouteLookup {
  /** Undefined where no table has a route; a blackhole is a route. */
  find(question: RouteQuestion): Route | undefined;
  /** Whether the address is the node's own (or a broadcast address of it). */
  isLocal(address: string): boolean;
  /** `local`, `broadcast`, `multicast`, `unicast`, ... as rules ask for it. */
  typeOf(address: string): string;
}

interface PreparedRoute {
  readonly route: Route;
  readonly range: Range;
  readonly length: number;
}

export function routeLookup({ routes, rules }: Pick<NodeState, 'routes' | 'rules'>): RouteLookup {
  const tables = new Map<string, PreparedRoute[]>();
  for (const route of routes) {
    const range = parseRange(route.destination);
    if (range === undefined) continue;
    const key = `${route.family} ${route.table}`;
    const table = tables.get(key) ?? [];
    tables.set(key, table);
    table.push({ route, range, length: lengthOf(range) });
  }
  for (const table of tables.values()) table.sort((a, b) => b.length - a.length || a.route.metric - b.route.metric);
  const ordered = [...rules].toSorted((a, b) => a.priority - b.priority);

  const inTable = (family: Family, table: string, destination: string): Route | undefined =>
    tables.get(`${family} ${table}`)?.find(({ range }) => inRange(destination, range))?.route;

  const find = (question: RouteQuestion): Route | undefined => {
    const family = familyOf(question.destination);
    if (family === undefined) return undefined;
    for (const rule of ordered) {
      if (rule.family !== family || !ruleApplies(rule, question)) continue;
      if (rule.table === undefined) {
        if (rule.action === undefined || rule.action === 'goto' || rule.action === 'nop') continue;
        return refusedBy(rule);
      }
      const route = inTable(family, rule.table, question.destination);
      if (route !== undefined && route.type !== 'throw') return route;
    }
    return undefined;
  };

  const typeOf = (address: string): string => {
    const family = familyOf(address);
    if (family === undefined) return 'unspec';
    const local = inTable(family, 'local', address);
    if (local !== undefined) return local.type;
    return /^(22[4-9]|23\d)\.|^ff/i.test(address) ? 'multicast' : 'unicast';
  };

  return { find, typeOf, isLocal: (address) => ['local', 'broadcast', 'anycast'].includes(typeOf(address)) };
}

function ruleApplies(rule: RoutingRule, { destination, source, inDevice, mark = 0 }: RouteQuestion): boolean {
  const within = (text: string | undefined, address: string | undefined): boolean => {
    if (text === undefined) return true;
    const range = parseRange(text);
    return range !== undefined && address !== undefined && inRange(address, range);
  };
  const applies =
    within(rule.from, source) &&
    within(rule.to, destination) &&
    (rule.inDevice === undefined || rule.inDevice === inDevice) &&
    rule.outDevice === undefined &&
    (rule.mark === undefined || ((mark ^ rule.mark.value) & rule.mark.mask) === 0);
  return applies !== rule.not;
}

function refusedBy(rule: RoutingRule): Route {
  return {
    family: rule.family,
    type: rule.action ?? 'unreachable',
    destination: rule.to ?? (rule.family === 4 ? '0.0.0.0/0' : '::/0'),
    table: `rule ${rule.priority}`,
    protocol: '',
    scope: undefined,
    metric: 0,
    source: undefined,
    mtu: undefined,
    nextHops: [],
  };
}
