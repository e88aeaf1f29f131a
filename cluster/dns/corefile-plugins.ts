// SPDX-License-Identifier: Apache-2.0
// What each plugin's line of a Corefile means: the part of the server's configuration that it sets.

import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';

import { FlagError, parseDuration } from '../machinery/flags.ts';
import { parsePrefix } from '../network/addresses.ts';
import { fail } from './corefile-syntax.ts';
import { plainName, reverseZones } from './names.ts';
import { rcodes } from './wire.ts';
import type { Prefix } from '../network/addresses.ts';
import type {
  AutopathConfig,
  CacheConfig,
  CacheLimits,
  ForwardConfig,
  HostsConfig,
  HttpAddress,
  KubernetesConfig,
  LogConfig,
  RewriteRule,
  ServerConfig,
} from './corefile.ts';
import type { Directive } from './corefile-syntax.ts';

type Plugin = (config: ServerConfig, directive: Directive) => Partial<ServerConfig>;

/** By name. */
export const plugins: Readonly<Record<string, Plugin>> = {
  autopath: (_, directive) => ({ autopath: autopathConfig(directive) }),
  bind: ({ bind }, directive) => ({ bind: [...bind, ...bindAddresses(directive)] }),
  bufsize: (_, directive) => ({ udpSize: integer(directive, wordOf(directive, 1) ?? '1232', { min: 512, max: 4096 }) }),
  cache: (_, directive) => ({ cache: cacheConfig(directive) }),
  errors: (_, directive) => {
    noOptions(directive);
    return { logErrors: true };
  },
  forward: ({ forwards }, directive) => ({ forwards: [...forwards, forwardConfig(directive)] }),
  health: (_, directive) => {
    let lameduckMs = 0;
    for (const inner of directive.block) {
      if (inner.words[0] !== 'lameduck') unknownOption(directive, inner);
      lameduckMs = duration(inner, wordOf(inner, 1) ?? '');
    }
    return { health: { at: httpAddress(directive, ':8080'), lameduckMs } };
  },
  hosts: ({ zones }, directive) => ({ hosts: hostsConfig(directive, zones) }),
  kubernetes: ({ zones }, directive) => ({ kubernetes: kubernetesConfig(directive, zones) }),
  loadbalance: (_, directive) => {
    const policy = wordOf(directive, 1) ?? 'round_robin';
    if (policy !== 'round_robin') fail(directive, `loadbalance "${policy}" is not supported; only round_robin is`);
    return { shuffle: true };
  },
  log: (_, directive) => ({ log: logConfig(directive) }),
  loop: () => ({ detectLoops: true }),
  prometheus: (_, directive) => ({ metrics: httpAddress(directive, ':9153') }),
  ready: (_, directive) => ({ ready: httpAddress(directive, ':8181') }),
  reload: (_, directive) => {
    const every = duration(directive, wordOf(directive, 1) ?? '30s');
    if (every < 2000) fail(directive, 'reload: at least 2s');
    return { reloadMs: every };
  },
  rewrite: ({ rewrites }, directive) => ({ rewrites: [...rewrites, rewriteRule(directive)] }),
};

function kubernetesConfig(directive: Directive, blockZones: readonly string[]): KubernetesConfig {
  const named = directive.words.slice(1);
  const domains: string[] = [];
  const reverse: Prefix[] = [];
  for (const zone of named.length > 0 ? named.map(plainName) : blockZones) {
    if (zone.includes('/')) reverse.push(prefix(directive, zone));
    else if (zone === 'in-addr.arpa') reverse.push(parsePrefix('0.0.0.0/0'));
    else if (zone === 'ip6.arpa') reverse.push(parsePrefix('::/0'));
    else if (isWithinArpa(zone)) reverse.push(arpaPrefix(directive, zone));
    else if (zone !== '') domains.push(zone);
  }
  let config: KubernetesConfig = {
    domains,
    reverse,
    fallthrough: [],
    pods: 'disabled',
    ttl: 5,
    endpointPodNames: false,
    noEndpoints: false,
    ignoreEmptyService: false,
    namespaces: [],
  };
  for (const inner of directive.block) {
    const [name, ...values] = inner.words;
    const [value = ''] = values;
    switch (name) {
      case 'pods':
        if (value !== 'insecure' && value !== 'verified' && value !== 'disabled') {
          return fail(inner, `pods "${value}" is not insecure, verified or disabled`);
        }
        config = { ...config, pods: value };
        break;
      case 'ttl':
        config = { ...config, ttl: integer(inner, value, { min: 0, max: 3600 }) };
        break;
      case 'fallthrough':
        config = {
          ...config,
          fallthrough: values.length === 0 ? [''] : values.flatMap((zone) => zonesOf(inner, zone)),
        };
        break;
      case 'endpoint_pod_names':
        config = { ...config, endpointPodNames: true };
        break;
      case 'noendpoints':
        config = { ...config, noEndpoints: true };
        break;
      case 'ignore':
        if (value !== 'empty_service') fail(inner, `ignore "${value}" is not empty_service`);
        config = { ...config, ignoreEmptyService: true };
        break;
      case 'upstream':
        // Targets of ExternalName Services are asked of this server itself, which is what the word alone means.
        if (value !== '') fail(inner, 'upstream takes no servers; name them in "forward"');
        break;
      case 'namespaces':
        if (values.length === 0) fail(inner, 'namespaces needs at least one name');
        config = { ...config, namespaces: values };
        break;
      default:
        unknownOption(directive, inner);
    }
  }
  if (domains.length === 0) fail(directive, 'kubernetes needs the cluster domain, such as cluster.local');
  return config;
}

