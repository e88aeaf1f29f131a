// SPDX-License-Identifier: Apache-2.0
// The Common Expression Language as Kubernetes extends it: the library does the language, this adds quantities, URLs,
// addresses, sets, regular expressions, lists and formatting, and turns JSON into CEL values by schema.
import type { ASTNode } from '@marcbachmann/cel-js';
import { Environment, Optional } from '@marcbachmann/cel-js';
import { isIPv4, isIPv6, BlockList } from 'node:net';
import {
  dns1035Name,
  dnsLabelName,
  dnsSubdomainName,
  labelValue,
  qualifiedName,
} from '../resources/validation/names.ts';
import { canonicalQuantity, parseNano } from '../schema/quantity.ts';
import { isCidr, isQuantity, matchesFormat } from './formats.ts';
import { withMapLiterals } from './message-literals.ts';
import { patternOf } from './patterns.ts';
import type { JsonSchema } from './structural-schema.ts';
import { isObject, itemsOf, propertyOf } from './structural-schema.ts';

/** @returns a function of the variables; it throws an Error with a one-line message when the expression cannot be evaluated. */
export type CelProgram = (variables: Record<string, unknown>) => unknown;

class Quantity {
  readonly nano: bigint;
  readonly text: string;

  constructor(text: string) {
    this.nano = parseNano(text).nano;
    this.text = canonicalQuantity(text);
  }
}

class Url {
  readonly url: URL;

  constructor(text: string) {
    this.url = new URL(text, text.startsWith('/') ? 'http://relative.invalid' : undefined);
  }
}

class Ip {
  readonly text: string;
  readonly family: 'ipv4' | 'ipv6';

  constructor(text: string) {
    if (!isIPv4(text) && !isIPv6(text)) throw new Error(`IP Address ${JSON.stringify(text)} parse error`);
    this.text = text;
    this.family = isIPv4(text) ? 'ipv4' : 'ipv6';
  }
}

class Cidr {
  readonly address: Ip;
  readonly bits: number;
  readonly block = new BlockList();

  constructor(text: string) {
    if (!isCidr(text)) throw new Error(`network address parse error: ${JSON.stringify(text)}`);
    const [address = '', bits = ''] = text.split('/');
    this.address = new Ip(address);
    this.bits = Number(bits);
    this.block.addSubnet(address, this.bits, this.address.family);
  }
}

/** The `sets` in `sets.contains(a, b)`. */
class SetsNamespace {}

/** The `jsonpatch` in `jsonpatch.escapeKey("a/b")`. */
class JsonPatchNamespace {}

/** The `format` in `format.dns1123Label()`. */
class FormatNamespace {}

class Format {
  readonly problems: (text: string) => string[];

  constructor(problems: (text: string) => string[]) {
    this.problems = problems;
  }
}

type List = unknown[];
let shared: Environment | undefined;

/** @throws Error with a one-line message when the expression does not parse. */
export function compileCel(expression: string): CelProgram {
  shared ??= newEnvironment();
  try {
    const program = shared.parse(adapt(shared, expression));
    const { valid, error } = program.check();
    if (!valid) throw error ?? new Error('the expression does not type-check');
    return program as unknown as CelProgram;
  } catch (error) {
    throw new Error(firstLine(error), { cause: error });
  }
}

/** Besides, with the typed literals of mutations: `Object{...}` and `JSONPatch{...}`. */
export function compileMutation(expression: string): CelProgram {
  return compileCel(withMapLiterals(expression));
}

/**
 * Rewrites what the library does differently: `has(list[0].field)`, which it refuses, and `matches`, which it gives to
 * JavaScript's regular expressions.
 */
function adapt(environment: Environment, expression: string): string {
  let text = expression;
  for (;;) {
    const edits = collectEdits(environment.parse(text).ast, text);
    if (edits.length === 0) return text;
    // From the end, so that offsets stay right; an edit within another waits for the next round.
    let limit = text.length;
    for (const { start, end, replacement } of edits.toSorted((a, b) => b.end - a.end || b.start - a.start)) {
      if (end > limit) continue;
      text = text.slice(0, start) + replacement + text.slice(end);
      limit = start;
    }
  }
}

interface Edit {
  readonly start: number;
  readonly end: number;
  readonly replacement: string;
}

function collectEdits(root: ASTNode, text: string): Edit[] {
  const edits: Edit[] = [];
  const visit = (value: unknown): void => {
    if (Array.isArray(value)) {
      for (const item of value as unknown[]) visit(item);
    } else if (isNode(value)) {
      const edit = editFor(value, text);
      if (edit !== undefined) edits.push(edit);
      visit(value.args);
    }
  };
  visit(root);
  return edits;
}

