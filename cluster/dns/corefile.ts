// SPDX-License-Identifier: Apache-2.0
// The Corefile: CoreDNS' configuration language, for the plugins that this server has. A plugin or option that it does
// not have is an error that names the line, so that nobody believes in a setting without effect.

import { CorefileError, fail, parseBlocks } from './corefile-syntax.ts';
import { plugins } from './corefile-plugins.ts';
import { familyOf, parsePrefix } from '../network/addresses.ts';
import { reverseZones } from './names.ts';
import type { Prefix } from '../network/addresses.ts';
import type { Directive, Surroundings } from './corefile-syntax.ts';

/** One server block: the zones that it serves, where it listens, and what its plugins do. */
export interface ServerConfig {
  /** Line of the block, for errors. */
  readonly line: number;
  /** Lower case, without final dot; the root is empty. */
  readonly zones: readonly string[];
  readonly port: number;
  /** Addresses to listen on; empty: all. */
  readonly bind: readonly string[];
  readonly kubernetes: KubernetesConfig | undefined;
  /** In the order of the file; the first one whose domain fits is asked. */
  readonly forwards: readonly ForwardConfig[];
  readonly cache: CacheConfig | undefined;
  readonly hosts: HostsConfig | undefined;
  readonly rewrites: readonly RewriteRule[];
  readonly autopath: AutopathConfig | undefined;
  readonly health: { readonly at: HttpAddress; readonly lameduckMs: number } | undefined;
  readonly ready: HttpAddress | undefined;
  readonly metrics: HttpAddress | undefined;
  readonly log: LogConfig | undefined;
  readonly logErrors: boolean;
  /** Addresses are given in random order. */
  readonly shuffle: boolean;
  /** Most bytes of a UDP answer, where the client takes as many. */
  readonly udpSize: number;
  readonly detectLoops: boolean;
  /** How often the file is looked at again; undefined without `reload`. */
  readonly reloadMs: number | undefined;
  /** Names of the plugins in use. */
  readonly plugins: readonly string[];
}

export interface HttpAddress {
  /** undefined: all addresses. */
  readonly host: string | undefined;
  readonly port: number;
}

export interface KubernetesConfig {
  /** The first is the cluster's own domain; all have the same names. */
  readonly domains: readonly string[];
  /** Address ranges whose reverse names belong to the cluster. */
  readonly reverse: readonly Prefix[];
  /** Zones in which a name that the cluster does not know is passed on; '' stands for all. */
  readonly fallthrough: readonly string[];
  readonly pods: 'insecure' | 'verified' | 'disabled';
  readonly ttl: number;
  /** Endpoints without hostname are called as their pods. */
  readonly endpointPodNames: boolean;
  /** Names of single endpoints and of headless Services do not exist. */
  readonly noEndpoints: boolean;
  /** Services without ready endpoints do not exist. */
  readonly ignoreEmptyService: boolean;
  /** Only these namespaces are shown; empty: all. */
  readonly namespaces: readonly string[];
}

export interface ForwardConfig {
  /** The domain whose names are forwarded. */
  readonly from: string;
  /** `address#port` or paths of files in resolv.conf's format. */
  readonly to: readonly string[];
  readonly except: readonly string[];
  readonly policy: 'random' | 'round_robin' | 'sequential';
  readonly preferUdp: boolean;
  readonly forceTcp: boolean;
  readonly maxConcurrent: number;
  /** Failed health checks after which a server is down; 0: never. */
  readonly maxFails: number;
  readonly expireMs: number;
  readonly healthCheck: { readonly everyMs: number; readonly recursive: boolean; readonly name: string };
  /** Attempts for one query; 0: as many as there are servers. */
  readonly maxConnectAttempts: number;
  readonly failFast: boolean;
  /** Codes with which the next server is asked. */
  readonly failover: readonly number[];
  /** Codes with which the next `forward` is asked. */
  readonly next: readonly number[];
}

export interface CacheLimits {
  readonly capacity: number;
  /** In seconds, as all TTLs. */
  readonly maxTtl: number;
  readonly minTtl: number;
}

export interface CacheConfig {
  /** Domains to keep answers of; empty: all. */
  readonly zones: readonly string[];
  readonly success: CacheLimits;
  readonly denial: CacheLimits;
  readonly prefetch: { readonly amount: number; readonly gapMs: number; readonly percent: number } | undefined;
  readonly stale: { readonly forMs: number; readonly verify: boolean } | undefined;
  readonly servfailMs: number;
  readonly keepTtl: boolean;
  /** Domains whose answers, or denials, are not kept; '' stands for all. */
  readonly uncached: { readonly success: readonly string[]; readonly denial: readonly string[] };
}

export interface HostsConfig {
  /** Addresses by name. */
  readonly entries: ReadonlyMap<string, readonly string[]>;
  /** A file in the form of /etc/hosts, read again when it changes. */
  readonly file: string | undefined;
  readonly reloadMs: number;
  readonly zones: readonly string[];
  readonly ttl: number;
  readonly reverse: boolean;
  /** undefined: a name of the zones that is not listed does not exist. */
  readonly fallthrough: readonly string[] | undefined;
}

export interface RewriteRule {
  readonly goOn: boolean;
  readonly match: 'exact' | 'prefix' | 'suffix' | 'substring' | 'regex';
  readonly from: string;
  readonly to: string;
  /** How names of the answer are turned back: none, the asked name for the rewritten one, or by expressions. */
  readonly answer: 'none' | 'auto' | { readonly from: string; readonly to: string };
}