function forwardConfig(directive: Directive): ForwardConfig {
  const [, from, ...to] = directive.words;
  if (from === undefined || to.length === 0) {
    return fail(directive, 'forward needs a domain and servers or a file, such as "forward . /etc/resolv.conf"');
  }
  if (to.length > 15) fail(directive, 'forward takes at most 15 servers');
  const zones = zonesOf(directive, from);
  if (zones.length > 1) fail(directive, `forward "${from}" means ${zones.length} zones; write one forward for each`);
  let config: ForwardConfig = {
    from: zones[0] ?? '',
    to: to.map((server) => serverAddress(directive, server)),
    except: [],
    policy: 'random',
    preferUdp: false,
    forceTcp: false,
    maxConcurrent: Infinity,
    maxFails: 2,
    expireMs: 10_000,
    healthCheck: { everyMs: 500, recursive: true, name: '' },
    maxConnectAttempts: 0,
    failFast: false,
    failover: [],
    next: [],
  };
  for (const inner of directive.block) config = { ...config, ...forwardOption(directive, inner) };
  return config;
}

function forwardOption(directive: Directive, inner: Directive): Partial<ForwardConfig> {
  const [name, ...values] = inner.words;
  const [value = ''] = values;
  switch (name) {
    case 'policy':
      if (value !== 'random' && value !== 'round_robin' && value !== 'sequential') {
        return fail(inner, `policy "${value}" is not random, round_robin or sequential`);
      }
      return { policy: value };
    case 'except':
      if (values.length === 0) fail(inner, 'except needs domains');
      return { except: values.flatMap((zone) => zonesOf(inner, zone)) };
    case 'prefer_udp':
      return { preferUdp: true };
    case 'force_tcp':
      return { forceTcp: true };
    case 'max_concurrent':
      return { maxConcurrent: integer(inner, value, { min: 0, max: 1_000_000 }) || Infinity };
    case 'max_fails':
      return { maxFails: integer(inner, value, { min: 0, max: 1000 }) };
    case 'max_connect_attempts':
      return { maxConnectAttempts: integer(inner, value, { min: 0, max: 1000 }) };
    case 'expire':
      return { expireMs: positive(inner, duration(inner, value)) };
    case 'failfast_all_unhealthy_upstreams':
      return { failFast: true };
    case 'failover':
    case 'next':
      if (values.length === 0) fail(inner, `${name} needs response codes, such as SERVFAIL`);
      return { [name]: values.map((code) => responseCode(inner, code, name)) };
    case 'health_check': {
      const [, ...options] = values;
      let check = { everyMs: positive(inner, duration(inner, value)), recursive: true, name: '' };
      for (let index = 0; index < options.length; index++) {
        if (options[index] === 'no_rec') check = { ...check, recursive: false };
        else if (options[index] === 'domain' && options[index + 1] !== undefined) {
          check = { ...check, name: plainName(options[++index] ?? '') };
        } else fail(inner, `unknown option "${options[index]}" of health_check`);
      }
      return { healthCheck: check };
    }
    default:
      return unknownOption(directive, inner);
  }
}

