// SPDX-License-Identifier: Apache-2.0
// kube-proxy: makes Services work on one node by nftables or iptables rules, for IPv4 and IPv6. A drop-in for
// upstream's: flags, ports, metrics, table and chain names. The rules stay in force when the process ends.

import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';

import { Client } from '../machinery/client.ts';
import { FlagError, parseFlags } from '../machinery/flags.ts';
import { startHealthServer } from '../machinery/health-server.ts';
import { Informer } from '../machinery/informer.ts';
import { logger, setVerbosity } from '../machinery/log.ts';
import { resources } from '../machinery/resources.ts';
import { SyncLoop } from '../network/nft/sync-loop.ts';
import { applyConntrackSettings, conntrackFlags } from './conntrack-settings.ts';
import { chooseIptables } from './iptables/iptables-command.ts';
import { IptablesRules } from './iptables/iptables-rules.ts';
import { leanService, leanSlice, serviceKey } from './lean-objects.ts';
import { removeLeftovers } from './leftovers.ts';
import { NftablesRules } from './nftables/nftables-rules.ts';
import { ownAddresses, ruleOptions } from './node-facts.ts';
import { Proxier } from './proxier.ts';
import { proxyMetrics } from './proxy-metrics.ts';
import { ServiceHealthServer } from './service-health.ts';
import type { EndpointSlice, Node, Service } from '../machinery/api-types.ts';
import type { RuleOptions, RuleWriter } from './rule-writer.ts';
import type { HealthCheck } from './service-health.ts';

const flagSpec = {
  kubeconfig: { type: 'string', required: true, description: 'kubeconfig file with the right to watch Services' },
  'hostname-override': { type: 'string', required: true, description: 'name of the Node that this process serves' },
  'cluster-cidr': {
    type: 'list',
    description: 'pod addresses, both families; other sources are masqueraded towards a ClusterIP',
  },
  'proxy-mode': { type: 'string', default: 'nftables', description: 'nftables or iptables' },
  'nodeport-addresses': {
    type: 'list',
    description: 'CIDRs of node addresses that serve NodePorts, or "primary" (default: all)',
  },
  'iptables-localhost-nodeports': {
    type: 'boolean',
    default: true,
    description: 'iptables mode: NodePorts answer on 127.0.0.1 too (sets route_localnet)',
  },
  'healthz-bind-address': { type: 'string', default: '0.0.0.0:10256', description: 'address of /healthz' },
  'metrics-bind-address': { type: 'string', default: '127.0.0.1:10249', description: 'address of /metrics' },
  'sync-period': { type: 'duration', default: '1h', description: 'how often all rules are written anew unasked' },
  'min-sync-period': { type: 'duration', default: '2ms', description: 'changes within this time share a transaction' },
  ...conntrackFlags,
  v: { type: 'number', default: 0, description: 'log verbosity' },
} as const;

const log = logger('kube-proxy');
const triggerTimeAnnotation = 'endpoints.kubernetes.io/last-change-trigger-time';
/** Without a successful sync for this long while one is due, the proxy reports itself unhealthy. */
const staleAfterMs = 60_000;
/** How often iptables mode looks whether somebody flushed the tables. */
const watchTablesMs = 10_000;

