// SPDX-License-Identifier: Apache-2.0
// The DNS server's metrics under CoreDNS' names.

import { exponentialBuckets, metrics } from '../machinery/metrics.ts';
import { recordTypes, rcodes } from './wire.ts';
import type { CacheObserver } from './forwarding.ts';
import type { Transport } from './resolver.ts';
import type { UpstreamObserver } from './upstream.ts';

const sizes = [0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16_000, 32_000, 48_000, 64_000];
const durations = exponentialBuckets(0.00025, 2, 16);

const requests = metrics.counter(
  'coredns_dns_requests_total',
  'Counter of DNS requests made per zone, protocol and family.',
);
const responses = metrics.counter('coredns_dns_responses_total', 'Counter of response status codes.');
const duration = metrics.histogram(
  'coredns_dns_request_duration_seconds',
  'Histogram of the time (in seconds) each request took per zone.',
  durations,
);
const requestSize = metrics.histogram(
  'coredns_dns_request_size_bytes',
  'Size of the EDNS0 UDP buffer in bytes (64K for TCP) per zone and protocol.',
  sizes,
);
const responseSize = metrics.histogram(
  'coredns_dns_response_size_bytes',
  'Size of the returned response in bytes.',
  sizes,
);
const cacheHits = metrics.counter('coredns_cache_hits_total', 'The count of cache hits.');
const cacheRequests = metrics.counter('coredns_cache_requests_total', 'The count of cache requests.');
const cacheMisses = metrics.counter('coredns_cache_misses_total', 'The count of cache misses.');
const cacheEntries = metrics.gauge('coredns_cache_entries', 'The number of elements in the cache.');
const cacheStale = metrics.counter('coredns_cache_served_stale_total', 'The number of requests served from stale.');
const cachePrefetch = metrics.counter('coredns_cache_prefetch_total', 'The number of times an item was prefetched.');
const cacheEvictions = metrics.counter('coredns_cache_evictions_total', 'The count of cache evictions.');
const upstreamDuration = metrics.histogram(
  'coredns_proxy_request_duration_seconds',
  'Histogram of the time each request took.',
  durations,
);
const checkFailures = metrics.counter(
  'coredns_proxy_healthcheck_failures_total',
  'Counter of the number of failed healthchecks.',
);
const connectionHits = metrics.counter(
  'coredns_proxy_conn_cache_hits_total',
  'Counter of connection cache hits per upstream and protocol.',
);
const connectionMisses = metrics.counter(
  'coredns_proxy_conn_cache_misses_total',
  'Counter of connection cache misses per upstream and protocol.',
);
const allDown = metrics.counter(
  'coredns_forward_healthcheck_broken_total',
  'Counter of the number of complete failures of the healthchecks.',
);
const rejects = metrics.counter(
  'coredns_forward_max_concurrent_rejects_total',
  'Counter of the number of queries rejected because the concurrent queries were at maximum.',
);
const reloadVersion = metrics.gauge('coredns_reload_version_info', 'A metric with the hash of the configuration.');
const pluginEnabled = metrics.gauge(
  'coredns_plugin_enabled',
  'A metric that indicates whether a plugin is enabled on per server and zone basis.',
);

export const dnsMetrics = {
  panics: metrics.counter('coredns_panics_total', 'A metrics that counts the number of panics.'),
  reloadFailures: metrics.counter('coredns_reload_failed_total', 'Counter of the number of failed reload attempts.'),
  autopath: metrics.counter('coredns_autopath_success_total', 'Counter of requests that did autopath.'),
  hostsEntries: metrics.gauge('coredns_hosts_entries', 'The combined number of entries in hosts and Corefile.'),
  programming: metrics.histogram(
    'coredns_kubernetes_dns_programming_duration_seconds',
    'In Cluster DNS Programming Latency in seconds.',
    exponentialBuckets(0.001, 2, 20),
  ),
};

const typeNames = new Map<number, string>(Object.entries(recordTypes).map(([name, code]) => [code, name]));
const rcodeNames = new Map<number, string>(Object.entries(rcodes).map(([name, code]) => [code, name]));

export interface PacketKind {
  readonly server: string;
  /** The server block's zone with final dot; `dropped` for what no block answers. */
  readonly zone: string;
  readonly transport: Transport;
  readonly ipv6: boolean;
  /** undefined: not a query that could be read. */
  readonly type: number | undefined;
  readonly rcode: number;
  readonly plugin: string;
}