function cacheConfig(directive: Directive): CacheConfig {
  const [, ...words] = directive.words;
  const limited = words[0] !== undefined && /^\d+$/.test(words[0]);
  const limit = limited ? integer(directive, words[0] ?? '', { min: 1, max: 86_400 }) : undefined;
  let config: CacheConfig = {
    zones: words.slice(limited ? 1 : 0).flatMap((zone) => zonesOf(directive, zone)),
    success: { capacity: 9984, maxTtl: limit ?? 3600, minTtl: 5 },
    denial: { capacity: 9984, maxTtl: limit ?? 1800, minTtl: 5 },
    prefetch: undefined,
    stale: undefined,
    servfailMs: 5000,
    keepTtl: false,
    uncached: { success: [], denial: [] },
  };
  for (const inner of directive.block) config = { ...config, ...cacheOption(directive, inner, config) };
  return config;
}

function cacheOption(directive: Directive, inner: Directive, config: CacheConfig): Partial<CacheConfig> {
  const [name, ...values] = inner.words;
  const [first = '', second, third] = values;
  switch (name) {
    case 'success':
    case 'denial':
      return { [name]: cacheLimits(inner, config[name]) };
    case 'prefetch': {
      const percent = third === undefined ? 10 : Number(/^(\d+)%$/.exec(third)?.[1] ?? Number.NaN);
      if (!(percent >= 10 && percent <= 90)) fail(inner, `prefetch "${third}" is not a percentage from 10% to 90%`);
      const gapMs = second === undefined ? 60_000 : positive(inner, duration(inner, second));
      return { prefetch: { amount: integer(inner, first, { min: 0, max: 1_000_000 }), gapMs, percent } };
    }
    case 'serve_stale': {
      if (second !== undefined && second !== 'immediate' && second !== 'verify') {
        fail(inner, `serve_stale "${second}" is not immediate or verify`);
      }
      return { stale: { forMs: first === '' ? 3_600_000 : duration(inner, first), verify: second === 'verify' } };
    }
    case 'servfail': {
      const servfailMs = duration(inner, first);
      if (servfailMs < 0 || servfailMs > 300_000) fail(inner, 'servfail: from 0 to 5m');
      return { servfailMs };
    }
    case 'keepttl':
      return { keepTtl: true };
    case 'disable': {
      if (first !== 'success' && first !== 'denial') fail(inner, `disable "${first}" is not success or denial`);
      const zones = values.slice(1).flatMap((zone) => zonesOf(inner, zone));
      return { uncached: { ...config.uncached, [first]: zones.length === 0 ? [''] : zones } };
    }
    default:
      return unknownOption(directive, inner);
  }
}

function cacheLimits(inner: Directive, before: CacheLimits): CacheLimits {
  const [, capacity = '', maxTtl, minTtl] = inner.words;
  const seconds = { min: 0, max: 86_400 };
  return {
    capacity: integer(inner, capacity, { min: 1, max: 10_000_000 }),
    maxTtl: maxTtl === undefined ? before.maxTtl : integer(inner, maxTtl, { ...seconds, min: 1 }),
    minTtl: minTtl === undefined ? before.minTtl : integer(inner, minTtl, seconds),
  };
}

function hostsConfig(directive: Directive, blockZones: readonly string[]): HostsConfig {
  const [, ...words] = directive.words;
  // A file has a slash, a zone has none; without either, lines of the block are all there is.
  const file = words[0]?.includes('/') === true && isIP(words[0].split('/')[0] ?? '') === 0 ? words[0] : undefined;
  const named = words.slice(file === undefined ? 0 : 1).flatMap((zone) => zonesOf(directive, zone));
  const entries = new Map<string, string[]>();
  let config: HostsConfig = {
    entries,
    file: file ?? (directive.block.some(({ words: [word = ''] }) => isIP(word) !== 0) ? undefined : '/etc/hosts'),
    reloadMs: 5000,
    zones: named.length > 0 ? named : blockZones,
    ttl: 3600,
    reverse: true,
    fallthrough: undefined,
  };
  for (const inner of directive.block) {
    const [first = '', ...values] = inner.words;
    if (first === 'ttl') config = { ...config, ttl: integer(inner, values[0] ?? '', { min: 1, max: 65_535 }) };
    else if (first === 'no_reverse') config = { ...config, reverse: false };
    else if (first === 'reload') config = { ...config, reloadMs: duration(inner, values[0] ?? '') };
    else if (first === 'fallthrough') {
      config = { ...config, fallthrough: values.length === 0 ? [''] : values.flatMap((zone) => zonesOf(inner, zone)) };
    } else if (isIP(first) === 0) fail(inner, `"${first}" is not an address or an option of hosts`);
    else if (values.length === 0) fail(inner, `${first} has no names`);
    else for (const name of values.map(plainName)) entries.set(name, [...(entries.get(name) ?? []), first]);
  }
  return config;
}