async function main(): Promise<void> {
  const flags = parseFlags(process.argv.slice(2), flagSpec);
  setVerbosity(flags.v);
  const mode = flags['proxy-mode'];
  if (mode !== 'nftables' && mode !== 'iptables') {
    throw new FlagError(`--proxy-mode=${mode} is not supported; use nftables or iptables`);
  }
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop.abort());

  const notSet = await applyConntrackSettings(flags);
  if (notSet.length > 0) log.warn('the connection tracker stays as it is in part', { notSet: notSet.join('; ') });

  const nodeName = flags['hostname-override'];
  const client = Client.fromKubeconfig(flags.kubeconfig, { userAgent: 'kube-proxy' });
  const notOurs = '!service.kubernetes.io/service-proxy-name,!service.kubernetes.io/headless';
  const services = new Informer<Service>(client, resources.services, {
    labelSelector: notOurs,
    transform: leanService,
  });
  const slices = new Informer<EndpointSlice>(client, resources.endpointSlices, {
    labelSelector: notOurs,
    indexers: { service: (slice) => [serviceKey(slice.metadata)] },
    transform: leanSlice,
  });
  const nodes = new Informer<Node>(client, resources.nodes, { fieldSelector: `metadata.name=${nodeName}` });

  let changed = new Set<string>();
  let everything = true;
  let queuedAt = 0;
  let syncedAt = 0;
  let triggers: number[] = [];
  let nodeEligible = true;

  const options = (family: 'ip' | 'ip6'): RuleOptions =>
    ruleOptions(family, { flags, nodeName, node: nodes.get(nodeName) });
  const variant = mode === 'iptables' ? await chooseIptables() : undefined;
  const localhost = variant !== undefined && flags['iptables-localhost-nodeports'] && (await routeLocalhost());
  const writerOf = (rules: RuleOptions): RuleWriter =>
    variant === undefined
      ? new NftablesRules(rules)
      : new IptablesRules({ ...rules, localhostNodePorts: localhost && rules.family === 'ip' }, variant);
  const source = {
    services: () => services.list(),
    service: (key: string) => services.get(key.slice(key.indexOf('/') + 1), key.slice(0, key.indexOf('/'))),
    slices: (key: string) => slices.byIndex('service', key),
    ownAddresses,
  };
  // A kernel without IPv6 has no such file; one with IPv6 costs an idle table.
  const families = existsSync('/proc/net/if_inet6') ? (['ip', 'ip6'] as const) : (['ip'] as const);
  const proxiers = families.map((family) => {
    const rules = options(family);
    return new Proxier({
      source,
      rules,
      writer: writerOf(rules),
      onConntrackError: (error) => log.warn('stale UDP flows were not removed', { error }),
    });
  });
  // Queued work that was not done for long is what makes a proxy unhealthy; an idle one is healthy.
  const healthy = (): boolean => syncedAt > 0 && (queuedAt <= syncedAt || Date.now() - queuedAt < staleAfterMs);
  const serviceHealth = new ServiceHealthServer(healthy, (message, error) => log.error(message, error));

  /** One family's part of a pass; true when something is left to tidy up. */
  const syncFamily = async (proxier: Proxier, batch: ReadonlySet<string> | 'all'): Promise<boolean> => {
    const startedAt = performance.now();
    const family = familyLabels[proxier.family];
    const report = await proxier.sync(batch);
    const seconds = (performance.now() - startedAt) / 1000;
    proxyMetrics.sync.observe(seconds, family);
    (report.kind === 'whole' ? proxyMetrics.fullSync : proxyMetrics.partialSync).observe(seconds, family);
    proxyMetrics.withoutLocal.set(report.withoutLocal.internal, { ...family, traffic_policy: 'internal' });
    proxyMetrics.withoutLocal.set(report.withoutLocal.external, { ...family, traffic_policy: 'external' });
    for (const [table, count] of proxier.ruleCounts()) proxyMetrics.rules.set(count, { ...family, table });
    proxyMetrics.lastSync.set(Date.now() / 1000, family);
    if (report.refused !== undefined) {
      proxyMetrics.partialFailures[mode].add(1, family);
      log.warn('a difference was refused, all rules were written anew', { reason: report.refused });
    }
    return report.untidy;
  };

  const loop = new SyncLoop({
    settleMs: flags['min-sync-period'],
    retryMs: 1000,
    run: async () => {
      const batch = everything ? 'all' : changed;
      const batchTriggers = triggers;
      changed = new Set();
      triggers = [];
      everything = false;
      const startedWallClock = Date.now();
      const ends = await Promise.allSettled(proxiers.map((proxier) => syncFamily(proxier, batch)));
      const failed = ends.find((end) => end.status === 'rejected');
      if (failed !== undefined) {
        if (batch === 'all') everything = true;
        else for (const key of batch) changed.add(key);
        triggers.push(...batchTriggers);
        throw failed.reason;
      }
      for (const trigger of batchTriggers) {
        proxyMetrics.networkProgramming.observe(Math.max(0, Date.now() - trigger) / 1000);
      }
      if (syncedAt === 0) {
        // Only now: until these rules were in force, the old ones served.
        removeLeftovers(variant ?? 'nftables').catch((error: unknown) =>
          log.warn('rules of the other mode were not removed', { error }),
        );
      }
      syncedAt = startedWallClock;
      log.debug('synced', { services: batch === 'all' ? 'all' : batch.size, ms: Date.now() - startedWallClock });
      serviceHealth.sync(mergedHealthChecks(proxiers));
      return ends.some((end) => end.status === 'fulfilled' && end.value) ? 1000 : undefined;
    },
    onError: (error) => {
      proxyMetrics.failures[mode].add();
      log.error('rules could not be synced, trying again in 1 s', error);
    },
  });
  const request = (): void => {
    if (queuedAt <= syncedAt) queuedAt = Date.now();
    proxyMetrics.lastQueued.set(Date.now() / 1000);
    if (services.synced && slices.synced) loop.request();
  };
  const requestEverything = (): void => {
    everything = true;
    request();
  };

  services.onChange(({ object }) => {
    proxyMetrics.serviceChanges.add();
    changed.add(`${object.metadata.namespace}/${object.metadata.name}`);
    request();
  });
  slices.onChange(({ type, object, old }) => {
    proxyMetrics.endpointChanges.add();
    changed.add(serviceKey(object.metadata));
    const trigger = object.metadata.annotations?.[triggerTimeAnnotation];
    // Other changes of a slice leave the time of the last change of its endpoints as it was.
    const news = type !== 'deleted' && trigger !== old?.metadata.annotations?.[triggerTimeAnnotation];
    const at = Date.parse(trigger ?? '');
    if (news && !Number.isNaN(at) && syncedAt > 0) triggers.push(at);
    request();
  });
  let facts = '';
  nodes.onChange(({ type, object }) => {
    nodeEligible =
      type !== 'deleted' &&
      object.metadata.deletionTimestamp === undefined &&
      object.spec?.taints?.some((taint) => taint.key === 'ToBeDeletedByClusterAutoscaler') !== true;
    const now = families.map(options);
    if (JSON.stringify(now) === facts) return;
    facts = JSON.stringify(now);
    for (const [index, rules] of now.entries()) proxiers[index]?.configure(rules);
    requestEverything();
  });

  const answerHealth = (response: ServerResponse, counter: 'healthz' | 'livez'): void => {
    const ok = healthy() && (counter === 'livez' || nodeEligible);
    proxyMetrics[counter].add(1, { code: ok ? '200' : '503' });
    response.writeHead(ok ? 200 : 503, { 'content-type': 'application/json', 'x-content-type-options': 'nosniff' });
    const lastUpdated = new Date(healthy() ? Date.now() : syncedAt).toISOString();
    response.end(JSON.stringify({ lastUpdated, currentTime: new Date().toISOString(), nodeEligible }));
  };
  await startHealthServer(
    {
      address: flags['healthz-bind-address'],
      routes: {
        '/healthz': (_request, response) => answerHealth(response, 'healthz'),
        '/livez': (_request, response) => answerHealth(response, 'livez'),
      },
    },
    stop.signal,
  );
  await startHealthServer(
    {
      address: flags['metrics-bind-address'],
      routes: {
        '/proxyMode': (_request, response) => response.writeHead(200, { 'content-type': 'text/plain' }).end(mode),
      },
    },
    stop.signal,
  );

  await Promise.all([services.start(stop.signal), slices.start(stop.signal), nodes.start(stop.signal)]);
  request();
  const distrust = (): void => {
    for (const proxier of proxiers) proxier.distrust();
    requestEverything();
  };
  const resync = setInterval(distrust, flags['sync-period']);
  const tableWatch = setInterval(() => {
    if (syncedAt === 0) return;
    for (const proxier of proxiers) {
      proxier.stillThere().then(
        (there) => {
          if (there) return;
          log.warn('the rules are gone from the kernel, all are written anew', { family: proxier.family });
          distrust();
        },
        (error: unknown) => log.warn('cannot see whether the rules are still there', { error }),
      );
    }
  }, watchTablesMs);
  log.info('watching', { node: nodeName, mode, variant, families, services: services.list().length });
  if (!stop.signal.aborted) {
    await new Promise<void>((resolve) => stop.signal.addEventListener('abort', () => resolve(), { once: true }));
  }
  clearInterval(resync);
  clearInterval(tableWatch);
  await loop.stop();
  serviceHealth.close();
  client.close();
}

const familyLabels = { ip: { ip_family: 'IPv4' }, ip6: { ip_family: 'IPv6' } } as const;

/** NodePorts answer on 127.0.0.1 only where packets with that address may leave it. */
async function routeLocalhost(): Promise<boolean> {
  try {
    await writeFile('/proc/sys/net/ipv4/conf/all/route_localnet', '1\n');
    return true;
  } catch (error) {
    log.warn('route_localnet cannot be set: NodePorts do not answer on 127.0.0.1', { error });
    return false;
  }
}

/** One health check per port: a Service of both families counts the family that has more endpoints here. */
function mergedHealthChecks(proxiers: readonly Proxier[]): HealthCheck[] {
  const byPort = new Map<number, HealthCheck>();
  for (const check of proxiers.flatMap((proxier) => [...proxier.healthChecks()])) {
    const known = byPort.get(check.port);
    if (known === undefined || known.localEndpoints < check.localEndpoints) byPort.set(check.port, check);
  }
  return [...byPort.values()];
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    if (error instanceof FlagError) process.stderr.write(`kube-proxy: ${error.message}\n`);
    else log.error('kube-proxy cannot go on', error);
    process.exit(1);
  },
);
