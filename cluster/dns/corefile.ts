// SPDX-License-Identifier: Apache-2.0
// The Corefile: CoreDNS' configuration language, for the plugins that this server has. A plugin or option that it does
// not have is an error that names the line, so that nobody believes in a setting without effect.

import { isIP } from 'node:net';

import { parsePrefix } from '../network/addresses.ts';
import { parseDuration } from '../machinery/flags.ts';
import type { Prefix } from '../network/addresses.ts';

/** One server block. */
export interface DnsConfig {
  readonly port: number;
  readonly kubernetes: KubernetesConfig | undefined;
  readonly forward: ForwardConfig | undefined;
  readonly cache: CacheConfig | undefined;
  readonly healthPort: number | undefined;
  readonly lameduckMs: number;
  readonly readyPort: number | undefined;
  readonly metricsPort: number | undefined;
  readonly logQueries: boolean;
  readonly logErrors: boolean;
  readonly shuffle: boolean;
  /** How often the file is looked at again; undefined without `reload`. */
  readonly reloadMs: number | undefined;
  /** `hosts` entries: addresses by name. */
  readonly hosts: ReadonlyMap<string, readonly string[]>;
}

export interface KubernetesConfig {
  readonly domain: string;
  /** Address ranges whose reverse names belong to the cluster alone. */
  readonly reverse: readonly Prefix[];
  /** Reverse lookups outside `reverse` are passed on when the cluster has no such address. */
  readonly anyReverse: boolean;
  readonly pods: 'insecure' | 'verified' | 'disabled';
  readonly ttl: number;
}

export interface ForwardConfig {
  /** `address#port` or paths of files in resolv.conf's format. */
  readonly to: readonly string[];
  readonly policy: 'random' | 'round_robin' | 'sequential';
  readonly preferUdp: boolean;
  readonly forceTcp: boolean;
  readonly maxConcurrent: number;
}

export interface CacheConfig {
  readonly maxTtl: number;
  readonly maxDenialTtl: number;
  readonly capacity: number;
  /** Domains whose answers, or denials, are not kept. */
  readonly uncached: { readonly success: readonly string[]; readonly denial: readonly string[] };
}

class CorefileError extends Error {
  override readonly name = 'CorefileError';
}

interface Directive {
  readonly line: number;
  readonly words: readonly string[];
  readonly block: readonly Directive[];
}

/** Errors: `Corefile:LINE: what is wrong`. */
export function parseCorefile(text: string): DnsConfig {
  const directives = readDirectives(tokenize(text));
  const [server, second] = directives;
  if (server === undefined) throw new CorefileError('Corefile: no server block; write ".:53 { ... }"');
  if (second !== undefined) fail(second, 'a second server block is not supported; put all plugins into one');
  const key = server.words[0] ?? '';
  const match = /^(?:dns:\/\/)?\.(?::(\d+))?$/.exec(key);
  if (server.words.length !== 1 || match === null)
    fail(server, `server key "${server.words.join(' ')}" is not ".:PORT"`);
  return server.block.reduce<DnsConfig>(applyDirective, {
    port: Number(match?.[1] ?? 53),
    kubernetes: undefined,
    forward: undefined,
    cache: undefined,
    healthPort: undefined,
    lameduckMs: 0,
    readyPort: undefined,
    metricsPort: undefined,
    logQueries: false,
    logErrors: false,
    shuffle: false,
    reloadMs: undefined,
    hosts: new Map(),
  });
}

