// SPDX-License-Identifier: Apache-2.0
/** Values of nft expressions for one packet, and whether literals, ranges, sets and maps hold them. */
import { isIP } from 'node:net';
import type { NftSet, NftTable } from '../parse/nft-json.ts';
import { listOf, numberOf, objectOf, textOf } from '../parse/json-fields.ts';
import { canonicalAddress, inRange, parseRange, type Range } from './addresses.ts';
import { Doubt, type Walk } from './walk.ts';

/** What an expression is worth. `flags` are sets of words, such as a connection's states. */
export type Value =
  | { readonly type: 'address' | 'text'; readonly value: string }
  | { readonly type: 'number' | 'protocol' | 'mark'; readonly value: number }
  | { readonly type: 'flags'; readonly value: readonly string[] }
  | { readonly type: 'chance'; readonly of: number; readonly offset: number }
  | { readonly type: 'concat'; readonly parts: readonly Value[] };

export type Scope = Pick<NftTable, 'family'> & { readonly sets: ReadonlyMap<string, NftSet> };

export const protocolNumbers: Readonly<Record<string, number>> = {
  icmp: 1,
  igmp: 2,
  ipip: 4,
  tcp: 6,
  udp: 17,
  gre: 47,
  esp: 50,
  icmpv6: 58,
  'ipv6-icmp': 58,
  sctp: 132,
};

export function protocolNumber(protocol: string): number {
  return protocolNumbers[protocol.toLowerCase()] ?? Number(protocol);
}

/** Undefined where the packet has no such field, so that the rule does not match. Throws a Doubt for what is not known. */
export function evaluate(expression: unknown, walk: Walk, scope: Scope): Value | undefined {
  if (typeof expression === 'number') return { type: 'number', value: expression };
  if (typeof expression === 'string') return literal(expression);
  const [kind = '', detail] = Object.entries(objectOf(expression))[0] ?? [];
  const fields = objectOf(detail);
  switch (kind) {
    case 'payload':
      return payload(textOf(fields['protocol']) ?? '', textOf(fields['field']) ?? '', walk);
    case 'meta':
      return meta(textOf(fields['key']) ?? '', walk);
    case 'ct':
      return connection(textOf(fields['key']) ?? '', walk);
    case 'fib':
      return routing(fields, walk);
    case 'concat': {
      const parts = listOf(detail).map((part) => evaluate(part, walk, scope));
      return parts.every((part) => part !== undefined) ? { type: 'concat', parts } : undefined;
    }
    case '&':
    case '|':
    case '^':
    case '<<':
    case '>>':
      return bits(kind, listOf(detail), { walk, scope });
    case 'numgen':
      return chance(fields);
    case 'jhash':
    case 'symhash':
      return chance(fields);
    case 'map':
      return lookUp(fields, walk, scope, (value) => evaluate(value, walk, scope));
    default:
      throw new Doubt(`${kind} is not known`);
  }
}

function literal(text: string): Value {
  return isIP(text) === 0 ? { type: 'text', value: text } : { type: 'address', value: text };
}

function payload(protocol: string, field: string, walk: Walk): Value | undefined {
  if (protocol === 'ip' || protocol === 'ip6') {
    if ((protocol === 'ip') !== (walk.family === 4)) return undefined;
    if (field === 'saddr') return { type: 'address', value: walk.source };
    if (field === 'daddr') return { type: 'address', value: walk.destination };
    if (field === 'protocol' || field === 'nexthdr') return { type: 'protocol', value: protocolNumber(walk.protocol) };
    throw new Doubt(`${protocol} ${field} is not known`);
  }
  if (protocol === 'th' || ['tcp', 'udp', 'sctp', 'dccp', 'udplite'].includes(protocol)) {
    const hasPorts = ['tcp', 'udp', 'sctp'].includes(walk.protocol);
    if (!hasPorts || (protocol !== 'th' && protocol !== walk.protocol)) return undefined;
    if (field === 'dport') return { type: 'number', value: walk.port };
    if (field === 'sport') return { type: 'number', value: walk.sourcePort };
    if (field === 'flags') return { type: 'flags', value: walk.state === 'new' ? ['syn'] : ['ack'] };
  }
  if (protocol === 'icmp' && walk.protocol !== 'icmp') return undefined;
  if (protocol === 'icmpv6' && walk.protocol !== 'icmpv6') return undefined;
  throw new Doubt(`${protocol} ${field} is not known`);
}

function meta(key: string, walk: Walk): Value | undefined {
  const device = (name: string | undefined): Value => ({ type: 'text', value: name ?? '' });
  switch (key) {
    case 'l4proto':
      return { type: 'protocol', value: protocolNumber(walk.protocol) };
    case 'nfproto':
      return { type: 'text', value: walk.family === 4 ? 'ipv4' : 'ipv6' };
    case 'protocol':
      return { type: 'text', value: walk.family === 4 ? 'ip' : 'ip6' };
    case 'iif':
    case 'iifname':
      return device(walk.inDevice);
    case 'oif':
    case 'oifname':
      return device(walk.outDevice);
    case 'mark':
      return { type: 'mark', value: walk.mark };
    default:
      throw new Doubt(`meta ${key} is not known`);
  }
}

