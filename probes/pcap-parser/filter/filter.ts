// SPDX-License-Identifier: Apache-2.0
/**
 * Filter expressions in the language of tcpdump, compiled to closures over decoded frames. As there, `and` and `or` bind equally and from
 * the left, `not` binds tighter, qualifiers carry over (`host a or b`), and what follows `vlan` looks behind the tag.
 */
import { isIPv4, isIPv6 } from 'node:net';
import type { Frame } from '../frame.ts';
import { compileArithmetic, isArithmetic, outOfBounds } from './arithmetic.ts';
import { hostTest, netTest, type Direction } from './addresses.ts';
import { FilterError, tokensOf, type Token } from './tokens.ts';

/** Says whether a decoded frame, `wireLength` octets long on the wire, is wanted. */
export type Filter = (frame: Frame, wireLength: number) => boolean;

/** Throws FilterError. An empty expression wants everything. */
export function compileFilter(expression: string): Filter {
  const parser = new Parser(tokensOf(expression), expression.length + 1);
  if (parser.done) return () => true;
  const test = parser.expression();
  if (!parser.done) throw parser.error(`"${parser.peek()}" after the end of the expression`);
  return (frame, wireLength) => {
    try {
      return test(frame, wireLength);
    } catch (error) {
      // A look behind the end of the packet rejects it, whatever stands around.
      if (error === outOfBounds) return false;
      throw error;
    }
  };
}

const protocolNumbers: Readonly<Record<string, number>> = {
  icmp: 1,
  igmp: 2,
  tcp: 6,
  udp: 17,
  esp: 50,
  ah: 51,
  icmp6: 58,
  pim: 103,
  vrrp: 112,
  sctp: 132,
};
const etherTypes: Readonly<Record<string, number>> = { ip: 0x0800, ip6: 0x86dd, arp: 0x0806, rarp: 0x8035 };
const services: Readonly<Record<string, number>> = {
  ftp: 21,
  ssh: 22,
  telnet: 23,
  smtp: 25,
  domain: 53,
  http: 80,
  ntp: 123,
  snmp: 161,
  ldap: 389,
  https: 443,
  syslog: 514,
};

/** What stands before an identifier, and holds for the next one if that has none. */
interface Qualifiers {
  readonly protocol: string | undefined;
  readonly direction: Direction;
  readonly type: string | undefined;
}

const none: Qualifiers = { protocol: undefined, direction: 'either', type: undefined };
const types = new Set(['host', 'net', 'port', 'portrange', 'proto']);

class Parser {
  readonly #tokens: readonly Token[];
  readonly #end: number;
  #at = 0;
  #last: Qualifiers = none;
  /** How many VLAN tags lie before what is looked at. */
  #tags = 0;

  constructor(tokens: readonly Token[], end: number) {
    this.#tokens = tokens;
    this.#end = end;
  }

  get done(): boolean {
    return this.#at >= this.#tokens.length;
  }

  peek(ahead = 0): string | undefined {
    return this.#tokens[this.#at + ahead]?.text;
  }

  error(message: string, column = this.#tokens[this.#at]?.column ?? this.#end): FilterError {
    return new FilterError(message, column);
  }

  take(): string {
    const token = this.#tokens[this.#at];
    if (token === undefined) throw this.error('the expression ends where something must follow');
    this.#at++;
    return token.text;
  }

  accept(...texts: readonly string[]): boolean {
    const next = this.peek();
    if (next === undefined || !texts.includes(next)) return false;
    this.#at++;
    return true;
  }

  expect(text: string): void {
    if (!this.accept(text)) throw this.error(`expected "${text}"${this.done ? '' : `, not "${this.peek()}"`}`);
  }

  expression(): Filter {
    let left = this.#term();
    for (;;) {
      if (this.accept('and', '&&')) {
        const a = left;
        const b = this.#term();
        left = (frame, length) => a(frame, length) && b(frame, length);
      } else if (this.accept('or', '||')) {
        const a = left;
        const b = this.#term();
        left = (frame, length) => a(frame, length) || b(frame, length);
      } else return left;
    }
  }

  #term(): Filter {
    if (this.accept('not', '!')) {
      const inner = this.#term();
      return (frame, length) => !inner(frame, length);
    }
    if (isArithmetic(this)) return compileArithmetic(this, this.#tags);
    if (this.accept('(')) {
      const inner = this.expression();
      this.expect(')');
      return inner;
    }
    return this.#primitive();
  }