const matches = ['exact', 'prefix', 'suffix', 'substring', 'regex'] as const;

function rewriteRule(directive: Directive): RewriteRule {
  // `rewrite stop { name ... / answer ... }` says the same as one line.
  const words = [...directive.words.slice(1), ...directive.block.flatMap((inner) => inner.words)];
  const goOn = words[0] === 'continue';
  if (goOn || words[0] === 'stop') words.shift();
  const field = words.shift();
  if (field !== 'name') fail(directive, `rewrite "${field ?? ''}" is not supported; only name is`);
  const match = matches.find((one) => one === words[0]) ?? 'exact';
  if (match === words[0]) words.shift();
  const [from, to, ...rest] = words;
  if (from === undefined || to === undefined) return fail(directive, 'rewrite name needs FROM and TO');
  if (match === 'regex') expression(directive, from);
  const [what, how, answerFrom, answerTo, ...more] = rest;
  let answer: RewriteRule['answer'] = match === 'exact' ? 'auto' : 'none';
  if (what !== undefined) {
    if (what !== 'answer' || (how !== 'auto' && how !== 'name')) {
      fail(directive, `rewrite: "${rest.join(' ')}" is not "answer auto" or "answer name FROM TO"`);
    }
    if (how === 'auto') {
      if (match === 'regex' || match === 'substring') {
        fail(directive, `rewrite name ${match} cannot be turned back by itself; write "answer name FROM TO"`);
      }
      if (answerFrom !== undefined) fail(directive, `rewrite: "${answerFrom}" is too much`);
      answer = 'auto';
    } else {
      if (answerFrom === undefined || answerTo === undefined || more.length > 0) {
        return fail(directive, 'rewrite: answer name needs FROM and TO');
      }
      expression(directive, answerFrom);
      answer = { from: answerFrom, to: answerTo };
    }
  }
  const literal = match === 'exact' || match === 'suffix' || match === 'substring' || match === 'prefix';
  return {
    goOn,
    match,
    from: literal ? from.toLowerCase() : from,
    to: to.toLowerCase(),
    answer,
  };
}

function autopathConfig(directive: Directive): AutopathConfig {
  noOptions(directive);
  const words = directive.words.slice(1);
  const source = words.pop();
  const zones = words.flatMap((zone) => zonesOf(directive, zone));
  if (source === '@kubernetes') return { zones, search: 'kubernetes' };
  if (source === undefined || !source.includes('/')) {
    return fail(directive, 'autopath needs "@kubernetes" or a file in the form of resolv.conf');
  }
  let text: string;
  try {
    text = readFileSync(source, 'utf8');
  } catch (error) {
    return fail(directive, `autopath cannot read ${source}: ${error instanceof Error ? error.message : String(error)}`);
  }
  const search = /^\s*search\s+(.+)$/m.exec(text)?.[1]?.trim().split(/\s+/).map(plainName) ?? [];
  return { zones, search: [...search, ''] };
}

const logClasses = ['all', 'success', 'denial', 'error'] as const;

const commonFormat =
  '{remote}:{port} - {>id} "{type} {class} {name} {proto} {size} {>do} {>bufsize}" {rcode} {>rflags} {rsize} {duration}';

function logConfig(directive: Directive): LogConfig {
  const [, ...words] = directive.words;
  const isFormat = (word: string | undefined): boolean => word !== undefined && word.includes('{');
  const format = isFormat(words.at(-1)) ? (words.pop() ?? '') : '{common}';
  let classes: LogConfig['classes'] = ['all'];
  for (const inner of directive.block) {
    const [name, ...values] = inner.words;
    if (name !== 'class') return unknownOption(directive, inner);
    classes = values.map(
      (value) =>
        logClasses.find((one) => one === value) ?? fail(inner, `class "${value}" is not ${logClasses.join(', ')}`),
    );
  }
  return {
    zones: words.flatMap((zone) => zonesOf(directive, zone)),
    format: format.replaceAll('{combined}', '{common}').replaceAll('{common}', commonFormat),
    classes,
  };
}

function bindAddresses(directive: Directive): string[] {
  const addresses = directive.words.slice(1);
  if (addresses.length === 0) fail(directive, 'bind needs addresses');
  for (const address of addresses) if (isIP(address) === 0) fail(directive, `bind: "${address}" is not an address`);
  return addresses;
}

