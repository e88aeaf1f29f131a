// SPDX-License-Identifier: Apache-2.0
// The server of one configuration file: its ports, its server blocks, and the change to another configuration while
// queries are answered. A configuration that cannot be used changes nothing.

import { createHash, randomBytes } from 'node:crypto';

import { ReadState } from './changes.ts';
import { cacheObserver, dnsMetrics, showConfiguration, upstreamObserver } from './dns-metrics.ts';
import { Forwarding } from './forwarding.ts';
import { Frontend } from './frontend.ts';
import { hostTable } from './hosts.ts';
import { Listeners } from './listeners.ts';
import { ReplyCache } from './reply-cache.ts';
import { Upstream } from './upstream.ts';
import { encodeQuery, parseQuery, recordTypes } from './wire.ts';
import type { Changes } from './changes.ts';
import type { ServerConfig } from './corefile.ts';
import type { FrontendOptions, Server } from './frontend.ts';
import type { ResolverDependencies } from './resolver.ts';
import type { ClusterState } from './zone.ts';

export interface DnsServerOptions {
  readonly state: ClusterState & {
    readonly synced: boolean;
    readonly serial: number;
    readonly changes: Changes;
    namespaceOf(address: string): string | undefined;
  };
  readonly log: FrontendOptions['log'] & { warn(message: string, fields?: Readonly<Record<string, unknown>>): void };
  /** The search list of the node. */
  readonly hostSearch: readonly string[];
  /** A server block forwards to itself, and would for ever. */
  readonly onLoop: (message: string) => void;
}

interface Port {
  readonly frontend: Frontend;
  readonly listeners: Listeners;
}

/** Queries under way when the configuration changes still get their answers. */
const graceMs = 5000;
/** How long a query that leads back is waited for. */
const loopMs = 30_000;
/** Failures of upstream servers that are logged per second. */
const mostErrorsPerSecond = 10;

export class DnsServer {
  readonly #options: DnsServerOptions;
  readonly #ports = new Map<string, Port>();
  #forwardings: readonly Forwarding[] = [];
  #hash: string | undefined;
  #errors = { second: 0, count: 0 };

  constructor(options: DnsServerOptions) {
    this.#options = options;
  }