function editFor(node: ASTNode, text: string): Edit | undefined {
  if (node.op === 'rcall' && node.args[0] === 'matches') {
    const start = text.indexOf('matches', node.args[1].end);
    return { start, end: start + 'matches'.length, replacement: 'matchesRe2' };
  }
  if (node.op !== 'call' || node.args[0] !== 'has') return undefined;
  const [field] = node.args[1];
  if (field?.op !== '.' || isPlainPath(field.args[0])) return undefined;
  const [owner, name] = field.args;
  const replacement = `cel.bind(hasOwner, ${text.slice(owner.start, owner.end)}, has(hasOwner.${name}))`;
  return { start: node.start, end: node.end, replacement };
}

function isPlainPath(node: ASTNode): boolean {
  return node.op === 'id' || ((node.op === '.' || node.op === '.?') && isPlainPath(node.args[0]));
}

function isNode(value: unknown): value is ASTNode {
  return typeof value === 'object' && value !== null && 'op' in value && 'args' in value;
}

/** What went wrong, without the library's drawing of the source. */
export function firstLine(error: unknown): string {
  const text = (error as Error).message.split('\n')[0] ?? '';
  return text.startsWith('No such key') ? `no such key${text.slice('No such key'.length)}` : text;
}

function newEnvironment(): Environment {
  const environment = new Environment({
    unlistedVariablesAreDyn: true,
    homogeneousAggregateLiterals: false,
    enableOptionalTypes: true,
    limits: { maxAstNodes: 10_000, maxDepth: 100 },
  });
  environment.registerType('kubernetes.Quantity', Quantity);
  environment.registerType('kubernetes.URL', Url);
  environment.registerType('net.IP', Ip);
  environment.registerType('net.CIDR', Cidr);
  environment.registerType('SetsNamespace', SetsNamespace);
  environment.registerConstant('sets', 'SetsNamespace', new SetsNamespace());
  environment.registerType('JsonPatchNamespace', JsonPatchNamespace);
  environment.registerConstant('jsonpatch', 'JsonPatchNamespace', new JsonPatchNamespace());
  environment.registerType('FormatNamespace', FormatNamespace);
  environment.registerType('kubernetes.Format', Format);
  environment.registerConstant('format', 'FormatNamespace', new FormatNamespace());
  const groups = [
    formatFunctions,
    quantityFunctions,
    urlFunctions,
    addressFunctions,
    setFunctions,
    listFunctions,
    textFunctions,
  ];
  for (const functions of groups) {
    for (const [signature, handler] of Object.entries(functions)) environment.registerFunction(signature, handler);
  }
  return environment;
}

// The library calls a handler with values of the types in its signature, so the casts below are safe.
type Handlers = Readonly<Record<string, (...values: never[]) => unknown>>;

const quantityFunctions: Handlers = {
  'quantity(string): kubernetes.Quantity': (text: string) => new Quantity(text),
  'isQuantity(string): bool': isQuantity,
  'kubernetes.Quantity.isGreaterThan(kubernetes.Quantity): bool': (a: Quantity, b: Quantity) => a.nano > b.nano,
  'kubernetes.Quantity.isLessThan(kubernetes.Quantity): bool': (a: Quantity, b: Quantity) => a.nano < b.nano,
  'kubernetes.Quantity.compareTo(kubernetes.Quantity): int': (a: Quantity, b: Quantity) =>
    a.nano < b.nano ? -1n : a.nano > b.nano ? 1n : 0n,
  'kubernetes.Quantity.sign(): int': ({ nano }: Quantity) => (nano < 0n ? -1n : nano > 0n ? 1n : 0n),
  'kubernetes.Quantity.isInteger(): bool': ({ nano }: Quantity) => nano % NANO === 0n,
  'kubernetes.Quantity.asInteger(): int': ({ nano, text }: Quantity) => {
    if (nano % NANO !== 0n) throw new Error(`cannot convert value ${text} to integer`);
    return nano / NANO;
  },
  'kubernetes.Quantity.asApproximateFloat(): double': ({ nano }: Quantity) => Number(nano) / 1e9,
  'kubernetes.Quantity.add(kubernetes.Quantity): kubernetes.Quantity': (a: Quantity, b: Quantity) =>
    ofNano(a.nano + b.nano),
  'kubernetes.Quantity.sub(kubernetes.Quantity): kubernetes.Quantity': (a: Quantity, b: Quantity) =>
    ofNano(a.nano - b.nano),
  'kubernetes.Quantity.add(int): kubernetes.Quantity': (a: Quantity, b: bigint) => ofNano(a.nano + b * NANO),
  'kubernetes.Quantity.sub(int): kubernetes.Quantity': (a: Quantity, b: bigint) => ofNano(a.nano - b * NANO),
};
const NANO = 10n ** 9n;

