// SPDX-License-Identifier: Apache-2.0
/** Comparisons of octets of the packet: `tcp[tcpflags] & tcp-syn != 0`, `ip[8] < 5`, `len > 1000`. */
import type { Frame } from '../frame.ts';
import type { FilterError } from './tokens.ts';

/** Thrown by a look behind the end of the packet. */
export const outOfBounds = new Error('behind the end of the packet');

interface TokenStream {
  peek(ahead?: number): string | undefined;
  take(): string;
  accept(...texts: readonly string[]): boolean;
  expect(text: string): void;
  error(message: string): FilterError;
}

type Value = (frame: Frame, wireLength: number) => number;
type Test = (frame: Frame, wireLength: number) => boolean;

const constants: Readonly<Record<string, number>> = {
  tcpflags: 13,
  'tcp-fin': 1,
  'tcp-syn': 2,
  'tcp-rst': 4,
  'tcp-push': 8,
  'tcp-ack': 16,
  'tcp-urg': 32,
  'tcp-ece': 64,
  'tcp-cwr': 128,
  icmptype: 0,
  icmpcode: 1,
  'icmp-echoreply': 0,
  'icmp-unreach': 3,
  'icmp-sourcequench': 4,
  'icmp-redirect': 5,
  'icmp-echo': 8,
  'icmp-timxceed': 11,
  'icmp-paramprob': 12,
  icmp6type: 0,
  icmp6code: 1,
  'icmp6-destinationrunreach': 1,
  'icmp6-packettoobig': 2,
  'icmp6-timeexceeded': 3,
  'icmp6-echo': 128,
  'icmp6-echoreply': 129,
  'icmp6-neighborsolicit': 135,
  'icmp6-neighboradvert': 136,
};

const transports: Readonly<Record<string, number>> = { tcp: 6, udp: 17, sctp: 132, icmp: 1, igmp: 2, icmp6: 58 };
const comparisons = new Set(['=', '==', '!=', '<', '>', '<=', '>=']);
const operators: readonly (readonly string[])[] = [['|', '^'], ['&'], ['<<', '>>'], ['+', '-'], ['*', '/', '%']];

/** Whether a comparison begins here: octets, the length, a number before an operator, or any of them in parentheses. */
export function isArithmetic(tokens: TokenStream): boolean {
  let ahead = 0;
  while (tokens.peek(ahead) === '(') ahead++;
  const first = tokens.peek(ahead) ?? '';
  const second = tokens.peek(ahead + 1) ?? '';
  if (first === 'len' || second === '[') return ahead === 0 || parenthesesCalculate(tokens, ahead);
  return (
    /^(0x[0-9a-f]+|\d+)$/i.test(first) && (comparisons.has(second) || operators.some((level) => level.includes(second)))
  );
}

/** `(tcp[13] & 2) != 0` calculates in its parentheses, `(tcp[13] = 2)` compares in them. */
function parenthesesCalculate(tokens: TokenStream, opened: number): boolean {
  let depth = opened;
  for (let ahead = opened; ; ahead++) {
    const token = tokens.peek(ahead);
    if (token === undefined) return false;
    if (token === '(') depth++;
    if (token === ')' && --depth === 0)
      return (
        comparisons.has(tokens.peek(ahead + 1) ?? '') ||
        operators.some((level) => level.includes(tokens.peek(ahead + 1) ?? ''))
      );
    if (comparisons.has(token) || token === 'and' || token === 'or' || token === 'not') return false;
  }
}

/** What is known while a comparison is compiled. */
interface Comparison {
  readonly tags: number;
  /** Protocols whose octets are looked at: a frame without one of them does not fit. */
  readonly bases: Base[];
}

type Base = (frame: Frame) => number;

export function compileArithmetic(tokens: TokenStream, tags: number): Test {
  const comparison: Comparison = { tags, bases: [] };
  const compare = compileComparison(tokens, comparison);
  const { bases } = comparison;
  return (frame, length) => {
    for (const base of bases) if (base(frame) < 0) return false;
    return compare(frame, length);
  };
}

function compileComparison(tokens: TokenStream, comparison: Comparison): Test {
  const left = level(tokens, comparison, 0);
  const sign = tokens.peek() ?? '';
  if (!comparisons.has(sign)) throw tokens.error('expected a comparison: =, !=, <, >, <= or >=');
  tokens.take();
  const right = level(tokens, comparison, 0);
  switch (sign) {
    case '!=':
      return (frame, length) => left(frame, length) !== right(frame, length);
    case '<':
      return (frame, length) => left(frame, length) < right(frame, length);
    case '>':
      return (frame, length) => left(frame, length) > right(frame, length);
    case '<=':
      return (frame, length) => left(frame, length) <= right(frame, length);
    case '>=':
      return (frame, length) => left(frame, length) >= right(frame, length);
    default:
      return (frame, length) => left(frame, length) === right(frame, length);
  }
}