function applyDirective(config: DnsConfig, directive: Directive): DnsConfig {
  const [plugin = '', ...words] = directive.words;
  switch (plugin) {
    case 'errors':
      return { ...config, logErrors: true };
    case 'log':
      return { ...config, logQueries: true };
    case 'loadbalance':
      return { ...config, shuffle: true };
    case 'loop':
      // Forwarding to itself is prevented by leaving out loopback and own addresses, without a probe query.
      return config;
    case 'reload':
      return { ...config, reloadMs: duration(directive, words[0] ?? '30s') };
    case 'ready':
      return { ...config, readyPort: portOf(directive, words[0] ?? ':8181') };
    case 'prometheus':
      return { ...config, metricsPort: portOf(directive, words[0] ?? ':9153') };
    case 'health': {
      const lameduck = option(directive, 'lameduck');
      return {
        ...config,
        healthPort: portOf(directive, words[0] ?? ':8080'),
        lameduckMs: lameduck === undefined ? 0 : duration(lameduck, lameduck.words[1] ?? ''),
      };
    }
    case 'cache':
      return { ...config, cache: cacheConfig(directive, words) };
    case 'forward':
      return { ...config, forward: forwardConfig(directive, words) };
    case 'kubernetes':
      return { ...config, kubernetes: kubernetesConfig(directive, words) };
    case 'hosts':
      return { ...config, hosts: hostEntries(directive) };
    default:
      return fail(
        directive,
        `unknown plugin "${plugin}"; there are cache, errors, forward, health, hosts, kubernetes, loadbalance, log, loop, prometheus, ready, reload`,
      );
  }
}

function kubernetesConfig(directive: Directive, zones: readonly string[]): KubernetesConfig {
  let domain: string | undefined;
  let anyReverse = false;
  const reverse: Prefix[] = [];
  for (const zone of zones) {
    if (zone === 'in-addr.arpa' || zone === 'ip6.arpa') anyReverse = true;
    else if (zone.includes('/')) reverse.push(prefix(directive, zone));
    else if (domain === undefined) domain = zone.toLowerCase().replace(/\.$/, '');
    else fail(directive, `a second cluster domain "${zone}" is not supported`);
  }
  let pods: KubernetesConfig['pods'] = 'disabled';
  let ttl = 5;
  for (const inner of directive.block) {
    const [name, value = ''] = inner.words;
    if (name === 'pods') {
      if (value !== 'insecure' && value !== 'verified' && value !== 'disabled') {
        fail(inner, `pods "${value}" is not insecure, verified or disabled`);
      }
      pods = value;
    } else if (name === 'ttl') {
      ttl = integer(inner, value, { min: 0, max: 3600 });
    } else if (name !== 'fallthrough') {
      fail(inner, `unknown option "${name}" of kubernetes`);
    }
  }
  if (domain === undefined) fail(directive, 'kubernetes needs the cluster domain, such as cluster.local');
  return { domain, reverse, anyReverse, pods, ttl };
}

function forwardConfig(directive: Directive, words: readonly string[]): ForwardConfig {
  const [from, ...to] = words;
  if (from !== '.') fail(directive, `forward "${from ?? ''}" is not supported; only "." (every name) is`);
  if (to.length === 0) fail(directive, 'forward needs servers or a file such as /etc/resolv.conf');
  const servers = to.map((server) => {
    if (server.startsWith('/')) return server;
    const match = /^(?:dns:\/\/)?(?:\[([^\]]+)\]|([^:\]]+)|([0-9a-fA-F:]+))(?::(\d+))?$/.exec(server);
    const address = match?.[1] ?? match?.[2] ?? match?.[3];
    if (address === undefined || isIP(address) === 0) fail(directive, `"${server}" is not an address or a file`);
    return `${address}#${match?.[4] ?? '53'}`;
  });
  let config: ForwardConfig = { to: servers, policy: 'random', preferUdp: false, forceTcp: false, maxConcurrent: 1000 };
  for (const inner of directive.block) {
    const [name, value = ''] = inner.words;
    if (name === 'policy') {
      if (value !== 'random' && value !== 'round_robin' && value !== 'sequential') {
        fail(inner, `policy "${value}" is not random, round_robin or sequential`);
      }
      config = { ...config, policy: value };
    } else if (name === 'prefer_udp') config = { ...config, preferUdp: true };
    else if (name === 'force_tcp') config = { ...config, forceTcp: true };
    else if (name === 'max_concurrent') {
      config = { ...config, maxConcurrent: integer(inner, value, { min: 1, max: 1_000_000 }) };
    } else fail(inner, `unknown option "${name}" of forward`);
  }
  return config;
}

