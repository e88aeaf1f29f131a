// SPDX-License-Identifier: Apache-2.0
// kube-proxy's metrics under upstream's names.

import { exponentialBuckets, metrics } from '../machinery/metrics.ts';

const syncBuckets = exponentialBuckets(0.001, 2, 15);

export const proxyMetrics = {
  sync: metrics.histogram(
    'kubeproxy_sync_proxy_rules_duration_seconds',
    'SyncProxyRules latency in seconds',
    syncBuckets,
  ),
  fullSync: metrics.histogram(
    'kubeproxy_sync_full_proxy_rules_duration_seconds',
    'SyncProxyRules latency in seconds for full resyncs',
    syncBuckets,
  ),
  partialSync: metrics.histogram(
    'kubeproxy_sync_partial_proxy_rules_duration_seconds',
    'SyncProxyRules latency in seconds for partial resyncs',
    syncBuckets,
  ),
  networkProgramming: metrics.histogram(
    'kubeproxy_network_programming_duration_seconds',
    'In Cluster Network Programming Latency in seconds',
    [
      0.25,
      0.5,
      ...Array.from({ length: 59 }, (_, i) => i + 1),
      ...Array.from({ length: 12 }, (_, i) => 60 + 5 * i),
      ...Array.from({ length: 7 }, (_, i) => 120 + 30 * i),
    ],
  ),
  lastSync: metrics.gauge(
    'kubeproxy_sync_proxy_rules_last_timestamp_seconds',
    'The last time proxy rules were successfully synced',
  ),
  lastQueued: metrics.gauge(
    'kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds',
    'The last time a sync of proxy rules was queued',
  ),
  endpointChanges: metrics.counter(
    'kubeproxy_sync_proxy_rules_endpoint_changes_total',
    'Cumulative proxy rules Endpoint changes',
  ),
  serviceChanges: metrics.counter(
    'kubeproxy_sync_proxy_rules_service_changes_total',
    'Cumulative proxy rules Service changes',
  ),
  failures: {
    nftables: metrics.counter(
      'kubeproxy_sync_proxy_rules_nftables_sync_failures_total',
      'Cumulative proxy nftables sync failures',
    ),
    iptables: metrics.counter(
      'kubeproxy_sync_proxy_rules_iptables_restore_failures_total',
      'Cumulative proxy iptables restore failures',
    ),
  },
  partialFailures: {
    nftables: metrics.counter(
      'kubeproxy_sync_proxy_rules_nftables_partial_sync_failures_total',
      'Cumulative proxy nftables partial sync failures',
    ),
    iptables: metrics.counter(
      'kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total',
      'Cumulative proxy iptables partial restore failures',
    ),
  },
  rules: metrics.gauge(
    'kubeproxy_sync_proxy_rules_iptables_total',
    'Total number of iptables rules owned by kube-proxy',
  ),
  withoutLocal: metrics.gauge(
    'kubeproxy_sync_proxy_rules_no_local_endpoints_total',
    'Number of services with a Local traffic policy and no endpoints',
  ),
  healthz: metrics.counter('kubeproxy_proxy_healthz_total', 'Cumulative proxy healthz HTTP status'),
  livez: metrics.counter('kubeproxy_proxy_livez_total', 'Cumulative proxy livez HTTP status'),
};
