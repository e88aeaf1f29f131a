// SPDX-License-Identifier: Apache-2.0
// kube-proxy: makes Services work on one node by nftables rules. A drop-in for upstream's in nftables mode: flags,
// ports, metrics, table and chain names. The rules stay in force when the process ends.

import { networkInterfaces } from 'node:os';

import { Client } from '../machinery/client.ts';
import { FlagError, parseFlags } from '../machinery/flags.ts';
import { startHealthServer } from '../machinery/health-server.ts';
import { Informer } from '../machinery/informer.ts';
import { logger, setVerbosity } from '../machinery/log.ts';
import { resources } from '../machinery/resources.ts';
import { containsAddress, familyOf, parsePrefix } from '../network/addresses.ts';
import { SyncLoop } from '../network/nft/sync-loop.ts';
import { Proxier } from './proxier.ts';
import { proxyMetrics } from './proxy-metrics.ts';
import { ServiceHealthServer } from './service-health.ts';
import type { ServerResponse } from 'node:http';
import type { EndpointSlice, Node, ObjectMeta, Service } from '../machinery/api-types.ts';
import type { PlanOptions } from './plan.ts';

const flagSpec = {
  kubeconfig: { type: 'string', required: true, description: 'kubeconfig file with the right to watch Services' },
  'hostname-override': { type: 'string', required: true, description: 'name of the Node that this process serves' },
  'cluster-cidr': { type: 'list', description: 'pod addresses; other sources are masqueraded towards a ClusterIP' },
  'proxy-mode': { type: 'string', default: 'nftables', description: 'nftables is the only mode' },
  'nodeport-addresses': { type: 'list', description: 'CIDRs of node addresses that serve NodePorts (default: all)' },
  'healthz-bind-address': { type: 'string', default: '0.0.0.0:10256', description: 'address of /healthz' },
  'metrics-bind-address': { type: 'string', default: '127.0.0.1:10249', description: 'address of /metrics' },
  'sync-period': { type: 'duration', default: '1h', description: 'how often all rules are written anew unasked' },
  'min-sync-period': { type: 'duration', default: '2ms', description: 'changes within this time share a transaction' },
  v: { type: 'number', default: 0, description: 'log verbosity' },
} as const;

const log = logger('kube-proxy');
const serviceNameLabel = 'kubernetes.io/service-name';
const triggerTimeAnnotation = 'endpoints.kubernetes.io/last-change-trigger-time';
/** Without a successful sync for this long while one is due, the proxy reports itself unhealthy. */
const staleAfterMs = 60_000;

async function main(): Promise<void> {
  const flags = parseFlags(process.argv.slice(2), flagSpec);
  setVerbosity(flags.v);
  if (flags['proxy-mode'] !== 'nftables') {
    throw new FlagError(`--proxy-mode=${flags['proxy-mode']} is not supported; use nftables`);
  }
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop.abort());

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

  const options = (): PlanOptions => planOptions(flags, nodes.get(nodeName)?.metadata.labels ?? {}, nodeName);
  const proxier = new Proxier(
    {
      services: () => services.list(),
      service: (key) => services.get(key.slice(key.indexOf('/') + 1), key.slice(0, key.indexOf('/'))),
      slices: (key) => slices.byIndex('service', key),
    },
    options(),
    (error) => log.warn('stale UDP flows were not removed', { error }),
  );
  // Queued work that was not done for long is what makes a proxy unhealthy; an idle one is healthy.
  const healthy = (): boolean => syncedAt > 0 && (queuedAt <= syncedAt || Date.now() - queuedAt < staleAfterMs);
  const serviceHealth = new ServiceHealthServer(healthy, (message, error) => log.error(message, error));

  const loop = new SyncLoop({
    settleMs: flags['min-sync-period'],
    retryMs: 1000,
    run: async () => {
      const batch = everything ? 'all' : changed;
      const batchTriggers = triggers;
      changed = new Set();
      triggers = [];
      const wasEverything = everything;
      everything = false;
      const startedAt = performance.now();
      const startedWallClock = Date.now();
      try {
        const report = await proxier.sync(batch);
        const seconds = (performance.now() - startedAt) / 1000;
        proxyMetrics.sync.observe(seconds);
        (report.kind === 'whole' ? proxyMetrics.fullSync : proxyMetrics.partialSync).observe(seconds);
        for (const trigger of batchTriggers) {
          proxyMetrics.networkProgramming.observe(Math.max(0, Date.now() - trigger) / 1000);
        }
        syncedAt = startedWallClock;
        proxyMetrics.lastSync.set(Date.now() / 1000);
        proxyMetrics.withoutLocal.set(report.withoutLocal.internal, { traffic_policy: 'internal' });
        proxyMetrics.withoutLocal.set(report.withoutLocal.external, { traffic_policy: 'external' });
        if (report.refused !== undefined) {
          proxyMetrics.failures.add();
          log.warn('a difference was refused, the table was written anew', { reason: report.refused });
        }
        log.debug('synced', { kind: report.kind, services: batch === 'all' ? 'all' : batch.size, seconds });
        serviceHealth.sync(proxier.healthChecks());
        return report.untidy ? 1000 : undefined;
      } catch (error) {
        if (wasEverything) everything = true;
        if (batch !== 'all') for (const key of batch) changed.add(key);
        triggers.push(...batchTriggers);
        throw error;
      }
    },
    onError: (error) => {
      proxyMetrics.failures.add();
      log.error('rules could not be synced, trying again in 1 s', error);
    },
  });
  const request = (): void => {
    if (queuedAt <= syncedAt) queuedAt = Date.now();
    proxyMetrics.lastQueued.set(Date.now() / 1000);
    if (services.synced && slices.synced) loop.request();
  };

  services.onChange(({ object }) => {
    proxyMetrics.serviceChanges.add();
    changed.add(`${object.metadata.namespace}/${object.metadata.name}`);
    request();
  });
  slices.onChange(({ object }) => {
    proxyMetrics.endpointChanges.add();
    changed.add(serviceKey(object.metadata));
    const trigger = Date.parse(object.metadata.annotations?.[triggerTimeAnnotation] ?? '');
    if (!Number.isNaN(trigger) && syncedAt > 0) triggers.push(trigger);
    request();
  });
  let zone: string | undefined;
  nodes.onChange(({ type, object }) => {
    const { labels, deletionTimestamp } = object.metadata;
    nodeEligible =
      type !== 'deleted' &&
      deletionTimestamp === undefined &&
      object.spec?.taints?.some((taint) => taint.key === 'ToBeDeletedByClusterAutoscaler') !== true;
    if (labels?.['topology.kubernetes.io/zone'] === zone) return;
    zone = labels?.['topology.kubernetes.io/zone'];
    proxier.configure(options());
    everything = true;
    request();
  });

  const answerHealth = (response: ServerResponse, counter: keyof typeof proxyMetrics & ('healthz' | 'livez')): void => {
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
        '/proxyMode': (_request, response) => response.writeHead(200, { 'content-type': 'text/plain' }).end('nftables'),
      },
    },
    stop.signal,
  );

  await Promise.all([services.start(stop.signal), slices.start(stop.signal), nodes.start(stop.signal)]);
  request();
  const resync = setInterval(() => {
    proxier.distrust();
    everything = true;
    request();
  }, flags['sync-period']);
  log.info('watching', { node: nodeName, services: services.list().length });
  if (!stop.signal.aborted) {
    await new Promise<void>((resolve) => stop.signal.addEventListener('abort', () => resolve(), { once: true }));
  }
  clearInterval(resync);
  await loop.stop();
  serviceHealth.close();
  client.close();
}