export type PacketObserver = (seconds: number, queryLength: number, replyLength: number) => void;

/** Records handled packets of one kind; looked up once, it costs no rendering of labels. */
export function packetObserver(kind: PacketKind): PacketObserver {
  const type = kind.type === undefined ? 'other' : (typeNames.get(kind.type) ?? 'other');
  const rcode = rcodeNames.get(kind.rcode) ?? String(kind.rcode);
  const name = `${kind.server} ${kind.zone} ${kind.transport} ${kind.ipv6} ${type} ${rcode} ${kind.plugin}`;
  // Every part is one of few, whatever clients send, so this stays small.
  let observer = observers.get(name);
  if (observer === undefined) observers.set(name, (observer = makeObserver(kind, type, rcode)));
  return observer;
}

const observers = new Map<string, PacketObserver>();

function makeObserver(kind: PacketKind, type: string, rcode: string): PacketObserver {
  const zone = { server: kind.server, zone: kind.zone, view: '' };
  const proto = { ...zone, proto: kind.transport };
  const request = requests.of({ ...proto, family: kind.ipv6 ? '2' : '1', type });
  const response = responses.of({ ...zone, rcode, plugin: kind.plugin });
  const took = duration.of(zone);
  const querySize = requestSize.of(proto);
  const replySize = responseSize.of(proto);
  return (seconds, queryLength, replyLength) => {
    request.add();
    response.add();
    took.observe(seconds);
    querySize.observe(queryLength);
    replySize.observe(replyLength);
  };
}

export function cacheObserver(server: string, zone: string): CacheObserver & { evicted(kind: string): void } {
  const common = { server, zones: zone, view: '' };
  const asked = cacheRequests.of(common);
  const success = cacheHits.of({ ...common, type: 'success' });
  const denial = cacheHits.of({ ...common, type: 'denial' });
  const misses = cacheMisses.of(common);
  const labels = { success: { ...common, type: 'success' }, denial: { ...common, type: 'denial' } };
  return {
    hit: (isDenial) => {
      asked.add();
      (isDenial ? denial : success).add();
    },
    miss: () => {
      asked.add();
      misses.add();
    },
    stale: () => cacheStale.add(1, common),
    prefetch: () => cachePrefetch.add(1, common),
    evicted: (kind) => cacheEvictions.add(1, kind === 'success' ? labels.success : labels.denial),
    entries: (counts) => {
      cacheEntries.set(counts.success, labels.success);
      cacheEntries.set(counts.denial, labels.denial);
    },
  };
}

export function upstreamObserver(failed: UpstreamObserver['failed']): UpstreamObserver {
  const byServer = new Map<string, { observe(value: number): void }>();
  const connections = new Map<string, { add(): void }>();
  return {
    asked: (to, seconds, rcode) => {
      const name = rcode === undefined ? 'TIMEOUT' : (rcodeNames.get(rcode) ?? String(rcode));
      let series = byServer.get(`${to} ${name}`);
      if (series === undefined) {
        series = upstreamDuration.of({ proxy_name: 'forward', to, rcode: name });
        byServer.set(`${to} ${name}`, series);
      }
      series.observe(seconds);
    },
    checkFailed: (to) => checkFailures.add(1, { proxy_name: 'forward', to }),
    allDown: () => allDown.add(),
    rejected: () => rejects.add(),
    connection: (to, reused, proto) => {
      const name = `${to} ${proto} ${reused}`;
      let series = connections.get(name);
      if (series === undefined) {
        series = (reused ? connectionHits : connectionMisses).of({ proxy_name: 'forward', to, proto });
        connections.set(name, series);
      }
      series.add();
    },
    failed,
  };
}

/** What the configuration in use is. */
export function showConfiguration(
  servers: readonly {
    readonly label: string;
    readonly zones: readonly string[];
    readonly plugins: readonly string[];
  }[],
  hashes: { readonly before: string | undefined; readonly now: string },
): void {
  if (hashes.before !== undefined) reloadVersion.remove({ hash: 'sha512', value: hashes.before });
  reloadVersion.set(1, { hash: 'sha512', value: hashes.now });
  for (const { label, zones, plugins } of servers) {
    for (const zone of zones) {
      for (const name of plugins) pluginEnabled.set(1, { server: label, zone: `${zone}.`, view: '', name });
    }
  }
}