function ofNano(nano: bigint): Quantity {
  return new Quantity(`${nano}n`);
}

const urlFunctions: Handlers = {
  'url(string): kubernetes.URL': (text: string) => new Url(text),
  'isURL(string): bool': (text: string) => URL.canParse(text) || (text.startsWith('/') && !text.startsWith('//')),
  'kubernetes.URL.getScheme(): string': ({ url }: Url) =>
    url.hostname === 'relative.invalid' ? '' : url.protocol.replace(':', ''),
  'kubernetes.URL.getHost(): string': ({ url }: Url) => (url.hostname === 'relative.invalid' ? '' : url.host),
  'kubernetes.URL.getHostname(): string': ({ url }: Url) =>
    url.hostname === 'relative.invalid' ? '' : url.hostname.replace(/^\[(.*)\]$/, '$1'),
  'kubernetes.URL.getPort(): string': ({ url }: Url) => url.port,
  'kubernetes.URL.getEscapedPath(): string': ({ url }: Url) => url.pathname,
  'kubernetes.URL.getQuery(): map<dyn, dyn>': ({ url }: Url) =>
    Object.fromEntries([...new Set(url.searchParams.keys())].map((key) => [key, url.searchParams.getAll(key)])),
};

const addressFunctions: Handlers = {
  'ip(string): net.IP': (text: string) => new Ip(text),
  'isIP(string): bool': (text: string) => isIPv4(text) || isIPv6(text),
  'net.IP.family(): int': ({ family }: Ip) => (family === 'ipv4' ? 4n : 6n),
  'net.IP.isLoopback(): bool': (ip: Ip) => inAny(ip, ['127.0.0.0/8', '::1/128']),
  'net.IP.isUnspecified(): bool': (ip: Ip) => inAny(ip, ['0.0.0.0/32', '::/128']),
  'net.IP.isLinkLocalUnicast(): bool': (ip: Ip) => inAny(ip, ['169.254.0.0/16', 'fe80::/10']),
  'net.IP.isLinkLocalMulticast(): bool': (ip: Ip) => inAny(ip, ['224.0.0.0/24', 'ff02::/16']),
  'net.IP.isGlobalUnicast(): bool': (ip: Ip) =>
    !inAny(ip, [
      '0.0.0.0/32',
      '127.0.0.0/8',
      '169.254.0.0/16',
      '224.0.0.0/4',
      '255.255.255.255/32',
      '::/128',
      '::1/128',
      'fe80::/10',
      'ff00::/8',
    ]),
  'string(net.IP): string': ({ text }: Ip) => text,
  'cidr(string): net.CIDR': (text: string) => new Cidr(text),
  'isCIDR(string): bool': isCidr,
  'net.CIDR.ip(): net.IP': ({ address }: Cidr) => address,
  'net.CIDR.prefixLength(): int': ({ bits }: Cidr) => BigInt(bits),
  'net.CIDR.containsIP(string): bool': (cidr: Cidr, text: string) => contains(cidr, new Ip(text)),
  'net.CIDR.containsIP(net.IP): bool': contains,
  'net.CIDR.containsCIDR(string): bool': (outer: Cidr, text: string) => containsCidr(outer, new Cidr(text)),
  'net.CIDR.containsCIDR(net.CIDR): bool': containsCidr,
};

function contains(cidr: Cidr, ip: Ip): boolean {
  return cidr.address.family === ip.family && cidr.block.check(ip.text, ip.family);
}

function containsCidr(outer: Cidr, inner: Cidr): boolean {
  return outer.bits <= inner.bits && contains(outer, inner.address);
}

function inAny(ip: Ip, blocks: readonly string[]): boolean {
  return blocks.some((block) => contains(new Cidr(block), ip));
}