function cacheConfig(directive: Directive, words: readonly string[]): CacheConfig {
  const limit = words[0] === undefined ? undefined : integer(directive, words[0], { min: 1, max: 86_400 });
  let config: CacheConfig = {
    maxTtl: limit ?? 3600,
    maxDenialTtl: limit ?? 1800,
    capacity: 9984,
    uncached: { success: [], denial: [] },
  };
  for (const inner of directive.block) {
    const [name, capacity = '', ttl] = inner.words;
    if (name === 'success' || name === 'denial') {
      const seconds = ttl === undefined ? undefined : integer(inner, ttl, { min: 1, max: 86_400 });
      config = {
        ...config,
        capacity: Math.max(integer(inner, capacity, { min: 1, max: 1_000_000 }), 1),
        ...(seconds !== undefined && (name === 'success' ? { maxTtl: seconds } : { maxDenialTtl: seconds })),
      };
    } else if (name === 'disable' && (capacity === 'success' || capacity === 'denial')) {
      const domains = inner.words.slice(2).map((zone) => zone.toLowerCase().replace(/\.$/, ''));
      // Without domains, every one: the root is empty.
      config = { ...config, uncached: { ...config.uncached, [capacity]: domains.length === 0 ? [''] : domains } };
    } else fail(inner, `option "${inner.words.join(' ')}" of cache is not supported`);
  }
  return config;
}

function hostEntries(directive: Directive): ReadonlyMap<string, readonly string[]> {
  const entries = new Map<string, string[]>();
  for (const inner of directive.block) {
    const [address = '', ...names] = inner.words;
    if (address === 'fallthrough' || address === 'ttl') continue;
    if (isIP(address) === 0) fail(inner, `"${address}" is not an address`);
    for (const name of names) {
      const key = name.toLowerCase().replace(/\.$/, '');
      entries.set(key, [...(entries.get(key) ?? []), address]);
    }
  }
  return entries;
}

function option(directive: Directive, name: string): Directive | undefined {
  for (const inner of directive.block) {
    if (inner.words[0] !== name) fail(inner, `unknown option "${inner.words[0]}" of ${directive.words[0]}`);
  }
  return directive.block[0];
}

function prefix(directive: Directive, text: string): Prefix {
  try {
    return parsePrefix(text);
  } catch {
    return fail(directive, `zone "${text}" is not a CIDR block`);
  }
}

function duration(directive: Directive, text: string): number {
  try {
    return parseDuration(text);
  } catch {
    return fail(directive, `"${text}" is not a duration such as 5s`);
  }
}

function integer(directive: Directive, text: string, range: { min: number; max: number }): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < range.min || value > range.max) {
    fail(directive, `"${text}" is not a whole number from ${range.min} to ${range.max}`);
  }
  return value;
}

function portOf(directive: Directive, text: string): number {
  const match = /:(\d+)$/.exec(text);
  if (match?.[1] === undefined) return fail(directive, `"${text}" is not an address such as :8080`);
  return Number(match[1]);
}

function fail(directive: Directive, message: string): never {
  throw new CorefileError(`Corefile:${directive.line}: ${message}`);
}

interface Token {
  readonly line: number;
  readonly text: string;
}

function tokenize(text: string): Token[][] {
  return text
    .split(/\r?\n/)
    .map((content, index) =>
      content
        .replace(/(^|\s)#.*$/, '')
        .split(/\s+/)
        .filter((word) => word !== '')
        .map((word) => ({ line: index + 1, text: word })),
    )
    .filter((tokens) => tokens.length > 0);
}

function readDirectives(lines: readonly Token[][]): Directive[] {
  const root: Directive[] = [];
  const open: { directive: Directive; into: Directive[] }[] = [];
  for (const tokens of lines) {
    const line = tokens[0]?.line ?? 0;
    const words = tokens.map((token) => token.text);
    if (words[0] === '}') {
      if (open.pop() === undefined || words.length > 1) throw new CorefileError(`Corefile:${line}: unexpected "}"`);
      continue;
    }
    const opens = words.at(-1) === '{';
    const block: Directive[] = [];
    const directive: Directive = { line, words: opens ? words.slice(0, -1) : words, block };
    (open.at(-1)?.into ?? root).push(directive);
    if (opens) open.push({ directive, into: block });
  }
  const unclosed = open.at(-1);
  if (unclosed !== undefined) fail(unclosed.directive, 'this block has no closing "}"');
  return root;
}
