// SPDX-License-Identifier: Apache-2.0
// The DNS server's metrics under CoreDNS' names.

import { exponentialBuckets, metrics } from '../machinery/metrics.ts';
import { recordTypes, rcodes } from './wire.ts';
import type { Outcome, Transport } from './resolver.ts';
import type { Labels } from '../machinery/metrics.ts';
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
const upstreamDuration = metrics.histogram(
  'coredns_proxy_request_duration_seconds',
  'Histogram of the time each request took.',
  durations,
);
const upstreamFailures = metrics.counter(
  'coredns_proxy_healthcheck_failures_total',
  'Counter of the number of failed healthchecks.',
);
const panics = metrics.counter('coredns_panics_total', 'A metrics that counts the number of panics.');
const reloadFailures = metrics.counter(
  'coredns_reload_failed_total',
  'Counter of the number of failed reload attempts.',
);

const typeNames = new Map<number, string>(Object.entries(recordTypes).map(([name, code]) => [code, name]));
const rcodeNames = new Map<number, string>(Object.entries(rcodes).map(([name, code]) => [code, name]));

export const dnsMetrics = { panics, reloadFailures };

/** Label sets of one kind of packet, made once: rendering labels costs more than answering. */
interface PacketLabels {
  readonly request: Labels;
  readonly response: Labels;
  readonly zone: Labels;
  readonly size: Labels;
}

const labelsByKind = new Map<string, PacketLabels>();

/** Records one handled packet. */
export function observeOutcome(
  outcome: Outcome,
  facts: { transport: Transport; client: string; seconds: number; packetLength: number; server: string },
): void {
  const family = facts.client.includes('.') ? '1' : '2';
  const { request, response, zone, size } = labelsOf(outcome, { ...facts, family });
  requests.add(1, request);
  responses.add(1, response);
  duration.observe(facts.seconds, zone);
  requestSize.observe(facts.packetLength, size);
  responseSize.observe(outcome.reply?.length ?? 0, size);
}

function labelsOf(outcome: Outcome, facts: { transport: Transport; family: string; server: string }): PacketLabels {
  const { server, transport, family } = facts;
  const { query, plugin, rcode } = outcome;
  const kind = `${outcome.zone} ${transport} ${family} ${query?.type ?? ''} ${rcode} ${plugin}`;
  let labels = labelsByKind.get(kind);
  if (labels === undefined) {
    const zone = { server, zone: outcome.zone, view: '' };
    const type = query === undefined ? 'other' : (typeNames.get(query.type) ?? 'other');
    labels = {
      zone,
      size: { ...zone, proto: transport },
      request: { ...zone, proto: transport, family, type },
      response: { ...zone, rcode: rcodeNames.get(rcode) ?? String(rcode), plugin },
    };
    // Clients choose the type: they must not be able to fill the memory.
    if (labelsByKind.size < 1000) labelsByKind.set(kind, labels);
  }
  return labels;
}

export function upstreamObserver(server: string): UpstreamObserver {
  const common = { server, zones: '.', view: '' };
  return {
    cacheHit: (denial) => {
      cacheRequests.add(1, common);
      cacheHits.add(1, { ...common, type: denial ? 'denial' : 'success' });
    },
    cacheMiss: () => {
      cacheRequests.add(1, common);
      cacheMisses.add(1, common);
    },
    cacheEntries: (count) => cacheEntries.set(count, { ...common, type: 'success' }),
    asked: (to, seconds, rcode) => {
      const name = rcode === undefined ? 'TIMEOUT' : (rcodeNames.get(rcode) ?? String(rcode));
      upstreamDuration.observe(seconds, { proxy_name: 'forward', to, rcode: name });
      if (rcode === undefined) upstreamFailures.add(1, { proxy_name: 'forward', to });
    },
  };
}