const setFunctions: Handlers = {
  'SetsNamespace.contains(list<dyn>, list<dyn>): bool': (_: SetsNamespace, a: List, b: List) =>
    b.every((item) => includes(a, item)),
  'SetsNamespace.equivalent(list<dyn>, list<dyn>): bool': (_: SetsNamespace, a: List, b: List) =>
    a.every((item) => includes(b, item)) && b.every((item) => includes(a, item)),
  'SetsNamespace.intersects(list<dyn>, list<dyn>): bool': (_: SetsNamespace, a: List, b: List) =>
    b.some((item) => includes(a, item)),
};

const listFunctions: Handlers = {
  'list<dyn>.isSorted(): bool': (list: List) => list.every((item, at) => at === 0 || !less(item, list[at - 1])),
  'list<dyn>.sum(): dyn': (list: List) =>
    list.reduce((sum, item) => add(sum, item), list.length === 0 ? 0n : zeroLike(list[0])),
  'list<dyn>.min(): dyn': (list: List) => extreme(list, (a, b) => less(a, b)),
  'list<dyn>.max(): dyn': (list: List) => extreme(list, (a, b) => less(b, a)),
  'list<dyn>.indexOf(dyn): int': (list: List, wanted: unknown) => BigInt(list.findIndex((item) => same(item, wanted))),
  'list<dyn>.lastIndexOf(dyn): int': (list: List, wanted: unknown) =>
    BigInt(list.findLastIndex((item) => same(item, wanted))),
};

function less(a: unknown, b: unknown): boolean {
  return (a as number) < (b as number);
}

function add(a: unknown, b: unknown): unknown {
  return typeof a === 'bigint' && typeof b === 'bigint' ? a + b : Number(a) + Number(b);
}

function zeroLike(value: unknown): unknown {
  return typeof value === 'bigint' ? 0n : 0;
}

function extreme(list: List, better: (a: unknown, b: unknown) => boolean): unknown {
  if (list.length === 0) throw new Error('min or max called on empty list');
  return list.reduce((best, item) => (better(item, best) ? item : best));
}

function includes(list: List, wanted: unknown): boolean {
  return list.some((item) => same(item, wanted));
}

function same(a: unknown, b: unknown): boolean {
  return a === b || comparable(a) === comparable(b);
}

function comparable(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) => (typeof inner === 'bigint' ? Number(inner) : inner));
}

const textFunctions: Handlers = {
  'string.matchesRe2(string): bool': (text: string, pattern: string) => patternOf(pattern).test(text),
  'matches(string, string): bool': (text: string, pattern: string) => patternOf(pattern).test(text),
  'string.find(string): string': (text: string, pattern: string) => patternOf(pattern).exec(text)?.[0] ?? '',
  'string.findAll(string): list<string>': (text: string, pattern: string) => findAll(text, pattern),
  'string.findAll(string, int): list<string>': (text: string, pattern: string, count: bigint) =>
    count < 0n ? findAll(text, pattern) : findAll(text, pattern).slice(0, Number(count)),
  'string.charAt(int): string': (text: string, at: bigint) => [...text][Number(at)] ?? '',
  'string.replace(string, string): string': (text: string, from: string, to: string) => text.replaceAll(from, () => to),
  'string.reverse(): string': (text: string) => [...text].toReversed().join(''),
  'string.format(list<dyn>): string': (format: string, values: List) => formatText(format, values),
  'JsonPatchNamespace.escapeKey(string): string': (_: JsonPatchNamespace, key: string) =>
    key.replaceAll('~', '~0').replaceAll('/', '~1'),
  'validateFormat(string, string): bool': (name: string, text: string) => matchesFormat(name, text),
};

/** Formats that have rules of their own in the API, and what is wrong with a text. */
const API_FORMATS: Readonly<Record<string, (text: string) => string[]>> = {
  dns1123Label: (text) => dnsLabelName(text, false),
  dns1123LabelPrefix: (text) => dnsLabelName(text, true),
  dns1123Subdomain: (text) => dnsSubdomainName(text, false),
  dns1123SubdomainPrefix: (text) => dnsSubdomainName(text, true),
  dns1035Label: (text) => dns1035Name(text, false),
  dns1035LabelPrefix: (text) => dns1035Name(text, true),
  qualifiedName,
  labelValue,
  ...Object.fromEntries(
    ['uri', 'uuid', 'byte', 'date', 'datetime'].map((name) => [
      name,
      (text: string) => (matchesFormat(name, text) ? [] : [`invalid ${name}`]),
    ]),
  ),
};