interface ProxyFlags {
  readonly 'cluster-cidr': readonly string[];
  readonly 'nodeport-addresses': readonly string[];
}

function planOptions(flags: ProxyFlags, labels: Readonly<Record<string, string>>, nodeName: string): PlanOptions {
  const cidrs = flags['nodeport-addresses'].filter((cidr) => cidr !== 'primary');
  const prefixes = cidrs.map(parsePrefix);
  const own = Object.values(networkInterfaces()).flatMap((addresses) =>
    (addresses ?? []).map(({ address }) => address),
  );
  return {
    node: { name: nodeName, zone: labels['topology.kubernetes.io/zone'] },
    family: 'ip',
    clusterCIDRs: flags['cluster-cidr'].filter((cidr) => familyOf(cidr.split('/')[0] ?? '') === 4),
    nodePortAddresses:
      prefixes.length === 0 || cidrs.includes('0.0.0.0/0')
        ? undefined
        : own.filter((address) => familyOf(address) === 4 && prefixes.some((cidr) => containsAddress(cidr, address))),
  };
}

function serviceKey(metadata: ObjectMeta): string {
  return `${metadata.namespace}/${metadata.labels?.[serviceNameLabel] ?? ''}`;
}

/** Only what the rules depend on is kept, on every node of the cluster. */
function leanService({ metadata, spec, status }: Service): Service {
  const { name, namespace, labels, resourceVersion, uid } = metadata;
  return {
    metadata: {
      ...(name && { name }),
      ...(namespace && { namespace }),
      ...(labels && { labels }),
      ...(resourceVersion && { resourceVersion }),
      ...(uid && { uid }),
    },
    ...(spec && { spec }),
    ...(status && { status }),
  };
}

function leanSlice(slice: EndpointSlice): EndpointSlice {
  const { name, namespace, labels, annotations, resourceVersion, uid } = slice.metadata;
  return {
    metadata: {
      ...(name && { name }),
      ...(namespace && { namespace }),
      ...(labels && { labels }),
      ...(annotations && { annotations }),
      ...(resourceVersion && { resourceVersion }),
      ...(uid && { uid }),
    },
    addressType: slice.addressType,
    ...(slice.ports && { ports: slice.ports }),
    endpoints: (slice.endpoints ?? []).map(({ addresses, conditions, nodeName, hints }) => ({
      addresses,
      ...(conditions && { conditions }),
      ...(nodeName && { nodeName }),
      ...(hints && { hints }),
    })),
  };
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    if (error instanceof FlagError) process.stderr.write(`kube-proxy: ${error.message}\n`);
    else log.error('kube-proxy cannot go on', error);
    process.exit(1);
  },
);