function connection(key: string, walk: Walk): Value {
  switch (key) {
    case 'state':
      return { type: 'flags', value: [walk.state] };
    case 'status':
      return {
        type: 'flags',
        value: [...(walk.translated ? ['dnat'] : []), ...(walk.newSource === undefined ? [] : ['snat'])],
      };
    case 'mark':
      return { type: 'mark', value: walk.connectionMark };
    case 'direction':
      return { type: 'text', value: 'original' };
    case 'protocol':
      return { type: 'protocol', value: protocolNumber(walk.protocol) };
    case 'ip daddr':
    case 'ip6 daddr':
    case 'daddr':
      return { type: 'address', value: walk.original.destination };
    case 'ip saddr':
    case 'ip6 saddr':
    case 'saddr':
      return { type: 'address', value: walk.source };
    case 'proto-dst':
      return { type: 'number', value: walk.original.port };
    case 'proto-src':
      return { type: 'number', value: walk.sourcePort };
    default:
      throw new Doubt(`ct ${key} is not known`);
  }
}

function routing(fields: Readonly<Record<string, unknown>>, walk: Walk): Value {
  const flags = listOf(fields['flags']);
  if (fields['result'] === 'type')
    return { type: 'text', value: walk.routes.typeOf(flags.includes('saddr') ? walk.source : walk.destination) };
  if (fields['result'] === 'oif' || fields['result'] === 'oifname') {
    const destination = flags.includes('saddr') ? walk.source : walk.destination;
    return { type: 'text', value: walk.routes.find({ destination })?.nextHops[0]?.device ?? '' };
  }
  throw new Doubt(`fib ${String(fields['result'])} is not known`);
}

function chance(fields: Readonly<Record<string, unknown>>): Value {
  return { type: 'chance', of: numberOf(fields['mod']) ?? 1, offset: numberOf(fields['offset']) ?? 0 };
}

function bits(
  operator: string,
  [left, right]: readonly unknown[],
  { walk, scope }: { readonly walk: Walk; readonly scope: Scope },
): Value | undefined {
  const first = evaluate(left, walk, scope);
  if (first === undefined) return undefined;
  if (first.type === 'flags') {
    const words = Array.isArray(right) ? right : listOf(objectOf(right)['|'] ?? [right]);
    return { type: 'flags', value: first.value.filter((flag) => words.includes(flag)) };
  }
  const second = evaluate(right, walk, scope);
  if (second === undefined) return undefined;
  if (
    !('value' in first) ||
    !('value' in second) ||
    typeof first.value !== 'number' ||
    typeof second.value !== 'number'
  )
    throw new Doubt(`${operator} of what are no numbers`);
  return { type: first.type as 'number' | 'mark', value: calculate(operator, first.value, second.value) };
}

function calculate(operator: string, a: number, b: number): number {
  switch (operator) {
    case '&':
      return (a & b) >>> 0;
    case '|':
      return (a | b) >>> 0;
    case '^':
      return (a ^ b) >>> 0;
    case '<<':
      return (a << b) >>> 0;
    default:
      return a >>> b;
  }
}

/** Whether `right`, as a rule has it, holds the value. */
export function holds(value: Value, right: unknown, scope: Scope): boolean {
  if (typeof right === 'string' && right.startsWith('@'))
    return memberOf(value, setOf(right, scope).elements) !== undefined;
  if (value.type === 'flags') {
    const words = Array.isArray(right) ? right : listOf(objectOf(right)['set'] ?? objectOf(right)['|'] ?? [right]);
    return words.includes(0) || words.includes('0x0')
      ? value.value.length === 0
      : value.value.some((flag) => words.includes(flag));
  }
  const set = objectOf(right)['set'];
  if (set !== undefined) return memberOf(value, Array.isArray(set) ? set : [set]) !== undefined;
  return elementHolds(value, right);
}

/** Finds the element of a map, or leaves the choice among its elements to chance. */
export function lookUp<T>(
  { key, data }: Readonly<Record<string, unknown>>,
  walk: Walk,
  scope: Scope,
  use: (found: unknown) => T,
): T | undefined {
  const value = evaluate(key, walk, scope);
  if (value === undefined) return undefined;
  const elements = typeof data === 'string' ? setOf(data, scope).elements : listOf(objectOf(data)['set']);
  if (value.type === 'chance') {
    const index = walk.choose(Array.from({ length: Math.min(value.of, chanceMax) }, () => 1)) + value.offset;
    const found = memberOf({ type: 'number', value: index }, elements);
    return found === undefined ? undefined : use(listOf(found)[1]);
  }
  const found = memberOf(value, elements);
  return found === undefined ? undefined : use(listOf(found)[1]);
}