function level(tokens: TokenStream, comparison: Comparison, depth: number): Value {
  const signs = operators[depth];
  if (signs === undefined) return operand(tokens, comparison);
  let left = level(tokens, comparison, depth + 1);
  for (;;) {
    const sign = tokens.peek() ?? '';
    if (!signs.includes(sign)) return left;
    tokens.take();
    left = combine(sign, left, level(tokens, comparison, depth + 1));
  }
}

function combine(sign: string, a: Value, b: Value): Value {
  switch (sign) {
    case '|':
      return (frame, length) => (a(frame, length) | b(frame, length)) >>> 0;
    case '^':
      return (frame, length) => (a(frame, length) ^ b(frame, length)) >>> 0;
    case '&':
      return (frame, length) => (a(frame, length) & b(frame, length)) >>> 0;
    case '<<':
      return (frame, length) => (a(frame, length) << b(frame, length)) >>> 0;
    case '>>':
      return (frame, length) => a(frame, length) >>> b(frame, length);
    case '+':
      return (frame, length) => (a(frame, length) + b(frame, length)) >>> 0;
    case '-':
      return (frame, length) => (a(frame, length) - b(frame, length)) >>> 0;
    case '*':
      return (frame, length) => Math.imul(a(frame, length), b(frame, length)) >>> 0;
    default:
      return (frame, length) => {
        const divisor = b(frame, length);
        if (divisor === 0) throw outOfBounds;
        return sign === '/' ? Math.floor(a(frame, length) / divisor) : a(frame, length) % divisor;
      };
  }
}

function operand(tokens: TokenStream, comparison: Comparison): Value {
  if (tokens.accept('(')) {
    const inner = level(tokens, comparison, 0);
    tokens.expect(')');
    return inner;
  }
  const text = tokens.peek() ?? '';
  if (text === 'len') {
    tokens.take();
    return (_, length) => length;
  }
  const number = constants[text] ?? (/^(0x[0-9a-f]+|\d+)$/i.test(text) ? Number(text) : undefined);
  if (number !== undefined) {
    tokens.take();
    return () => number;
  }
  const base = baseOf(text, comparison.tags);
  if (base === undefined || tokens.peek(1) !== '[')
    throw tokens.error(`"${text}" is neither a number nor octets of a protocol`);
  comparison.bases.push(base);
  tokens.take();
  tokens.expect('[');
  const offset = level(tokens, comparison, 0);
  let size = 1;
  if (tokens.accept(':')) {
    const asked = tokens.peek() ?? '';
    if (asked !== '1' && asked !== '2' && asked !== '4')
      throw tokens.error('octets are read one, two or four at a time');
    size = Number(tokens.take());
  }
  tokens.expect(']');
  return (frame, length) => {
    const at = base(frame) + offset(frame, length);
    const value = size === 1 ? frame.u8(at) : size === 2 ? frame.u16(at) : frame.u32(at);
    if (value < 0) throw outOfBounds;
    return value;
  };
}

/** Where the octets of a protocol begin in a frame; -1 in frames without it. */
function baseOf(protocol: string, tags: number): Base | undefined {
  if (protocol === 'ether' || protocol === 'link') return (frame) => frame.start;
  if (protocol === 'ip') return (frame) => (frame.version === 4 && frame.vlans.length === tags ? frame.ip : -1);
  if (protocol === 'ip6') return (frame) => (frame.version === 6 && frame.vlans.length === tags ? frame.ip : -1);
  if (protocol === 'arp' || protocol === 'rarp') {
    const type = protocol === 'arp' ? 0x0806 : 0x8035;
    return (frame) => (frame.etherType === type && frame.ethernet >= 0 ? frame.ethernet + 14 + tags * 4 : -1);
  }
  const number = transports[protocol];
  if (number === undefined) return undefined;
  // As in tcpdump, octets of transports are those over IPv4; over IPv6 only ICMPv6 has them.
  const version = protocol === 'icmp6' ? 6 : 4;
  return (frame) =>
    frame.version === version && frame.protocol === number && frame.vlans.length === tags ? frame.transport : -1;
}