const formatFunctions: Handlers = {
  ...Object.fromEntries(
    Object.entries(API_FORMATS).map(([name, problems]) => [
      `FormatNamespace.${name}(): kubernetes.Format`,
      () => new Format(problems),
    ]),
  ),
  'FormatNamespace.named(string): optional<kubernetes.Format>': (_: FormatNamespace, name: string) => {
    const problems = API_FORMATS[name];
    return optionalOf(problems === undefined ? undefined : new Format(problems));
  },
  'kubernetes.Format.validate(string): optional<list<string>>': ({ problems }: Format, text: string) => {
    const found = problems(text);
    return optionalOf(found.length === 0 ? undefined : found);
  },
};

/** A CEL optional; none for undefined. */
export function optionalOf(value: unknown): Optional {
  return value === undefined ? Optional.none() : Optional.of(value);
}

function findAll(text: string, pattern: string): string[] {
  const { source, flags } = patternOf(pattern);
  return [...text.matchAll(new RegExp(source, `${flags}g`))].map((match) => match[0]);
}

/** `%s %d %f %e %b %o %x %X %%`, with an optional precision. */
function formatText(format: string, values: List): string {
  let next = 0;
  return format.replace(/%(?:\.(\d+))?([sdfebxXo%])/g, (_, precision: string | undefined, verb: string) => {
    if (verb === '%') return '%';
    if (next >= values.length) throw new Error(`index ${next} out of range`);
    const value = values[next++];
    const digits = precision === undefined ? 6 : Number(precision);
    switch (verb) {
      case 'd':
        return String(value);
      case 'f':
        return Number(value).toFixed(digits);
      case 'e':
        return Number(value).toExponential(digits);
      case 'b':
        return typeof value === 'boolean' ? (value ? '1' : '0') : (value as bigint).toString(2);
      case 'o':
        return (value as bigint).toString(8);
      case 'x':
      case 'X': {
        const hex = typeof value === 'string' ? Buffer.from(value).toString('hex') : (value as bigint).toString(16);
        return verb === 'X' ? hex.toUpperCase() : hex;
      }
      default:
        return textOf(value);
    }
  });
}

function textOf(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(textOf).join(', ')}]`;
  if (value instanceof Quantity || value instanceof Ip) return value.text;
  if (value instanceof Date) return value.toISOString();
  if (isObject(value))
    return `{${Object.entries(value)
      .map(([key, inner]) => `${key}: ${textOf(inner)}`)
      .join(', ')}}`;
  return String(value);
}

const KEYWORDS = new Set(
  'true false null in as break const continue else for function if import let loop package namespace return var void while'.split(
    ' ',
  ),
);

/** A JSON value as CEL sees it: integers are exact, date-times are timestamps, odd field names are escaped. */
export function toCel(schema: JsonSchema | undefined, value: unknown): unknown {
  if (typeof value === 'number') {
    const whole = schema?.type === 'number' ? false : Number.isInteger(value);
    return whole ? BigInt(value) : value;
  }
  if (typeof value === 'string') {
    return schema?.format === 'date-time' || schema?.format === 'date' ? new Date(value) : value;
  }
  if (Array.isArray(value)) {
    const items = schema === undefined ? undefined : itemsOf(schema);
    return (value as unknown[]).map((item) => toCel(items, item));
  }
  if (!isObject(value)) return value;
  const result: Record<string, unknown> = {};
  for (const [key, inner] of Object.entries(value)) {
    const declared = schema?.properties !== undefined && Object.hasOwn(schema.properties, key);
    result[declared ? escapeName(key) : key] = toCel(schema === undefined ? undefined : propertyOf(schema, key), inner);
  }
  return result;
}

/** A CEL value as JSON: the reverse of `toCel` for values without a schema. */
export function fromCel(value: unknown): unknown {
  if (typeof value === 'bigint') return Number(value);
  if (value instanceof Optional) return value.hasValue() ? fromCel(value.value()) : null;
  if (value instanceof Date) return value.toISOString().replace('.000Z', 'Z');
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64');
  if (value instanceof Quantity || value instanceof Ip) return value.text;
  if (Array.isArray(value)) return value.map(fromCel);
  if (value instanceof Map) return fromCel(Object.fromEntries(value));
  if (!isObject(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, fromCel(inner)]));
}

function escapeName(name: string): string {
  if (KEYWORDS.has(name)) return `__${name}__`;
  if (/^[A-Za-z_]\w*$/.test(name) && !name.includes('__')) return name;
  return name
    .replaceAll('__', '__underscores__')
    .replaceAll('.', '__dot__')
    .replaceAll('-', '__dash__')
    .replaceAll('/', '__slash__');
}