const chanceMax = 4_096;

function setOf(name: string, scope: Scope): NftSet {
  const set = scope.sets.get(name.slice(1));
  if (set === undefined) throw new Doubt(`there is no set ${name}`);
  return set;
}

interface Index {
  readonly exact: ReadonlyMap<string, unknown>;
  readonly others: readonly unknown[];
}

const indexes = new WeakMap<readonly unknown[], Map<string, Index>>();

/** The element (of a map with its value) that holds the value. Elements without ranges are found by key. */
function memberOf(value: Value, elements: readonly unknown[]): unknown {
  const signature = typesOf(value);
  const known = indexes.get(elements) ?? new Map<string, Index>();
  indexes.set(elements, known);
  let index = known.get(signature);
  if (index === undefined) {
    const exact = new Map<string, unknown>();
    const others: unknown[] = [];
    for (const element of elements) {
      const key = exactKey(elementKey(element), value);
      if (key === undefined) others.push(element);
      else exact.set(key, element);
    }
    index = { exact, others };
    known.set(signature, index);
  }
  return index.exact.get(keyOf(value)) ?? index.others.find((element) => elementHolds(value, elementKey(element)));
}

function elementKey(element: unknown): unknown {
  const first: unknown = Array.isArray(element) ? element[0] : element;
  const inner = objectOf(first)['elem'];
  return inner === undefined ? first : objectOf(inner)['val'];
}

function typesOf(value: Value): string {
  return value.type === 'concat' ? value.parts.map(typesOf).join(' ') : value.type;
}

function keyOf(value: Value): string {
  switch (value.type) {
    case 'concat':
      return value.parts.map(keyOf).join(' ');
    case 'address':
      return canonicalAddress(value.value);
    case 'chance':
      return '';
    default:
      return String(value.value);
  }
}

/** The key of a literal element, spelt as `keyOf` would; undefined where it is a range or anything else that needs a closer look. */
function exactKey(literalKey: unknown, like: Value): string | undefined {
  if (like.type === 'concat') {
    const parts = listOf(objectOf(literalKey)['concat']);
    if (parts.length !== like.parts.length) return undefined;
    const keys = like.parts.map((part, index) => exactKey(parts[index], part));
    return keys.every((key) => key !== undefined) ? keys.join(' ') : undefined;
  }
  if (typeof literalKey === 'number') return String(literalKey);
  if (typeof literalKey !== 'string' || literalKey === '*') return undefined;
  if (like.type === 'address') return isIP(literalKey) === 0 ? undefined : canonicalAddress(literalKey);
  if (like.type === 'protocol') return String(protocolNumber(literalKey));
  if (like.type === 'text') return literalKey.endsWith('*') ? undefined : literalKey;
  const number = Number(literalKey);
  return Number.isNaN(number) ? undefined : String(number);
}

function elementHolds(value: Value, right: unknown): boolean {
  if (right === '*') return true;
  const inner = objectOf(right)['elem'];
  if (inner !== undefined) return elementHolds(value, objectOf(inner)['val']);
  if (value.type === 'concat') {
    const parts = listOf(objectOf(right)['concat']);
    return parts.length === value.parts.length && value.parts.every((part, index) => elementHolds(part, parts[index]));
  }
  if (value.type === 'chance') throw new Doubt('a random number is compared');
  if (value.type === 'flags') return typeof right === 'string' && value.value.includes(right);
  const exact = exactKey(right, value);
  if (exact !== undefined) return exact === keyOf(value);
  if (value.type === 'address') {
    const range = addressRange(right);
    return range !== undefined && inRange(value.value, range);
  }
  if (typeof value.value === 'string')
    return typeof right === 'string' && right.endsWith('*') && value.value.startsWith(right.slice(0, -1));
  const [first, last] = listOf(objectOf(right)['range']).map(Number);
  if (first !== undefined && last !== undefined) return value.value >= first && value.value <= last;
  throw new Doubt(`${JSON.stringify(right)?.slice(0, 80)} is not understood`);
}

const ranges = new WeakMap<object, Range>();

function addressRange(right: unknown): Range | undefined {
  if (typeof right !== 'object' || right === null) return undefined;
  const known = ranges.get(right);
  if (known !== undefined) return known;
  const prefix = objectOf(objectOf(right)['prefix']);
  const [first, last] = listOf(objectOf(right)['range']).map(String);
  const parsed =
    first === undefined
      ? parseRange(`${String(prefix['addr'])}/${String(prefix['len'])}`)
      : parseRange(`${first}-${last}`);
  if (parsed !== undefined) ranges.set(right, parsed);
  return parsed;
}