export interface AutopathConfig {
  readonly zones: readonly string[];
  /** `kubernetes` takes the list from the asking pod, else a fixed one. */
  readonly search: 'kubernetes' | readonly string[];
}

export interface LogConfig {
  readonly zones: readonly string[];
  readonly format: string;
  readonly classes: readonly ('all' | 'success' | 'denial' | 'error')[];
}

/** The server blocks of a Corefile. Errors: CorefileError, `Corefile:LINE: what is wrong`. */
export function parseCorefile(
  text: string,
  surroundings: Surroundings & { readonly defaultPort?: number },
): ServerConfig[] {
  const { defaultPort = 53 } = surroundings;
  const blocks = parseBlocks(text, surroundings);
  if (blocks.length === 0) {
    throw new CorefileError(`${surroundings.file}: no server block; write ".:53 { ... }"`);
  }
  const servers = blocks.flatMap((block) => serversOf(block, defaultPort));
  const seen = new Map<string, ServerConfig>();
  for (const server of servers) {
    for (const zone of server.zones) {
      const key = `${zone}. on port ${server.port}${server.bind.length === 0 ? '' : ` of ${server.bind.join(', ')}`}`;
      const earlier = seen.get(key);
      if (earlier !== undefined) {
        fail({ file: surroundings.file, line: server.line }, `${key} is served by the block of line ${earlier.line}`);
      }
      seen.set(key, server);
    }
  }
  return servers;
}

/** A block may name several ports; it is one server on each. */
function serversOf(block: Directive, defaultPort: number): ServerConfig[] {
  if (!block.opens) fail(block, `server block "${block.words.join(' ')}" has no "{" at the end of its line`);
  const keys = block.words.flatMap((word) => word.split(',')).filter((word) => word !== '');
  if (keys.length === 0) fail(block, 'a server block needs a zone, such as ".:53"');
  const byPort = new Map<number, string[]>();
  for (const key of keys) {
    const { zones, port } = parseKey(block, key, defaultPort);
    byPort.set(port, [...new Set([...(byPort.get(port) ?? []), ...zones])]);
  }
  return [...byPort].map(([port, zones]) => serverOf(block, zones, port));
}

function serverOf(block: Directive, zones: readonly string[], port: number): ServerConfig {
  let config: ServerConfig = {
    line: block.line,
    zones,
    port,
    bind: [],
    kubernetes: undefined,
    forwards: [],
    cache: undefined,
    hosts: undefined,
    rewrites: [],
    autopath: undefined,
    health: undefined,
    ready: undefined,
    metrics: undefined,
    log: undefined,
    logErrors: false,
    shuffle: false,
    udpSize: 4096,
    detectLoops: false,
    reloadMs: undefined,
    plugins: [],
  };
  const repeatable = new Set(['forward', 'rewrite', 'bind']);
  for (const directive of block.block) {
    const [name = ''] = directive.words;
    const apply = Object.hasOwn(plugins, name) ? plugins[name] : undefined;
    if (apply === undefined) {
      return fail(directive, `unknown plugin "${name}"; there are ${Object.keys(plugins).toSorted().join(', ')}`);
    }
    if (config.plugins.includes(name) && !repeatable.has(name)) fail(directive, `plugin "${name}" is there twice`);
    config = { ...config, ...apply(config, directive), plugins: [...new Set([...config.plugins, name])] };
  }
  if (config.autopath?.search === 'kubernetes' && config.kubernetes?.pods !== 'verified') {
    fail(block, 'autopath @kubernetes needs "kubernetes" with "pods verified" in the same server block');
  }
  return config;
}

/** `zone`, `zone:port`, `dns://zone:port`, `10.0.0.0/24`. */
function parseKey(block: Directive, key: string, defaultPort: number): { zones: string[]; port: number } {
  const scheme = /^([a-z]+):\/\//.exec(key)?.[1];
  if (scheme !== undefined && scheme !== 'dns')
    fail(block, `server key "${key}": only dns:// is served, not ${scheme}://`);
  const rest = scheme === undefined ? key : key.slice('dns://'.length);
  // What precedes the port is a name or a range; IPv6 ranges have colons of their own.
  const match = rest.includes('/') ? /^(.*\/\d+)(?::(\d+))?$/.exec(rest) : /^(.*?)(?::(\d+))?$/.exec(rest);
  const zone = (match?.[1] ?? '').toLowerCase();
  const port = Number(match?.[2] ?? defaultPort);
  if (match?.[2] !== undefined && (port < 1 || port > 65_535))
    fail(block, `server key "${key}": the port is not from 1 to 65535`);
  if (rest.includes('/')) {
    try {
      return { zones: reverseZones(parsePrefix(zone)), port };
    } catch {
      return fail(block, `server key "${key}": "${zone}" is not a CIDR block`);
    }
  }
  if (familyOf(zone) !== undefined || !/^(\.?|([a-z0-9_*-]{1,63}\.)*[a-z0-9_*-]{1,63}\.?)$/.test(zone)) {
    fail(block, `server key "${key}" is not ZONE or ZONE:PORT, such as ".:53" or "example.org"`);
  }
  return { zones: [zone.replace(/\.$/, '')], port };
}