  #primitive(): Filter {
    const column = this.#tokens[this.#at]?.column;
    if (this.accept('vlan')) return this.#vlan();
    if (this.accept('less', 'greater')) {
      const less = this.peek(-1) === 'less';
      const limit = this.#number(this.take(), column);
      return (_, length) => (less ? length <= limit : length >= limit);
    }
    let protocol: string | undefined;
    let direction: Direction = 'either';
    let type: string | undefined;
    const next = this.peek() ?? '';
    if (next in protocolNumbers || next in etherTypes || next === 'ether' || next === 'link') protocol = this.take();
    if (this.accept('src')) direction = this.#combined('src', 'dst');
    else if (this.accept('dst')) direction = this.#combined('dst', 'src');
    if (types.has(this.peek() ?? '')) type = this.take();
    if (protocol !== undefined && direction === 'either' && type === undefined) {
      if (this.accept('broadcast')) return cast(this.#tags, protocol, 'broadcast');
      if (this.accept('multicast')) return cast(this.#tags, protocol, 'multicast');
      if (protocol !== 'ether' && protocol !== 'link' && !this.#identifierFollows()) {
        this.#last = none;
        return this.#protocolTest(protocol);
      }
    }
    if (protocol === undefined && type === undefined && direction === 'either') {
      if (this.accept('broadcast')) return cast(this.#tags, 'ether', 'broadcast');
      if (this.accept('multicast')) return cast(this.#tags, 'ether', 'multicast');
    }
    if (protocol !== undefined || type !== undefined || direction !== 'either')
      this.#last = { protocol, direction, type: type ?? 'host' };
    if (this.done) throw this.error('the expression ends where an address, port or name must follow');
    const valueColumn = this.#tokens[this.#at]?.column;
    return this.#identified(this.take(), valueColumn);
  }

  #identifierFollows(): boolean {
    const next = this.peek();
    return next !== undefined && (isIPv4(next) || isIPv6(next) || /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(next));
  }

  #combined(one: Direction, other: string): Direction {
    if (this.peek() !== 'or' && this.peek() !== 'and') return one;
    if (this.peek(1) !== other) return one;
    const both = this.take() === 'and';
    this.take();
    return both ? 'both' : 'either';
  }

  #vlan(): Filter {
    const tag = ++this.#tags;
    const wanted = /^(\d+|0x[0-9a-f]+)$/i.test(this.peek() ?? '') ? this.#number(this.take()) : undefined;
    this.#last = none;
    return (frame) => frame.vlans.length >= tag && (wanted === undefined || frame.vlans[tag - 1] === wanted);
  }

  #protocolTest(protocol: string): Filter {
    const tags = this.#tags;
    const etherType = etherTypes[protocol];
    if (etherType !== undefined) return (frame) => frame.vlans.length === tags && frame.etherType === etherType;
    const number = protocolNumbers[protocol];
    return (frame) => frame.vlans.length === tags && frame.protocol === number;
  }

  #identified(value: string, column: number | undefined): Filter {
    const { protocol, direction, type } = this.#last;
    const tags = this.#tags;
    if (type === 'port' || type === 'portrange') return this.#ports(value, column);
    if (type === 'proto') {
      const name = value.replace(/^\\/, '');
      if (protocol === 'ether') {
        const wanted = etherTypes[name] ?? this.#number(name, column);
        return (frame) => frame.vlans.length === tags && frame.etherType === wanted;
      }
      const wanted = protocolNumbers[name] ?? this.#number(name, column);
      const version = protocol === 'ip' ? 4 : protocol === 'ip6' ? 6 : 0;
      return (frame) =>
        frame.vlans.length === tags && frame.protocol === wanted && (version === 0 || frame.version === version);
    }
    if (type === 'net') {
      const mask = this.accept('mask') ? this.take() : undefined;
      return netTest(value, { mask, direction, protocol, tags, error: (text) => this.error(text, column) });
    }
    return hostTest(value, { direction, protocol, tags, error: (text) => this.error(text, column) });
  }

  #ports(value: string, column: number | undefined): Filter {
    const { protocol, direction, type } = this.#last;
    const tags = this.#tags;
    const [first = '', second] = type === 'portrange' ? value.split('-') : [value];
    const low = services[first] ?? this.#number(first, column);
    const high = second === undefined ? low : (services[second] ?? this.#number(second, column));
    if (low > 65_535 || high > 65_535) throw this.error(`port ${value} is larger than 65535`, column);
    if (protocol !== undefined && protocol !== 'tcp' && protocol !== 'udp' && protocol !== 'sctp')
      throw this.error(`${protocol} has no ports`, column);
    const transport = protocol === undefined ? 0 : (protocolNumbers[protocol] ?? 0);
    return (frame) => {
      if (frame.vlans.length !== tags || (transport !== 0 && frame.protocol !== transport)) return false;
      const from = frame.sourcePort;
      const to = frame.destinationPort;
      const fromFits = from >= low && from <= high;
      const toFits = to >= low && to <= high;
      return choose(direction, fromFits, toFits);
    };
  }

  #number(text: string, column?: number): number {
    if (/^0x[0-9a-f]+$/i.test(text) || /^\d+$/.test(text)) return Number(text);
    throw this.error(`"${text}" is neither a number nor a known name`, column);
  }
}

function choose(direction: Direction, from: boolean, to: boolean): boolean {
  if (direction === 'src') return from;
  if (direction === 'dst') return to;
  return direction === 'both' ? from && to : from || to;
}

function cast(tags: number, protocol: string, kind: 'broadcast' | 'multicast'): Filter {
  if (protocol === 'ip') return (frame) => frame.vlans.length === tags && frame.version === 4 && ip4Cast(frame, kind);
  if (protocol === 'ip6')
    return (frame) => frame.vlans.length === tags && frame.version === 6 && frame.u8(frame.ip + 24) === 0xff;
  if (kind === 'broadcast')
    return ({ data, ethernet }) => ethernet >= 0 && data.readUIntBE(ethernet, 6) === 0xffff_ffff_ffff;
  return ({ data, ethernet }) => ethernet >= 0 && ((data[ethernet] as number) & 1) === 1;
}

function ip4Cast(frame: Frame, kind: 'broadcast' | 'multicast'): boolean {
  if (kind === 'multicast') return frame.u8(frame.ip + 16) >= 224;
  const address = frame.u32(frame.ip + 16);
  return address === 0xffff_ffff || address === 0;
}