  /** Ports in use, in the order of the file. */
  get ports(): readonly number[] {
    return [...this.#ports.values()].map(({ listeners }) => listeners.port);
  }

  /** What takes the packets of each port. */
  get frontends(): readonly Frontend[] {
    return [...this.#ports.values()].map(({ frontend }) => frontend);
  }

  /** Serves `configs` from now on; `text` is where they come from. Errors: a port that cannot be had; the old ones stay. */
  async use(configs: readonly ServerConfig[], text: string): Promise<void> {
    const wanted = new Map<string, ServerConfig[]>();
    for (const config of configs) wanted.set(portKey(config), [...(wanted.get(portKey(config)) ?? []), config]);
    // Whatever can go wrong goes wrong before anything is replaced.
    const routes = new Map([...wanted].map(([key, group]) => [key, this.#routesOf(group)]));
    const forwardings = new Set([...routes.values()].flatMap((zones) => forwardingsOf(zones)));
    const opened = await this.#open(wanted).catch((error: unknown) => {
      for (const forwarding of forwardings) forwarding.close();
      throw error;
    });
    const old = this.#forwardings;
    for (const [key, zones] of routes) {
      const port = opened.get(key) ?? this.#ports.get(key);
      if (port === undefined) continue;
      this.#ports.set(key, port);
      port.frontend.use(zones);
    }
    for (const [key, { listeners }] of this.#ports) {
      if (wanted.has(key)) continue;
      listeners.close();
      this.#ports.delete(key);
    }
    this.#forwardings = [...forwardings];
    setTimeout(() => old.forEach((forwarding) => forwarding.close()), graceMs).unref();
    const hash = createHash('sha512').update(text).digest('hex');
    showConfiguration(
      configs.map((config) => ({ ...config, label: labelOf(config) })),
      { before: this.#hash, now: hash },
    );
    this.#hash = hash;
  }

  close(): void {
    for (const { listeners } of this.#ports.values()) listeners.close();
    this.#ports.clear();
    for (const forwarding of this.#forwardings) forwarding.close();
  }

  /** Opens what is wanted and not open yet; all of it or nothing. */
  async #open(wanted: ReadonlyMap<string, readonly ServerConfig[]>): Promise<Map<string, Port>> {
    const opened = new Map<string, Port>();
    try {
      for (const [key, [config]] of wanted) {
        if (config === undefined || this.#ports.has(key)) continue;
        const frontend = new Frontend({ label: labelOf(config), log: this.#options.log });
        const listeners = new Listeners(frontend);
        opened.set(key, { frontend, listeners });
        await listeners.listen(config.port, config.bind);
      }
    } catch (error) {
      for (const { listeners } of opened.values()) listeners.close();
      throw error;
    }
    return opened;
  }

  #routesOf(group: readonly ServerConfig[]): Map<string, Server> {
    const routes = new Map<string, Server>();
    for (const config of group) {
      const server = this.#serverOf(config);
      for (const zone of config.zones) routes.set(zone, server);
    }
    return routes;
  }

  #serverOf(config: ServerConfig): Server {
    const { state, hostSearch, log } = this.#options;
    const label = labelOf(config);
    const zone = `${config.zones[0] ?? ''}.`;
    const observer = cacheObserver(label, zone);
    const probeName = probeNameFor(config);
    const upstreams = config.forwards.map(
      (forward) =>
        new Upstream(
          forward,
          upstreamObserver((query, reason) => {
            if (config.logErrors && query.name !== probeName) this.#logFailure(query.name, reason);
          }),
        ),
    );
    for (const upstream of upstreams) {
      if (upstream.servers.length > 0) continue;
      const from = `${upstream.config.from}.`;
      log.warn('no upstream server: these names answer SERVFAIL', { from, to: upstream.config.to.join(' ') });
    }
    const cache =
      config.cache === undefined ? undefined : new ReplyCache(config.cache, Date.now, (kind) => observer.evicted(kind));
    const forwarding = new Forwarding(upstreams, cache, observer);
    const hosts = config.hosts === undefined ? undefined : hostTable(config.hosts);
    if (hosts !== undefined) dnsMetrics.hostsEntries.set(hosts.size);
    const reads = new ReadState(state);
    const resolver: ResolverDependencies = {
      config,
      state: reads,
      synced: () => state.synced,
      forwarding,
      hosts,
      serial: () => state.serial,
      nameServers: () => reads.service('kube-system', 'kube-dns')?.spec?.clusterIPs ?? [],
      namespaceOf: (address) => state.namespaceOf(address.replace(/^::ffff:/, '')),
      hostSearch,
    };
    return { resolver, reads, changes: () => state.changes, loopProbe: this.#probe(config, forwarding, probeName) };
  }

  /** Sends a name that nobody else can know to the upstream servers: if it comes here, they lead back here. */
  #probe(config: ServerConfig, forwarding: Forwarding, name: string): Server['loopProbe'] {
    if (!config.detectLoops || forwarding.upstreams.length === 0) return undefined;
    const zone = config.zones[0] ?? '';
    const expiresAt = Date.now() + loopMs;
    const parsed = parseQuery(encodeQuery(0, name, recordTypes.HINFO));
    if (parsed.ok && forwarding.serves(name)) {
      setTimeout(() => forwarding.upstreams.forEach((upstream) => void upstream.ask(parsed.query, 'udp')), 100).unref();
    }
    const returned = (): void => {
      if (Date.now() > expiresAt) return;
      const shown = zone === '' ? '.' : `${zone}.`;
      this.#options.onLoop(
        `a query for zone "${shown}" that was forwarded came back to ${labelOf(config)}: line ${config.line} forwards ` +
          'to this server itself, or to one that forwards here; name other servers in "forward"',
      );
    };
    return { name, returned };
  }

  #logFailure(name: string, reason: string): void {
    const second = Math.floor(Date.now() / 1000);
    if (this.#errors.second !== second) this.#errors = { second, count: 0 };
    if (this.#errors.count++ >= mostErrorsPerSecond) return;
    this.#options.log.error('a query could not be forwarded', reason, { name: name.replaceAll(/[^!-~]/g, '?') });
  }
}

function forwardingsOf(zones: ReadonlyMap<string, Server>): Forwarding[] {
  return [...zones.values()].map(({ resolver }) => resolver.forwarding);
}

function probeNameFor({ zones }: ServerConfig): string {
  const random = (): string => String(BigInt(`0x${randomBytes(8).toString('hex')}`));
  return [random(), random(), zones[0] ?? ''].filter((part) => part !== '').join('.');
}

function portKey({ port, bind }: ServerConfig): string {
  return `${bind.toSorted().join(',')}#${port}`;
}

function labelOf({ port }: ServerConfig): string {
  return `dns://:${port}`;
}