/** `address#port` of a server, or a file as it is. */
function serverAddress(directive: Directive, server: string): string {
  if (server.startsWith('/')) return server;
  const scheme = /^([a-z]+):\/\//.exec(server)?.[1];
  if (scheme !== undefined && scheme !== 'dns')
    fail(directive, `forward: ${scheme}:// is not supported, only plain DNS is`);
  const bare = server.replace(/^dns:\/\//, '');
  const match = /^(?:\[([^\]]+)\]|([^:\]]+)|([0-9a-fA-F:]+))(?::(\d+))?$/.exec(bare);
  const [address, port] = isIP(bare) === 6 ? [bare, undefined] : [match?.[1] ?? match?.[2] ?? match?.[3], match?.[4]];
  if (address === undefined || isIP(address) === 0) fail(directive, `"${server}" is not an address or a file`);
  return `${address}#${port ?? '53'}`;
}

function responseCode(directive: Directive, text: string, option: string): number {
  const name = text.toUpperCase();
  const code = Object.entries(rcodes).find(([known]) => known === name)?.[1];
  if (code === undefined) fail(directive, `${option}: "${text}" is not a response code such as SERVFAIL`);
  if (code === rcodes.NOERROR && option === 'failover') fail(directive, 'failover cannot be by NOERROR');
  return code;
}

/** A domain, or the reverse zones of a CIDR block. */
function zonesOf(directive: Directive, text: string): string[] {
  if (text.includes('/')) return reverseZones(prefix(directive, text));
  if (!/^(\.|([A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?)$/.test(text)) fail(directive, `"${text}" is not a domain`);
  return [plainName(text)];
}

function isWithinArpa(zone: string): boolean {
  return zone.endsWith('.in-addr.arpa') || zone.endsWith('.ip6.arpa');
}

/** The addresses whose names are in a reverse zone: `10.in-addr.arpa` is 10.0.0.0/8. */
function arpaPrefix(directive: Directive, zone: string): Prefix {
  const digits = zone.split('.').slice(0, -2).toReversed();
  if (zone.endsWith('.in-addr.arpa')) {
    const bytes = [...digits, '0', '0', '0', '0'].slice(0, 4);
    return prefix(directive, `${bytes.join('.')}/${digits.length * 8}`);
  }
  const nibbles = digits.join('').padEnd(32, '0').match(/.{4}/g) ?? [];
  return prefix(directive, `${nibbles.join(':')}/${digits.length * 4}`);
}

function unknownOption(directive: Directive, inner: Directive): never {
  return fail(inner, `unknown option "${inner.words[0]}" of ${directive.words[0]}`);
}

function noOptions(directive: Directive): void {
  const [first] = directive.block;
  if (first !== undefined) unknownOption(directive, first);
}

function wordOf(directive: Directive, index: number): string | undefined {
  const more = directive.words[index + 1];
  if (more !== undefined) fail(directive, `"${more}" is too much for ${directive.words[0]}`);
  return directive.words[index];
}

function expression(directive: Directive, text: string): void {
  try {
    void new RegExp(text);
  } catch {
    fail(directive, `"${text}" is not a regular expression`);
  }
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
    return parseDuration(/^\d+$/.test(text) ? `${text}s` : text);
  } catch (error) {
    if (error instanceof FlagError) return fail(directive, `"${text}" is not a duration such as 5s`);
    throw error;
  }
}

function positive(directive: Directive, value: number): number {
  return value > 0 ? value : fail(directive, 'the duration must be more than nothing');
}

function integer(directive: Directive, text: string, range: { min: number; max: number }): number {
  const value = text === '' ? Number.NaN : Number(text);
  if (!Number.isInteger(value) || value < range.min || value > range.max) {
    fail(directive, `"${text}" is not a whole number from ${range.min} to ${range.max}`);
  }
  return value;
}

function httpAddress(directive: Directive, standard: string): HttpAddress {
  const text = directive.words[1] ?? standard;
  const match = /^(?:\[([^\]]+)\]|([^:\]]*)):(\d+)$/.exec(text);
  const host = match?.[1] ?? match?.[2] ?? '';
  if (match === null || (host !== '' && host !== 'localhost' && isIP(host) === 0) || Number(match[3]) > 65_535) {
    return fail(directive, `"${text}" is not an address such as :8080`);
  }
  return { host: host === '' ? undefined : host, port: Number(match[3]) };
}
